"""Schemas: one per ``schema=`` of the models, made before anything in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection

from ddl import sql
from ddl.base import DDLOperation, Key, State

# --- declare: the schemas of the models' own objects ------------------------------------------


@dataclass(frozen=True)
class SchemaState(State):
    """One schema; it has nothing but its name (its grants are objects of their own)."""

    kind: ClassVar[str] = "schema"

    name: str

    @property
    def key(self) -> Key:
        """(name,)."""
        return (self.name,)


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("create_schema")
@Operations.register_operation("drop_schema")
class SchemaOperation(DDLOperation):
    """CREATE or DROP SCHEMA."""

    noun = "schema"

    @classmethod
    def create_schema(cls, operations: Operations, name: str) -> None:
        """Create a schema; grant it with ``op.grant("schema …", …)``."""
        operations.invoke(cls(None, SchemaState(name)))

    @classmethod
    def drop_schema(cls, operations: Operations, name: str) -> None:
        """Drop a schema; fails while anything is in it."""
        operations.invoke(cls(SchemaState(name), None))

    def statements(self) -> list[str]:
        """One statement."""
        return [f"{'DROP' if self.after is None else 'CREATE'} SCHEMA {sql.ident(self.state.name)}"]


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("SELECT nspname FROM pg_namespace WHERE nspname = ANY (CAST(:schemas AS name[]))")


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Those of ``schemas`` that exist."""
    return [SchemaState(name) for name in connection.scalars(_QUERY, {"schemas": list(schemas)})]
