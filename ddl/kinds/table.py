"""Tables: read from the catalog, created and dropped by Alembic's own operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic import util
from alembic.operations import Operations, ops
from sqlalchemy import Column, Connection, Constraint, Table
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.schema import sort_tables_and_constraints

from ddl import sql, types
from ddl.base import Alteration, Identity, Key, State
from ddl.changes import Changes
from ddl.kind import Kind, always
from ddl.plan import Phase, Plan
from ddl.reflected import Reflected
from ddl.risk import REWRITES, Risk

# --- declare: the models' own Table -----------------------------------------------------------


@dataclass(frozen=True)
class TableState(State):
    """What a table is besides its columns.

    ``options`` are its storage parameters, ``partition_by`` is ``RANGE (at)`` or the like.
    """

    kind: ClassVar[str] = "table"

    name: str = ""
    unlogged: bool = False
    options: tuple[str, ...] = ()
    comment: str | None = None
    partition_by: str | None = None
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The table itself."""
        return self.key


# --- operate: what Alembic has no operation for ----------------------------------------------


@Operations.register_operation("set_table_options")
class TableOptionsOperation(Alteration[TableState]):
    """SET LOGGED or UNLOGGED, and storage parameters such as ``fillfactor=90``."""

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
        """A setting is superfluous where the table is dropped anyway."""
        return True

    def effect(self) -> tuple[Risk, str]:
        """Persistence is a property of the files: they are written anew."""
        if self.before is not None and self.before.unlogged != self.state.unlogged:
            return Risk.BLOCKING, REWRITES
        return Risk.SAFE, ""

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Only what changes."""
        before, after = self.before, self.state
        assert before is not None
        changed, gone = _difference(before, after)
        keywords: dict[str, Any] = {}
        if before.unlogged != after.unlogged:
            keywords["unlogged"] = after.unlogged
        if changed:
            keywords["set"] = changed
        if gone:
            keywords["reset"] = gone
        if after.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = after.schema
        return [after.name], keywords

    def alter(self, before: TableState, after: TableState, edition: str) -> list[str]:
        """Up to three ALTER TABLE."""
        table = f"ALTER TABLE {sql.qualified(after.schema, after.name)}"
        changed, gone = _difference(before, after)
        found = []
        if before.unlogged != after.unlogged:
            found.append(f"{table} SET {'UNLOGGED' if after.unlogged else 'LOGGED'}")
        if changed:
            found.append(f"{table} SET ({', '.join(f'{k} = {v}' for k, v in changed.items())})")
        if gone:
            found.append(f"{table} RESET ({', '.join(gone)})")
        return found


def _difference(before: TableState, after: TableState) -> tuple[dict[str, str], list[str]]:
    """Storage parameters to set, and those to reset."""
    old = dict(option.split("=", 1) for option in before.options)
    new = dict(option.split("=", 1) for option in after.options)
    changed = {key: value for key, value in new.items() if old.get(key) != value}
    return changed, sorted(old.keys() - new.keys())


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT n.nspname AS schema, c.relname AS name, c.relpersistence = 'u' AS unlogged,
       coalesce(c.reloptions, '{}') AS options, obj_description(c.oid, 'pg_class') AS comment,
       pg_get_partkeydef(c.oid) AS partition_by
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind IN ('r', 'p')
   AND NOT c.relispartition
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                      AND e.objid = c.oid AND e.deptype = 'e')
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The tables of ``schemas``; partitions belong to their parent."""
    rows = connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    return [TableState(**{**row, "options": tuple(sorted(row["options"]))}) for row in rows]


# --- compare ---------------------------------------------------------------------------------


def copy(state: TableState, shadow: str) -> list[str]:
    """A table of the same columns, partitioned alike."""
    name = sql.ident(state.name)
    like = f"(LIKE {shadow}.{name})"
    return [f"CREATE TABLE {state.schema}.{name} {like} PARTITION BY {state.partition_by}"]


def seeds(changes: Changes, kind: Kind[Any]) -> Iterator[Identity]:
    """Dropped tables, with their columns."""
    before, after = changes.sides(TableState)
    gone = before.keys() - after.keys()
    yield from ((kind.name, key) for key in sorted(gone))
    columns = changes.current.states()
    yield from (
        ("column", state.key)
        for state in columns
        if state.kind == "column" and state.relation in gone
    )


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """CREATE and DROP TABLE with all that is in them; options and comment in place."""
    before, after = changes.sides(TableState)
    _create(changes, plan)
    reflected = Reflected(changes.connection, changes.current)
    for key in sorted(before.keys() - after.keys(), reverse=True):
        drop = ops.DropTableOp.from_table(reflected.table(key))
        parts = [("column", one.key) for one in changes.parts("column", key, changes.current)]
        removes = [(kind.name, key), *parts]
        plan.add(kind.drop, drop, removes=removes, relation=key)
    for key in sorted(before.keys() & after.keys()):
        _alter(plan, before[key], after[key])


