"""Columns: read from the catalog, added, altered and dropped by Alembic's own operations.

Their state and the operations that Alembic does not have are in :mod:`ddl.columns`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import util
from alembic.operations import ops
from sqlalchemy import Column, Connection

from ddl import sql, types
from ddl.base import Identity, Key, State
from ddl.casts import Cast, cast
from ddl.changes import Changes
from ddl.columns import ColumnIdentityOperation, ColumnState, ColumnTypeOperation
from ddl.json_values import JsonValuesState, MoveIntoJson, json_of
from ddl.kind import Kind
from ddl.kinds.columnstore import is_stored_by_column
from ddl.kinds.table import TableState
from ddl.plan import Entry, Phase, Plan
from ddl.reflected import Reflected

# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
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


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The columns of the tables of ``schemas``, in their order."""
    rows = connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    return [ColumnState(**row) for row in rows]


# --- compare ---------------------------------------------------------------------------------


def alterable(before: ColumnState, after: ColumnState) -> bool:
    """True where the column keeps its place."""
    return not before.is_remade_as(after)


def copy(state: ColumnState, _shadow: str) -> list[str]:
    """The default, or the column anew where it is generated."""
    table = f"ALTER TABLE {sql.qualified(state.schema, state.table)}"
    column = sql.ident(state.name)
    if state.generated is None:
        return [f"{table} ALTER COLUMN {column} SET DEFAULT {state.default}"]
    collate = f" COLLATE {state.collation}" if state.collation else ""
    expression, _, stored = state.generated.rpartition(" ")
    return [
        f"{table} DROP COLUMN {column}",
        (
            f"{table} ADD COLUMN {column} {state.type}{collate}"
            f" GENERATED ALWAYS AS ({expression}) {stored}"
        ),
    ]


def seeds(changes: Changes, kind: Kind[Any]) -> Iterator[Identity]:
    """Columns of tables that stay: dropped, recreated, or of another type."""
    before, after = changes.sides(ColumnState)
    tables = changes.target.of(TableState)
    for key in sorted(before):
        if key[:2] in tables:
            new = after.get(key)
            if new is None or before[key].is_retyped_as(new) or before[key].is_remade_as(new):
                yield (kind.name, key)


def compare(changes: Changes, plan: Plan, _kind: Kind[Any]) -> None:
    """Columns of tables that exist; those of a new table are in its CREATE TABLE."""
    reflected = Reflected(changes.connection, changes.current)
    before, after = changes.sides(TableState)
    for table in sorted(before.keys() & after.keys()):
        _Columns(changes, plan, table, reflected).compare()


