"""200 tenants through one PgBouncer, with all that goes wrong: nobody gets another's rows."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from database.context import KeyFile
from database.embedded import TemporaryServer
from database.engine import make_async_engine, make_engine
from tests.support.databases import LONG, MakeDatabase, named_server, richest_or_each
from tests.support.engines import execute
from tests.support.load import COUNTERS, LOOKS, Load, Tenant, populate
from tests.support.load_clients import CONTENDED, foreign, pooled, task
from tests.support.pooler import PORT, transaction_pooler
from tests.support.signed import SignedDatabase, signed
from tests.support.time_series import migrate

TENANTS = [Tenant(number) for number in range(200)]
CONNECTIONS = 6
"""Of the pooler to the server, for some forty clients."""
MONITORING = "pg_catalog.pg_advisory_lock(bigint), pg_catalog.pg_lock_status()"
"""What services may not call, so that a lock can be left, and looked for."""


@pytest.fixture(scope="module", params=richest_or_each("embedded", "timescaledb"))
def place(
    request: pytest.FixtureRequest,
    make_shared_database: MakeDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[TemporaryServer, SignedDatabase]]:
    server: Any = (
        request.getfixturevalue("richest_server")
        if request.param == "richest"
        else named_server(request)
    )
    if getattr(server, "socket_directory", None) is None:
        pytest.skip("the pooler reaches servers of this machine only")
    url = make_shared_database(server, like=migrate)
    name = sa.make_url(url).database
    with signed(url, tmp_path_factory.mktemp("load")) as database:
        populate(database.owner, TENANTS)
        execute(url, f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
        execute(url, f"GRANT EXECUTE ON FUNCTION {MONITORING} TO fleet_app")
        yield server, database


def pooler_url(folder: Path, database: SignedDatabase) -> str:
    return f"postgresql://any@/{database.owner.url.database}?host={folder}&port={PORT}"


def run(load: Load, clients: list[Callable[[], None]], **disturbances: int) -> None:
    """All of them at once, until the transactions are done."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(clients) + 1) as threads:
        disturbing = threads.submit(load.disturb, stop, **disturbances)
        try:
            for one in [threads.submit(client) for client in clients]:
                one.result(timeout=900)
        finally:
            stop.set()
        disturbing.result(timeout=60)


async def tasks(load: Load, url: str, key: KeyFile) -> None:
    engine = make_async_engine(url, context_key=key, pool_size=6, max_overflow=0)
    async with asyncio.TaskGroup() as group:
        for seed in range(10):
            group.create_task(task(load, engine, seed))
    await engine.dispose()


def test_under_load(
    place: tuple[TemporaryServer, SignedDatabase], record_property: Callable[[str, object], None]
) -> None:
    server, database = place
    with (
        transaction_pooler(server, database.login, connections=CONNECTIONS) as folder,
        ExitStack() as stack,
    ):
        url = pooler_url(folder, database)
        load = Load(database, url, TENANTS, total=30_000 if LONG else 1_200)
        key = KeyFile(database.file)
        clients: list[Callable[[], None]] = [lambda: asyncio.run(tasks(load, url, key))]
        for number, prepared in enumerate((None, 0)):
            # A ping is no transaction: it would be prepared on one connection, and run on another.
            options: dict[str, Any] = {"pool_pre_ping": prepared is None}
            options["connect_args"] = {"prepare_threshold": prepared}
            engine = make_engine(url, context_key=key, pool_size=4, max_overflow=1, **options)
            stack.callback(engine.dispose)
            clients += [partial(pooled, load, engine, 10 * number + n) for n in range(7)]
        clients += [partial(foreign, load, 100 + n) for n in range(5)]
        run(load, clients, keys=12 if LONG else 4, kills=400 if LONG else 30)
        _inspect_all(load)
    sys.stdout.write(f"{load.summary()}\n")
    record_property("load", load.summary())
    assert (load.wrong[:5], load.refused[:5], load.kept[:5]) == ([], [], []), load.summary()
    assert load.done >= load.total
    assert load.events["keys"] >= 4
    assert load.events["killed"] > 10
    if LONG:
        assert {"SerializationFailure", "DeadlockDetected", "AdminShutdown"} <= set(load.retried)
    _count_again(database)


def _inspect_all(load: Load) -> None:
    """Every connection that the pooler has, at once."""
    with ExitStack() as stack:
        pids = set()
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(psycopg.connect(load.url, prepare_threshold=None))
            load.inspect(connection)
            pids.add(connection.execute("SELECT pg_backend_pid()").fetchone())
        assert len(pids) == CONNECTIONS


def _count_again(database: SignedDatabase) -> None:
    """No update was lost, and none done twice."""
    with database.owner.connect() as connection:
        for tenant in TENANTS[:CONTENDED]:
            found = dict(
                connection.execute(
                    sa.text("SELECT name, location FROM sites WHERE tenant_id = :tenant"),
                    {"tenant": tenant.id},
                ).all()
            )
            counted = {int(found.pop(f"{tenant.slug}-{counter}")) for counter in COUNTERS}
            assert counted == {len(found)}
            assert found


def test_without_the_reset_it_fails(place: tuple[TemporaryServer, SignedDatabase]) -> None:
    """The check of the check: nothing but the pooler's reset keeps sessions apart."""
    server, database = place
    changes = {"server_reset_query_always": "0"}
    with transaction_pooler(server, database.login, connections=2, **changes) as folder:
        load = Load(database, pooler_url(folder, database), TENANTS, total=120)
        run(load, [partial(foreign, load, n, leave=6) for n in range(4)], keys=0, kills=0)
    assert any(f"{relation} of no tenant" in one for one in load.wrong for relation in LOOKS)
    assert load.kept
