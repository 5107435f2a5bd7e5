"""Maintenance: what a window covers, and when."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine

from tests.support.acme_and_globex import ACME, GLOBEX, SITE, rejected, run

WINDOW = uuid.UUID(int=0x77)
WEDNESDAY_NOON = "2024-07-03 12:00Z"


def window(engine: Engine, **columns: str) -> None:
    """A window of Acme; the values are SQL."""
    values = {
        "tenant_id": f"'{ACME}'",
        "window_id": f"'{WINDOW}'",
        "name": "'Works'",
        "starts_at": "'2024-07-01 00:00Z'",
        "ends_at": "'2024-08-01 00:00Z'",
        **columns,
    }
    run(
        engine,
        f"INSERT INTO alert_maintenance_windows ({', '.join(values)})"
        f" VALUES ({', '.join(values.values())})",
    )


def target(engine: Engine, column: str, value: str) -> None:
    run(
        engine,
        f"INSERT INTO alert_maintenance_targets (tenant_id, window_id, {column})"
        f" VALUES ('{ACME}', '{WINDOW}', {value})",
    )


def silent(
    engine: Engine, what: str, moment: str = WEDNESDAY_NOON, tenant: uuid.UUID = ACME
) -> bool:
    """``what`` is a named argument in SQL."""
    found: bool = run(engine, f"SELECT under_maintenance({what}, moment => '{moment}')", tenant)[0][
        0
    ]
    return found


PUMP, LAMP = "device_id => 'pump'", "device_id => 'lamp'"


@pytest.mark.parametrize(
    ("column", "value"),
    [("device_id", "'pump'"), ("site_id", f"'{SITE}'"), ("device_type", "'pump'")],
)
def test_a_device_by_itself_its_site_or_its_type(fleet: Engine, column: str, value: str) -> None:
    window(fleet)
    assert not silent(fleet, PUMP)
    target(fleet, column, value)
    assert silent(fleet, PUMP)
    assert not silent(fleet, LAMP)
    assert not silent(fleet, PUMP, tenant=GLOBEX)
    assert silent(fleet, f"site_id => '{SITE}'") is (column == "site_id")


def test_a_device_by_its_group(fleet: Engine) -> None:
    group = uuid.uuid4()
    window(fleet)
    run(
        fleet,
        f"INSERT INTO device_groups (tenant_id, group_id, name) VALUES ('{ACME}', '{group}', 'g')",
    )
    target(fleet, "group_id", f"'{group}'")
    assert not silent(fleet, LAMP)
    run(fleet, f"INSERT INTO device_group_members VALUES ('{ACME}', '{group}', 'lamp')")
    assert silent(fleet, LAMP)
    assert not silent(fleet, PUMP)


def test_an_endpoint_by_itself_or_its_project(fleet: Engine) -> None:
    project = uuid.uuid4()
    window(fleet)
    run(fleet, f"INSERT INTO projects (tenant_id, id, name) VALUES ('{ACME}', '{project}', 'p')")
    target(fleet, "project_id", f"'{project}'")
    assert silent(fleet, f"endpoint_id => '{uuid.uuid4()}', project_id => '{project}'")
    assert not silent(fleet, f"endpoint_id => '{uuid.uuid4()}', project_id => '{uuid.uuid4()}'")
    assert not silent(fleet, PUMP)


def test_a_window_without_targets_silences_nothing(fleet: Engine) -> None:
    """Nor does one whose last target was deleted; only target_all covers everything."""
    window(fleet)
    target(fleet, "device_id", "'pump'")
    run(fleet, "DELETE FROM device_registry WHERE device_id = 'pump'")
    assert run(fleet, "SELECT count(*) FROM alert_maintenance_targets") == [(0,)]
    assert not silent(fleet, LAMP)
    run(fleet, "UPDATE alert_maintenance_windows SET target_all = true")
    assert silent(fleet, LAMP)
    run(fleet, "UPDATE alert_maintenance_windows SET enabled = false")
    assert not silent(fleet, LAMP)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2024-06-30 23:59:59Z", False),
        ("2024-07-01 00:00Z", True),
        ("2024-07-31 23:59:59Z", True),
        ("2024-08-01 00:00Z", False),
    ],
)
def test_it_begins_at_its_start_and_ends_before_its_end(
    fleet: Engine, moment: str, expected: bool
) -> None:
    window(fleet, target_all="true")
    assert silent(fleet, PUMP, moment) is expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        # Tuesdays (day 2) from 22:30 for four hours, by the clock of Berlin (UTC+2 in July).
        ("2024-07-02 20:29Z", False),
        ("2024-07-02 20:30Z", True),
        ("2024-07-03 00:29Z", True),  # the night after, Wednesday in Berlin
        ("2024-07-03 00:30Z", False),
        ("2024-07-03 20:45Z", False),
        ("2024-06-25 20:45Z", False),  # a Tuesday before it starts
        ("2024-12-03 20:45Z", False),  # UTC+1 in December: 21:45 there
        ("2024-12-03 21:45Z", True),
    ],
)
def test_a_recurring_window_follows_local_time(fleet: Engine, moment: str, expected: bool) -> None:
    window(
        fleet,
        target_all="true",
        ends_at="NULL",
        timezone="'Europe/Berlin'",
        recur_weekdays="'{2}'",
        recur_start_minute="22 * 60 + 30",
        recur_minutes="240",
    )
    assert silent(fleet, PUMP, moment) is expected


@pytest.mark.parametrize(
    "columns",
    [
        {"ends_at": "'2024-07-01 00:00Z'"},
        {"recur_weekdays": "'{1}'"},
        {"recur_weekdays": "'{0}'", "recur_start_minute": "0", "recur_minutes": "60"},
        {"recur_weekdays": "'{}'", "recur_start_minute": "0", "recur_minutes": "60"},
        {"recur_weekdays": "'{1}'", "recur_start_minute": "1440", "recur_minutes": "60"},
        {"recur_weekdays": "'{1}'", "recur_start_minute": "0", "recur_minutes": "1441"},
    ],
)
def test_invalid_windows_are_rejected(fleet: Engine, columns: dict[str, str]) -> None:
    names, values = ", ".join(columns), ", ".join(columns.values())
    ends = "" if "ends_at" in columns else ", ends_at"
    value = "" if "ends_at" in columns else ", NULL"
    statement = (
        f"INSERT INTO alert_maintenance_windows (tenant_id, name, starts_at, {names}{ends})"
        f" VALUES ('{ACME}', 'w', '2024-07-01 00:00Z', {values}{value})"
    )
    assert rejected(fleet, statement) == "23514"


def test_a_time_zone_must_exist(fleet: Engine) -> None:
    for table, columns, values in (
        ("alert_maintenance_windows", "name, starts_at", "'w', now()"),
        ("oncall_schedules", "name", "'s'"),
    ):
        statement = (
            f"INSERT INTO {table} (tenant_id, {columns}, timezone) VALUES ('{ACME}', {values}"
        )
        assert rejected(fleet, f"{statement}, 'Mars/Olympus')") == "22023"
        run(fleet, f"{statement}, 'Asia/Kathmandu')")


def test_no_alert_is_raised_under_maintenance(fleet: Engine) -> None:
    raising = "SELECT times FROM raise_alert('{0}', 't', 3, 's', device_id => '{0}')"
    window(fleet, starts_at="now() - interval '1 hour'", ends_at="now() + interval '1 hour'")
    target(fleet, "site_id", f"'{SITE}'")  # the pump is there; the caller need not know
    assert run(fleet, raising.format("pump")) == []
    assert run(fleet, raising.format("lamp")) == [(1,)]
    assert run(fleet, raising.format("pump"), GLOBEX) == [(1,)]
    run(fleet, "UPDATE alert_maintenance_windows SET ends_at = now()")
    assert run(fleet, raising.format("pump")) == [(1,)]
