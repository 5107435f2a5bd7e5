"""One run at a time: a lock that ends with the session, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import Connection

from database.errors import FleetSchemaError


@contextmanager
def alone(connection: Connection, what: str, otherwise: FleetSchemaError) -> Iterator[None]:
    """Hold the advisory lock named ``what`` on this database.

    Raises:
        FleetSchemaError: ``otherwise``, where another session holds it.
    """
    key = {"key": what}
    with connection.begin():
        take = sa.text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))")
        if not connection.scalar(take, key):
            raise otherwise
    try:
        yield
    finally:
        if not connection.closed and not connection.invalidated:
            connection.rollback()
            free = sa.text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))")
            connection.execute(free, key)
            connection.commit()
