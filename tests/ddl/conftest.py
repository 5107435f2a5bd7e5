"""A fresh database and the roles that the cases grant to."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, NullPool

from ddl.edition import COMMUNITY, detect
from tests.support import drift
from tests.support.databases import (
    MakeDatabase,
    named_server,
    servers,
    with_buckets,
    with_extension,
)
from tests.support.generated_revisions import apply, metadata_of
from tests.support.granted_roles import ROLES, make_roles
from tests.support.servers import DatabaseServer


@pytest.fixture(scope="session")
def server(embedded_server: DatabaseServer) -> Iterator[DatabaseServer]:
    """The embedded server with the roles of the cases; they belong to the cluster."""
    engine = sa.create_engine(
        embedded_server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    with engine.connect() as connection:
        make_roles(connection)
        yield embedded_server
        for role in ROLES:
            connection.execute(sa.text(f'DROP ROLE IF EXISTS "{role}"'))


@pytest.fixture
def engine(server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """An empty database, for a superuser. A pool of sessions makes it much faster."""
    engine = sa.create_engine(make_database(server))
    yield engine
    engine.dispose()


@pytest.fixture
def owned(engine: Engine) -> Engine:
    """The same database for its owner, no superuser and bound by forced row-level security."""
    return _for_owner(engine)


@pytest.fixture
def every_owned(every_edition: Engine) -> Engine:
    """``every_edition`` for its owner."""
    return _for_owner(every_edition)


def _for_owner(engine: Engine) -> Engine:
    url = engine.url
    with engine.begin() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{url.database}" OWNER TO r_owner'))
        connection.execute(sa.text("ALTER SCHEMA public OWNER TO r_owner"))
        # It may SET ROLE r_read, but policies for r_read do not apply to the owner itself.
        connection.execute(sa.text("ALTER ROLE r_owner NOINHERIT"))
        connection.execute(sa.text("GRANT r_read TO r_owner"))
    owner = sa.create_engine(url, poolclass=NullPool)

    @sa.event.listens_for(owner, "connect")
    def become_owner(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        connection.autocommit = True
        connection.execute("SET SESSION AUTHORIZATION r_owner")
        connection.autocommit = False

    return owner


@pytest.fixture(scope="session")
def drift_engine(server: DatabaseServer) -> Iterator[Engine]:
    """A database that matches the models of the drift tests."""
    administration = sa.create_engine(
        server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    name = f"test_drift_{uuid.uuid4().hex[:12]}"
    with administration.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine = sa.create_engine(server.url(name))
        with engine.begin() as owner:
            apply(owner, metadata_of(drift.models))
        yield engine
        engine.dispose()
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def at_models(drift_engine: Engine) -> Iterator[Connection]:
    """A transaction over that database, rolled back after the test."""
    with drift_engine.connect() as connection:
        yield connection


@pytest.fixture(params=servers("machine", "timescaledb"))
def other_version(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """An empty database of PostgreSQL 15 and of TimescaleDB."""
    engine = sa.create_engine(make_database(named_server(request), like=with_extension))
    yield engine
    engine.dispose()


@pytest.fixture(params=servers("embedded", "timescaledb", "apache"))
def every_edition(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """An empty database of each edition, with the extension where the server has it."""
    engine = sa.create_engine(make_database(named_server(request), like=with_buckets))
    yield engine
    engine.dispose()


@pytest.fixture
def community(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """A database of the Community edition."""
    engine = sa.create_engine(make_database(timescaledb_server, like=with_extension))
    with engine.connect() as connection:
        if detect(connection) != COMMUNITY:
            pytest.skip("the server has the Apache edition")
    yield engine
    engine.dispose()
