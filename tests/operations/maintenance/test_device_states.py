"""What batches left, since a transaction held the rows of devices, maintenance takes in."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from database.ingest import ingest
from database.tenancy import tenant_transaction
from operations import owner
from operations.maintenance.run import maintain
from tests.support.telemetry import NOW, ONE, TWO, message, newest, populate, rows


def test_states_that_were_held_are_taken_in(engine: Engine) -> None:
    populate(engine)
    ingest(engine, [message(1, ts=NOW), message(2, tenant_id=TWO)])
    with tenant_transaction(engine, ONE) as connection:
        connection.exec_driver_sql("UPDATE device_state SET desired_state = '{\"fan\": 1}'")
        sent = [message(1, ts=NOW, seq=1, metrics={"t": 2, "new": 3}), message(3, tenant_id=TWO)]
        assert ingest(engine, sent).stored == 2
        (problem,) = maintain(engine).problems
        assert "values of 1 device stay in device_state_backlog, since transactions" in problem
        assert maintain(engine, dry_run=True).problems == []
    assert newest(engine) == {("d1", "t"): (1.5, NOW)}
    assert maintain(engine).problems == []
    assert newest(engine) == {("d1", "t"): (2, NOW), ("d1", "new"): (3, NOW)}
    assert {device for device, _ in newest(engine, TWO)} == {"d2", "d3"}
    assert rows(engine, "SELECT FROM device_state_backlog") == []
    with tenant_transaction(engine, ONE) as connection:
        keys = connection.exec_driver_sql("SELECT metric_key FROM device_sensors ORDER BY 1")
        assert keys.scalars().all() == ["new", "t"]


def test_a_tenant_whose_lock_is_held_stops_no_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "LOCK_TIMEOUT", "300ms")
    populate(engine)
    ingest(engine, [message(1, ts=NOW), message(2, tenant_id=TWO)])
    update = "UPDATE device_state SET desired_state = '{\"fan\": 1}'"
    with (
        tenant_transaction(engine, ONE) as one,
        tenant_transaction(engine, TWO) as two,
    ):
        one.exec_driver_sql(update)
        two.exec_driver_sql(update)
        sent = [message(1, ts=NOW, seq=1), message(2, tenant_id=TWO, ts=NOW, metrics={"t": 7})]
        assert ingest(engine, sent).stored == 2
    lock = f"SELECT pg_advisory_xact_lock(hashtextextended('devices of {ONE}', 0))"
    with engine.begin() as held:
        held.exec_driver_sql(lock)
        refused, left = maintain(engine).problems
    assert refused.startswith(
        f"device_state: tenant {ONE}: canceling statement due to lock timeout"
    )
    assert "1 device stay in device_state_backlog, since transactions hold" in left
    assert newest(engine, TWO)["d2", "t"] == (7, NOW)
