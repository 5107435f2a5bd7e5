"""Extensions: created where they are missing and never dropped, since others may use them, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, Table

from ddl import sql
from ddl.base import Declaration, Declared, Identity, Operation, State
from ddl.kind import Kind, always
from ddl.plan import Phase

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExtensionState(State):
    """One extension; its version is the server's. ``schema`` is None where any will do."""

    kind: ClassVar[str] = "extension"
    identified_by: ClassVar[tuple[str, ...]] = ("name",)

    name: str = ""
    schema: str | None = None

    def details(self) -> Mapping[str, Any]:
        """Where its objects are."""
        return {"schema": self.schema}


class Extension(Declaration):
    """An extension, in ``__table_args__`` of a table that uses it or with ``metadata=``.

    A column has a type of it, and an index an operator class, by the bare name, wherever the
    extension is: revisions name the schema. Everything else of an extension in a schema of its own
    is written with that schema (``ext.similarity(…)``, ``OPERATOR(ext.%)``; a call without it is
    refused), and roles need USAGE on it (schema_grant). Like the extension, its schema stays when a
    revision is reverted: others may use it by then.

    Args:
        schema: where its objects are; it is created where missing. None: wherever the
            extension is, else public.
    """

    def __init__(
        self, name: str, *, schema: str | None = None, metadata: MetaData | None = None
    ) -> None:
        self.state = ExtensionState(name, schema)
        self._register(metadata, self.state)

    def states(self, table: Table) -> Iterator[State]:
        """The extension."""
        yield self.state


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("create_extension")
@Operations.register_operation("alter_extension")
class ExtensionOperation(Operation[ExtensionState]):
    """CREATE EXTENSION, or another schema for it. There is no drop: the downgrade keeps it."""

    state_type = ExtensionState
    verbs = ("create_extension", "drop_extension", "alter_extension")

    @classmethod
    def create_extension(
        cls, operations: Operations, name: str, *, schema: str | None = None
    ) -> None:
        """``op.create_extension("citext")``; nothing happens where it exists."""
        operations.invoke(cls(None, ExtensionState(name, schema)))

    @classmethod
    def alter_extension(cls, operations: Operations, name: str, *, schema: str) -> None:
        """Move its objects to another schema."""
        state = ExtensionState(name, schema)
        operations.invoke(cls(state, state))

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The name, and the schema where one is given."""
        schema = self.state.schema
        return [self.state.name], {} if schema is None else {"schema": schema}

    def create(self, state: ExtensionState, edition: str) -> list[str]:
        """The schema, then the extension; each where it is missing."""
        clause = "" if state.schema is None else f" SCHEMA {sql.ident(state.schema)}"
        return [*_schema(state), f"CREATE EXTENSION IF NOT EXISTS {sql.ident(state.name)}{clause}"]

    def alter(self, before: ExtensionState, after: ExtensionState, edition: str) -> list[str]:
        """Fails for an extension that cannot be moved."""
        assert after.schema is not None
        move = f"ALTER EXTENSION {sql.ident(after.name)} SET SCHEMA {sql.ident(after.schema)}"
        return [*_schema(after), move]

    def drop(self, state: ExtensionState, edition: str) -> list[str]:
        """Nothing."""
        return []


def _schema(state: ExtensionState) -> list[str]:
    if state.schema is None or state.schema == sql.DEFAULT_SCHEMA:
        return []
    return [f"CREATE SCHEMA IF NOT EXISTS {sql.ident(state.schema)}"]


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT e.extname AS name, n.nspname AS schema
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:  # noqa: ARG001
    """The extensions of the database."""
    return [ExtensionState(**row) for row in connection.execute(_QUERY).mappings()]


_AVAILABLE = sa.text("""
SELECT w.name, current_user AS role, current_database() AS database,
       a.name IS NOT NULL AS available, a.installed_version IS NOT NULL AS created,
       coalesce(v.superuser, true) AS superuser, coalesce(v.trusted, false) AS trusted,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       has_database_privilege(current_database(), 'CREATE') AS may_create
  FROM unnest(CAST(:names AS text[])) AS w (name)
  LEFT JOIN pg_available_extensions a ON a.name = w.name
  LEFT JOIN pg_available_extension_versions v
         ON v.name = a.name AND v.version = a.default_version
 ORDER BY w.name
""")


def missing(connection: Connection, metadata: MetaData) -> list[str]:
    """The declared extensions that the server lacks or the current role may not create.

    Returns:
        A sentence each, with the command that fixes it.
    """
    names = [state.name for state in Declared.on(metadata).of(ExtensionState).values()]
    found = []
    for row in connection.execute(_AVAILABLE, {"names": names}) if names else ():
        create = f"CREATE EXTENSION {sql.ident(row.name)}"
        if row.created or (row.available and row.is_superuser):
            continue
        if not row.available:
            found.append(
                f"extension {row.name}, which the server does not have (install its package on the"
                f" server, such as postgresql-contrib; SELECT name FROM pg_available_extensions"
                f" lists what there is)"
            )
        elif row.superuser and not row.trusted:
            found.append(
                f"extension {row.name}, which only a superuser may create (as a superuser, in"
                f" database {row.database}: {create})"
            )
        elif not row.may_create:
            found.append(
                f"extension {row.name}, which {row.role} may not create (as the owner:"
                f" GRANT CREATE ON DATABASE {sql.ident(row.database)} TO {sql.ident(row.role)})"
            )
    return found


# --- compare: made where missing; one that no model declares stays --------------------------------


def settle(
    metadata: MetaData,  # noqa: ARG001
    target: ExtensionState,
    current: ExtensionState,
) -> ExtensionState:
    """Where no schema is declared, the current one is right."""
    return target if target.schema is not None else replace(target, schema=current.schema)


def provides(state: ExtensionState) -> Iterator[Identity]:
    """Its schema, which is created with it."""
    if state.schema is not None:
        yield ("schema", (state.schema,))


KIND = Kind(
    ExtensionState,
    ExtensionOperation,
    read,
    create=Phase.EXTENSIONS,
    drop=Phase.EXTENSIONS,
    alterable=always,
    in_schema=False,
    dropped=False,
    provides=provides,
    settle=settle,
)
