"""What a tenant does with its devices meanwhile keeps no batch from being stored."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from database.engine import make_engine
from database.ingest import Ingested, IngestError, ingest, states
from database.tenancy import tenant_transaction
from operations.maintenance.device_states import Left, take_in_backlog
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.telemetry import NOW, ONE, TWO, message, newest, quarantine, rows
from tests.support.time_series import execute

SECOND = datetime.timedelta(seconds=1)
LEFT = "SELECT device_id FROM device_state_backlog ORDER BY 1, id"
NOTE = """
    SELECT note_device_states(
             ARRAY[CAST(:tenant AS uuid)], ARRAY[CAST(:device AS text)], ARRAY['online'],
             ARRAY[CAST(:ts AS timestamptz)], CAST(ARRAY[NULL] AS timestamptz[]),
             ARRAY[CAST(:ts AS timestamptz)], CAST(ARRAY[NULL] AS timestamptz[]),
             ARRAY[CAST(:state AS jsonb)], CAST(ARRAY[NULL] AS jsonb[]))
"""


@pytest.fixture(params=["postgresql", "timescaledb"])
def either(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """On both servers, since one has other locks."""
    from tests.database.ingest.conftest import with_devices

    server: DatabaseServer | None = None
    if request.param == "timescaledb":
        server = request.getfixturevalue("timescaledb_server")
    with engine_of(make_database(server, like=with_devices)) as engine:
        yield engine


@pytest.fixture
def before_states(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have something done when the rows of a batch are stored, and the states of devices not."""

    def arrange(do: Callable[[], None]) -> None:
        recorded = states.recorded

        def disturbed(
            said: Sequence[states.Said], time_limit: str
        ) -> Generator[states.Step, Any, None]:
            do()
            yield from recorded(said, time_limit)

        monkeypatch.setattr(states, "recorded", disturbed)

    return arrange


@contextmanager
def holding_devices_of(engine: Engine, tenant: object) -> Iterator[None]:
    """As long as another batch that takes its time."""
    with engine.connect() as connection, connection.begin():
        lock = "SELECT pg_advisory_xact_lock(hashtextextended('devices of ' || :tenant, 0))"
        connection.execute(sa.text(lock), {"tenant": str(tenant)})
        yield


def left(engine: Engine) -> list[str]:
    return [device for (device,) in rows(engine, LEFT)]


def test_a_device_that_is_deleted_meanwhile(
    either: Engine, before_states: Callable[[Callable[[], None]], None]
) -> None:
    def delete() -> None:
        with tenant_transaction(either, ONE) as connection:
            connection.exec_driver_sql("DELETE FROM device_registry WHERE device_id = 'd1'")

    before_states(delete)
    ts = NOW + SECOND
    sent = [
        message(1, ts=ts),
        message(2, ts=ts),
        message(1, tenant_id=TWO, ts=ts, metrics={"new": 1}),
    ]
    assert ingest(either, sent).stored == 3
    assert newest(either, TWO) == {("d1", "new"): (1, ts)}
    assert set(left(either)) == {"d1", "d2"}
    # The next batch of the tenant takes it in, but for the device that is gone.
    assert ingest(either, [message(3, ts=ts)]).stored == 1
    assert newest(either) == {("d2", "t"): (2.5, ts), ("d3", "t"): (3.5, ts)}
    assert left(either) == []


def test_devices_whose_lock_another_batch_holds(either: Engine) -> None:
    engine = make_engine(either.url, connect_args={"options": "-c lock_timeout=300ms"})
    with holding_devices_of(either, ONE):
        sent = [message(1, ts=NOW), message(1, tenant_id=TWO, ts=NOW)]
        assert ingest(engine, sent).stored == 2
        assert newest(either, TWO) == {("d1", "t"): (1.5, NOW)}
        # Also what two batches leave of one device, the later one first.
        later = message(1, ts=NOW + SECOND, metrics={"t": 2, "new": 3})
        earlier = message(1, ts=NOW - SECOND, metrics={"t": 0, "old": 4})
        assert ingest(engine, [later]).stored == ingest(engine, [earlier]).stored == 1
    engine.dispose()
    assert left(either) == ["d1"]
    assert take_in_backlog(either) == Left(0, False, [])
    assert newest(either) == {
        ("d1", "t"): (2, NOW + SECOND),
        ("d1", "new"): (3, NOW + SECOND),
        ("d1", "old"): (4, NOW - SECOND),
    }


def test_very_many_new_metrics(shared: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "RECORDING", states.Seconds(0.2, 0.4, 0.2))
    metrics = dict.fromkeys((f"metric {number}" for number in range(1500)), 1)
    sent = [message(number, ts=NOW, metrics=metrics) for number in range(10)]
    sent.append(message(1, tenant_id=TWO, ts=NOW))
    assert ingest(shared, sent).stored == 11
    assert newest(shared, TWO) == {("d1", "t"): (1.5, NOW)}
    assert len(left(shared)) == 10
    assert newest(shared) == {}
    # A batch does not wait until all of it is taken in.
    ingest(shared, [message(1, tenant_id=TWO, ts=NOW + SECOND)])
    assert len(left(shared)) == 10
    assert take_in_backlog(shared) == Left(0, False, [])
    expected = {(f"d{device}", name): (1, NOW) for device in range(10) for name in metrics}
    assert newest(shared) == expected
    with tenant_transaction(shared, ONE) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM device_sensors")) == 15_000
        connection.exec_driver_sql("DELETE FROM device_sensors")


