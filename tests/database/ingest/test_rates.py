"""A tenant with a rate stores no more through the ingest, whichever way in, and loses nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, NullPool
from sqlalchemy.exc import DBAPIError

from database.engine import make_async_engine, make_engine
from database.ingest import Ingested, Message, async_ingest, ingest
from database.ingest.rates import Kept, within
from database.tenancy import ANY_LOGIN, tenant_transaction
from models.shared.base import PLATFORM_TENANT_ID
from models.telemetry.ingest_rates import LARGEST_SHARE
from tests.database.ingest.conftest import with_devices
from tests.database.ingest.test_own_sql import ROWS, insert, time_of
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.rates import as_operator, left, limit, pass_time
from tests.support.telemetry import NOW, ONE, TWO, count, empty, message, rows

OVER = "53400"


@pytest.fixture(scope="module", params=servers("embedded", "timescaledb"))
def module_engine(
    request: pytest.FixtureRequest, make_shared_database: MakeDatabase
) -> Iterator[Engine]:
    url = make_shared_database(named_server(request), like=with_devices)
    engine = make_engine(url, execution_options={ANY_LOGIN: True})
    yield engine
    engine.dispose()


@pytest.fixture
def owner(module_engine: Engine) -> Engine:
    empty(module_engine)
    for tenant in (ONE, TWO):
        limit(module_engine, None, tenant=tenant)
    return module_engine


@pytest.fixture
def own(owner: Engine) -> Iterator[Engine]:
    acting = make_engine(owner.url, poolclass=NullPool)
    sa.event.listen(acting, "begin", lambda c: c.exec_driver_sql("SET LOCAL ROLE fleet_ingest"))
    yield acting
    acting.dispose()


def batch(first: int, size: int, **changes: Any) -> list[Message]:
    return [message(number, **changes) for number in range(first, first + size)]


def test_what_is_over_the_rate_is_handed_back_and_welcome_later(owner: Engine) -> None:
    limit(owner, 60, 5)
    others = batch(0, 2, tenant_id=str(TWO))
    assert ingest(owner, [*batch(0, 8), *others]) == Ingested(10, 0, 0), "the bucket was not empty"
    late = batch(10, 3)
    done = ingest(owner, [*late, *batch(2, 2, tenant_id=TWO)])
    assert (done.stored, done.throttled) == (2, tuple(late))
    assert done.retry_after == pytest.approx(4, abs=1), "3 of debt, and one"
    assert count(owner) == 12
    pass_time(owner, done.retry_after)
    assert ingest(owner, done.throttled) == Ingested(3, 0, 0)


def test_numbers_add_up_to_the_batch(owner: Engine) -> None:
    limit(owner, 1, 6)
    limit(owner, 1, 1, tenant=TWO)
    ingest(owner, [*batch(0, 2), *batch(0, 1, tenant_id=TWO)])
    assert left(owner) == pytest.approx(4, abs=0.5)
    mixed = [*batch(0, 4), message(9, device_id="nobody"), *batch(3, 4, tenant_id=TWO)]
    done = ingest(owner, [*mixed, message(5, tenant_id="?")])
    assert (done.stored, done.duplicates, done.quarantined, len(done.throttled)) == (2, 2, 2, 4)
    assert left(owner) == pytest.approx(1, abs=0.5), "a duplicate costs nothing, quarantine does"


def test_asyncio_hands_back_what_is_over_the_rate(owner: Engine) -> None:
    limit(owner, 60, 1)

    async def run() -> list[Ingested]:
        engine = make_async_engine(owner.url, poolclass=NullPool)
        return [await async_ingest(engine, batch(10 * one, 2)) for one in range(2)]

    first, second = asyncio.run(run())
    assert (first.stored, second.stored, len(second.throttled)) == (2, 0, 2)


def test_a_share_larger_than_the_room_is_divided() -> None:
    sent = [*batch(0, 5), *batch(0, 2, tenant_id=TWO), message(tenant_id=["?"])]
    assert within(sent, []) == Kept(sent)
    found = within(sent, [(str(ONE), 3, 7.5), (str(TWO), 2, 1.0)])
    assert found == Kept([*sent[:3], *sent[5:]], sent[3:5], 7.5)


@pytest.mark.parametrize("series", sorted(set(ROWS) - {"system_metrics"}))
def test_every_series_counts_by_its_view(owner: Engine, own: Engine, series: str) -> None:
    limit(owner, 1, 2)
    assert insert(own, series) == 1
    assert insert(own, series) == 0, "a repetition costs nothing"
    assert left(owner) == pytest.approx(1, abs=0.1)
    wrong = {time_of(series): "infinity"}
    assert insert(own, series, **wrong) == 0
    assert left(owner) == pytest.approx(0, abs=0.1), "nor is quarantine free"
    with pytest.raises(DBAPIError) as error:
        insert(own, series, **{time_of(series): NOW.replace(microsecond=1)})
    found = error.value.orig.diag  # type: ignore[union-attr]
    assert found.sqlstate == OVER
    assert str(ONE) in found.message_primary
    assert "1 records a minute" in found.message_primary
    assert "2 records that may come at once, 0 are left" in found.message_detail
    assert "60 s" in found.message_hint or "59 s" in found.message_hint


def test_every_table_that_fleet_ingest_fills_counts(owner: Engine) -> None:
    found = rows(
        owner,
        """SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'timeseries' AND c.relkind = 'r'
              AND has_table_privilege('fleet_ingest', c.oid, 'INSERT')
              AND NOT EXISTS (SELECT FROM pg_trigger t
                               WHERE t.tgrelid = c.oid AND t.tgname = 'count_ingested')""",
    )
    assert [one.relname for one in found] == ["system_metrics"], "which has no tenant"


def test_own_sql_is_refused_as_a_whole_and_a_rollback_costs_nothing(
    owner: Engine, own: Engine
) -> None:
    limit(owner, 60, 2)
    many = sa.text(
        "INSERT INTO ingest.telemetry (tenant_id, device_id, ts, metrics)"
        f" SELECT '{ONE}', 'd1', now() - n * interval '1 second', '{{}}'"
        "  FROM generate_series(cast(:first AS int), :last) n"
    )
    with own.connect() as connection:
        assert connection.execute(many, {"first": 1, "last": 5}).rowcount == 5
        connection.rollback()
    assert left(owner) == 2
    with own.begin() as connection:
        connection.execute(many, {"first": 1, "last": 5})
        nested = connection.begin_nested()
        connection.execute(many, {"first": 6, "last": 9})
        nested.rollback()
    assert left(owner) == pytest.approx(-3, abs=0.5)
    with own.connect() as connection, pytest.raises(DBAPIError, match="expected at most 60"):
        connection.execute(many, {"first": 10, "last": 10})
    assert count(owner) == 5
    pass_time(owner, 4)
    with own.begin() as connection:
        assert connection.execute(many, {"first": 10, "last": 10}).rowcount == 1


def test_no_transaction_stores_more_than_its_room(owner: Engine, own: Engine) -> None:
    limit(owner, 1, 5)
    directly = (
        f"INSERT INTO timeseries.telemetry (tenant_id, device_id, ts) SELECT '{ONE}', 'd1',"
        " now() - n * interval '1 second' FROM generate_series(1, {}) n"
    )
    with own.connect() as connection:
        connection.exec_driver_sql("SET fleetschema.judged = on")
        with pytest.raises(DBAPIError, match="in a transaction, found more") as error:
            connection.exec_driver_sql(directly.format(LARGEST_SHARE + 1))
        assert error.value.orig.sqlstate == OVER  # type: ignore[union-attr]
    assert count(owner) == 0


def test_nobody_waits_for_a_batch_of_the_tenant(owner: Engine, own: Engine) -> None:
    ingest(owner, [message(50, tenant_id=TWO)])  # For a new chunk others do wait.
    limit(owner, 1, 10)
    with own.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO ingest.telemetry (tenant_id, device_id, ts)"
            f" SELECT '{ONE}', 'd2', now() - n * interval '1 second' FROM generate_series(1, 7) n"
        )
        with make_engine(
            owner.url, poolclass=NullPool, connect_args={"options": "-c statement_timeout=2000"}
        ).begin() as other:
            other.exec_driver_sql("SET LOCAL ROLE fleet_ingest")
            for number in range(4):
                other.exec_driver_sql(
                    "INSERT INTO ingest.telemetry (tenant_id, device_id, ts)"
                    f" VALUES ('{ONE}', 'd1', now() - {number} * interval '1 second')"
                )
        assert ingest(owner, batch(0, 2, tenant_id=TWO)).stored == 2
        assert ingest(owner, batch(0, 2)).stored == 2, "10 - 4 are left, as far as is known"
    done = ingest(owner, batch(20, 1))
    assert len(done.throttled) == 1, "all 13 count, once they are committed"
    assert left(owner) == pytest.approx(-3, abs=0.5)


def test_of_batches_at_once_every_record_is_counted_once(owner: Engine) -> None:
    limit(owner, 1, 400)
    gate = threading.Barrier(4)

    def deliver(worker: int) -> tuple[int, int]:
        engine = make_engine(owner.url, poolclass=NullPool, execution_options={ANY_LOGIN: True})
        gate.wait()
        done = [ingest(engine, batch(1000 * worker + 30 * n, 30)) for n in range(6)]
        return sum(one.stored for one in done), sum(len(one.throttled) for one in done)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(deliver, range(4)))
    stored = sum(one for one, _ in found)
    assert stored + sum(other for _, other in found) == 720
    assert 400 <= stored <= 400 + 4 * 30
    assert count(owner) == stored
    assert left(owner) == pytest.approx(400 - stored, abs=1)


def test_a_clock_that_was_set_back_stops_nothing(owner: Engine) -> None:
    limit(owner, 60, 5)
    ingest(owner, batch(0, 8))
    pass_time(owner, -3e7)
    done = ingest(owner, batch(10, 1))
    assert done.retry_after == pytest.approx(4, abs=0.5)
    pass_time(owner, 4)
    assert ingest(owner, batch(10, 1)).stored == 1


STEPS = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 12)), min_size=1, max_size=8)


@given(STEPS, st.integers(1, 12))
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_bucket_is_that_of_the_book(
    owner: Engine, steps: list[tuple[int, int]], burst: int
) -> None:
    """Within one record: the clock runs while the test does."""
    empty(owner)
    limit(owner, 2, burst)
    level, first = float(burst), 0
    for seconds, size in steps:
        pass_time(owner, seconds)
        level = min(burst, level + seconds / 30)
        done = ingest(owner, batch(first, size))
        first += size
        if done.stored:
            assert level > 0
            assert done.stored == size
            level -= size
        else:
            assert level < 1.5
            assert len(done.throttled) == size
    assert left(owner) == pytest.approx(level, abs=1)


def test_without_a_rate_nothing_is_counted(owner: Engine, own: Engine) -> None:
    limit(owner, 1, 1, tenant=TWO)
    ingest(owner, batch(0, 30))
    insert(own, "telemetry")
    assert rows(owner, "SELECT FROM ingest_debits") == []
    limit(owner, 1, 1)
    ingest(owner, batch(100, 3))
    assert len(ingest(owner, batch(200, 1)).throttled) == 1
    as_operator(owner, "UPDATE ingest_rates SET records_per_minute = 5, burst = NULL")
    assert left(owner) == 5 * 1440, "a new limit begins anew, and holds a day"
    limit(owner, None)
    assert ingest(owner, batch(200, 3)) == Ingested(3, 0, 0)
    assert rows(owner, "SELECT FROM ingest_debits") == []


def test_what_a_tenant_writes_itself_does_not_count(owner: Engine) -> None:
    limit(owner, 1, 1)
    with tenant_transaction(owner, ONE) as connection:
        for view in ("telemetry", "telemetry_to_store"):
            for number in range(3):
                connection.exec_driver_sql(
                    f"INSERT INTO {view} (tenant_id, device_id, ts)"
                    f" VALUES ('{ONE}', '{view}', now() - {number} * interval '1 second')"
                )
    assert left(owner) == 1


def test_the_platform_has_no_rate(owner: Engine) -> None:
    """Else one record without a tenant would stop the batches of all."""
    with pytest.raises(DBAPIError, match="ck_ingest_rates_tenant"):
        limit(owner, 1, 1, tenant=PLATFORM_TENANT_ID)
