"""Fixtures: every available server, databases on them, and an engine."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from database import privileges
from database.embedded import TemporaryServer
from ddl import buckets
from ddl.edition import POSTGRESQL, available, detect
from ddl.sql import send
from models.shared.roles import ROLE_NAMES
from operations import reference
from tests.support.engines import engine_of, execute
from tests.support.granted_roles import make_roles
from tests.support.preparation import Prepare, Prepared, after
from tests.support.servers import (
    TIMESCALEDB,
    DatabaseServer,
    NoServer,
    describe_server,
    embedded_programs,
    machine_programs,
    running_timescaledb,
)
from tests.support.time_series import migrate, stop_workers

SERVERS = ("embedded", "embedded-16", "machine", "timescaledb", "apache")
LONG = bool(os.environ.get("TEST_LONG"))
"""Whether tests run in their long form: `make test long=1`."""

MakeDatabase = Callable[..., str]


def servers(*names: str) -> list[Any]:
    """Parameters of a fixture: the servers that `named_server` takes."""
    return [
        pytest.param(name, marks=pytest.mark.timescaledb)
        if name in ("timescaledb", "apache")
        else name
        for name in names
    ]


def richest_or_each(*names: str) -> list[Any]:
    """The same for a heavy test: each server in the long form, else `richest_server` alone."""
    return servers(*names) if LONG else servers("richest")


def named_server(request: pytest.FixtureRequest) -> DatabaseServer:
    """The server that a fixture's parameter names; skips with a reason where it is not there."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param.replace('-', '_')}_server")
    request.getfixturevalue("editions").add(describe_server(server))
    return server


# --- servers ---


@pytest.fixture(scope="session")
def embedded_server(editions: set[str]) -> Iterator[TemporaryServer]:
    """PostgreSQL from a wheel: see `embedded_programs`."""
    with TemporaryServer(embedded_programs()) as server:
        editions.add(describe_server(server))
        yield server


@pytest.fixture(scope="session")
def embedded_16_server() -> Iterator[DatabaseServer]:
    """PostgreSQL 16 from a wheel."""
    with TemporaryServer(embedded_programs(16)) as server:
        yield server


@pytest.fixture(scope="session")
def machine_server() -> Iterator[DatabaseServer]:
    """The machine's own PostgreSQL, without TimescaleDB."""
    programs = machine_programs()
    if programs is None:
        pytest.skip("no PostgreSQL programs on this machine")
    with TemporaryServer(programs) as server:
        yield server


@pytest.fixture(scope="session")
def timescaledb_server(editions: set[str]) -> Iterator[DatabaseServer]:
    """A server with TimescaleDB; skips where there is none."""
    try:
        with running_timescaledb() as server:
            editions.add(describe_server(server))
            yield server
    except NoServer as reason:
        editions.add(str(reason))
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def apache_server() -> Iterator[DatabaseServer]:
    """The machine's TimescaleDB with the licence of the Apache edition."""
    programs = machine_programs("timescaledb")
    if programs is None:
        pytest.skip("no PostgreSQL programs with TimescaleDB on this machine")
    with TemporaryServer(programs, **TIMESCALEDB, **{"timescaledb.license": "apache"}) as server:
        yield server


@pytest.fixture(scope="session")
def lone_server() -> Iterator[DatabaseServer]:
    """A cluster of its own, for tests about roles, which a cluster shares."""
    with TemporaryServer(embedded_programs(18)) as server:
        yield server


@pytest.fixture
def bare_cluster(lone_server: DatabaseServer) -> DatabaseServer:
    """That cluster without what earlier tests left: no role of ours, no database `owned`."""
    with engine_of(lone_server.url("postgres")) as engine, engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sa.text("DROP DATABASE IF EXISTS owned WITH (FORCE)"))
        for role in ("owner", *ROLE_NAMES):
            connection.execute(sa.text(f"DROP ROLE IF EXISTS {role}"))
    return lone_server


@pytest.fixture(scope="session")
def richest_server(request: pytest.FixtureRequest) -> DatabaseServer:
    """The server with TimescaleDB, and the embedded one where there is none."""
    server: DatabaseServer
    try:
        server = request.getfixturevalue("timescaledb_server")
    except pytest.skip.Exception:
        server = request.getfixturevalue("embedded_server")
    return server


