"""Engines without a pool, so that nothing stays connected to a database that is to be dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from database.tenancy import ANY_LOGIN
from tests.support import context


@contextmanager
def engine_of(url: str | sa.URL, **options: Any) -> Iterator[Engine]:
    """An engine for a database; ``options`` go to `sqlalchemy.create_engine`.

    The server's superuser may act for a tenant: a test about logins makes one.
    """
    options.setdefault("execution_options", {ANY_LOGIN: True, **context.options()})
    engine = sa.create_engine(url, poolclass=sa.NullPool, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def execute(url: str | sa.URL, statement: str) -> None:
    """Run a statement, or several, outside of a transaction: what CREATE DATABASE needs."""
    with (
        engine_of(url, isolation_level="AUTOCOMMIT") as engine,
        engine.connect() as connection,
    ):
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
