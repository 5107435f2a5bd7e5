"""NOT NULL on tables with rows: what of a revision fails where there are any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from alembic import util
from alembic.operations import ops
from alembic.operations.ops import MigrateOperation
from sqlalchemy import Connection

from ddl import sql
from ddl.base import Key
from ddl.source import NOTES

COUNTED = 100_000
"""Rows up to which they are counted; it must not take long."""


@dataclass(frozen=True)
class Demand:
    """An operation after which every row of ``table`` needs a value in ``column``.

    ``added`` is true where the column is new, so that no row can have one.
    """

    operation: MigrateOperation
    table: Key
    column: str
    added: bool


def demands(operations: Sequence[MigrateOperation]) -> Iterator[Demand]:
    """The operations that set NOT NULL without giving a value."""
    added: set[tuple[Key, str]] = set()
    for operation in operations:
        if isinstance(operation, ops.AddColumnOp):
            key, name = _table(operation), str(operation.column.name)
            if operation.column.server_default is None and operation.column.identity is None:
                added.add((key, name))
            if _is_required(operation.column):
                yield Demand(operation, key, name, True)
        elif isinstance(operation, ops.AlterColumnOp) and operation.modify_nullable is False:
            key, name = _table(operation), operation.column_name
            yield Demand(operation, key, name, (key, name) in added)


def _table(operation: Any) -> Key:
    return (operation.schema or sql.DEFAULT_SCHEMA, operation.table_name)


def _is_required(column: sa.Column[Any]) -> bool:
    """True where a row must have a value and gets none by itself."""
    table = getattr(column, "table", None)
    serial = table is not None and table.autoincrement_column is column
    given = column.server_default is not None or column.identity is not None or serial
    return not column.nullable and not given


def note(operations: Sequence[MigrateOperation]) -> None:
    """Say above each addition that it fails where the table has rows, there or elsewhere."""
    for demand in demands(operations):
        if demand.added:
            line = (
                f"# fails where {'.'.join(demand.table)} has rows:"
                f" {demand.column} is NOT NULL without a default"
            )
            info = demand.operation.info
            info[NOTES] = [*info.get(NOTES, []), line]


def refuse(
    operations: Sequence[MigrateOperation], connection: Connection, reader: str | None
) -> None:
    """Refuse an upgrade that would fail on the rows of the database at hand.

    Args:
        reader: the role that sees all rows where row-level security hides them from the owner.

    Raises:
        alembic.util.CommandError: rows lack a value, with how many and what to do.
    """
    for demand in demands(operations):
        found = _rows(connection, demand, reader)
        if not found:
            continue
        more = "more than " if found > COUNTED else ""
        count = f"{more}{min(found, COUNTED):,} row{'' if found == 1 else 's'}"
        table, column = ".".join(demand.table), sql.ident(demand.column)
        if demand.added:
            raise util.CommandError(
                f"column {table}.{demand.column}: it is new and NOT NULL without a default, and"
                f" {table} has {count} without a value for it; declare a server_default, or declare"
                " the column nullable, fill it, and make it NOT NULL in a later revision (see"
                " docs/adding-a-table.md, NOT NULL on a busy table)"
            )
        raise util.CommandError(
            f"column {table}.{demand.column}: expected NOT NULL, found {count} without a value;"
            f" give them one first, in a revision before this one or by hand: UPDATE"
            f" {sql.qualified(*demand.table)} SET {column} = … WHERE {column} IS NULL"
        )


_IS_HIDDEN = sa.text("SELECT row_security_active(CAST(to_regclass(:table) AS oid))")


def _rows(connection: Connection, demand: Demand, reader: str | None) -> int:
    """How many rows lack a value, up to one more than COUNTED; 0 if that cannot be known."""
    table = ".".join(sql.ident(part) for part in demand.table)
    where = "" if demand.added else f" WHERE {sql.ident(demand.column)} IS NULL"
    attempt = connection.begin_nested()
    try:
        if reader is not None and connection.scalar(_IS_HIDDEN, {"table": table}):
            sql.send(connection, f"SET LOCAL ROLE {sql.ident(reader)}")
        query = f"SELECT count(*) FROM (SELECT FROM {table}{where} LIMIT {COUNTED + 1}) counted"
        found: int = connection.exec_driver_sql(
            query, execution_options={"no_parameters": True}
        ).scalar_one()
    except sa.exc.DBAPIError:
        # A table or column that another name had so far, or rows that nobody may read.
        found = 0
    finally:
        # The role, too, goes with the savepoint.
        attempt.rollback()
    return found
