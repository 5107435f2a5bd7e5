"""Materialized views with their indexes: the rows of a query, kept until they are refreshed."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import privileges, sql
from ddl.base import Declaration, Key, Operation, State
from ddl.kind import Kind
from ddl.kinds import view
from ddl.kinds.grant import GrantState
from ddl.kinds.index import IndexState
from ddl.plan import Phase
from ddl.revisable import revisable

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaterializedViewState(State):
    """One materialized view; ``definition`` is its query.

    ``with_data`` says whether its creation fills it; whether it is filled today is data, and not
    compared.
    """

    kind: ClassVar[str] = "materialized view"
    positional: ClassVar[tuple[str, ...]] = ("name", "definition")
    grantable: ClassVar[bool] = True

    name: str = ""
    definition: str = ""
    with_data: bool = field(default=True, compare=False)
    options: tuple[str, ...] = ()
    comment: str | None = None
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The view itself."""
        return self.key

    @property
    def granted_as(self) -> str:
        """Its name."""
        return self.name

    def text(self) -> str:
        """The query."""
        return self.definition

    def details(self) -> Mapping[str, Any]:
        """All but whether it is filled."""
        return {key: value for key, value in super().details().items() if key != "with_data"}


class MaterializedView(Declaration):
    """A materialized view with its indexes and grants, in ``__table_args__`` or with ``metadata=``.

    It shows what its owner sees when it is refreshed: row-level security of the tables does not
    apply to those who read it, so it cannot be granted to a role whose policies narrow what the
    role sees; such a role reads a ``View`` over it.
    A change of its query drops it, creates it and fills it again within the revision.

    Args:
        with_data: fill it when it is created; else it cannot be read before its first REFRESH.
        indexes: definitions, ``"CREATE UNIQUE INDEX totals_id ON totals (id)"``, with the schema
            of the view where it is not public. REFRESH … CONCURRENTLY needs a unique one over
            columns and all rows.
        options: storage parameters, such as ``{"fillfactor": "90"}``.
        grants: role to privileges.

    Raises:
        sqlalchemy.exc.ArgumentError: an index is no CREATE INDEX on the view.
    """

    def __init__(
        self,
        name: str,
        definition: str,
        *,
        with_data: bool = True,
        indexes: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
        grants: Mapping[str, str] | None = None,
        comment: str | None = None,
        schema: str | None = None,
        metadata: MetaData | None = None,
    ) -> None:
        schema = schema or sql.DEFAULT_SCHEMA
        self.state = MaterializedViewState(
            name,
            textwrap.dedent(definition).strip().rstrip(";"),
            with_data,
            tuple(f"{key}={value}" for key, value in sorted((options or {}).items())),
            comment,
            schema,
        )
        self.indexes = [_index(self.state, definition) for definition in indexes]
        self.grants = GrantState(name, privileges.parse(grants or {}), schema)
        self._register(metadata, *self.states())

    def states(self, table: Table | None = None) -> Iterator[State]:
        """The view, its indexes and its grants."""
        yield self.state
        yield from self.indexes
        yield self.grants


_INDEX = re.compile(
    rf"\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?P<name>{sql.IDENT})\s+ON\s+"
    rf"(?:(?P<schema>{sql.IDENT})\s*\.\s*)?(?P<view>{sql.IDENT})\s*(?:USING\b|\()",
    re.I,
)


def _index(view: MaterializedViewState, definition: str) -> IndexState:
    match = _INDEX.match(definition)
    schema = sql.unquoted((match and match["schema"]) or sql.DEFAULT_SCHEMA)
    if match is None or (schema, sql.unquoted(match["view"])) != view.key:
        named = sql.qualified(view.schema, view.name)
        raise ArgumentError(
            f"{view.title()}: expected indexes like CREATE [UNIQUE] INDEX name ON {named} (…),"
            f" found {definition!r}"
        )
    definition = textwrap.dedent(definition).strip().rstrip(";")
    return IndexState(view.name, sql.unquoted(match["name"]), definition, schema=view.schema)


# --- operate ---------------------------------------------------------------------------------


@revisable(MaterializedViewState)
class MaterializedViewOperation(Operation[MaterializedViewState]):
    """CREATE or DROP MATERIALIZED VIEW; only a comment is changed in place."""

    @classmethod
    def alter_materialized_view(
        cls,
        operations: Operations,
        name: str,
        *,
        comment: str | None = None,
        schema: str = "public",
    ) -> None:
        """Give the view another comment, or none."""
        state = MaterializedViewState(name, comment=comment, schema=schema)
        operations.invoke(cls(state, state))

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """An alteration says nothing but the comment."""
        positional, keywords = super().arguments()
        if self.before is None or self.after is None:
            return positional, keywords
        kept = {key: value for key, value in keywords.items() if key in ("comment", "schema")}
        return positional[:1], kept

    def create(self, state: MaterializedViewState, edition: str) -> list[str]:
        """CREATE MATERIALIZED VIEW with its storage parameters, then the comment."""
        name = sql.qualified(state.schema, state.name)
        options = f" WITH ({', '.join(state.options)})" if state.options else ""
        data = "" if state.with_data else "\nWITH NO DATA"
        found = [f"CREATE MATERIALIZED VIEW {name}{options} AS\n{state.definition}{data}"]
        if state.comment is not None:
            found += self.alter(state, state, edition)
        return found

    def alter(
        self, before: MaterializedViewState, after: MaterializedViewState, edition: str
    ) -> list[str]:
        """The comment."""
        name = sql.qualified(after.schema, after.name)
        return [sql.comment_on(f"MATERIALIZED VIEW {name}", after.comment)]

    def drop(self, state: MaterializedViewState, edition: str) -> list[str]:
        """One statement; fails while another view reads it."""
        return [f"DROP MATERIALIZED VIEW {sql.qualified(state.schema, state.name)}"]


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT n.nspname AS schema, c.relname AS name,
       rtrim(pg_get_viewdef(c.oid), ';') AS definition, c.relispopulated AS with_data,
       coalesce(c.reloptions, '{}') AS options, obj_description(c.oid, 'pg_class') AS comment
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind = 'm'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                      AND e.objid = c.oid AND e.deptype = 'e')
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Every materialized view of ``schemas`` that belongs to no extension."""
    return [
        MaterializedViewState(
            **{
                **row,
                "definition": textwrap.dedent(row["definition"]).strip(),
                "options": tuple(sorted(row["options"])),
            }
        )
        for row in connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    ]


# --- compare ---------------------------------------------------------------------------------


def alterable(before: MaterializedViewState, after: MaterializedViewState) -> bool:
    """True where only the comment differs: its rows can take hours to compute."""
    return replace(before, comment=after.comment) == after


KIND = Kind(
    MaterializedViewState,
    MaterializedViewOperation,
    read,
    create=Phase.VIEWS,
    drop=Phase.DROP_VIEWS,
    alterable=alterable,
    relation=True,
    relkinds="m",
    reads=True,
    rename="ALTER MATERIALIZED VIEW {named} RENAME TO {new}",
    expressions=("definition",),
    copy=view.copy,
)