@pytest.fixture(params=servers(*SERVERS))
def any_server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each server in turn, or those that a test names as its parameters."""
    return named_server(request)


@pytest.fixture(scope="session")
def psql() -> Path:
    """A wheel's psql."""
    return embedded_programs(18) / "psql"


# --- databases ---


@pytest.fixture(scope="session")
def templates() -> Iterator[Callable[[DatabaseServer, Prepare], str]]:
    """The name of the database of a server that a function has prepared, for copies.

    It is made when it is first asked for. No session may enter it afterwards: so it can always be
    copied, and no worker of TimescaleDB works in it.
    """
    made: dict[tuple[str, Prepare], str] = {}

    def template(server: DatabaseServer, prepare: Prepare) -> str:
        admin = server.url("postgres")
        if (admin, prepare) not in made:
            name = f"template_{uuid.uuid4().hex[:12]}"
            if isinstance(prepare, Prepared):
                _copy(server, name, template(server, prepare.first))
                prepare.then(server.url(name))
            else:
                execute(admin, f"CREATE DATABASE {name}")
                prepare(server.url(name))
            made[admin, prepare] = name
            execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        return made[admin, prepare]

    yield template
    for (admin, _), name in made.items():
        with contextlib.suppress(OperationalError):  # of a server that is gone by now
            execute(admin, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def _databases(request: pytest.FixtureRequest) -> Iterator[MakeDatabase]:
    made: list[tuple[DatabaseServer, str]] = []

    def make(
        server: DatabaseServer | None = None,
        *,
        like: Prepare | None = None,
        name: str | None = None,
    ) -> str:
        if server is None:
            server = request.getfixturevalue("embedded_server")
        name = name or f"test_{uuid.uuid4().hex[:12]}"
        made.append((server, name))
        if like:
            _copy(server, name, request.getfixturevalue("templates")(server, like))
        else:
            execute(server.url("postgres"), f"CREATE DATABASE {name}")
        return server.url(name)

    try:
        yield make
    finally:
        for server, name in made:
            execute(server.url("postgres"), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _copy(server: DatabaseServer, name: str, template: str) -> None:
    """Make a database that has also what a copy does not have: privileges and settings."""
    # Half the time of the other strategy, which writes all of it to the log.
    execute(
        server.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
    )
    with engine_of(server.url(name)) as engine, engine.begin() as connection:
        stop_workers(connection)
        if connection.scalar(sa.text("SELECT to_regclass('public.alembic_version')")):
            # Without what upgrades do to functions, which a copy has: three quarters of the time.
            send(connection, privileges.application())


@pytest.fixture
def make_database(request: pytest.FixtureRequest) -> Iterator[MakeDatabase]:
    """A factory of fresh databases, dropped after the test; returns their URLs.

    ``make_database()`` makes an empty one on the embedded server, ``make_database(server)`` on
    another. ``like=migrate`` makes one at head, by copying the one that ``migrate(url)`` was called
    for when it was first asked for; so with any function of a module.
    """
    with _databases(request) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared_database(request: pytest.FixtureRequest) -> Iterator[MakeDatabase]:
    """The same for a module whose tests share a database, since they change nothing."""
    with _databases(request) as make:
        yield make


@after(migrate)
def seed(url: str) -> None:
    """Reference data."""
    with engine_of(url) as engine:
        reference.apply(engine)


def with_extension(url: str) -> None:
    """Prepare an empty database: roles, and TimescaleDB where the server has it."""
    with engine_of(url) as engine, engine.begin() as connection:
        make_roles(connection)
        if available(connection) is not POSTGRESQL:
            send(connection, "CREATE EXTENSION timescaledb")


def with_buckets(url: str) -> None:
    """The same, with functions of ours where TimescaleDB's are not there."""
    with_extension(url)
    with engine_of(url) as engine, engine.begin() as connection:
        if detect(connection) is POSTGRESQL:
            send(connection, buckets.creation())


@pytest.fixture
def migrated_database(make_database: MakeDatabase) -> str:
    """The URL of a database at head, without reference data."""
    return make_database(like=migrate)


@pytest.fixture
def seeded_database(make_database: MakeDatabase) -> str:
    """The URL of a database at head, with reference data."""
    return make_database(like=seed)


# --- engines ---


@pytest.fixture
def database(seeded_database: str) -> str:
    """The URL of the database that ``engine`` is for; a module or folder may define another."""
    return seeded_database


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """An engine for the test's database, without a pool."""
    with engine_of(database) as engine:
        yield engine
