"""A fresh database and the roles that the cases grant to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, NullPool

from tests.conftest import MakeDatabase
from tests.ddl.case import ROLES
from tests.servers import DatabaseServer


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


def make_roles(connection: sa.Connection) -> None:
    for role in ROLES:
        connection.execute(
            sa.text(
                f'DO $$ BEGIN CREATE ROLE "{role}"; EXCEPTION WHEN duplicate_object THEN NULL;'
                " END $$"
            )
        )


@pytest.fixture
def engine(server: DatabaseServer, make_database: MakeDatabase) -> Engine:
    """An empty database; who connects is a superuser."""
    return sa.create_engine(make_database(server), poolclass=NullPool)


@pytest.fixture
def owned(engine: Engine) -> Engine:
    """The same database for its owner, who is no superuser and bound by forced row security."""
    url = engine.url
    with engine.begin() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{url.database}" OWNER TO r_owner'))
        connection.execute(sa.text("ALTER SCHEMA public OWNER TO r_owner"))
        # It may become r_read, but without that no policy for r_read is one for the owner.
        connection.execute(sa.text("ALTER ROLE r_owner NOINHERIT"))
        connection.execute(sa.text("GRANT r_read TO r_owner"))
    owner = sa.create_engine(url, poolclass=NullPool)

    @sa.event.listens_for(owner, "connect")
    def become_owner(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        connection.autocommit = True
        connection.execute("SET SESSION AUTHORIZATION r_owner")
        connection.autocommit = False

    return owner
