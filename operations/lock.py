"""One run at a time: a lock that ends with the session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import Connection

from database.errors import FleetSchemaError


def is_usable(connection: Connection) -> bool:
    """Whether statements can follow; after Ctrl-C the driver may have closed the connection."""
    if connection.closed or connection.invalidated:
        return False
    driver = connection.connection.driver_connection
    return driver is not None and not driver.closed


@contextmanager
def exclusive_run(connection: Connection, name: str, busy: FleetSchemaError) -> Iterator[None]:
    """Hold the advisory lock ``name`` of this database.

    Raises:
        FleetSchemaError: ``busy``, if another session holds it.
    """
    key = {"key": name}
    with connection.begin():
        acquire = sa.text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))")
        if not connection.scalar(acquire, key):
            raise busy
    try:
        yield
    finally:
        if is_usable(connection):
            connection.rollback()
            release = sa.text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))")
            connection.execute(release, key)
            connection.commit()