class _Columns:
    """The columns of one table that stays."""

    def __init__(self, changes: Changes, plan: Plan, table: Key, reflected: Reflected) -> None:
        self.changes = changes
        self.plan = plan
        self.table = table
        self.reflected = reflected
        self.model = {one.name: one for one in changes.models[table].columns}
        self.schema = None if table[0] == sql.DEFAULT_SCHEMA else table[0]

    def compare(self) -> None:
        """Drop, add, then alter.

        To a table with a columnstore TimescaleDB adds no column that is NOT NULL without a default,
        even if it is empty, nor one whose default is no literal; that takes two steps, and so it
        does in the downgrade of a drop, for which no rows need be rewritten.
        """
        changes, plan = self.changes, self.plan
        before = self._by_name(changes.current)
        after = self._by_name(changes.target)
        again = {name for name in before if changes.is_recreated("column", (*self.table, name))}
        stepwise = is_stored_by_column(changes, self.table)
        drops: dict[str, Entry] = {}
        for name in sorted((before.keys() - after.keys()) | again):
            column = self.reflected.dropped_column(self.table, name)
            loosened = self._loosened(before[name], column) if stepwise else None
            if loosened is not None:
                column = column._copy()
                column.nullable = True
                if not before[name].has_constant_default:
                    column.server_default = None
            drop = ops.DropColumnOp.from_column_and_tablename(self.schema, self.table[1], column)
            dropped = plan.add(Phase.DROP_COLUMNS, drop, removes=[("column", (*self.table, name))])
            if loosened is not None:
                dropped.needs.add(plan.add(Phase.DROP_COLUMNS, loosened))
            drops[name] = dropped
        for into, names in _by_json(before, drops):
            move = MoveIntoJson(self._values(names, into), None)
            moved = plan.add(Phase.DROP_COLUMNS, move)
            for name in names:
                drops[name].needs.add(moved)
        adds: dict[str, Entry] = {}
        for name in [one for one in self.model if one not in before.keys() - again]:
            column = types.found_by_revisions(self.model[name], after[name].type)
            if after[name].default is not None and column.server_default is None:
                column = types.serial(column, after[name].type)
            required = stepwise and after[name].is_required
            if required:
                column = column._copy()
                column.nullable = True
            add = ops.AddColumnOp.from_column_and_tablename(self.schema, self.table[1], column)
            key = (*self.table, name)
            added = plan.add(Phase.ADD_COLUMNS, add, makes=[("column", key), ("default", key)])
            if required:
                tightened = self._alter(after[name], column, None, modify_nullable=False)
                plan.add(Phase.ADD_COLUMNS, tightened).needs.add(added)
            adds[name] = added
        for into, names in _by_json(after, adds):
            # For the downgrade.
            move = MoveIntoJson(None, self._values(names, into))
            plan.add(Phase.ADD_COLUMNS, move).needs.update(adds[name] for name in names)
        for name in sorted((before.keys() & after.keys()) - again):
            undefault = changes.is_recreated("default", (*self.table, name))
            if before[name] != after[name] or undefault:
                self._plan_column(plan, before[name], after[name], self.model[name], undefault)

    def _values(self, columns: Sequence[str], into: str) -> JsonValuesState:
        return JsonValuesState(self.table[1], tuple(columns), into, schema=self.table[0])

    def _by_name(self, side: Any) -> dict[str, ColumnState]:
        found = self.changes.parts("column", self.table, side)
        return {state.name: state for state in found}

    def _loosened(self, state: ColumnState, column: Column[Any]) -> ops.AlterColumnOp | None:
        """Takes from a column what it cannot be added with; None where it can."""
        modified: dict[str, Any] = {}
        if not state.has_constant_default and column.server_default is not None:
            modified["modify_server_default"] = None
        if state.is_required or (modified and state.not_null):
            modified["modify_nullable"] = True
        return self._alter(state, column, column.server_default, **modified) if modified else None

    def _plan_column(
        self,
        plan: Plan,
        before: ColumnState,
        after: ColumnState,
        model: Column[Any],
        undefault: bool,
    ) -> None:
        """Type, default, NOT NULL and comment of one column, in the order that works.

        A default that stands in the way of the new type, or of what it calls (``undefault``),
        is dropped first and set again.
        """
        found = self.reflected.columns(before.key[:2])[before.name]
        retyped = before.is_retyped_as(after)
        had = found.server_default if before.default is not None else None
        default = ("default", before.key)
        undefault = before.default is not None and (retyped or undefault)
        if undefault:
            without = self._alter(before, found, had, modify_server_default=None)
            plan.add(Phase.ALTER_COLUMNS, without, removes=[default])
            had = None
        identity = ColumnIdentityOperation(before, after)
        renumbered = before.identity != after.identity
        if renumbered and after.identity is None:
            plan.add(Phase.ALTER_COLUMNS, identity)
        if retyped:
            there, back = self._casts(before, after)
            retype = ColumnTypeOperation(before, after, there, back)
            plan.add(Phase.ALTER_COLUMNS, retype, makes=[("column", before.key)])
        modified: dict[str, Any] = {}
        if (after.default is not None) if undefault else before.default != after.default:
            modified["modify_server_default"] = self._default(model, after)
        if before.not_null != after.not_null:
            modified["modify_nullable"] = not after.not_null
        if before.comment != after.comment:
            modified["modify_comment"] = after.comment
        if modified:
            found.type = model.type if retyped else found.type
            alter = self._alter(after, found, had, **modified)
            plan.add(Phase.ALTER_COLUMNS, alter, makes=[default])
        if renumbered and after.identity is not None:
            plan.add(Phase.ALTER_COLUMNS, identity)

    def _casts(self, before: ColumnState, after: ColumnState) -> tuple[Cast, Cast]:
        """The way from one type to the other, and back."""
        connection, name = self.changes.connection, ".".join(before.key)
        if (into := json_of(before.comment)) is not None:
            refused = Cast(
                refusal=f"column {name}: expected {after.type}, found {before.type}, and its values"
                f" belong to {into}, where another type may have others; drop it in one revision,"
                " which moves them there, and add it with the new type in the next"
            )
            return refused, refused
        return (
            cast(connection, name, before.type, after.type),
            cast(connection, name, after.type, before.type),
        )

    def _default(self, model: Column[Any], after: ColumnState) -> Any:
        """The model's default; that of a serial column needs the sequence that comes with it."""
        if after.default is None or model.server_default is not None:
            return model.server_default if after.default is not None else None
        today, target = self.changes.current, self.changes.target
        owned = [state for state in today.states() if state.part_of == ("column", after.key)]
        if any(target.get((state.kind, state.key)) is not None for state in owned):
            return sa.DefaultClause(sa.text(sql.escaped(after.default)))
        raise util.CommandError(
            f"column {after.table}.{after.name}: the model makes it serial, which only a new"
            f" column can be; write Identity() in the model, or autoincrement=False"
        )

    def _alter(
        self, state: ColumnState, found: Column[Any], had: Any, **modified: Any
    ) -> ops.AlterColumnOp:
        return ops.AlterColumnOp(
            state.table,
            state.name,
            schema=self.schema,
            existing_type=found.type,
            existing_nullable=found.nullable,
            existing_server_default=had,
            existing_comment=found.comment,
            **modified,
        )


def _by_json(
    states: Mapping[str, ColumnState], names: Iterable[str]
) -> Iterable[tuple[str, list[str]]]:
    """Of the columns of these names those with values of a JSON column, by its name."""
    found: dict[str, list[str]] = {}
    for name in names:
        if (into := json_of(states[name].comment)) is not None:
            found.setdefault(into, []).append(name)
    return found.items()


KIND = Kind(
    ColumnState,
    None,
    read,
    create=Phase.ADD_COLUMNS,
    drop=Phase.DROP_COLUMNS,
    alterable=alterable,
    expressions=("default", "generated"),
    copy=copy,
    dependent_objects="""
    SELECT 'pg_attrdef'::regclass, d.oid,
           CASE a.attgenerated WHEN '' THEN 'default' ELSE 'column' END, r.key || a.attname::text
      FROM pg_attrdef d JOIN relations r ON r.oid = d.adrelid
      JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum""",
    compare=compare,
    seeds=seeds,
    rename="ALTER TABLE {table} RENAME COLUMN {old} TO {new}",
    rename_asked=True,
)
