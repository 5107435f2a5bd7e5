"""Constraints of existing tables, by their whole definition.

Alembic compares names and columns, but no expressions, EXCLUDE or deferrability. The definition
says all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, Constraint, MetaData, Table
from sqlalchemy.schema import AddConstraint

from ddl import orphans, sql
from ddl.base import Key, Operation, State
from ddl.changes import Changes
from ddl.kind import Kind
from ddl.kinds.table import TableState, created
from ddl.plan import Phase, Plan
from ddl.reflected import PLAIN_KEY
from ddl.revisable import revisable
from ddl.risk import READS, Risk

NOT_VALID = " NOT VALID"

# --- declare: the models' own constraints ----------------------------------------------------


@dataclass(frozen=True)
class ConstraintState(State):
    """One constraint; ``definition`` as in ADD CONSTRAINT name …, NOT VALID included."""

    kind: ClassVar[str] = "constraint"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "table", "name")
    positional: ClassVar[tuple[str, ...]] = ("table", "name", "definition")

    table: str = ""
    name: str = ""
    definition: str = ""
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The table that it constrains."""
        return (self.schema, self.table)

    @property
    def is_foreign_key(self) -> bool:
        """True for FOREIGN KEY; those depend on a key of another table."""
        return self.definition.upper().startswith("FOREIGN KEY")


# --- operate ---------------------------------------------------------------------------------


@revisable(ConstraintState, create="add_constraint", drop="remove_constraint")
class ConstraintOperation(Operation[ConstraintState]):
    """ADD or DROP CONSTRAINT on a table that exists.

    Called add and remove, since Alembic's own create and drop take other arguments.
    """

    validate_as: str | None = None

    @classmethod
    def add_constraint(
        cls,
        operations: Operations,
        table: str,
        name: str,
        definition: str,
        *,
        validate_as: str | None = None,
        schema: str = "public",
    ) -> None:
        """Add a constraint by its definition: ``"CHECK (progress <= 100)"``.

        A foreign key is checked over the rows that ``validate_as`` sees: forced row-level
        security hides rows from the owner, so the server's own check would miss orphans. The
        error says how many there are.
        """
        operation = cls(None, ConstraintState(table, name, definition, schema))
        operation.validate_as = validate_as
        operations.invoke(operation)

    def reverse(self) -> ConstraintOperation:
        """The opposite, validated by the same role."""
        operation = super().reverse()
        operation.validate_as = self.validate_as
        return operation

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Table, name and, when adding, the definition and the role that checks a foreign key."""
        positional, keywords = super().arguments()
        if self.after is not None and self.after.is_foreign_key and self.validate_as:
            keywords = {"validate_as": self.validate_as, **keywords}
        return positional, keywords

    def effect(self) -> tuple[Risk, str]:
        """Every row is checked, unless it is NOT VALID."""
        if self.after is None or self.after.definition.endswith(NOT_VALID):
            return Risk.SAFE, ""
        return Risk.BLOCKING, READS

    def create(self, state: ConstraintState, edition: str) -> list[str]:
        """ADD; for foreign keys in two steps when ``validate_as`` is given."""
        add = f"{_table(state)} ADD CONSTRAINT {sql.ident(state.name)} {state.definition}"
        if not state.is_foreign_key or not self.validate_as or add.endswith(NOT_VALID):
            return [add]
        check = orphans.validation(state.schema, state.table, state.name, self.validate_as)
        return [f"{add}{NOT_VALID}", check]

    def drop(self, state: ConstraintState, edition: str) -> list[str]:
        """One statement."""
        return [f"{_table(state)} DROP CONSTRAINT {sql.ident(state.name)}"]


def _table(state: ConstraintState) -> str:
    return f"ALTER TABLE {sql.qualified(state.schema, state.table)}"


# --- reflect ---------------------------------------------------------------------------------

# Since PostgreSQL 18 NOT NULL is a constraint of its own; it is compared with the column.
_CONSTRAINTS = sa.text("""
SELECT n.nspname AS schema, c.relname AS table, k.conname AS name,
       pg_get_constraintdef(k.oid) AS definition
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND k.contype IN ('p', 'u', 'f', 'c', 'x')
   AND NOT c.relispartition AND k.conparentid = 0
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The constraints of ``schemas``."""
    rows = connection.execute(_CONSTRAINTS, {"schemas": list(schemas)}).mappings()
    return [ConstraintState(**row) for row in rows]


# --- compare ---------------------------------------------------------------------------------


def settle(
    metadata: MetaData, target: ConstraintState, current: ConstraintState
) -> ConstraintState:
    """Keeps NOT VALID where the model declares it, which CREATE TABLE ignores."""
    if current.definition.endswith(NOT_VALID) and not target.definition.endswith(NOT_VALID):
        table = models_by_key(metadata)[target.schema, target.table]
        if declared_definition(table, target).endswith(NOT_VALID):
            return replace(target, definition=target.definition + NOT_VALID)
    return target


def copy(state: ConstraintState, _shadow: str) -> list[str]:
    """Nothing for keys and foreign keys: they have no expression."""
    has_expression = state.definition.startswith(("CHECK", "EXCLUDE"))
    return ConstraintOperation(None, state).statements() if has_expression else []


def models_by_key(metadata: MetaData) -> dict[Key, Table]:
    """The models' tables by schema and name."""
    return {
        (table.schema or sql.DEFAULT_SCHEMA, table.name): table
        for table in metadata.tables.values()
    }


