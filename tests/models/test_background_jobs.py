"""Background jobs: taken once, tried again, cancelled, announced."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import OPERATOR, take_role, tenant_pseudonym
from tests.support.seeded_tenant import execute, heard, one, operate, run


def queue(engine: Engine, tenant: uuid.UUID, **values: Any) -> uuid.UUID:
    columns = {"type": "'export'", **values}
    names, given = ", ".join(columns), ", ".join(map(str, columns.values()))
    statement = (
        f"INSERT INTO jobs (tenant_id, {names}) VALUES (current_tenant(), {given}) RETURNING id"
    )
    return uuid.UUID(str(one(run(engine, tenant, statement))))


TAKE = "SELECT id FROM take_job('{}', '{{export}}')"


def test_a_job_is_taken_once(engine: Engine, acme: uuid.UUID) -> None:
    jobs = {queue(engine, acme) for _ in range(3)}
    with engine.begin() as first, engine.begin() as second:
        taken = []
        for number, connection in enumerate((first, second)):
            take_role(connection, OPERATOR, None)
            taken += execute(connection, TAKE.format(f"w{number}"))
        assert len({row.id for row in taken}) == 2
        assert {row.id for row in taken} < jobs
    assert {row.id for row in operate(engine, TAKE.format("w3"))} < jobs
    assert operate(engine, TAKE.format("w4")) == []


def test_a_job_is_not_taken_early_or_by_another_type_of_worker(
    engine: Engine, acme: uuid.UUID
) -> None:
    queue(engine, acme, run_at="now() + interval '1 hour'")
    queue(engine, acme, type="'report'")
    assert operate(engine, TAKE.format("w")) == []


def test_a_job_without_attempts_left_is_passed_over(engine: Engine, acme: uuid.UUID) -> None:
    """It would be the oldest of all for ever."""
    queue(engine, acme, run_at="now() - interval '1 hour'")
    operate(engine, "UPDATE jobs SET attempts = 1")
    job = queue(engine, acme)
    assert one(operate(engine, TAKE.format("w"))) == job
    late = queue(engine, acme, max_attempts=900)
    operate(engine, "UPDATE jobs SET attempts = 800 WHERE max_attempts = 900", TAKE.format("w"))
    assert one(operate(engine, f"SELECT fail_job('{acme}', '{late}', 'w', '')")) == "queued"


@pytest.mark.parametrize("column", ["status", "attempts", "worker_id", "created_at", "result"])
def test_a_tenant_does_not_say_how_far_a_job_is(
    engine: Engine, acme: uuid.UUID, column: str
) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        queue(engine, acme, **{column: "DEFAULT"})


def test_a_failed_job_is_retried_until_its_attempts_are_used(
    engine: Engine, acme: uuid.UUID
) -> None:
    job = queue(engine, acme, max_attempts=2)
    fail = f"SELECT fail_job('{acme}', '{job}', 'w', 'no space')"
    operate(engine, TAKE.format("w"))
    assert one(operate(engine, fail)) == "queued"
    assert operate(engine, TAKE.format("w")) == [], "it waits"
    operate(engine, "UPDATE jobs SET run_at = now()", TAKE.format("w"))
    assert one(operate(engine, fail)) == "failed"
    assert one(operate(engine, fail)) is None


def test_the_job_of_a_lost_worker_is_taken_again(engine: Engine, acme: uuid.UUID) -> None:
    job = queue(engine, acme, max_attempts=2)
    operate(engine, TAKE.format("lost"))
    assert operate(engine, TAKE.format("w")) == []
    operate(engine, "UPDATE jobs SET last_heartbeat_at = now() - interval '6 minutes'")
    operate(engine, TAKE.format("w"))
    [row] = operate(engine, TAKE.format("w"))
    assert row.id == job
    assert one(operate(engine, f"SELECT beat_job('{acme}', '{job}', 'lost')")) is None
    assert one(operate(engine, f"SELECT beat_job('{acme}', '{job}', 'w')")) is True


def test_a_tenant_cancels_a_job_and_its_worker_stops(engine: Engine, acme: uuid.UUID) -> None:
    job = queue(engine, acme)
    operate(engine, TAKE.format("w"))
    run(engine, acme, f"UPDATE jobs SET cancellation_requested = true WHERE id = '{job}'")
    assert one(operate(engine, f"SELECT beat_job('{acme}', '{job}', 'w')")) is False
    assert one(operate(engine, f"SELECT finish_job('{acme}', '{job}', 'w')")) is True
    assert one(operate(engine, f"SELECT status FROM jobs WHERE id = '{job}'")) == "cancelled"
    with pytest.raises(DBAPIError, match="permission denied"):
        run(engine, acme, f"UPDATE jobs SET status = 'queued' WHERE id = '{job}'")
    with pytest.raises(DBAPIError, match="cannot go from cancelled to queued"):
        operate(engine, "UPDATE jobs SET status = 'queued', finished_at = NULL")


def test_new_jobs_are_notified_once_per_statement(engine: Engine, acme: uuid.UUID) -> None:
    insert = (
        "INSERT INTO jobs (tenant_id, type)"
        " SELECT current_tenant(), 'export' FROM generate_series(1, 50)"
    )
    assert heard(engine, "jobs", lambda: run(engine, acme, insert)) == [tenant_pseudonym(acme)]
    beat = "UPDATE jobs SET progress = '{}'"
    assert heard(engine, "jobs", lambda: operate(engine, beat)) == []


def test_many_tenants_are_notified_by_one_payload(engine: Engine) -> None:
    insert = (
        "INSERT INTO tenants (slug, name) SELECT 't' || n, 'T' FROM generate_series(1, {}) n",
        "INSERT INTO jobs (tenant_id, type) SELECT tenant_id, 'x' FROM tenants WHERE slug ~ '^t'",
        "DELETE FROM jobs",
    )
    few = heard(engine, "jobs", lambda: operate(engine, insert[0].format(200), *insert[1:2]))
    assert len(set(few)) == 200
    operate(engine, "INSERT INTO tenants (slug, name) VALUES ('t-one-more', 'T')")
    assert heard(engine, "jobs", lambda: operate(engine, *insert[1:2])) == ["*"]
