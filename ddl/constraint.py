"""Constraints and indexes of existing tables, by their whole definition.

Alembic compares names and columns; predicates, expressions, methods, operator classes,
INCLUDE, EXCLUDE and deferrability pass it unseen. The definition says all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection

from ddl import orphans, sql
from ddl.base import DDLOperation, Key, State

NOT_VALID = " NOT VALID"

# --- declare: the models' own constraints and Index ------------------------------------------


@dataclass(frozen=True)
class ConstraintState(State):
    """One constraint; ``definition`` as in ADD CONSTRAINT name …, NOT VALID included."""

    kind: ClassVar[str] = "constraint"
    positional: ClassVar[tuple[str, ...]] = ("table", "name", "definition")

    table: str
    name: str
    definition: str = ""
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def key(self) -> Key:
        """(schema, table, name)."""
        return (self.schema, self.table, self.name)

    @property
    def relation(self) -> Key | None:
        """The table that it constrains."""
        return (self.schema, self.table)

    @property
    def is_foreign_key(self) -> bool:
        """True for FOREIGN KEY; those depend on a key of another table."""
        return self.definition.upper().startswith("FOREIGN KEY")


@dataclass(frozen=True)
class IndexState(State):
    """One index; ``definition`` is the whole CREATE INDEX."""

    kind: ClassVar[str] = "index"
    positional: ClassVar[tuple[str, ...]] = ("definition",)

    table: str
    name: str
    definition: str = ""
    valid: bool = True
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def key(self) -> Key:
        """(schema, name): index names are unique in a schema."""
        return (self.schema, self.name)

    @property
    def relation(self) -> Key | None:
        """The table that it serves."""
        return (self.schema, self.table)


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("add_constraint")
@Operations.register_operation("remove_constraint")
class ConstraintOperation(DDLOperation):
    """ADD or DROP CONSTRAINT on a table that exists."""

    noun = "constraint"
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

        A foreign key is checked over the rows that ``validate_as`` sees: forced row security
        hides rows from the owner, so the server's own check would pass over orphans. Orphans
        are an error that counts them.
        """
        operation = cls(None, ConstraintState(table, name, definition, schema))
        operation.validate_as = validate_as
        operations.invoke(operation)

    @classmethod
    def remove_constraint(
        cls, operations: Operations, table: str, name: str, *, schema: str = "public"
    ) -> None:
        """Drop a constraint of ``table``."""
        operations.invoke(cls(ConstraintState(table, name, schema=schema), None))

    @property
    def verb(self) -> str:
        """Add or remove; Alembic has create and drop for constraints of other words."""
        return "remove_constraint" if self.after is None else "add_constraint"

    def reverse(self) -> ConstraintOperation:
        """The opposite, validated by the same role."""
        operation = super().reverse()
        operation.validate_as = self.validate_as
        return operation

    def arguments(self) -> tuple[list[object], dict[str, object]]:
        """Table, name and, when adding, the definition."""
        state: ConstraintState = self.state
        keywords: dict[str, object] = {}
        positional: list[object] = [state.table, state.name]
        if self.after is not None:
            positional.append(state.definition)
            if state.is_foreign_key and self.validate_as:
                keywords["validate_as"] = self.validate_as
        if state.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = state.schema
        return positional, keywords

    def statements(self) -> list[str]:
        """DROP; or ADD, for foreign keys in two steps when ``validate_as`` is given."""
        state: ConstraintState = self.state
        table = sql.qualified(state.schema, state.table)
        name = sql.ident(state.name)
        if self.after is None:
            return [f"ALTER TABLE {table} DROP CONSTRAINT {name}"]
        add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {state.definition}"
        if not state.is_foreign_key or not self.validate_as or add.endswith(NOT_VALID):
            return [add]
        check = orphans.validation(state.schema, state.table, state.name, self.validate_as)
        return [f"{add}{NOT_VALID}", check]


@Operations.register_operation("add_index")
@Operations.register_operation("remove_index")
class IndexOperation(DDLOperation):
    """CREATE INDEX by its whole definition, or DROP INDEX."""

    noun = "index"

    @classmethod
    def add_index(cls, operations: Operations, definition: str) -> None:
        """``op.add_index("CREATE INDEX ix_a_b ON a (b) WHERE c IS NULL")``."""
        operations.invoke(cls(None, IndexState("", "", definition)))

    @classmethod
    def remove_index(
        cls, operations: Operations, name: str, table: str, *, schema: str = "public"
    ) -> None:
        """Drop an index; ``table`` tells the reader whose it was."""
        operations.invoke(cls(IndexState(table, name, schema=schema), None))

    @property
    def verb(self) -> str:
        """Add or remove, beside Alembic's create and drop."""
        return "remove_index" if self.after is None else "add_index"

    def arguments(self) -> tuple[list[object], dict[str, object]]:
        """The definition, or the name and table."""
        state: IndexState = self.state
        if self.after is not None:
            return [state.definition], {}
        schema = {} if state.schema == sql.DEFAULT_SCHEMA else {"schema": state.schema}
        return [state.name, state.table], dict(schema)

    def statements(self) -> list[str]:
        """One statement."""
        if self.after is not None:
            return [self.after.definition]
        return [f"DROP INDEX {sql.qualified(self.before.schema, self.before.name)}"]


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

_INDEXES = sa.text("""
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


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Constraints and indexes of ``schemas``; an index behind a constraint is not listed."""
    parameters = {"schemas": list(schemas)}
    found: list[State] = [
        ConstraintState(**row) for row in connection.execute(_CONSTRAINTS, parameters).mappings()
    ]
    return found + [
        IndexState(**row) for row in connection.execute(_INDEXES, parameters).mappings()
    ]