def declared_definition(table: Table, state: ConstraintState) -> str:
    """The model's spelling, which is the same on every version of the server."""
    for name, found in declared_constraints(table):
        if name == state.name:
            # Isolated, SQLAlchemy would leave it out of CREATE TABLE from now on.
            text = sql.compiled(AddConstraint(found, isolate_from_table=False))
            return text.split(f"CONSTRAINT {sql.ident(name)} ", 1)[1]
    return state.definition


def declared_constraints(table: Table) -> list[tuple[str, Constraint]]:
    """The named constraints of a model, names as the server has them."""
    named = [(sql.constraint_name(one), one) for one in table.constraints]
    return [(name, one) for name, one in named if name is not None]


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Constraints of tables that exist; those of a new table are in its CREATE TABLE."""
    before, after = changes.sides(ConstraintState)
    again = {key for name, key in changes.recreated if name == kind.name}
    tables = changes.current.of(TableState), changes.target.of(TableState)
    for key in sorted((before.keys() - after.keys()) | again):
        state = before[key]
        if key[:2] not in tables[1] and PLAIN_KEY.fullmatch(state.definition):
            continue  # part of the table that the downgrade creates
        phase = Phase.DROP_FOREIGN_KEYS if state.is_foreign_key else Phase.DROP_CONSTRAINTS
        plan.add(phase, _operation(changes, state, None), removes=[(kind.name, key)])
    new, added_later = created(changes)
    later = {
        (table.schema or sql.DEFAULT_SCHEMA, table.name, name)
        for table in new
        for name, one in declared_constraints(table)
        if one in added_later
    }
    for key in sorted((after.keys() - before.keys()) | again):
        if key[:2] not in tables[0] and key not in later:
            continue
        phase = Phase.FOREIGN_KEYS if after[key].is_foreign_key else Phase.CONSTRAINTS
        definition = declared_definition(changes.models[key[:2]], after[key])
        spelled = replace(after[key], definition=definition)
        plan.add(phase, _operation(changes, None, spelled), makes=[(kind.name, key)])


def _operation(changes: Changes, before: Any, after: Any) -> ConstraintOperation:
    operation = ConstraintOperation(before, after)
    operation.validate_as = changes.metadata.info.get("validate_as")
    return operation


KIND = Kind(
    ConstraintState,
    ConstraintOperation,
    read,
    create=Phase.CONSTRAINTS,
    drop=Phase.DROP_CONSTRAINTS,
    dependent_objects="""
    SELECT 'pg_constraint'::regclass, k.oid, 'constraint', r.key || k.conname::text
      FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid""",
    compare=compare,
    expressions=("definition",),
    copy=copy,
    settle=settle,
    rename="ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}",
)
