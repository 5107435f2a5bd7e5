"""Escalation: levels without gaps, each step returned once, no step after a reaction."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from database.tenancy import tenant_transaction
from tests.support.acme_and_globex import (
    ACME,
    GLOBEX,
    operator,
    rejected,
    rows,
    run,
    second_of_two,
    sqlstate,
)

POLICY, CHANNEL = uuid.UUID(int=0x90), uuid.UUID(int=0xC0)
RAISE = "SELECT alert_id FROM raise_alert('f', 't', 3, 's')"
TAKE = "SELECT alert_id, level, channel_id FROM take_due_escalations()"


def level(number: int, delay: int = 10, tenant: uuid.UUID = ACME) -> str:
    return (
        "INSERT INTO escalation_levels (tenant_id, policy_id, level, delay_minutes, channel_id)"
        f" VALUES ('{tenant}', '{POLICY}', {number}, {delay}, '{CHANNEL}')"
    )


def policy(engine: Engine, levels: int = 3, tenant: uuid.UUID = ACME) -> None:
    """The default policy of a tenant; level n comes n * 10 minutes after the one below."""
    with tenant_transaction(engine, tenant) as connection:
        for statement in (
            (
                "INSERT INTO notification_channels (tenant_id, id, name, channel_type)"
                f" VALUES ('{tenant}', '{CHANNEL}', 'Mail', 'email')"
            ),
            (
                "INSERT INTO escalation_policies (tenant_id, id, name, is_default)"
                f" VALUES ('{tenant}', '{POLICY}', 'All hands', true)"
            ),
            *(level(number, number * 10, tenant) for number in range(1, levels + 1)),
        ):
            connection.execute(sa.text(statement))


def later(engine: Engine, minutes: int) -> None:
    """As if that much time had passed for every alert."""
    with operator(engine) as connection:
        connection.execute(
            sa.text(
                "UPDATE fleet_alert SET"
                " next_escalation_at = next_escalation_at - make_interval(mins => :m)"
            ),
            {"m": minutes},
        )


def taken(engine: Engine) -> list[tuple[Any, ...]]:
    with operator(engine) as connection:
        return rows(connection, TAKE)


def test_an_alert_escalates_level_by_level_up_to_the_last(fleet: Engine) -> None:
    policy(fleet)
    alert = run(fleet, RAISE)[0][0]
    assert taken(fleet) == []
    for step in (1, 2, 3):
        later(fleet, step * 10 - 1)
        assert taken(fleet) == []
        later(fleet, 1)
        assert taken(fleet) == [(alert, step, CHANNEL)]
        assert taken(fleet) == []
    found = run(fleet, "SELECT escalation_level, next_escalation_at FROM fleet_alert")
    assert found == [(3, None)]
    events = run(fleet, "SELECT details ->> 'level' FROM alert_events WHERE event = 'escalated'")
    assert sorted(events) == [("1",), ("2",), ("3",)]


@pytest.mark.parametrize("status", ["acknowledged", "closed"])
def test_a_reaction_ends_the_escalation(fleet: Engine, status: str) -> None:
    policy(fleet)
    run(fleet, RAISE)
    run(fleet, f"UPDATE fleet_alert SET status = '{status}'")
    assert run(fleet, "SELECT next_escalation_at FROM fleet_alert") == [(None,)]
    later(fleet, 60)
    assert taken(fleet) == []


def test_a_silenced_alert_is_not_escalated(fleet: Engine) -> None:
    policy(fleet)
    run(fleet, RAISE)
    later(fleet, 60)
    run(fleet, "UPDATE fleet_alert SET silenced_until = now() + interval '1 hour'")
    assert taken(fleet) == []
    run(fleet, "UPDATE fleet_alert SET silenced_until = now()")
    assert len(taken(fleet)) == 1


def test_the_policy_of_the_rule_comes_before_the_default(fleet: Engine) -> None:
    policy(fleet)
    other, rule = uuid.uuid4(), uuid.uuid4()
    for statement in (
        f"INSERT INTO escalation_policies (tenant_id, id, name) VALUES ('{ACME}', '{other}', 'o')",
        (
            "INSERT INTO alert_rules (tenant_id, rule_id, name, escalation_policy_id)"
            f" VALUES ('{ACME}', '{rule}', 'r', '{other}')"
        ),
        f"SELECT raise_alert('ruled', 't', 3, 's', rule_id => '{rule}')",
        RAISE,
    ):
        run(fleet, statement)
    found = run(fleet, "SELECT fingerprint, escalation_policy_id FROM fleet_alert ORDER BY 1")
    assert found == [("f", POLICY), ("ruled", other)]
    # The policy of the rule has no levels, so nothing is ever due.
    assert run(fleet, "SELECT fingerprint FROM fleet_alert WHERE next_escalation_at IS NULL") == [
        ("ruled",)
    ]
    second = (
        "INSERT INTO escalation_policies (tenant_id, name, is_default)"
        f" VALUES ('{ACME}', 'another default', true)"
    )
    assert rejected(fleet, second) == "23505"


def test_deleted_levels_end_the_escalation(fleet: Engine) -> None:
    policy(fleet)
    run(fleet, RAISE)
    later(fleet, 60)
    run(fleet, "DELETE FROM escalation_policies")
    assert taken(fleet) == []
    found = run(fleet, "SELECT escalation_level, next_escalation_at FROM fleet_alert")
    assert found == [(0, None)]


def test_levels_have_no_gaps(fleet: Engine) -> None:
    policy(fleet, levels=2)
    assert rejected(fleet, level(4)) == "23503"
    assert rejected(fleet, level(0)) == "23514"
    assert rejected(fleet, "DELETE FROM escalation_levels WHERE level = 1") == "23503"
    for number in (3, 4, 5):
        run(fleet, level(number))
    assert rejected(fleet, level(6)) == "23514"
    run(fleet, "DELETE FROM escalation_levels WHERE level > 2")
    run(fleet, "DELETE FROM escalation_levels")  # all at once leaves no gap


def test_two_sessions_leave_no_gap(fleet: Engine) -> None:
    """One deletes the highest level while the other inserts one above it."""
    policy(fleet)
    remove = "DELETE FROM escalation_levels WHERE level = 3"
    assert sqlstate(second_of_two(fleet, remove, level(4))) == "23503"
    assert sqlstate(second_of_two(fleet, level(3), level(3))) == "23505"
    run(fleet, level(4))
    run(fleet, "DELETE FROM escalation_levels WHERE level = 4")
    assert sqlstate(second_of_two(fleet, level(4), remove)) == "23503"
    found = run(fleet, "SELECT level FROM escalation_levels ORDER BY level")
    assert found == [(1,), (2,), (3,), (4,)]


def test_a_level_has_a_channel_that_cannot_be_deleted(fleet: Engine) -> None:
    policy(fleet)
    without_channel = level(4).replace(f"'{CHANNEL}'", "NULL")
    assert rejected(fleet, without_channel) == "23502"
    assert rejected(fleet, "DELETE FROM notification_channels") == "23503"


def test_two_workers_share_what_is_due(fleet: Engine) -> None:
    policy(fleet)
    policy(fleet, tenant=GLOBEX)
    for number in range(3):
        run(fleet, f"SELECT raise_alert('f{number}', 't', 3, 's')")
        run(fleet, f"SELECT raise_alert('f{number}', 't', 3, 's')", GLOBEX)
    later(fleet, 10)
    limited = TAKE.replace("()", "(4)")
    with operator(fleet) as first, operator(fleet) as second:
        ours, theirs = rows(first, limited), rows(second, limited)
        assert (len(ours), len(theirs)) == (4, 2)
        assert not {alert for alert, *_ in ours} & {alert for alert, *_ in theirs}
    assert taken(fleet) == []


def test_the_application_takes_only_alerts_of_its_tenant(fleet: Engine) -> None:
    policy(fleet)
    policy(fleet, tenant=GLOBEX)
    ours = run(fleet, RAISE)[0][0]
    theirs = run(fleet, RAISE, GLOBEX)[0][0]
    later(fleet, 10)
    assert run(fleet, TAKE) == [(ours, 1, CHANNEL)]
    assert taken(fleet) == [(theirs, 1, CHANNEL)]