def test_values_of_one_moment_that_take_long_to_compare(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "RECORDING", states.Seconds(0.3, 0.6, 0.3))
    monkeypatch.setattr(states, "ASKING", states.Seconds(0.3, 0.9, 0.3, 0.3))
    assert ingest(engine, [message(1, ts=NOW)]).stored == 1
    [(compare,)] = rows(
        engine,
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'metrics_stored_otherwise'",
    )
    assert compare.count("begin\n") == 1
    slow = "if 'd1' = any (devices) then perform pg_sleep(60); end if;"
    execute(engine, compare.replace("begin\n", f"begin\n {slow}\n"))
    for seq in (1, 2):
        sent = [
            message(1, ts=NOW, seq=seq, metrics={"t": seq, f"new {seq}": 1}),
            message(1, tenant_id=TWO, ts=NOW + seq * SECOND),
        ]
        assert ingest(engine, sent).stored == 2
        assert newest(engine, TWO) == {("d1", "t"): (1.5, NOW + seq * SECOND)}
    # Of the first, a duplicate now, nothing is believed; of others all is.
    assert ingest(engine, [sent[0], message(2, ts=NOW)]).duplicates == 1
    assert newest(engine) == {("d1", "t"): (1.5, NOW), ("d2", "t"): (2.5, NOW)}
    execute(engine, compare)
    assert take_in_backlog(engine) == Left(0, False, [])
    assert newest(engine) == {
        ("d1", "t"): (2, NOW),
        ("d1", "new 1"): (1, NOW),
        ("d1", "new 2"): (1, NOW),
        ("d2", "t"): (2.5, NOW),
    }


def test_documents_that_are_nested_as_deep_as_may_be(shared: Engine) -> None:
    def nested(levels: int) -> object:
        return [nested(levels - 1)] if levels else 1

    def deeper(calls: int) -> Ingested:
        return deeper(calls - 1) if calls else ingest(shared, sent)

    sent = [message(number, metrics={"t": nested(number)}) for number in (1, 253, 254, 700)]
    sent.append(message(1, tenant_id=TWO))
    done = deeper(0)
    assert (done.stored, done.quarantined) == (3, 2)
    assert {row.reason for row in quarantine(shared)} == {"bad_metrics"}
    # A duplicate is compared with what is stored, and that is some calls further down.
    for calls in (0, 1, 2, 50):
        done = deeper(calls)
        assert (done.duplicates, done.quarantined) == (3, 2)


def test_nobody_waits_for_what_others_note(shared: Engine) -> None:
    def note(connection: sa.Connection, ts: datetime.datetime, state: str) -> None:
        values = {"tenant": ONE, "device": "d1", "ts": ts, "state": state}
        connection.execute(sa.text(NOTE), values)

    with shared.connect() as one, shared.connect() as other, other.begin(), one.begin():
        one.exec_driver_sql("SET LOCAL ROLE fleet_ingest")
        note(one, NOW + SECOND, '{"t": 2}')
        other.exec_driver_sql("SET LOCAL ROLE fleet_ingest; SET LOCAL lock_timeout = '1ms'")
        note(other, NOW, '{"t": 1, "u": 1}')
        # Into the row that it holds.
        note(one, NOW + 2 * SECOND, '{"t": 3}')
    assert left(shared) == ["d1", "d1"]
    with shared.begin() as third:
        third.exec_driver_sql("SELECT FROM device_state_backlog ORDER BY id LIMIT 1 FOR UPDATE")
        # What is held by one that notes is for the next time.
        assert take_in_backlog(shared) == Left(1, False, [])
        assert len(left(shared)) == 2
    assert take_in_backlog(shared) == Left(0, False, [])
    assert newest(shared) == {("d1", "t"): (3, NOW + 2 * SECOND), ("d1", "u"): (1, NOW)}


def test_a_batch_has_its_own_time_limit_again(shared: Engine) -> None:
    asked: list[str] = []
    engine = make_engine(shared.url, connect_args={"options": "-c statement_timeout=1234ms"})

    @sa.event.listens_for(engine, "commit")
    def ask(connection: sa.Connection) -> None:
        asked.append(connection.exec_driver_sql("SHOW statement_timeout").scalar_one())

    ingest(engine, [message(1)])
    with holding_devices_of(shared, ONE):
        ingest(engine, [message(2)])
    engine.dispose()
    assert asked == ["1234ms", "1234ms"]


