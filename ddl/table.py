"""Tables and columns: read from the catalog, evolved by Alembic's own operations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection

from ddl import sql
from ddl.base import DDLOperation, Key, State

# --- declare: the models' own Table and Column -----------------------------------------------


@dataclass(frozen=True)
class TableState(State):
    """What a table is besides its columns.

    ``options`` are its storage parameters, ``partition_by`` is ``RANGE (at)`` or the like.
    """

    kind: ClassVar[str] = "table"

    name: str
    unlogged: bool = False
    options: tuple[str, ...] = ()
    comment: str | None = None
    partition_by: str | None = None
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def key(self) -> Key:
        """(schema, name)."""
        return (self.schema, self.name)

    @property
    def relation(self) -> Key | None:
        """The table itself."""
        return self.key


@dataclass(frozen=True)
class ColumnState(State):
    """One column in PostgreSQL's spelling; ``generated`` is its expression and STORED."""

    kind: ClassVar[str] = "column"
    positional: ClassVar[tuple[str, ...]] = ("table", "name")

    table: str
    name: str
    type: str = "text"
    collation: str | None = None
    not_null: bool = False
    default: str | None = None
    generated: str | None = None
    identity: str | None = None
    comment: str | None = None
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def key(self) -> Key:
        """(schema, table, name)."""
        return (self.schema, self.table, self.name)

    @property
    def relation(self) -> Key | None:
        """The table of the column."""
        return (self.schema, self.table)


# --- operate: what Alembic has no words for --------------------------------------------------


@Operations.register_operation("set_table_options")
class TableOptionsOperation(DDLOperation):
    """SET LOGGED or UNLOGGED, and storage parameters such as ``fillfactor=90``."""

    noun = "table_options"
    verb = "set_table_options"

    @classmethod
    def set_table_options(
        cls,
        operations: Operations,
        table: str,
        *,
        unlogged: bool | None = None,
        set: Mapping[str, str] | None = None,  # noqa: A002 (a revision reads like SQL)
        reset: Sequence[str] = (),
        schema: str = "public",
    ) -> None:
        """Bring a table to the given persistence (None leaves it) and parameters."""
        given = tuple(f"{key}={value}" for key, value in (set or {}).items())
        before = TableState(
            table,
            unlogged=unlogged is False,
            options=tuple(f"{key}=" for key in reset),
            schema=schema,
        )
        after = replace(before, unlogged=unlogged is True, options=given)
        operations.invoke(cls(before, after))

    @property
    def is_removal(self) -> bool:
        """A setting is no removal, but of no use where the table goes anyway."""
        return True

    def _difference(self) -> tuple[dict[str, str], list[str]]:
        before = dict(option.split("=", 1) for option in self.before.options)
        after = dict(option.split("=", 1) for option in self.after.options)
        changed = {key: value for key, value in after.items() if before.get(key) != value}
        return changed, sorted(before.keys() - after.keys())

    def arguments(self) -> tuple[list[object], dict[str, object]]:
        """Only what changes."""
        changed, gone = self._difference()
        keywords: dict[str, object] = {}
        if self.before.unlogged != self.after.unlogged:
            keywords["unlogged"] = self.after.unlogged
        if changed:
            keywords["set"] = changed
        if gone:
            keywords["reset"] = gone
        if self.after.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = self.after.schema
        return [self.after.name], keywords

    def statements(self) -> list[str]:
        """Up to three ALTER TABLE."""
        table = f"ALTER TABLE {sql.qualified(self.after.schema, self.after.name)}"
        changed, gone = self._difference()
        found = []
        if self.before.unlogged != self.after.unlogged:
            found.append(f"{table} SET {'UNLOGGED' if self.after.unlogged else 'LOGGED'}")
        if changed:
            found.append(f"{table} SET ({', '.join(f'{k} = {v}' for k, v in changed.items())})")
        if gone:
            found.append(f"{table} RESET ({', '.join(gone)})")
        return found


@Operations.register_operation("alter_column_type")
class ColumnTypeOperation(DDLOperation):
    """ALTER COLUMN … TYPE … USING: a cast that is written works in both directions."""

    noun = "column_type"
    verb = "alter_column_type"

    @classmethod
    def alter_column_type(
        cls,
        operations: Operations,
        table: str,
        column: str,
        type_: str,
        *,
        collation: str | None = None,
        schema: str = "public",
    ) -> None:
        """Change the type (in PostgreSQL's spelling) or collation of a column."""
        state = ColumnState(table, column, type_, collation, schema=schema)
        operations.invoke(cls(state, state))

    def arguments(self) -> tuple[list[object], dict[str, object]]:
        """Table, column and type."""
        state: ColumnState = self.after
        keywords: dict[str, object] = {}
        if state.collation:
            keywords["collation"] = state.collation
        if state.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = state.schema
        return [state.table, state.name, state.type], keywords

    def statements(self) -> list[str]:
        """One ALTER TABLE."""
        state: ColumnState = self.after
        name = sql.ident(state.name)
        collate = f" COLLATE {state.collation}" if state.collation else ""
        return [
            (
                f"ALTER TABLE {sql.qualified(state.schema, state.table)} ALTER COLUMN {name}"
                f" TYPE {state.type}{collate} USING {name}::{state.type}"
            )
        ]


