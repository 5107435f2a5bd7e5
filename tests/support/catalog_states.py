"""The whole catalog as the states of ``ddl``, for comparing before and after.

Faster and easier to read than ``tests.support.snapshot``, which does not depend on ``ddl``.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from ddl.catalog import read


def catalog_states(engine: Engine) -> dict[str, Any]:
    """All objects of all schemas but the system's: kind to key to state."""
    with engine.connect() as connection:
        return catalog_states_in(connection)


def catalog_states_in(connection: Connection) -> dict[str, Any]:
    """The same, as seen by the connection's transaction."""
    with connection.begin_nested() as savepoint:
        connection.execute(sa.text("SET LOCAL search_path = pg_catalog"))
        schemas = connection.scalars(
            sa.text(
                """SELECT nspname::text FROM pg_namespace
                    WHERE nspname !~ '^(pg_|information_|_?timescaledb_)'"""
            )
        )
        catalog = read(connection, list(schemas))
        savepoint.rollback()
    found: dict[str, Any] = {}
    for state in catalog.states():
        found.setdefault(state.kind, {})[state.key] = state
    return found


def unequal_states(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What differs between two catalogs, a line per object."""
    return [
        f"{kind} {key}: expected {expected.get(kind, {}).get(key)}, found {found[kind].get(key)}"
        for kind in sorted(found.keys() | expected.keys())
        for key in sorted(found.setdefault(kind, {}).keys() | expected.get(kind, {}).keys())
        if found[kind].get(key) != expected.get(kind, {}).get(key)
    ]
