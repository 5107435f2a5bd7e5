"""Alerts: one per fingerprint, status transitions, events, change notifications."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from database.tenancy import tenant_pseudonym, tenant_transaction
from tests.support.acme_and_globex import (
    ACME,
    ANN,
    BOB,
    EVE,
    GLOBEX,
    SITE,
    listener,
    operator,
    rejected,
    rows,
    run,
    second_of_two,
)

RAISE = "SELECT * FROM raise_alert('hot/pump', 'threshold', 3, 'Pump is hot', device_id => 'pump')"
EVENTS = "SELECT event, actor_id FROM alert_events ORDER BY at, id"


def raised(engine: Engine, tenant: uuid.UUID = ACME) -> int:
    found: int = run(engine, RAISE, tenant)[0][0]
    return found


def test_raising_an_alert_again_increments_its_counter(fleet: Engine) -> None:
    first = run(fleet, RAISE)
    again = run(fleet, RAISE.replace("3, 'Pump is hot'", "4, 'Pump is very hot'"))
    less = run(fleet, RAISE.replace("3, 'Pump is hot'", "1, 'Pump is warm'"))
    assert (first[0][1:], again[0][1:], less[0][1:]) == ((True, 1), (False, 2), (False, 3))
    found = run(
        fleet, "SELECT id, severity, summary, trigger_count, site_id, status FROM fleet_alert"
    )
    assert found == [(first[0][0], 4, "Pump is warm", 3, SITE, "open")]
    assert run(fleet, EVENTS) == [("opened", None)]


def test_an_acknowledged_alert_counts_and_a_closed_one_is_opened_anew(fleet: Engine) -> None:
    first = raised(fleet)
    run(fleet, f"UPDATE fleet_alert SET status = 'acknowledged', acknowledged_by = '{ANN}'")
    assert run(fleet, RAISE) == [(first, False, 2)]
    run(fleet, "UPDATE fleet_alert SET status = 'closed'")
    second = run(fleet, RAISE)
    assert second[0][0] != first
    assert second[0][1:] == (True, 1)


def test_the_same_fingerprint_in_two_tenants_is_two_alerts(fleet: Engine) -> None:
    assert raised(fleet) != raised(fleet, GLOBEX)
    assert run(fleet, "SELECT tenant_id, trigger_count FROM fleet_alert") == [(ACME, 1)]
    other = RAISE.replace("device_id", f"tenant => '{GLOBEX}', device_id")
    assert rejected(fleet, other) == "42501"


def test_many_sessions_open_exactly_one(fleet: Engine) -> None:
    sessions = 6
    with ThreadPoolExecutor(sessions) as pool:
        results = list(pool.map(lambda _: run(fleet, RAISE)[0], range(sessions)))
    assert sorted(times for _, _, times in results) == list(range(1, sessions + 1))
    assert [is_new for _, is_new, _ in results].count(True) == 1
    assert run(fleet, "SELECT trigger_count FROM fleet_alert") == [(sessions,)]


def test_a_second_session_waits_and_counts(fleet: Engine) -> None:
    outcome = second_of_two(fleet, RAISE, RAISE)
    assert isinstance(outcome, list)
    assert outcome[0][1:] == (False, 2)


def test_times_follow_the_status_whatever_is_written(fleet: Engine) -> None:
    raised(fleet)
    long_ago = "acknowledged_at = '2001-01-01', closed_at = '2001-01-01'"
    moments = "SELECT acknowledged_at = updated_at, closed_at = updated_at FROM fleet_alert"
    run(fleet, f"UPDATE fleet_alert SET {long_ago}, status = 'acknowledged'")
    assert run(fleet, moments) == [(True, None)]
    run(fleet, f"UPDATE fleet_alert SET {long_ago}, status = 'closed', closed_by = '{BOB}'")
    assert run(fleet, "SELECT closed_at = updated_at, acknowledged_at < closed_at FROM fleet_alert")
    assert run(fleet, EVENTS) == [("opened", None), ("acknowledged", None), ("closed", BOB)]


@pytest.mark.parametrize("column", ["id", "created_at"])
def test_tenants_cannot_write_id_and_creation_time(fleet: Engine, column: str) -> None:
    raised(fleet)
    assert rejected(fleet, f"UPDATE fleet_alert SET {column} = {column}") == "42501"


@pytest.mark.parametrize(
    ("path", "forbidden"),
    [
        (["acknowledged"], "open"),
        (["closed"], "open"),
        (["closed"], "acknowledged"),
        (["acknowledged", "closed"], "acknowledged"),
    ],
)
def test_status_transitions_only_go_forward(fleet: Engine, path: list[str], forbidden: str) -> None:
    raised(fleet)
    for status in path:
        run(fleet, f"UPDATE fleet_alert SET status = '{status}'")
    change = f"UPDATE fleet_alert SET status = '{forbidden}'"
    assert rejected(fleet, change) == "23514"
    with (
        operator(fleet) as connection,
        pytest.raises(sa.exc.IntegrityError, match="cannot go from"),
    ):
        connection.execute(sa.text(change))
    assert run(fleet, "SELECT status FROM fleet_alert") == [(path[-1],)]


@pytest.mark.parametrize("status", ["acknowledged", "closed"])
def test_a_new_alert_is_open(fleet: Engine, status: str) -> None:
    statement = (
        "INSERT INTO fleet_alert (tenant_id, fingerprint, alert_type, severity, summary, status)"
        f" VALUES ('{ACME}', 'f', 't', 1, 's', '{status}')"
    )
    assert rejected(fleet, statement) == "23514"


@pytest.mark.parametrize(
    "change",
    [
        "summary = 'It never happened'",
        "severity = 1",
        "trigger_count = 99",
        "details = '{}'",
        "device_id = 'lamp'",
        f"closed_by = '{ANN}'",
        "next_escalation_at = now()",
    ],
)
def test_a_closed_alert_cannot_be_changed(fleet: Engine, change: str) -> None:
    run(fleet, RAISE.replace("device_id", 'details => \'{"t": 99, "u": null}\', device_id'))
    run(fleet, f"UPDATE fleet_alert SET status = 'closed', closed_by = '{BOB}'")
    assert rejected(fleet, f"UPDATE fleet_alert SET {change}") == "23514"
    run(fleet, "UPDATE fleet_alert SET status = 'closed'")  # nothing changes: no harm


def test_alerts_outlive_the_objects_they_refer_to(fleet: Engine) -> None:
    rule = uuid.uuid4()
    run(
        fleet,
        f"INSERT INTO alert_rules (tenant_id, rule_id, name) VALUES ('{ACME}', '{rule}', 'r')",
    )
    run(fleet, RAISE.replace("device_id", f"rule_id => '{rule}', device_id"))
    run(fleet, f"UPDATE fleet_alert SET status = 'acknowledged', acknowledged_by = '{BOB}'")
    run(fleet, f"UPDATE fleet_alert SET status = 'closed', closed_by = '{BOB}'")
    named = "device_id, site_id, rule_id, acknowledged_by, closed_by"
    assert None not in run(fleet, f"SELECT {named} FROM fleet_alert")[0]
    before = run(fleet, "SELECT id, acknowledged_at, closed_at, summary FROM fleet_alert")

    run(fleet, "DELETE FROM device_registry WHERE device_id = 'pump'")
    run(fleet, "DELETE FROM alert_rules")
    run(fleet, f"DELETE FROM tenant_members WHERE user_id = '{BOB}'")
    with operator(fleet) as connection:
        connection.execute(sa.text("DELETE FROM sites WHERE tenant_id = :t"), {"t": ACME})

    assert run(fleet, f"SELECT {named} FROM fleet_alert") == [(None,) * 5]
    assert run(fleet, "SELECT id, acknowledged_at, closed_at, summary FROM fleet_alert") == before
    assert run(fleet, EVENTS) == [("opened", None), ("acknowledged", None), ("closed", None)]


def test_the_application_cannot_delete_history(fleet: Engine) -> None:
    raised(fleet)
    assert rejected(fleet, "DELETE FROM fleet_alert") == "42501"
    assert rejected(fleet, "DELETE FROM alert_events") == "42501"
    assert rejected(fleet, "UPDATE alert_events SET note = 'x'") == "42501"


def test_only_notes_can_be_inserted(fleet: Engine) -> None:
    alert = raised(fleet)
    forged = (
        "INSERT INTO alert_events (tenant_id, alert_id, event, actor_id)"
        f" VALUES ('{ACME}', {alert}, 'acknowledged', '{ANN}')"
    )
    assert rejected(fleet, forged) == "42501"
    note = (
        "INSERT INTO alert_events (tenant_id, alert_id, actor_id, note)"
        f" VALUES ('{ACME}', {alert}, '{ANN}', 'On my way')"
    )
    run(fleet, note)
    assert rejected(fleet, note.replace("On my way", "")) == "23514"
    assert rejected(fleet, note, GLOBEX) == "42501"
    assert rejected(fleet, note.replace(str(ANN), str(EVE))) == "23503"  # of another tenant
    assert run(fleet, EVENTS) == [("opened", None), ("note", ANN)]


def test_silencing_and_escalation_are_recorded(fleet: Engine) -> None:
    raised(fleet)
    run(fleet, "UPDATE fleet_alert SET silenced_until = '2100-01-01 00:00Z'")
    run(fleet, "UPDATE fleet_alert SET escalation_level = 2")
    found = run(fleet, "SELECT event, details ->> 'level' FROM alert_events ORDER BY at")
    assert found == [("opened", None), ("silenced", None), ("escalated", "2")]


def test_listeners_are_notified_once_per_statement_with_changes(fleet: Engine) -> None:
    with listener(fleet, "fleet_alert") as heard:
        raised(fleet)
        assert heard() == [tenant_pseudonym(ACME)]
        run(fleet, RAISE)  # once more: no news
        run(fleet, "UPDATE fleet_alert SET details = '{\"t\": 1}'")
        run(fleet, "UPDATE fleet_alert SET status = 'closed' WHERE false")
        assert heard() == []
        run(fleet, RAISE.replace("3, 'Pump", "5, 'Pump"))
        assert heard() == [tenant_pseudonym(ACME)]
        for name in ("a", "b", "c"):
            run(fleet, RAISE.replace("hot/pump", name), GLOBEX)
        assert heard() == [tenant_pseudonym(GLOBEX)] * 3
        with operator(fleet) as connection:  # four alerts of two tenants, one statement
            connection.execute(sa.text("UPDATE fleet_alert SET status = 'acknowledged'"))
        assert sorted(heard()) == sorted(map(tenant_pseudonym, (ACME, GLOBEX)))


def test_conditions_have_one_comparison_per_row(fleet: Engine) -> None:
    rule = uuid.uuid4()
    run(
        fleet,
        f"INSERT INTO alert_rules (tenant_id, rule_id, name) VALUES ('{ACME}', '{rule}', 'r')",
    )
    insert = (
        "INSERT INTO alert_rule_conditions (tenant_id, rule_id, ordinal, metric, operator,"
        f" threshold, aggregation, window_seconds) VALUES ('{ACME}', '{rule}', "
    )
    run(fleet, insert + "1, 't', 'gt', 80, NULL, NULL)")
    run(fleet, insert + "2, 't', 'lte', 80, 'avg', 60)")
    for wrong in (
        "3, 't', '>', 80, NULL, NULL)",
        "3, 't', 'gt', 80, 'avg', 59)",
        "3, 't', 'gt', 80, 'avg', 3601)",
        "3, 't', 'gt', 80, 'avg', NULL)",
        "3, 't', 'gt', 80, NULL, 60)",
        "3, 't', 'gt', 'NaN', NULL, NULL)",
        "0, 't', 'gt', 80, NULL, NULL)",
    ):
        assert rejected(fleet, insert + wrong) == "23514", wrong
    silent = "INSERT INTO alert_rules (tenant_id, name, rule_type, for_seconds) VALUES"
    assert rejected(fleet, f"{silent} ('{ACME}', 'n', 'no_telemetry', 0)") == "23514"
    run(fleet, f"{silent} ('{ACME}', 'n', 'no_telemetry', 300)")


def test_a_target_is_one_object_of_the_tenant_and_deleted_with_it(fleet: Engine) -> None:
    rule = uuid.uuid4()
    run(
        fleet,
        f"INSERT INTO alert_rules (tenant_id, rule_id, name) VALUES ('{ACME}', '{rule}', 'r')",
    )
    insert = "INSERT INTO alert_rule_targets (tenant_id, rule_id, {}) VALUES ('{}', '{}', {})"

    def target(columns: str, values: str) -> str:
        return insert.format(columns, ACME, rule, values)

    run(fleet, target("device_id", "'pump'"))
    run(fleet, target("device_type", "'pump'"))
    assert rejected(fleet, target("device_id", "'pump'")) == "23505"
    assert rejected(fleet, target("device_id, device_type", "'lamp', 'lamp'")) == "23514"
    assert rejected(fleet, target("device_id", "NULL")) == "23514"
    assert rejected(fleet, target("device_id", "'of globex'")) == "23503"
    assert rejected(fleet, target("sensor_id", f"'{uuid.uuid4()}'")) == "23503"
    run(fleet, "DELETE FROM device_registry WHERE device_id = 'pump'")
    assert run(fleet, "SELECT device_type, device_id FROM alert_rule_targets") == [("pump", None)]
    assert run(fleet, "SELECT target_all FROM alert_rules") == [(False,)]


def test_a_tenant_sees_no_alert_of_another(fleet: Engine) -> None:
    raised(fleet)
    for table in ("fleet_alert", "alert_events"):
        assert run(fleet, f"SELECT count(*) FROM {table}", GLOBEX) == [(0,)]
    run(fleet, "UPDATE fleet_alert SET status = 'closed'", GLOBEX)
    assert run(fleet, "SELECT status FROM fleet_alert") == [("open",)]
    with tenant_transaction(fleet, GLOBEX) as connection:
        assert rows(connection, "SELECT * FROM take_due_escalations()") == []
