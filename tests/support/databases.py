"""Fixtures: every available server, databases on them, and an engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine

from database import privileges
from database.embedded import TemporaryServer
from models.shared.roles import ROLE_NAMES
from tests.support.alembic_project import config_for
from tests.support.engines import engine_of, execute
from tests.support.servers import (
    TIMESCALEDB,
    DatabaseServer,
    NoServer,
    describe_server,
    embedded_programs,
    machine_programs,
    running_timescaledb,
)

SERVERS = ("embedded", "embedded-16", "machine", "timescaledb", "apache")

MakeDatabase = Callable[..., str]


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


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.timescaledb)
        if name in ("timescaledb", "apache")
        else name
        for name in SERVERS
    ]
)
def any_server(request: pytest.FixtureRequest, editions: set[str]) -> DatabaseServer:
    """Each server in turn; those that are not available are skipped with a reason."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param.replace('-', '_')}_server")
    editions.add(describe_server(server))
    return server


@pytest.fixture(scope="session")
def psql() -> Path:
    """A wheel's psql."""
    return embedded_programs(18) / "psql"


# --- databases ---


@pytest.fixture
def make_database(request: pytest.FixtureRequest) -> Iterator[MakeDatabase]:
    """A factory of fresh databases, dropped after the test; returns their URLs.

    ``make_database()`` makes an empty one on the embedded server, ``make_database(server)`` on
    another, and ``template=`` copies a database of that server.
    """
    made: list[tuple[DatabaseServer, str]] = []

    def make(server: DatabaseServer | None = None, *, template: str | None = None) -> str:
        if server is None:
            server = request.getfixturevalue("embedded_server")
        name = f"test_{uuid.uuid4().hex[:12]}"
        copied = f' template "{template}"' if template else ""
        execute(server.url("postgres"), f'create database "{name}"{copied}')
        made.append((server, name))
        return server.url(name)

    yield make
    for server, name in made:
        execute(server.url("postgres"), f'drop database if exists "{name}" with (force)')


@pytest.fixture(scope="session")
def migrated_template(embedded_server: DatabaseServer) -> str:
    """The name of a database at head; no session stays connected to it, so it can be copied."""
    name = "migrated_template"
    execute(embedded_server.url("postgres"), f"CREATE DATABASE {name}")
    with engine_of(embedded_server.url(name)) as engine:
        command.upgrade(config_for(engine), "head")
    return name


@pytest.fixture(scope="session")
def seeded_template(embedded_server: DatabaseServer, migrated_template: str) -> str:
    """The same with reference data."""
    from operations import reference

    name = "seeded_template"
    execute(embedded_server.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    with engine_of(embedded_server.url(name)) as engine:
        reference.apply(engine)
    return name


@pytest.fixture
def migrated_database(make_database: MakeDatabase, migrated_template: str) -> str:
    """The URL of a database at head, without reference data."""
    return _copy(make_database, migrated_template)


@pytest.fixture
def seeded_database(make_database: MakeDatabase, seeded_template: str) -> str:
    """The URL of a database at head, with reference data."""
    return _copy(make_database, seeded_template)


def _copy(make_database: MakeDatabase, template: str) -> str:
    url = make_database(template=template)
    with engine_of(url) as engine, engine.begin() as connection:
        # A copy of a template carries neither privileges nor settings of the database.
        privileges.apply(connection)
    return url


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
