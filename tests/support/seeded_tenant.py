"""A tenant in a database with reference data, and statements as the roles that services have."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine

from database.tenancy import OPERATOR, take_role, tenant_transaction

OWNER = uuid.UUID(int=0x0E)


def provision(engine: Engine, slug: str) -> uuid.UUID:
    """A tenant of the tier growth, which OWNER owns."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO users (id, email) VALUES ('{OWNER}', 'ann@acme.example')"
            " ON CONFLICT DO NOTHING"
        )
        take_role(connection, OPERATOR, None)
        made = connection.exec_driver_sql(
            f"SELECT provision_tenant('{slug}', '{slug}', '{OWNER}', 'growth')"
        )
        return uuid.UUID(str(made.scalar_one()))


def run(engine: Engine, tenant: uuid.UUID, *statements: str) -> list[Any]:
    """As fleet_app; the rows of the last statement."""
    with tenant_transaction(engine, tenant) as connection:
        return execute(connection, *statements)


def execute(connection: Connection, *statements: str) -> list[Any]:
    """The rows of the last statement."""
    rows: list[Any] = []
    for statement in statements:
        result = connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        rows = list(result) if result.returns_rows else []
    return rows


def operate(engine: Engine, *statements: str) -> list[Any]:
    """As fleet_operator."""
    with engine.begin() as connection:
        take_role(connection, OPERATOR, None)
        return execute(connection, *statements)


def one(rows: list[Any]) -> Any:
    """The value of a result with one row and one column."""
    [[value]] = rows
    return value


@contextmanager
def waiting_behind(
    engine: Engine, tenant: uuid.UUID, first: str, second: str
) -> Iterator[Future[list[Any]]]:
    """Two sessions: ``first`` is not committed yet when ``second`` begins; yields the second."""
    with ThreadPoolExecutor(1) as pool:
        # A tenant sees no locks; the engine is the owner's.
        with tenant_transaction(engine, tenant) as connection, engine.connect() as owner:
            execute(connection, first)
            other = pool.submit(run, engine, tenant, second)
            blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            deadline = time.monotonic() + 20
            while one(execute(owner, blocked)) == 0:
                assert not other.done(), "the second session did not wait for the first"
                assert time.monotonic() < deadline
        yield other


def heard(engine: Engine, channel: str, act: Callable[[], Any]) -> list[str]:
    """Payloads on a channel while ``act`` runs."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute(f"LISTEN {channel}")
        act()
        return [n.payload for n in listener.notifies(timeout=0.3)]
