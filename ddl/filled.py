"""NOT NULL and changed types on tables with rows: what of a revision fails where there are any."""

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
from ddl.columns import ColumnTypeOperation
from ddl.edition import COMMUNITY
from ddl.kinds.schema import SchemaOperation
from ddl.rename_operation import RenameOperation
from ddl.source import NOTES
from ddl.types import is_serial

COUNTED = 100_000
"""Rows up to which they are counted; it must not take long."""


@dataclass(frozen=True)
class Demand:
    """An operation after which each row of ``table`` needs a value in ``column``, or one that fits.

    ``added`` is true where the column is new, so that no row can have one. ``type`` is the new
    type where that is what changes, and ``using`` the value in it, if it is not assigned.
    """

    operation: MigrateOperation
    table: Key
    column: str
    added: bool = False
    type: str | None = None
    using: str | None = None

    @property
    def title(self) -> str:
        """``column public.items.m``."""
        return f"column {'.'.join(self.table)}.{sql.ident(self.column)}"


def demands(operations: Sequence[MigrateOperation]) -> Iterator[Demand]:
    """The operations that set NOT NULL without giving a value, or change a type."""
    added: set[tuple[Key, str]] = set()
    for operation in operations:
        if isinstance(operation, ops.AddColumnOp):
            key, name = _table(operation), str(operation.column.name)
            if not _is_given(operation.column):
                added.add((key, name))
            if _is_required(operation.column):
                yield Demand(operation, key, name, added=True)
        elif isinstance(operation, ops.AlterColumnOp):
            key, name = _table(operation), operation.column_name
            if operation.modify_type is not None:
                using = operation.kw.get("postgresql_using")
                spelled = sql.compiled(operation.modify_type)
                yield Demand(operation, key, name, type=spelled, using=using)
            if operation.modify_nullable is False:
                yield Demand(operation, key, name, added=(key, name) in added)
        elif isinstance(operation, ColumnTypeOperation) and not operation.there.always_fits:
            state = operation.state
            key, using = (state.schema, state.table), operation.there.using
            yield Demand(operation, key, state.name, type=state.type, using=using)


def _table(operation: Any) -> Key:
    return (operation.schema or sql.DEFAULT_SCHEMA, operation.table_name)


def _is_required(column: sa.Column[Any]) -> bool:
    """True where a row must have a value and gets none by itself."""
    return not column.nullable and not _is_given(column)


def _is_given(column: sa.Column[Any]) -> bool:
    """True where each row that is there gets a value."""
    by_default = column.server_default is not None or column.identity is not None
    return by_default or is_serial(column)


def note(operations: Sequence[MigrateOperation]) -> None:
    """Say above each of them that it fails where rows do not fit, there or elsewhere."""
    for demand in demands(operations):
        table, column = ".".join(demand.table), sql.ident(demand.column)
        if demand.added:
            why = f"{table} has rows: {column} is NOT NULL without a default"
        elif demand.type is not None:
            why = f"a value of {table}.{column} does not fit {demand.type}"
        else:
            continue
        info = demand.operation.info
        info[NOTES] = [*info.get(NOTES, []), f"# fails where {why}"]


def refuse(
    operations: Sequence[MigrateOperation],
    connection: Connection,
    reader: str | None,
    edition: str = COMMUNITY,
) -> None:
    """Refuse an upgrade that would fail on the rows of the database at hand.

    Args:
        reader: the role that sees all rows where row-level security hides them from the owner.

    Raises:
        alembic.util.CommandError: rows lack a value or have one that does not fit, with how many
            and what to do, a line for each column.
    """
    if not any(demands(operations)):
        return
    attempt = connection.begin_nested()
    try:
        # Renames come first: what follows knows the tables by their new names.
        for operation in operations:
            if isinstance(operation, RenameOperation | SchemaOperation) and operation.after:
                sql.send(connection, ";".join(operation.statements(edition)))
        found = list(refused(operations, connection, reader))
    finally:
        attempt.rollback()
    if found:
        raise util.CommandError("\n".join(found))


