"""Checks of endpoints, the incidents they open, and dependencies between endpoints."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import OPERATOR, take_role
from tests.support.seeded_tenant import OWNER, execute, one, operate, run, waiting_behind

ENDPOINT = uuid.UUID(int=0x77)


@pytest.fixture
def watched(engine: Engine, acme: uuid.UUID) -> uuid.UUID:
    endpoint(engine, acme, ENDPOINT)
    return acme


def endpoint(engine: Engine, tenant: uuid.UUID, id_: uuid.UUID) -> None:
    run(
        engine,
        tenant,
        "INSERT INTO projects (tenant_id, name) VALUES (current_tenant(), 'shop')"
        " ON CONFLICT DO NOTHING",
        "INSERT INTO endpoints (tenant_id, id, project_id, name, url) SELECT current_tenant(),"
        f" '{id_}', id, '{id_}', 'https://shop.example/' FROM projects WHERE name = 'shop'",
    )


def check(
    engine: Engine, tenant: uuid.UUID, minute: int, *, ok: bool, of: uuid.UUID = ENDPOINT
) -> str:
    moment = f"date_trunc('hour', now()) + interval '{minute} minutes'"
    said = run(engine, tenant, f"SELECT record_check('{of}', {moment}, {ok}, 200, 12.5)")
    return str(one(said))


def test_failed_checks_open_one_incident_and_a_passed_check_resolves_it(
    engine: Engine, watched: uuid.UUID
) -> None:
    assert check(engine, watched, 0, ok=True) == "healthy"
    said = [check(engine, watched, minute, ok=False) for minute in (1, 2, 3, 4)]
    assert said == ["degraded", "degraded", "down", "down"]
    assert check(engine, watched, 4, ok=False) == "repeated"
    [incident] = run(engine, watched, "SELECT number, status, title FROM incidents")
    assert (incident.number, incident.status) == (1, "open")
    [status] = run(
        engine, watched, "SELECT mode, health_pct, consecutive_failures FROM endpoint_status"
    )
    assert tuple(status) == ("down", 0, 4)
    check(engine, watched, 5, ok=True)
    [ended] = run(engine, watched, "SELECT status, time_to_resolve, resolution FROM incidents")
    assert ended.status == "resolved"
    assert ended.time_to_resolve is not None
    kinds = run(engine, watched, "SELECT kind FROM incident_events ORDER BY at, kind DESC")
    assert {row.kind for row in kinds} == {"opened", "resolved"}


def test_a_fallback_that_works_keeps_an_endpoint_up(engine: Engine, watched: uuid.UUID) -> None:
    spare = uuid.UUID(int=0x78)
    endpoint(engine, watched, spare)
    run(
        engine,
        watched,
        "INSERT INTO endpoint_dependencies (tenant_id, endpoint_id, depends_on_id, role)"
        f" VALUES (current_tenant(), '{ENDPOINT}', '{spare}', 'fallback')",
    )
    check(engine, watched, 0, ok=True, of=spare)
    for minute in (1, 2, 3):
        check(engine, watched, minute, ok=False)
    [status] = run(
        engine,
        watched,
        "SELECT health_pct, mode, active_fallback_id FROM endpoint_status"
        f" WHERE endpoint_id = '{ENDPOINT}'",
    )
    assert tuple(status) == (80, "degraded", spare)


def test_each_due_check_goes_to_one_worker(engine: Engine, watched: uuid.UUID) -> None:
    take = "SELECT id FROM take_due_checks('{}')"
    with engine.begin() as first:
        take_role(first, OPERATOR, None)
        assert [row.id for row in execute(first, take.format("w1"))] == [ENDPOINT]
        assert operate(engine, take.format("w2")) == []
    assert operate(engine, take.format("w2")) == [], "the next is an interval away"


def test_incident_transitions_only_go_forward(engine: Engine, acme: uuid.UUID) -> None:
    run(engine, acme, "INSERT INTO incidents (tenant_id, title) VALUES (current_tenant(), 'x')")
    run(engine, acme, f"UPDATE incidents SET status = 'acknowledged', acknowledged_by = '{OWNER}'")
    [row] = run(engine, acme, "SELECT acknowledged_at, resolved_at FROM incidents")
    assert row.acknowledged_at is not None
    with pytest.raises(DBAPIError, match="cannot go from acknowledged to open"):
        run(engine, acme, "UPDATE incidents SET status = 'open'")
    run(engine, acme, "UPDATE incidents SET status = 'resolved'")
    with pytest.raises(DBAPIError, match="Allowed from resolved: nothing"):
        run(engine, acme, "UPDATE incidents SET status = 'investigating'")


def test_two_sessions_number_incidents_without_gaps(engine: Engine, acme: uuid.UUID) -> None:
    insert = "INSERT INTO incidents (tenant_id, title) VALUES (current_tenant(), 'x')"
    with waiting_behind(engine, acme, insert, insert) as other:
        other.result()
    numbers = run(engine, acme, "SELECT number FROM incidents ORDER BY number")
    assert [row.number for row in numbers] == [1, 2]


def test_two_sessions_cannot_create_a_cycle_of_dependencies(
    engine: Engine, watched: uuid.UUID
) -> None:
    spare = uuid.UUID(int=0x78)
    endpoint(engine, watched, spare)
    insert = (
        "INSERT INTO endpoint_dependencies (tenant_id, endpoint_id, depends_on_id)"
        " VALUES (current_tenant(), '{}', '{}')"
    )
    there, back = insert.format(ENDPOINT, spare), insert.format(spare, ENDPOINT)
    with (
        waiting_behind(engine, watched, there, back) as other,
        pytest.raises(DBAPIError, match="would depend on itself"),
    ):
        other.result()
    assert one(run(engine, watched, "SELECT count(*) FROM endpoint_dependencies")) == 1


def test_a_suggestion_is_approved_once(engine: Engine, watched: uuid.UUID) -> None:
    spare = uuid.UUID(int=0x78)
    endpoint(engine, watched, spare)
    suggestion = one(
        run(
            engine,
            watched,
            "INSERT INTO dependency_suggestions (tenant_id, endpoint_id, depends_on_id, confidence,"
            f" reason) VALUES (current_tenant(), '{ENDPOINT}', '{spare}', 0.9, 'same host')"
            " RETURNING id",
        )
    )
    approve = f"SELECT approve_suggestion('{suggestion}', '{OWNER}')"
    assert [one(run(engine, watched, approve)) for _ in range(2)] == [True, None]
    assert one(run(engine, watched, "SELECT count(*) FROM endpoint_dependencies")) == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("timeout_seconds", "60"),
        ("interval_seconds", "5"),
        ("url", "'https://user:secret@shop.example'"),
        ("options", """'{"headers": {"Authorization": "Bearer x"}}'"""),
    ],
)
def test_invalid_endpoints_are_rejected(
    engine: Engine, watched: uuid.UUID, column: str, value: str
) -> None:
    with pytest.raises(DBAPIError, match="violates check constraint"):
        run(engine, watched, f"UPDATE endpoints SET {column} = {value}")
