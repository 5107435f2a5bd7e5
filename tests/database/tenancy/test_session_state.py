"""Nothing of one tenant's session is there for the next that gets the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from database.embedded import TemporaryServer
from database.engine import FORGET, make_async_engine, make_engine
from database.errors import StaleSessionError, is_transient
from database.tenancy import async_tenant_transaction, tenant_transaction
from tests.support.pooler import CONFIGURATION, PORT, transaction_pooler
from tests.support.tenancy import ONE, TWO, names

LEFT = (
    "DECLARE kept CURSOR WITH HOLD FOR SELECT name FROM thing",
    "PREPARE kept AS SELECT name FROM thing",
    "SET SESSION app.tenant_id = '00000000-0000-0000-0000-000000000001'",
    "SET SESSION row_security = off",
    "SET SESSION search_path = timeseries",
    "SET SESSION statement_timeout = '7s'",
    "SET SESSION fleetschema.judged = 'on'",
    "SELECT pg_advisory_lock(7)",
    "LISTEN kept",
)
FOUND = """
    SELECT current_setting('app.tenant_id', true), current_setting('fleetschema.judged', true),
           current_setting('row_security'), current_setting('search_path'),
           current_setting('statement_timeout'), current_user = session_user,
           (SELECT count(*) FROM pg_cursors WHERE name = 'kept'),
           (SELECT count(*) FROM pg_prepared_statements WHERE name = 'kept'),
           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
           (SELECT count(*) FROM pg_listening_channels())
"""
NOTHING = ("on", '"$user", public', "0", True, 0, 0, 0, 0)


SINGLE: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}


def url(server: TemporaryServer) -> str:
    return server.url("postgres", user="app", password="x")


def leave(connection: Connection) -> None:
    for statement in LEFT:
        connection.exec_driver_sql(statement)


def test_a_pooled_connection_carries_nothing(server: TemporaryServer) -> None:
    engine = make_engine(
        server.url("postgres", user="app", password="x"), pool_size=1, max_overflow=0
    )
    with tenant_transaction(engine, ONE) as connection:
        leave(connection)
        first = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT pg_backend_pid()")) == first
        tenant, judged, *rest = connection.exec_driver_sql(FOUND).one()
        assert (tenant or "", judged or "", *rest) == ("", "", *NOTHING)
    with tenant_transaction(engine, TWO) as connection:
        assert names(connection) == ["of 2"]
    engine.dispose()


def test_an_aborted_transaction_carries_nothing_either(server: TemporaryServer) -> None:
    engine = make_engine(
        server.url("postgres", user="app", password="x"), pool_size=1, max_overflow=0
    )
    with tenant_transaction(engine, ONE) as connection:
        connection.exec_driver_sql("SELECT pg_advisory_lock(7)")
        with pytest.raises(sa.exc.ProgrammingError):
            connection.exec_driver_sql("SELECT * FROM no_such_table")
    with engine.connect() as connection:
        tenant, judged, *rest = connection.exec_driver_sql(FOUND).one()
        assert (tenant or "", judged or "", *rest) == ("", "", *NOTHING)
    engine.dispose()


@pytest.mark.parametrize("prepared", [None, 0])
def test_nor_does_one_of_asyncio(prepared: int | None, server: TemporaryServer) -> None:
    async def run() -> None:
        engine = make_async_engine(
            url(server), **SINGLE, connect_args={"prepare_threshold": prepared}
        )
        async with async_tenant_transaction(engine, ONE) as connection:
            await connection.run_sync(leave)
            first = await connection.scalar(sa.text("SELECT pg_backend_pid()"))
        async with engine.connect() as connection:
            pid = await connection.scalar(sa.text("SELECT pg_backend_pid()"))
            assert pid == first, "the pool keeps the connection"
            tenant, judged, *rest = (await connection.exec_driver_sql(FOUND)).one()
            assert (tenant or "", judged or "", *rest) == ("", "", *NOTHING)
        # A cancelled task, too.
        async with asyncio.timeout(5):
            task = asyncio.create_task(_sleeping(engine))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with engine.connect() as connection:
                tenant, judged, *rest = (await connection.exec_driver_sql(FOUND)).one()
                assert (tenant or "", judged or "", *rest) == ("", "", *NOTHING)
        await engine.dispose()

    asyncio.run(run())


async def _sleeping(engine: AsyncEngine) -> None:
    async with async_tenant_transaction(engine, ONE) as connection:
        await connection.run_sync(leave)
        await connection.exec_driver_sql("SELECT pg_sleep(30)")


def test_an_engine_with_autocommit_stays_so(server: TemporaryServer) -> None:
    engine = make_engine(
        url(server),
        **SINGLE,
        isolation_level="AUTOCOMMIT",
    )
    for _ in range(2):
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT pg_advisory_lock(7)")
            *_, locks, _channels = connection.exec_driver_sql(FOUND).one()
            assert locks == 1
    engine.dispose()


def test_statements_that_the_driver_prepared_work_on(server: TemporaryServer) -> None:
    engine = make_engine(
        url(server),
        **SINGLE,
        connect_args={"prepare_threshold": 0},
    )
    backends = set()
    for _ in range(3):
        with tenant_transaction(engine, TWO) as connection:
            assert names(connection) == ["of 2"]
            backends.add(connection.scalar(sa.text("SELECT pg_backend_pid()")))
    assert len(backends) == 1, "and the pool keeps the connection"
    engine.dispose()


@pytest.fixture
def pooled(server: TemporaryServer) -> Iterator[str]:
    with transaction_pooler(server, "app") as folder:
        yield f"postgresql://any@/postgres?host={folder}&port={PORT}"


def test_the_pooler_gives_nothing_of_one_client_to_another(pooled: str) -> None:
    """Whatever pool the clients have, since theirs is not the server's."""
    first, second = (sa.create_engine(make_engine(pooled).url) for _ in range(2))
    with first.connect() as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.exec_driver_sql("SET LOCAL ROLE fleet_app")
        leave(connection)
        connection.commit()
        with second.connect() as other:
            assert other.scalar(sa.text("SELECT pg_backend_pid()")) == pid
            tenant, judged, *rest = other.exec_driver_sql(FOUND).one()
            assert (tenant or "", judged or "", *rest) == ("", "", *NOTHING)
    first.dispose()
    second.dispose()


