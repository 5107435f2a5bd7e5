"""Rows inserted, corrected and deleted so that a table agrees with the reference data.

Every function acts as fleet_operator inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects.postgresql import insert

from database.errors import FleetSchemaError

_PARTS = frozenset(
    {
        "role_template_permissions",
        "template_metrics",
        "template_commands",
        "template_slots",
        "template_slot_compat",
    }
)
"""Tables whose rows are deleted with the row that they are part of."""


class ReferenceDataError(FleetSchemaError):
    """The reference data cannot be applied, or not to every tenant; the text says why."""


def put(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str] = (),
    once: Collection[str] = (),
) -> int:
    """Insert the rows that are missing and correct those that differ.

    Columns that the rows do not name are left alone, and a row that is correct is not written.

    Args:
        key: the unique columns that identify a row; by default the primary key.
        once: columns that are set in new rows only; operators change them afterwards.

    Returns:
        The number of rows inserted or changed.

    Raises:
        ReferenceDataError: some of the rows are missing afterwards.
    """
    keys = list(key) or [column.name for column in table.primary_key]
    # None would be the JSON value null where the column is jsonb.
    values = [{n: sa.null() if v is None else v for n, v in row.items()} for row in rows]
    statement = insert(table).values(values)
    kept = [name for name in rows[0] if name not in keys and name not in once]
    if kept:
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=keys,
            set_={name: new[name] for name in kept},
            where=sa.tuple_(*(table.c[name] for name in kept)).is_distinct_from(
                sa.tuple_(*(new[name] for name in kept))
            ),
        )
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    changed = connection.execute(statement.returning(sa.literal(1))).all()
    keys_of_rows = [tuple(row[name] for name in keys) for row in rows]
    is_listed = _is_one_of(table, keys, keys_of_rows)
    found = connection.scalar(sa.select(sa.func.count()).where(is_listed))
    if found != len(rows):
        raise ReferenceDataError(
            f"table {table.name}: expected {len(rows)} rows of the reference data, found "
            f"{found}: row-level security hides or a trigger drops the others; run: alembic check"
        )
    return len(changed)


def delete_others(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    among: ColumnElement[bool],
) -> int:
    """Delete the rows ``among`` that are not in ``rows``, except those that others refer to.

    Returns:
        The number of rows deleted.
    """
    keys = [column.name for column in table.primary_key]
    keys_of_rows = [tuple(row[name] for name in keys) for row in rows]
    return delete(connection, table, among & ~_is_one_of(table, keys, keys_of_rows))


def delete(connection: Connection, table: Table, which: ColumnElement[bool]) -> int:
    """Delete rows with their parts, but none that anything else refers to; returns how many.

    Some foreign keys would delete rows of tenants as well, so this does not rely on them.
    """
    referred = [
        sa.exists().where(*(element.parent == element.column for element in constraint.elements))
        for other in table.metadata.tables.values()
        if other.name not in _PARTS
        for constraint in other.foreign_key_constraints
        if constraint.referred_table is table
    ]
    statement = sa.delete(table).where(which, *(~exists for exists in referred))
    return connection.execute(statement).rowcount


def _is_one_of(
    table: Table, keys: Sequence[str], values: Sequence[tuple[Any, ...]]
) -> ColumnElement[bool]:
    return sa.tuple_(*(table.c[name] for name in keys)).in_(values)
