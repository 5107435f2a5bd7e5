"""Two tenants with members, a site and devices; statements as their application."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import tenant_transaction

ACME, GLOBEX = uuid.UUID(int=0xA), uuid.UUID(int=0xB)
ANN, BOB, EVE = uuid.UUID(int=0xA1), uuid.UUID(int=0xA2), uuid.UUID(int=0xE)
SITE = uuid.UUID(int=0x51)

PEOPLE = f"""
    INSERT INTO tenants (tenant_id, slug, name)
    VALUES ('{ACME}', 'acme', 'Acme'), ('{GLOBEX}', 'globex', 'Globex');
    INSERT INTO users (id, email, display_name)
    VALUES ('{ANN}', 'ann@acme.test', 'Ann'), ('{BOB}', 'bob@acme.test', 'Bob'),
           ('{EVE}', 'eve@globex.test', 'Eve');
    INSERT INTO tenant_members (tenant_id, user_id, status, is_owner, joined_at)
    VALUES ('{ACME}', '{ANN}', 'active', true, now()), ('{ACME}', '{BOB}', 'active', false, now()),
           ('{GLOBEX}', '{EVE}', 'active', true, now());
    INSERT INTO sites (tenant_id, site_id, name)
    VALUES ('{ACME}', '{SITE}', 'Plant'), ('{GLOBEX}', '{SITE}', 'Plant');
    INSERT INTO device_registry (tenant_id, device_id, site_id, device_type)
    VALUES ('{ACME}', 'pump', '{SITE}', 'pump'), ('{ACME}', 'lamp', NULL, 'lamp'),
           ('{GLOBEX}', 'pump', '{SITE}', 'pump');
"""


def populate(engine: Engine) -> None:
    """Two tenants with members, a site and devices of the same names."""
    with engine.begin() as connection:
        connection.exec_driver_sql(PEOPLE)


@contextmanager
def operator(engine: Engine) -> Iterator[Connection]:
    """A transaction of a worker of the platform: no tenant, all rows."""
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
        yield connection


def rows(connection: Connection, query: str, **values: Any) -> list[tuple[Any, ...]]:
    """The rows of ``query`` as plain tuples."""
    return [tuple(row) for row in connection.execute(sa.text(query), values)]


def run(engine: Engine, statement: str, tenant: uuid.UUID = ACME, **values: Any) -> list[Any]:
    """``statement`` as the application of ``tenant``, committed; the rows that it returns."""
    with tenant_transaction(engine, tenant) as connection:
        result = connection.execute(sa.text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def rejected(engine: Engine, statement: str, tenant: uuid.UUID = ACME, **values: Any) -> str:
    """The SQLSTATE with which ``statement`` fails as the application of ``tenant``."""
    with pytest.raises(DBAPIError) as raised:
        run(engine, statement, tenant, **values)
    state: str = getattr(raised.value.orig, "sqlstate", "")
    return state


@contextmanager
def listener(engine: Engine, channel: str) -> Iterator[Any]:
    """A function that returns the payloads on ``channel`` since its last call."""
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(f"LISTEN {channel}")
        driver: Any = connection.connection.driver_connection
        yield lambda: [heard.payload for heard in driver.notifies(timeout=0.3)]


def second_of_two(
    engine: Engine, first: str, second: str, *, commit: bool = True
) -> list[Any] | DBAPIError:
    """The result of ``second`` when it has to wait for ``first`` to end, or its error.

    Both run as the application of Acme, each in a session of its own.
    """

    def later() -> list[Any] | DBAPIError:
        try:
            return run(engine, second)
        except DBAPIError as error:
            return error

    with ThreadPoolExecutor(1) as pool:
        opened = tenant_transaction(engine, ACME)
        connection = opened.__enter__()
        try:
            connection.execute(sa.text(first))
            waiting = pool.submit(later)
            _until_a_session_waits(engine)
            assert not waiting.done()
            if not commit:
                connection.execute(sa.text("ROLLBACK"))
        finally:
            opened.__exit__(None, None, None)
        return waiting.result(timeout=30)


def sqlstate(outcome: list[Any] | DBAPIError) -> str | None:
    """The SQLSTATE of an error, None where there was none."""
    return getattr(outcome.orig, "sqlstate", "") if isinstance(outcome, DBAPIError) else None


def _until_a_session_waits(engine: Engine) -> None:
    query = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    for _ in range(200):
        with engine.connect() as connection:
            if connection.scalar(query):
                return
        time.sleep(0.05)
    raise AssertionError("the second session did not wait for the first")
