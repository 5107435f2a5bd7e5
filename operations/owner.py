"""Connections of the database's owner, which do not go through a pooler."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from database.engine import make_engine
from database.errors import FleetSchemaError
from database.readiness import wait_until_ready
from database.settings import Settings, backup_url, migration_url
from database.tenancy import ANY_LOGIN
from database.urls import describe
from models.shared.base import TIMESERIES
from operations.access.context import OwnersKey
from operations.lock_waits import LOCK_TIMEOUT, limit_waits


@contextmanager
def owner_engine() -> Iterator[Engine]:
    """An engine without a pool on the migration URL, as soon as the server answers.

    None of its statements waits for a lock without end: see `operations.lock_waits`.
    """
    with _engine_on(migration_url()) as engine:
        yield engine


@contextmanager
def backup_engine(database: str | None = None) -> Iterator[Engine]:
    """The same on the URL of backups, of a superuser where there is one.

    Args:
        database: another one of that server.
    """
    url = backup_url()
    with _engine_on(url if database is None else url.set(database=database)) as engine:
        yield engine


@contextmanager
def on_database(name: str) -> Iterator[None]:
    """Owner and revisions work on another database of the same server meanwhile."""
    url = migration_url().set(database=name).render_as_string(hide_password=False)
    before = os.environ.get(_OWNERS_URL)
    os.environ[_OWNERS_URL] = url
    try:
        yield
    finally:
        os.environ.pop(_OWNERS_URL)
        if before is not None:
            os.environ[_OWNERS_URL] = before


_OWNERS_URL = "MIGRATION_DATABASE_URL"


@contextmanager
def _engine_on(url: sa.URL) -> Iterator[Engine]:
    settings = Settings()
    wait_until_ready(url, settings.database_wait_timeout)
    engine = make_engine(
        url,
        settings=settings,
        poolclass=sa.NullPool,
        connect_args={"application_name": "fleetschema operations"},
        # The owner fills a tenant of the demo as its application would.
        execution_options={ANY_LOGIN: True},
    )
    # Of the database itself: the owner's tokens are good in every one, and need no file.
    engine.update_execution_options(context_key=OwnersKey(engine))
    limit_waits(engine)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def maintained_database() -> Iterator[Engine]:
    """The same, for work on our tables that only their owner can do.

    Raises:
        OwnerError: the database has no such tables, or they are another role's.
    """
    with owner_engine() as engine:
        with engine.connect() as connection:
            found = connection.execute(_OWNER, {"schema": TIMESERIES}).one()
        where = f"database {engine.url.database} at {describe(engine.url)}"
        if found.owner is None:
            raise OwnerError(
                f"{where}: expected the tables of this project, found no schema {TIMESERIES}: "
                "correct MIGRATION_DATABASE_URL (without it DATABASE_URL counts), or run: alembic "
                "upgrade head"
            )
        if not found.may:
            raise OwnerError(
                f"{where}: expected a login that may act as the owner of the tables, "
                f"{found.owner}, found {found.login}: set MIGRATION_DATABASE_URL to the owner's URL"
            )
        yield engine


class OwnerError(FleetSchemaError):
    """Work for the owner of our tables cannot begin; the text says why."""


_OWNER = sa.text("""
    SELECT current_user AS login, n.nspowner::regrole::text AS owner,
           coalesce(pg_has_role(n.nspowner, 'USAGE'), false) AS may
      FROM (SELECT) AS one LEFT JOIN pg_namespace n ON n.nspname = :schema
""")


@contextmanager
def acting_as(engine: Engine, role: str) -> Iterator[Connection]:
    """A transaction in which the owner acts as ``role``.

    Forced row-level security hides the rows of every tenant from the owner, so they are read and
    changed as one of the roles that a policy names. Tenants can lock these rows, so no statement
    waits for them without end.
    """
    with engine.begin() as connection:
        connection.execute(_ACT, {"role": role, "wait": LOCK_TIMEOUT})
        yield connection


_ACT = sa.text("""
    SELECT set_config('search_path', 'public', true), set_config('role', :role, true),
           set_config('lock_timeout', CASE current_setting('lock_timeout')
                        WHEN '0' THEN :wait ELSE current_setting('lock_timeout') END, true)
""")


@contextmanager
def within_role(connection: Connection, role: str) -> Iterator[None]:
    """Act as ``role`` for a part of the connection's transaction, as :func:`acting_as`.

    After an error the role stays, until the transaction or savepoint is rolled back.
    """
    before = connection.scalar(sa.text("SELECT current_setting('role')"))
    connection.execute(_TAKE_ROLE, {"role": role})
    yield
    connection.execute(_TAKE_ROLE, {"role": before})


_TAKE_ROLE = sa.text("SELECT set_config('role', :role, true)")
