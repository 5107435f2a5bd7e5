"""Indexes of existing relations, by their whole definition.

Alembic compares names and columns; predicates, expressions, methods, operator classes and
INCLUDE pass it unseen. The definition says all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic.operations import Operations, ops
from sqlalchemy import Connection

from ddl import sql
from ddl.base import Key, Operation, State
from ddl.changes import Changes
from ddl.kind import Kind
from ddl.kinds.extension import ExtensionState
from ddl.plan import Phase, Plan
from ddl.revisable import revisable
from ddl.risk import BUILDS, Risk

# --- declare: the models' own Index -----------------------------------------------------------


@dataclass(frozen=True)
class IndexState(State):
    """One index; ``definition`` is the whole CREATE INDEX."""

    kind: ClassVar[str] = "index"
    positional: ClassVar[tuple[str, ...]] = ("definition",)

    table: str = ""
    name: str = ""
    definition: str = ""
    valid: bool = True
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The table that it serves."""
        return (self.schema, self.table)

    def called(self, name: str, schema: str) -> IndexState:
        """Its name is in its definition, too."""
        head = re.compile(rf"(?<= INDEX )(?:{sql.IDENT})(?= ON )")
        definition = head.sub(lambda _: sql.ident(name), self.definition, count=1)
        return replace(self, name=name, schema=schema, definition=definition)

    def title(self) -> str:
        """With its table, for the reader: ``index public.sites.ix_sites_region``."""
        return f"index {self.schema}.{self.table}.{self.name}"


# --- operate ---------------------------------------------------------------------------------


@revisable(IndexState, create="add_index", drop="remove_index")
class IndexOperation(Operation[IndexState]):
    """CREATE INDEX by its whole definition, or DROP INDEX.

    Called add and remove, since Alembic's own create and drop take other arguments.
    """

    @classmethod
    def add_index(cls, operations: Operations, definition: str) -> None:
        """``op.add_index("CREATE INDEX ix_a_b ON a (b) WHERE c IS NULL")``."""
        operations.invoke(cls(None, IndexState(definition=definition)))

    @classmethod
    def remove_index(
        cls, operations: Operations, name: str, table: str, *, schema: str = "public"
    ) -> None:
        """Drop an index; ``table`` is there for the reader."""
        operations.invoke(cls(IndexState(table, name, schema=schema), None))

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The definition, or the name and table."""
        state = self.state
        if self.after is not None:
            return [state.definition], {}
        schema = {} if state.schema == sql.DEFAULT_SCHEMA else {"schema": state.schema}
        return [state.name, state.table], dict(schema)

    def effect(self) -> tuple[Risk, str]:
        """An index is built under a lock, unless concurrently."""
        if self.after is None or " CONCURRENTLY " in self.after.definition.upper():
            return Risk.SAFE, ""
        return Risk.BLOCKING, BUILDS

    def create(self, state: IndexState, edition: str) -> list[str]:
        """One statement."""
        return [state.definition]

    def drop(self, state: IndexState, edition: str) -> list[str]:
        """One statement."""
        return [f"DROP INDEX {sql.qualified(state.schema, state.name)}"]


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT n.nspname AS schema, c.relname AS table, x.relname AS name, i.indisvalid AS valid,
       pg_get_indexdef(i.indexrelid) AS definition
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indrelid
  JOIN pg_class x ON x.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind IN ('r', 'p', 'm')
   AND NOT c.relispartition
   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
                      AND k.contype IN ('p', 'u', 'x'))
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The indexes of ``schemas``; one behind a constraint is not listed."""
    rows = connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    return [IndexState(**row) for row in rows]


# --- compare: dropped and created, a declared one by Alembic's operation -------------------------


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Every index of its own, also on new tables: CREATE TABLE cannot have one."""
    before, after = changes.sides(IndexState)
    again = {key for name, key in changes.recreated if name == kind.name}
    for key in sorted((before.keys() - after.keys()) | again):
        plan.add(kind.drop, IndexOperation(before[key], None), removes=[(kind.name, key)])
    for key in sorted((after.keys() - before.keys()) | again):
        state = after[key]
        create = _by_alembic(changes, state) or IndexOperation(None, changes.spelled(state))
        plan.add(kind.create, create, makes=[(kind.name, key)], relation=state.relation)


def _by_alembic(changes: Changes, state: IndexState) -> Any:
    table = changes.models.get((state.schema, state.table))
    if table is None:
        return None
    for index in table.indexes:
        if sql.constraint_name(index) == state.name:
            told_by_server = _has_keys(index, table) or _is_elsewhere(changes, state)
            return None if told_by_server else ops.CreateIndexOp.from_index(index)
    return None


_ON = re.compile(rf"(INDEX (?:{sql.IDENT}) ON) (?:ONLY )?(?:{sql.IDENT})\.")


def copy(state: IndexState, _shadow: str) -> list[str]:
    """The definition with the schema of the state."""
    return [_ON.sub(rf"\1 {sql.ident(state.schema)}.", state.definition, count=1)]


def _is_elsewhere(changes: Changes, state: IndexState) -> bool:
    """True for an operator class or function of an extension that is not in public.

    A model may name it without its schema; revisions would not find it.
    """
    extensions = [
        *changes.sides(ExtensionState)[0].values(),
        *changes.target.of(ExtensionState).values(),
    ]
    schemas = {one.schema for one in extensions if one.schema not in (None, sql.DEFAULT_SCHEMA)}
    return any(f"{sql.ident(one)}." in state.definition for one in schemas if one is not None)


def _has_keys(index: sa.Index, table: sa.Table) -> bool:
    """True where options call columns by the model's key, which a revision does not know."""
    options = index.dialect_options["postgresql"]
    named = {*options["ops"], *(options["include"] or ())}
    return any(one.key in named and one.key != one.name for one in table.columns)


KIND = Kind(
    IndexState,
    IndexOperation,
    read,
    create=Phase.INDEXES,
    drop=Phase.DROP_INDEXES,
    relkinds="iI",
    compare=compare,
    rename="ALTER INDEX {named} RENAME TO {new}",
    expressions=("definition",),
    copy=copy,
)