@Operations.register_operation("alter_column_identity")
class ColumnIdentityOperation(DDLOperation):
    """Give, take or change IDENTITY; the sequence goes on counting where it is kept."""

    noun = "column_identity"
    verb = "alter_column_identity"

    @classmethod
    def alter_column_identity(
        cls,
        operations: Operations,
        table: str,
        column: str,
        identity: str | None,
        *,
        before: str | None = None,
        schema: str = "public",
    ) -> None:
        """``identity`` is ``ALWAYS`` or ``BY DEFAULT`` and all options of the sequence."""
        was = ColumnState(table, column, identity=before, schema=schema)
        operations.invoke(cls(was, replace(was, identity=identity)))

    def arguments(self) -> tuple[list[object], dict[str, object]]:
        """Table, column and what it becomes; ``before`` decides between ADD and SET."""
        state: ColumnState = self.after
        keywords: dict[str, object] = {}
        if self.before.identity is not None:
            keywords["before"] = self.before.identity
        if state.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = state.schema
        return [state.table, state.name, state.identity], keywords

    def statements(self) -> list[str]:
        """One ALTER TABLE."""
        state: ColumnState = self.after
        table = sql.qualified(state.schema, state.table)
        alter = f"ALTER TABLE {table} ALTER COLUMN {sql.ident(state.name)}"
        if state.identity is None:
            return [f"{alter} DROP IDENTITY"]
        kind = "ALWAYS" if state.identity.startswith("ALWAYS") else "BY DEFAULT"
        options = state.identity.removeprefix(kind).strip()
        if self.before.identity is None:
            return [f"{alter} ADD GENERATED {kind} AS IDENTITY ({options})"]
        changed = " ".join(f"SET {option}" for option in _SEQUENCE_OPTION.findall(options))
        return [f"{alter} SET GENERATED {kind} {changed}"]


_SEQUENCE_OPTION = re.compile(r"NO CYCLE|[A-Z]+(?: -?\d+)?")


# --- reflect ---------------------------------------------------------------------------------

_TABLES = sa.text("""
SELECT n.nspname AS schema, c.relname AS name, c.relpersistence = 'u' AS unlogged,
       coalesce(c.reloptions, '{}') AS options, obj_description(c.oid, 'pg_class') AS comment,
       pg_get_partkeydef(c.oid) AS partition_by
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind IN ('r', 'p')
   AND NOT c.relispartition
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                      AND e.objid = c.oid AND e.deptype = 'e')
""")

_COLUMNS = sa.text("""
SELECT n.nspname AS schema, c.relname AS table, a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attcollation <> t.typcollation
            THEN quote_ident(l.collname) END AS collation,
       a.attnotnull AS not_null,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default,
       CASE a.attgenerated WHEN 's' THEN pg_get_expr(d.adbin, d.adrelid) || ' STORED'
                           WHEN 'v' THEN pg_get_expr(d.adbin, d.adrelid) || ' VIRTUAL'
       END AS generated,
       CASE WHEN a.attidentity <> '' THEN
            CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END
            || format(' START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s%s CYCLE', s.seqstart,
                      s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                      CASE WHEN NOT s.seqcycle THEN ' NO' END) END AS identity,
       col_description(c.oid, a.attnum) AS comment
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_collation l ON l.oid = a.attcollation
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_depend i ON i.classid = 'pg_class'::regclass AND i.deptype = 'i'
        AND i.refclassid = 'pg_class'::regclass AND i.refobjid = a.attrelid
        AND i.refobjsubid = a.attnum AND a.attidentity <> ''
  LEFT JOIN pg_sequence s ON s.seqrelid = i.objid
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind IN ('r', 'p')
   AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY n.nspname, c.relname, a.attnum
""")


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Tables and columns of ``schemas``; partitions belong to their parent."""
    parameters = {"schemas": list(schemas)}
    tables = connection.execute(_TABLES, parameters).mappings()
    columns = connection.execute(_COLUMNS, parameters).mappings()
    found: list[State] = [
        TableState(**{**row, "options": tuple(sorted(row["options"]))}) for row in tables
    ]
    return found + [ColumnState(**row) for row in columns]