def _create(changes: Changes, plan: Plan) -> None:
    """New tables, without those constraints that are added once all tables exist."""
    tables, added_later = created(changes)
    for table in tables:
        key = (table.schema or sql.DEFAULT_SCHEMA, table.name)
        later = {sql.constraint_name(one) for one in table.constraints if one in added_later}
        create = ops.CreateTableOp.from_table(table)
        create.columns = [
            _as_column(changes, key, item, table.primary_key in added_later)
            if isinstance(item, Column)
            else item
            for item in create.columns
            if item not in added_later
        ]
        parts: list[Identity] = [("table", key)]
        for name in ("column", "constraint"):
            found = changes.parts(name, key, changes.target)
            parts += [(name, one.key) for one in found if one.key[2] not in later]
        parts += [("default", part) for name, part in parts if name == "column"]
        plan.add(Phase.TABLES, create, makes=parts, relation=key)


def created(changes: Changes) -> tuple[list[Table], set[Constraint]]:
    """The new tables in an order that works, and which of their constraints are added afterwards.

    Those are foreign keys that form a cycle, a CHECK that calls a function that reads one of the
    new tables, and what Alembic would leave out of CREATE TABLE or misspell: the CHECK that comes
    with a type, operator classes of EXCLUDE, INCLUDE by keys.
    """
    before, after = changes.sides(TableState)
    new = {key: changes.models[key] for key in sorted(after.keys() - before.keys())}
    behind = {
        (new[one], new[key])
        for key in new
        for state in changes.parts("column", key, changes.target)
        for name in ("column", "default")
        for one in changes.read_by_calls((name, state.key)) & new.keys() - {key}
    }
    listed = sort_tables_and_constraints(  # type: ignore[no-untyped-call]
        new.values(), extra_dependencies=behind
    )
    later = {one for table, constraints in listed if table is None for one in constraints}
    for key, table in new.items():
        for one in table.constraints:
            identity = ("constraint", (*key, sql.constraint_name(one) or ""))
            if _is_incomplete(one) or changes.read_by_calls(identity) & new.keys():
                later.add(one)
    return [table for table, _ in listed if table is not None], later


def _is_incomplete(constraint: Constraint) -> bool:
    if isinstance(constraint, ExcludeConstraint):
        return bool(constraint.ops)
    if included := constraint.kwargs.get("postgresql_include"):
        # The model's keys, which the revision does not know.
        columns = constraint.table.columns
        return any(columns[name].name != name for name in included if name in columns)
    return constraint._type_bound and sql.constraint_name(constraint) is not None


def _as_column(changes: Changes, table: Key, column: Column[Any], keyed_later: bool) -> Column[Any]:
    """A column of the model with all that the revision must say.

    Args:
        keyed_later: the primary key is no part of CREATE TABLE.
    """
    state: Any = changes.target.get(("column", (*table, column.name)))
    found = types.found_by_revisions(column, state.type)
    numbered = column.primary_key and isinstance(column.default, sa.Sequence)
    if numbered and state.default is state.identity is None:
        # Written without its Sequence, SQLAlchemy would make the key serial.
        found = found._copy()
        found.autoincrement = False
    if column.primary_key and keyed_later:
        if state.default is not None and column.server_default is None:
            found = types.serial(found, state.type)
        found = found._copy()
        found.primary_key = False
    return found


def _alter(plan: Plan, before: TableState, after: TableState) -> None:
    if before.partition_by != after.partition_by:
        raise util.CommandError(
            f"table {after.name}: expected PARTITION BY {after.partition_by}, found"
            f" {before.partition_by}; PostgreSQL cannot change that in place, so write a"
            f" revision by hand that makes a new table and moves the rows"
        )
    if (before.unlogged, before.options) != (after.unlogged, after.options):
        options = TableOptionsOperation(before, after)
        plan.add(Phase.ALTER_COLUMNS, options, makes=[("table", after.key)])
    if before.comment != after.comment:
        schema = None if after.schema == sql.DEFAULT_SCHEMA else after.schema
        comment: Any = ops.CreateTableCommentOp(
            after.name, after.comment, schema=schema, existing_comment=before.comment
        )
        if after.comment is None:
            comment = ops.DropTableCommentOp(
                after.name, schema=schema, existing_comment=before.comment
            )
        plan.add(Phase.ALTER_COLUMNS, comment)


KIND = Kind(
    TableState,
    None,
    read,
    create=Phase.TABLES,
    drop=Phase.DROP_TABLES,
    alterable=always,
    relation=True,
    expressions=("partition_by",),
    copy=copy,
    relkinds="rp",
    compare=compare,
    seeds=seeds,
    rename="ALTER TABLE {named} RENAME TO {new}",
    rename_asked=True,
)
