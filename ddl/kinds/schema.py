"""Schemas: one per ``schema=`` of the models, made before anything in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql
from ddl.base import Operation, State
from ddl.kind import Kind
from ddl.plan import Phase
from ddl.revisable import revisable

# --- declare: the schemas of the models' own objects ------------------------------------------


@dataclass(frozen=True)
class SchemaState(State):
    """One schema; it has nothing but its name (its grants are objects of their own)."""

    kind: ClassVar[str] = "schema"
    identified_by: ClassVar[tuple[str, ...]] = ("name",)
    grantable: ClassVar[bool] = True

    name: str = ""

    def called(self, name: str, schema: str) -> SchemaState:
        """A schema is in none."""
        return SchemaState(name)

    @property
    def granted_as(self) -> str:
        """``schema timeseries``."""
        return f"schema {self.name}"


# --- operate ---------------------------------------------------------------------------------


@revisable(SchemaState)
class SchemaOperation(Operation[SchemaState]):
    """CREATE or DROP SCHEMA."""

    def create(self, state: SchemaState, edition: str) -> list[str]:
        """One statement."""
        return [f"CREATE SCHEMA {sql.ident(state.name)}"]

    def drop(self, state: SchemaState, edition: str) -> list[str]:
        """One statement; fails while anything is in the schema."""
        return [f"DROP SCHEMA {sql.ident(state.name)}"]


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("SELECT nspname FROM pg_namespace WHERE nspname = ANY (CAST(:schemas AS name[]))")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Those of ``schemas`` that exist."""
    return [SchemaState(name) for name in connection.scalars(_QUERY, {"schemas": list(schemas)})]


# --- compare: made where missing; one without models stays, for it may hold more ---------------

KIND = Kind(
    SchemaState,
    SchemaOperation,
    read,
    create=Phase.SCHEMAS,
    drop=Phase.SCHEMAS,
    dropped=False,
    rename="ALTER SCHEMA {old} RENAME TO {new}",
    rename_asked=True,
)
