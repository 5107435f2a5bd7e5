"""An owner that is not a superuser, for a database that a superuser created."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import Connection

from database import privileges, roles
from ddl.sql import send
from models.shared.roles import ROLE_NAMES
from tests.support.engines import engine_of


@contextmanager
def plain_owner(database: str) -> Iterator[str]:
    """The URL of a new login that owns the database and everything in it, as the runner requires.

    It may SET ROLE to our roles; afterwards it is gone and its things are the superuser's.
    """
    name, password = f"owner_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    url = sa.make_url(database)
    with engine_of(database) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
            let_take_roles(connection, name)
            connection.exec_driver_sql(f'ALTER DATABASE "{url.database}" OWNER TO {name}')
            send(connection, _handed_over(name))
            privileges.apply(connection)
        yield url.set(username=name, password=password).render_as_string(hide_password=False)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")


def let_take_roles(connection: Connection, name: str) -> None:
    """Let ``name`` SET ROLE to ours, and inherit nothing."""
    if connection.dialect.server_version_info >= (16,):  # type: ignore[operator]
        granted = f"GRANT {', '.join(ROLE_NAMES)} TO {name} WITH SET TRUE, INHERIT FALSE"
    else:
        granted = roles.bridged(name, exists=roles.has_bridge(connection))
    send(connection, granted)


def _handed_over(name: str) -> str:
    """REASSIGN OWNED does nothing for the superuser who created the cluster."""
    return f"""
        DO $$
        DECLARE thing record;
        BEGIN
          FOR thing IN SELECT c.oid::regclass AS name FROM pg_class c
                        WHERE relnamespace::regnamespace::text
                              IN ('public', 'timeseries', 'signing', 'across')
                          AND relkind IN ('r', 'v') LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO {name}', thing.name);
          END LOOP;
          ALTER SCHEMA timeseries OWNER TO {name};
          ALTER SCHEMA signing OWNER TO {name};
          ALTER SCHEMA across OWNER TO {name};
          FOR thing IN SELECT p.oid::regprocedure AS name FROM pg_proc p
                        WHERE pronamespace::regnamespace::text
                              IN ('public', 'signing', 'across') LOOP
            EXECUTE format('ALTER FUNCTION %s OWNER TO {name}', thing.name);
          END LOOP;
        END $$
    """