CURSORS = ";".join(f"DECLARE kept{n} CURSOR WITH HOLD FOR SELECT 1" for n in range(2000))


def test_no_setting_stops_the_pooler_from_resetting(pooled: str) -> None:
    """Closing so many cursors takes many times as long as the statement timeout that is left."""
    first, second = (sa.create_engine(make_engine(pooled).url) for _ in range(2))
    second.connect().close()  # its first statements would end in a reset of their own
    with first.connect() as connection:
        connection.exec_driver_sql(CURSORS)
        connection.exec_driver_sql("SET SESSION search_path = timeseries")
        connection.exec_driver_sql("SET SESSION statement_timeout = '1ms'")
        connection.commit()
        with second.connect() as other:
            tenant, judged, *rest = other.exec_driver_sql(FOUND).one()
            assert (tenant or "", judged or "", *rest) == ("", "", *NOTHING)
    first.dispose()
    second.dispose()


def test_nobody_knows_the_next_random_numbers(server: TemporaryServer) -> None:
    engine = make_engine(url(server), **SINGLE)
    seed, number = sa.text("SELECT setseed(0.5)"), sa.text("SELECT random()")
    with engine.begin() as connection:
        connection.execute(seed)
        known = connection.scalar(number)
        connection.execute(seed)
    with engine.begin() as connection:
        assert connection.scalar(number) != known
    engine.dispose()


def test_a_connection_that_was_not_reset_is_given_to_nobody(server: TemporaryServer) -> None:
    changes = {
        "server_reset_query": FORGET.replace("; COMMIT", "; SELECT 1 / 0; COMMIT"),
        "server_idle_timeout": "1",
    }
    with transaction_pooler(server, "app", **changes) as folder:
        engine = sa.create_engine(f"postgresql+psycopg://any@/postgres?host={folder}&port={PORT}")
        seen = []
        for _ in range(2):
            with engine.connect() as connection:
                seen.append(connection.scalar(sa.text("SELECT pg_backend_pid()")))
                leave(connection)
                connection.commit()
        assert len(set(seen)) == 2
        engine.dispose()


def test_a_session_that_was_not_reset_is_refused(server: TemporaryServer) -> None:
    changes = {"server_reset_query_always": "0"}
    with transaction_pooler(server, "app", **changes) as folder:
        pooled = f"postgresql+psycopg://any@/postgres?host={folder}&port={PORT}"
        foreign, engine = sa.create_engine(pooled), make_engine(pooled, **SINGLE)
        with tenant_transaction(engine, TWO) as connection:
            assert names(connection) == ["of 2"]
        for timeout, is_refused in (("1ms", True), ("49ms", True), ("50ms", False), ("0", False)):
            with foreign.begin() as connection:
                connection.exec_driver_sql(f"SET SESSION statement_timeout = '{timeout}'")
            # The pool's own reset is no transaction of the tenant, and comes after it.
            if is_refused:
                with pytest.raises(StaleSessionError) as raised, tenant_transaction(engine, TWO):
                    pass
                assert is_transient(raised.value)
            else:
                with tenant_transaction(engine, TWO) as connection:
                    assert names(connection) == ["of 2"]
        foreign.dispose()
        engine.dispose()


def test_pool_and_pooler_forget_the_same() -> None:
    lines = CONFIGURATION.read_text().splitlines()
    assert f"server_reset_query = {FORGET}" in lines
    assert "server_reset_query_always = 1" in lines
