"""Alerts of another system, which an operator imports with their own times."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from tests.support.acme_and_globex import ACME, ANN, BOB, operator, rejected, run

RAISE = "SELECT * FROM raise_alert('hot/pump', 'threshold', 3, 'Pump is hot', device_id => 'pump')"
IMPORT = (
    "INSERT INTO fleet_alert (tenant_id, fingerprint, alert_type, severity, summary, status,"
    " created_at, acknowledged_at, acknowledged_by, closed_at, closed_by)"
    f" VALUES ('{ACME}', 'f', 't', 1, 's', 'closed', '2024-01-01 08:00Z', '2024-01-01 08:05Z',"
    f" '{ANN}', '2024-01-01 09:00Z', '{BOB}')"
)
TIMES = "SELECT created_at, acknowledged_at, closed_at FROM fleet_alert"


def test_an_operator_imports_history_with_its_own_times(fleet: Engine) -> None:
    with operator(fleet) as connection:
        connection.execute(sa.text(IMPORT))
    opened, acknowledged, closed = run(fleet, TIMES)[0]
    assert (
        f"{opened:%F %H:%M} {acknowledged:%H:%M} {closed:%H:%M}" == "2024-01-01 08:00 08:05 09:00"
    )
    trail = run(fleet, "SELECT event, actor_id, at FROM alert_events ORDER BY at")
    assert trail == [
        ("opened", None, opened),
        ("acknowledged", ANN, acknowledged),
        ("closed", BOB, closed),
    ]
    escalated = (
        "INSERT INTO alert_events (tenant_id, alert_id, event, at)"
        " SELECT tenant_id, id, 'escalated', '2024-01-01 08:02Z' FROM fleet_alert"
    )
    assert rejected(
        fleet, escalated.replace(", at)", ")").replace(", '2024-01-01 08:02Z'", "")
    ) == ("42501")
    with operator(fleet) as connection:
        connection.execute(sa.text(escalated))
        with pytest.raises(sa.exc.ProgrammingError, match="only be written by the database"):
            connection.execute(sa.text(escalated.replace("'escalated'", "'closed'")))


def test_an_operator_imports_an_alert_step_by_step(fleet: Engine) -> None:
    run(fleet, RAISE)
    steps = (
        "created_at = '2024-01-01 08:00Z'",
        "status = 'acknowledged', acknowledged_at = '2024-01-01 08:05Z'",
        "status = 'closed', closed_at = '2024-01-01 09:00Z'",
    )
    for step in steps:
        with operator(fleet) as connection:
            connection.execute(sa.text(f"UPDATE fleet_alert SET {step}"))
    assert [f"{moment:%H:%M}" for moment in run(fleet, TIMES)[0]] == ["08:00", "08:05", "09:00"]
    events = "SELECT event, to_char(at AT TIME ZONE 'UTC', 'HH24:MI') FROM alert_events ORDER BY id"
    assert run(fleet, events)[1:] == [("acknowledged", "08:05"), ("closed", "09:00")]


def test_an_alert_that_an_operator_closes_has_the_time_of_now(fleet: Engine) -> None:
    run(fleet, RAISE)
    with operator(fleet) as connection:
        connection.execute(sa.text("UPDATE fleet_alert SET status = 'closed'"))
    assert run(fleet, "SELECT closed_at = updated_at FROM fleet_alert") == [(True,)]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("'2024-01-01 09:00Z'", "NULL"),
        ("'2024-01-01 09:00Z'", "'2024-01-01 08:04Z'"),
        ("'2024-01-01 09:00Z'", "'2100-01-01'"),
        ("'2024-01-01 08:05Z'", "'2024-01-01 07:59Z'"),
        ("'closed'", "'acknowledged'"),
    ],
)
def test_an_import_whose_times_contradict_is_refused(fleet: Engine, right: str, wrong: str) -> None:
    statement = IMPORT.replace(right, wrong)
    with operator(fleet) as connection, pytest.raises(sa.exc.IntegrityError) as refused:
        connection.execute(sa.text(statement))
    assert "alert f is" in str(refused.value)
    assert "Expected created_at <= acknowledged_at" in str(refused.value)


@pytest.mark.parametrize("created", ["-infinity", "infinity", "2100-01-01"])
@pytest.mark.parametrize("status", ["'open'", "'closed'"])
def test_an_import_without_a_time_that_was_is_refused(
    fleet: Engine, created: str, status: str
) -> None:
    statement = IMPORT.replace("2024-01-01 08:00Z", created).replace("'closed'", status)
    with operator(fleet) as connection, pytest.raises(sa.exc.IntegrityError) as refused:
        connection.execute(sa.text(statement))
    assert "alert f has created_at" in str(refused.value)
    run(fleet, RAISE)
    change = f"UPDATE fleet_alert SET created_at = '{created}'"
    with (
        operator(fleet) as connection,
        pytest.raises(sa.exc.IntegrityError, match="not in the fut"),
    ):
        connection.execute(sa.text(change))


def test_an_open_alert_with_times_of_its_end_is_refused(fleet: Engine) -> None:
    statement = IMPORT.replace("'closed'", "'open'")
    with operator(fleet) as connection, pytest.raises(sa.exc.IntegrityError) as refused:
        connection.execute(sa.text(statement))
    assert "Give the status acknowledged or closed" in str(refused.value)


@pytest.mark.parametrize(
    ("event", "at", "taken"),
    [
        ("escalated", "2024-01-01 08:00Z", True),
        ("silenced", "2024-01-01 09:00Z", True),
        ("escalated", "2024-01-01 09:01Z", False),
        ("escalated", "2024-01-01 07:59Z", False),
        ("silenced", "2035-01-01", False),
        ("escalated", "-infinity", False),
        ("note", "2024-06-01", True),
        ("note", "2023-12-31", False),
        ("note", "infinity", False),
    ],
)
def test_events_of_an_import_lie_within_their_alert(
    fleet: Engine, event: str, at: str, taken: bool
) -> None:
    statement = (
        "INSERT INTO alert_events (tenant_id, alert_id, event, at, note)"
        f" SELECT tenant_id, id, '{event}', '{at}', 'n' FROM fleet_alert"
    )
    with operator(fleet) as connection:
        connection.execute(sa.text(IMPORT))
        if taken:
            connection.execute(sa.text(statement))
        else:
            with pytest.raises(sa.exc.IntegrityError, match="Expected a moment from 2024-01-01"):
                connection.execute(sa.text(statement))


def test_only_operators_import_history(fleet: Engine) -> None:
    assert rejected(fleet, IMPORT) == "42501", "created_at is not the tenant's to write"
    assert rejected(
        fleet, IMPORT.replace(" created_at,", "").replace("'2024-01-01 08:00Z', ", "")
    ) == ("23514")