def test_what_no_tenant_brings_about_is_an_error(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("REVOKE UPDATE ON device_state FROM fleet_ingest")
        connection.exec_driver_sql("REVOKE UPDATE (status) ON device_state FROM fleet_ingest")
    with pytest.raises(IngestError, match="permission denied"):
        ingest(engine, [message(1)])
    assert rows(engine, LEFT) == []


@contextmanager
def meanwhile(engine: Engine, statement: str) -> Iterator[None]:
    """The tenant's transaction with a statement ends when the batch waits for it."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool, tenant_transaction(engine, ONE) as connection:
        connection.exec_driver_sql(statement)

        def end() -> None:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
                while not done.is_set() and not other.scalar(sa.text(waits)):
                    time.sleep(0.002)
            connection.commit()

        ended = pool.submit(end)
        try:
            yield
        finally:
            done.set()
            ended.result()


def test_a_sensor_that_is_deleted_meanwhile_comes_back_whole(shared: Engine) -> None:
    ingest(shared, [message(1, ts=NOW, metrics={"k": 1})])
    ts = NOW + SECOND
    with meanwhile(shared, "DELETE FROM device_sensors WHERE metric_key = 'k'"):
        ingest(shared, [message(1, ts=ts, metrics={"k": 2, "new": 1})])
    take_in_backlog(shared)
    assert newest(shared) == {("d1", "k"): (2, ts), ("d1", "new"): (1, ts)}
    with tenant_transaction(shared, ONE) as connection:
        keys = connection.exec_driver_sql("SELECT metric_key FROM device_sensors ORDER BY 1")
        assert keys.scalars().all() == ["k", "new"]
        connection.exec_driver_sql("DELETE FROM device_sensors")


def test_a_state_that_its_tenant_makes_meanwhile(shared: Engine) -> None:
    make = """
        INSERT INTO device_state (tenant_id, device_id, desired_state)
        VALUES (current_tenant(), 'd1', '{"fan": 1}')
    """
    with meanwhile(shared, make):
        ingest(shared, [message(1, ts=NOW)])
    take_in_backlog(shared)
    assert newest(shared) == {("d1", "t"): (1.5, NOW)}
    with tenant_transaction(shared, ONE) as connection:
        state = connection.exec_driver_sql("SELECT status, desired_state FROM device_state").one()
        assert tuple(state) == ("online", {"fan": 1})


def test_what_takes_long_is_taken_in_by_turns(shared: Engine) -> None:
    """So a tenant that has left more than can be taken in keeps it from no other."""
    with shared.begin() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_ingest")
        for tenant in (ONE, TWO):
            values = {"tenant": tenant, "device": "d1", "ts": NOW}
            for value in range(3):
                connection.execute(sa.text(NOTE), values | {"state": f'{{"t": {value}}}'})
    assert len(left(shared)) == 6
    assert take_in_backlog(shared, seconds=0) == Left(2, True, [])
    assert take_in_backlog(shared, tenant_id=ONE) == Left(0, False, [])
    assert take_in_backlog(shared, seconds=0) == Left(1, True, [])
    assert take_in_backlog(shared) == Left(0, False, [])


def test_many_values_are_noted_as_they_were_sent(shared: Engine) -> None:
    many = {f"metric {number}": number for number in range(400)}
    sent = [
        message(1, ts=NOW, metrics={**many, "t": 1}),
        message(1, ts=NOW + 2 * SECOND, metrics={"t": 3}),
        message(1, ts=NOW + SECOND, metrics={**many, "t": 2, "u": 2}),
        message(1, ts=NOW + 3 * SECOND, metrics={"v": 4}),
    ]
    with holding_devices_of(shared, ONE):
        for one in sent:
            assert ingest(shared, [one]).stored == 1
    # What is small is together, and what is large is not touched again.
    assert left(shared) == ["d1", "d1", "d1"]
    assert take_in_backlog(shared) == Left(0, False, [])
    found = newest(shared)
    assert found["d1", "t"] == (3, NOW + 2 * SECOND)
    assert found["d1", "v"] == (4, NOW + 3 * SECOND)
    assert found["d1", "u"] == (2, NOW + SECOND)
    assert {ts for (_, name), (_, ts) in found.items() if name in many} == {NOW + SECOND}


def test_what_compresses_well_is_large(shared: Engine) -> None:
    """Sixty kilobytes are stored in two, and to merge one value with them takes its time."""
    many = {f"{number:03d}{'x' * 240}": 1 for number in range(240)}
    with holding_devices_of(shared, ONE):
        for number, metrics in enumerate([many, {"t": 1}, {"t": 2}], start=1):
            assert ingest(shared, [message(1, ts=NOW + number * SECOND, metrics=metrics)]).stored
    assert rows(shared, "SELECT count(*), count(state_bytes) FROM device_state_backlog") == [(2, 1)]
    assert take_in_backlog(shared) == Left(0, False, [])
    assert newest(shared)["d1", "t"] == (2, NOW + 3 * SECOND)
    assert len(newest(shared)) == 241
