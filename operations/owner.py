"""Connections of the database's owner, which do not go through a pooler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from database.engine import make_engine
from database.readiness import wait_until_ready
from database.settings import Settings, migration_url
from ddl.sql import ident


@contextmanager
def owner_engine() -> Iterator[Engine]:
    """An engine without a pool on the migration URL, as soon as the server answers."""
    settings = Settings()
    url = migration_url(settings)
    wait_until_ready(url, settings.database_wait_timeout)
    engine = make_engine(
        url,
        settings=settings,
        poolclass=sa.NullPool,
        connect_args={"application_name": "fleetschema operations"},
    )
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def acting_as(engine: Engine, role: str) -> Iterator[Connection]:
    """A transaction in which the owner acts as ``role``.

    Forced row-level security hides the rows of every tenant from the owner, so they are read and
    changed as one of the roles that a policy names.
    """
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL search_path = public"))
        connection.execute(sa.text(f"SET LOCAL ROLE {ident(role)}"))
        yield connection