def refused(
    operations: Sequence[MigrateOperation], connection: Connection, reader: str | None
) -> Iterator[str]:
    """What of ``operations`` the rows of the database are in the way of, a line each."""
    for demand in demands(operations):
        found = _rows(connection, demand, reader)
        if not found:
            continue
        more = "more than " if found > COUNTED else ""
        count = f"{more}{min(found, COUNTED):,} row{'' if found == 1 else 's'}"
        table, column = ".".join(demand.table), sql.ident(demand.column)
        update = f"UPDATE {sql.qualified(*demand.table)} SET {column} = … WHERE"
        first = "first, in a revision before this one or by hand"
        if demand.added:
            yield (
                f"{demand.title}: it is new and NOT NULL without a default, and"
                f" {table} has {count} without a value for it; declare a server_default, or declare"
                " the column nullable, fill it, and make it NOT NULL in a later revision (see"
                " docs/adding-a-table.md, NOT NULL on a busy table)"
            )
        elif demand.type is not None:
            yield (
                f"{demand.title}: expected values that fit {demand.type}, found {count} whose value"
                f" does not; change them {first}: {update} …; or declare a type that holds them"
            )
        else:
            yield (
                f"{demand.title}: expected NOT NULL, found {count} without a value; give them one"
                f" {first}: {update} {column} IS NULL"
            )


_IS_HIDDEN = sa.text("SELECT row_security_active(CAST(to_regclass(:table) AS oid))")


def _rows(connection: Connection, demand: Demand, reader: str | None) -> int:
    """How many rows are in the way, up to one more than COUNTED; 0 if that cannot be known."""
    table = ".".join(sql.ident(part) for part in demand.table)
    attempt = connection.begin_nested()
    try:
        if reader is not None and connection.scalar(_IS_HIDDEN, {"table": table}):
            sql.send(connection, f"SET LOCAL ROLE {sql.ident(reader)}")
        if demand.type is not None:
            sql.send(connection, _assigning(table, demand.column, demand.type, demand.using))
            query = f"SELECT CAST(current_setting('{_MISFITS}') AS bigint)"
        else:
            where = "" if demand.added else f" WHERE {sql.ident(demand.column)} IS NULL"
            query = f"SELECT count(*) FROM (SELECT FROM {table}{where} LIMIT {COUNTED + 1}) counted"
        found: int = connection.exec_driver_sql(
            query, execution_options={"no_parameters": True}
        ).scalar_one()
    except sa.exc.DBAPIError:
        # A table, column or type that is not there yet, or rows that nobody may read.
        found = 0
    finally:
        # The role, too, goes with the savepoint.
        attempt.rollback()
    return found


_MISFITS = "fleetschema.misfits"


def _assigning(table: str, column: str, type_: str, using: str | None) -> str:
    """Assigns every value to a variable of the new type, as ALTER COLUMN … TYPE does.

    It leaves the number of those that are refused in a setting. The variable for the value is
    called like the column, as the expression knows it by that name.
    """
    name = '"' + column.replace('"', '""') + '"'
    body = f"""
<<counting>>
DECLARE
    misfits bigint := 0;
    fitting {type_};
BEGIN
    <<assigning>>
    DECLARE
        {name} {table}.{name}%TYPE;
    BEGIN
        FOR {name} IN SELECT counted.{name} FROM {table} counted LOOP
            BEGIN
                counting.fitting := {using or name};
            EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
                counting.misfits := counting.misfits + 1;
                EXIT assigning WHEN counting.misfits > {COUNTED};
            END;
        END LOOP;
    END assigning;
    PERFORM set_config('{_MISFITS}', counting.misfits::text, true);
END counting"""
    return f"DO {sql.dollar_quoted(body)}"
