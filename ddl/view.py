"""Views: of the invoker's rights, with a check option, with a barrier, or plain."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, Table

from ddl import sql
from ddl.base import DDLOperation, Declaration, Key, State
from ddl.grant import GrantState

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ViewState(State):
    """One view; ``definition`` is its query."""

    kind: ClassVar[str] = "view"

    name: str
    definition: str = ""
    security_invoker: bool = False
    security_barrier: bool = False
    check_option: str | None = None
    comment: str | None = None
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def key(self) -> Key:
        """(schema, name)."""
        return (self.schema, self.name)

    @property
    def relation(self) -> Key | None:
        """The view itself."""
        return self.key

    def text(self) -> str:
        """The query."""
        return self.definition


class View(Declaration):
    """A view with its grants, in ``__table_args__`` of a table it reads or with ``metadata=``.

    Args:
        security_invoker: read the tables with the rights of whoever asks: what a view over
            tables with row security needs, else it shows the owner's rows.
        check_option: ``local`` or ``cascaded``.
        grants: role to privileges.
    """

    def __init__(
        self,
        name: str,
        definition: str,
        *,
        security_invoker: bool = False,
        security_barrier: bool = False,
        check_option: str | None = None,
        grants: Mapping[str, str] | None = None,
        comment: str | None = None,
        schema: str | None = None,
        metadata: MetaData | None = None,
    ) -> None:
        schema = schema or sql.DEFAULT_SCHEMA
        self.state = ViewState(
            name,
            textwrap.dedent(definition).strip().rstrip(";"),
            security_invoker,
            security_barrier,
            check_option,
            comment,
            schema,
        )
        self.grants = GrantState(name, GrantState.parse(dict(grants or {})), schema)
        self._register(metadata, self.state)
        self._register(metadata, self.grants)

    def states(self, table: Table) -> Iterator[State]:
        """The view and its grants."""
        yield self.state
        yield self.grants


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("create_view")
@Operations.register_operation("drop_view")
class ViewOperation(DDLOperation):
    """CREATE or DROP VIEW; a change is one of each, since columns can only be appended."""

    noun = "view"

    @classmethod
    def create_view(
        cls,
        operations: Operations,
        name: str,
        definition: str,
        *,
        security_invoker: bool = False,
        security_barrier: bool = False,
        check_option: str | None = None,
        comment: str | None = None,
        schema: str = "public",
    ) -> None:
        """Create a view; grant it with ``op.grant``."""
        values = {k: v for k, v in locals().items() if k not in ("cls", "operations")}
        operations.invoke(cls(None, ViewState(**values)))

    @classmethod
    def drop_view(cls, operations: Operations, name: str, *, schema: str = "public") -> None:
        """Drop a view; fails while another view reads it."""
        operations.invoke(cls(ViewState(name, schema=schema), None))

    def statements(self) -> list[str]:
        """CREATE VIEW with its options, then the comment."""
        state: ViewState = self.state
        name = sql.qualified(state.schema, state.name)
        if self.after is None:
            return [f"DROP VIEW {name}"]
        options = [
            option for option in ("security_invoker", "security_barrier") if getattr(state, option)
        ]
        settings = f" WITH ({', '.join(f'{option} = true' for option in options)})"
        check = f"\nWITH {state.check_option.upper()} CHECK OPTION" if state.check_option else ""
        found = [f"CREATE VIEW {name}{settings if options else ''} AS\n{state.definition}{check}"]
        if state.comment is not None:
            found.append(sql.comment_on(f"VIEW {name}", state.comment))
        return found


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT n.nspname AS schema, c.relname AS name,
       rtrim(pg_get_viewdef(c.oid), ';') AS definition,
       coalesce(CAST(o.value ->> 'security_invoker' AS bool), false) AS security_invoker,
       coalesce(CAST(o.value ->> 'security_barrier' AS bool), false) AS security_barrier,
       o.value ->> 'check_option' AS check_option,
       obj_description(c.oid, 'pg_class') AS comment
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (SELECT jsonb_object_agg(option_name, option_value)
                        FROM pg_options_to_table(c.reloptions)) o (value)
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind = 'v'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                      AND e.objid = c.oid AND e.deptype = 'e')
""")


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Every view of ``schemas`` that belongs to no extension."""
    rows = connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    return [
        ViewState(**{**row, "definition": textwrap.dedent(row["definition"]).strip()})
        for row in rows
    ]
