"""What is found and no model can declare: named by the comparison, mended by hand.

Every other kind reads what it can declare. This one reads what is left, catalog by catalog: objects
of a schema of ours, objects of the database as a whole that reach into it, and owners. Nothing of
it gets an operation, since no revision could make it again; each line ends in the command that
mends it. What another tool keeps there is declared as :class:`Unmanaged`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import ArgumentError

from ddl import sql, unmanaged, unmanaged_time_series
from ddl.base import Declared, Identity, Key, State, relation_of
from ddl.edition import POSTGRESQL, detect
from ddl.kind import Kind, always
from ddl.kinds.extension import ExtensionState
from ddl.plan import Phase, Plan

if TYPE_CHECKING:
    from ddl.changes import Changes

# --- declare ---------------------------------------------------------------------------------


EXPECTED = "{expected}"
"""Stands in a ``mend`` for the value that the same object of the models has."""


@dataclass(frozen=True)
class UnmanagedState(State):
    """One object, or one ``detail`` of it, that has no other kind.

    ``mend`` is the SQL that removes it, or brings ``detail`` from ``found`` to ``expected``.
    """

    kind: ClassVar[str] = "unmanaged"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "type", "name", "detail")

    schema: str = ""
    type: str = ""
    name: str = ""
    detail: str = ""
    of: str | None = None
    """The table or view of the schema without which it cannot exist."""
    expected: str | None = None
    found: str | None = None
    mend: str = field(default="", compare=False)

    @property
    def relation(self) -> Key | None:
        """The table or view that it belongs to."""
        return relation_of(self.schema, self.of)

    def title(self) -> str:
        """``rule silent on public.sites``, ``table public.sites owner``."""
        return f"{self.type} {self.name} {self.detail}".rstrip()

    def text(self) -> str:
        """Nothing is created after it."""
        return ""


@dataclass(frozen=True)
class UnmanagedInDatabaseState(UnmanagedState):
    """The same for what belongs to no schema."""

    kind: ClassVar[str] = "unmanaged in the database"


class Unmanaged:
    """Something in the database that another tool keeps: ``alembic check`` passes over it.

    ``Unmanaged("rule audit on public.sites", "made by the audit tool", metadata=metadata)``

    Args:
        name: the kind and the full name, as ``alembic check`` prints them; ``*`` stands for any
            text: ``"foreign table reporting.*"``, ``"* pgbouncer.*"`` for all of a schema.
        reason: why it is there, for the next reader.
    """

    def __init__(self, name: str, reason: str, *, metadata: MetaData) -> None:
        if not reason.strip():
            raise ArgumentError(f'Unmanaged("{name}"): expected a reason, found none')
        metadata.info.setdefault("unmanaged", {})[" ".join(name.split())] = reason


def accepted(metadata: MetaData, state: State) -> bool:
    """True for a declared extension, and for what is declared as kept by another tool."""
    if isinstance(state, UnmanagedState) and state.type == "extension":
        names = Declared.on(metadata).of(ExtensionState)
        if (sql.unquoted(state.name),) in names:
            return True
    return kept(metadata, state.title())


def kept(metadata: MetaData, title: str) -> bool:
    """True for what a model declares as kept by another tool."""
    patterns: Iterable[str] = metadata.info.get("unmanaged", ())
    # Brackets are part of names (public.code[]), not of patterns.
    return any(fnmatch.fnmatchcase(title, one.replace("[", "[[]")) for one in patterns)


# --- reflect ---------------------------------------------------------------------------------


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """What is in ``schemas`` and of no other kind."""
    queries = [unmanaged.OBJECTS, unmanaged.OWNERS, unmanaged.OWNERS_RIGHTS, unmanaged.PROPERTIES]
    if detect(connection) != POSTGRESQL:
        queries += unmanaged_time_series.ALL
    return [UnmanagedState(**row) for row in _rows(connection, schemas, queries)]


def read_database(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """What is in no schema, is of no other kind, and reaches into ``schemas``."""
    queries = [unmanaged.OF_DATABASE, unmanaged.EXTENSIONS]
    queries += [unmanaged.DEFAULT_PRIVILEGES, unmanaged.LEFT_BEHIND]
    if detect(connection) != POSTGRESQL:
        queries.append(unmanaged_time_series.ACTIONS)
    return [UnmanagedInDatabaseState(**row) for row in _rows(connection, schemas, queries)]


def _rows(
    connection: Connection, schemas: Sequence[str], queries: Iterable[str]
) -> Iterator[dict[str, Any]]:
    parameters = {"schemas": list(schemas), "shadow": sql.SHADOW}
    for query in queries:
        for row in connection.execute(
            sa.text(f"WITH {unmanaged.OURS}{query}"), parameters
        ).mappings():
            shown = row["name"].replace("pg_catalog.", "")
            yield {"mend": _drop(row["type"], row["name"]), **row, "name": shown}


_NOUNS = {
    "aggregate": "routine",
    "composite type": "type",
    "enum": "type",
    "range type": "type",
    "statistics object": "statistics",
    "foreign-data wrapper": "foreign data wrapper",
}


def _drop(kind: str, name: str) -> str:
    """DROP by the name that pg_identify_object gives, which is nearly always SQL."""
    if kind == "user mapping":
        role, _, server = name.rpartition(" on server ")
        return f"DROP USER MAPPING FOR {role} SERVER {server}"
    if kind == "transform":
        name = name.replace(" on language ", " language ")  # before PostgreSQL 18
    return f"DROP {_NOUNS.get(kind, kind).upper()} {name}"


# --- compare: no operations ----------------------------------------------------------------------


def seeds(changes: Changes, kind: Kind[Any]) -> Iterable[Identity]:  # noqa: ARG001
    """Nothing."""
    return ()


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Nothing: the differences say what to do."""


KIND = Kind(
    UnmanagedState,
    None,
    read,
    create=Phase.GRANTS,
    drop=Phase.REVOKES,
    alterable=always,
    compare=compare,
    seeds=seeds,
)
KIND_OF_DATABASE = Kind(
    UnmanagedInDatabaseState,
    None,
    read_database,
    create=Phase.GRANTS,
    drop=Phase.REVOKES,
    alterable=always,
    in_schema=False,
    compare=compare,
    seeds=seeds,
)
