"""Columns with values that belong to a JSON column of the same table.

Such a column has what was taken out of the JSON, to be asked faster; whoever reads the row finds it
in either place. So it is never dropped with its values: within the transaction of the revision
they go back into the JSON first. That holds in both directions, where the column is no longer
declared and in the downgrade of its ADD COLUMN.

The last sentence of the column's comment says which they are (:func:`comment_of`), since the
database has to know it when no model does any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from alembic.operations import Operations

from ddl import sql
from ddl.base import Key, Operation, State
from ddl.edition import COMMUNITY, suffices
from ddl.risk import Risk

_AT_ONCE = 50  # pairs: PostgreSQL takes 100 arguments


def comment_of(into: str, comment: str) -> str:
    """The comment of a column that has values of the JSON column ``into``."""
    return f"{comment} Its value is here or in {sql.ident(into)}."


def json_of(comment: str | None) -> str | None:
    """The JSON column to which the values of a column belong; None if it has its own."""
    match = _OF_JSON.search(comment or "")
    return sql.unquoted(match[1]) if match is not None else None


_OF_JSON = re.compile(rf"(?:^|\s)Its value is here or in ({sql.IDENT})\.$")


# --- the SQL ------------------------------------------------------------------------------------


def merged(columns: Sequence[str], json: str, row: str = "") -> str:
    """The expression ``json`` with the values of the columns in it; they win where both have one.

    Args:
        row: what stands before the name of each column: ``t.``.
    """
    parts = [json]
    for first in range(0, len(columns), _AT_ONCE):
        pairs = ", ".join(
            f"{sql.literal(name)}, {row}{sql.quoted(name)}"
            for name in columns[first : first + _AT_ONCE]
        )
        parts.append(f"jsonb_strip_nulls(jsonb_build_object({pairs}))")
    return " || ".join(parts)


def moving(columns: Sequence[str], into: str) -> tuple[str, str]:
    """SET and WHERE of the UPDATE that moves values of the columns back into the JSON."""
    json = sql.ident(into)
    value = merged(columns, f"coalesce({json}, '{{}}')")
    emptied = [f"{sql.ident(name)} = NULL" for name in columns]
    return (
        ", ".join([f"{json} = {value}", *emptied]),
        " OR ".join(f"{sql.ident(name)} IS NOT NULL" for name in columns),
    )


# --- operate ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JsonValuesState(State):
    """Columns of one table that have values of its JSON column ``into``."""

    kind: ClassVar[str] = "values"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "table")
    positional: ClassVar[tuple[str, ...]] = ("table", "columns")

    table: str = ""
    columns: tuple[str, ...] = ()
    into: str = ""
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The table."""
        return self.key


@Operations.register_operation("move_into_json")
class MoveIntoJson(Operation[JsonValuesState]):
    """Moves values of columns into the JSON column, before the columns are dropped.

    The reverse does nothing: a column that was added is empty, and values in the JSON are found.
    """

    verb = "move_into_json"

    @classmethod
    def move_into_json(
        cls,
        operations: Operations,
        table: str,
        columns: Sequence[str],
        *,
        into: str,
        schema: str = "public",
    ) -> None:
        """Put what the columns of a table hold into its JSON column, by their names.

        Rows without a value in any of them are not written, nor chunks without such a row. A
        chunk that is compressed is compressed again afterwards.

        Args:
            into: a column of the type jsonb.
        """
        operations.invoke(cls(JsonValuesState(table, tuple(columns), into, schema=schema), None))

    def effect(self) -> tuple[Risk, str]:
        """Nothing is lost, but it may take long, and the table is locked from its beginning."""
        if self.after is not None:
            return Risk.SAFE, ""
        return Risk.BLOCKING, f"locked while values are moved into {self.state.into}"

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """As ``op.move_into_json`` takes them."""
        state = self.state
        keywords = {"into": state.into}
        if state.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = state.schema
        return [state.table, list(state.columns)], keywords

    def create(self, state: JsonValuesState, edition: str) -> list[str]:
        """Nothing."""
        return []

    def drop(self, state: JsonValuesState, edition: str) -> list[str]:
        """One statement; a server without a columnstore writes the table as a whole."""
        assignments, condition = moving(state.columns, state.into)
        table = sql.qualified(state.schema, state.table)
        body = _WHOLE
        if suffices(edition, COMMUNITY):
            body = _CHUNKS + _WHOLE.replace("\n", "\n    ") + "\n    END IF;"
        values = {
            "table": table,
            "relation": f"({sql.literal(state.schema)}, {sql.literal(state.table)})",
            "whole": sql.literal(f"UPDATE {table} SET {assignments} WHERE {condition}"),
            "present": _formatted("SELECT EXISTS (SELECT FROM %s WHERE %s)", condition),
            "update": _formatted(f"UPDATE %s SET {_twice(assignments)} WHERE %s", condition),
        }
        body = _BODY.replace("{body}", body).format(**values)
        return [f"DO {sql.dollar_quoted(body)}"]


def _twice(text: str) -> str:
    return text.replace("%", "%%")


def _formatted(template: str, condition: str) -> str:
    """A call of format() that leaves the name of the chunk open."""
    return f"format({sql.literal(template)}, chunk.name, {sql.literal(condition)})"


# What names columns is executed as text, where none of them is taken for a variable. The lock is
# that of DROP COLUMN: without it a row that is written in between would lose its value; and whoever
# waits for a lock waits before the work. With row_security off, rows that are hidden from the
# owner are an error instead of a loss.
_BODY = """
DECLARE
    chunk record;
    present boolean;
    security CONSTANT text := current_setting('row_security');
BEGIN
    LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
    PERFORM set_config('row_security', 'off', true);{body}
    PERFORM set_config('row_security', security, true);
END
"""

_WHOLE = """
    EXECUTE {whole};"""

# Rollups are not told, since they have the same values before and after.
_CHUNKS = """
    IF EXISTS (SELECT FROM timescaledb_information.hypertables
                WHERE (hypertable_schema, hypertable_name) = {relation}) THEN
        PERFORM set_config('timescaledb.skip_cagg_invalidation', 'on', true);
        FOR chunk IN
            SELECT format('%I.%I', chunk_schema, chunk_name)::regclass AS name, is_compressed
              FROM timescaledb_information.chunks
             WHERE (hypertable_schema, hypertable_name) = {relation} ORDER BY range_start
        LOOP
            EXECUTE {present} INTO present;
            CONTINUE WHEN NOT present;
            IF chunk.is_compressed THEN
                PERFORM decompress_chunk(chunk.name);
            END IF;
            EXECUTE {update};
            IF chunk.is_compressed THEN
                PERFORM compress_chunk(chunk.name);
            END IF;
        END LOOP;
        PERFORM set_config('timescaledb.skip_cagg_invalidation', 'off', true);
    ELSE"""
