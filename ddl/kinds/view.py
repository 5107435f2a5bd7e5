"""Views, with the rights of the role that queries them unless they say why not."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import privileges, sql
from ddl.base import Declaration, Key, Operation, State
from ddl.comment_operation import only_comment_differs
from ddl.kind import Kind
from ddl.kinds.grant import GrantState
from ddl.kinds.trigger import Trigger
from ddl.plan import Phase
from ddl.revisable import revisable

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ViewState(State):
    """One view; ``definition`` is its query.

    ``defaults`` are ``at SET DEFAULT now()`` or the like, sorted.
    """

    kind: ClassVar[str] = "view"
    positional: ClassVar[tuple[str, ...]] = ("name", "definition")
    grantable: ClassVar[bool] = True

    name: str = ""
    definition: str = ""
    security_invoker: bool = False
    security_barrier: bool = False
    check_option: str | None = None
    comment: str | None = None
    defaults: tuple[str, ...] = ()
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The view itself."""
        return self.key

    @property
    def granted_as(self) -> str:
        """Its name."""
        return self.name

    @property
    def noun(self) -> str:
        """By its full name."""
        return f"VIEW {sql.qualified(self.schema, self.name)}"

    def text(self) -> str:
        """The query."""
        return self.definition


class View(Declaration):
    """A view with its grants, in ``__table_args__`` of a table it reads or with ``metadata=``.

    Args:
        security_invoker: read the tables with the rights of the role that queries the view, so
            that their grants and row-level security apply to it. False is PostgreSQL's own
            default: the view reads with the rights of its owner, and every role that may query it
            sees all that the query selects.
        reason: why the view may run as its owner; ``make docs`` shows it.
        check_option: ``local`` or ``cascaded``.
        grants: role to privileges.
        triggers: INSTEAD OF triggers, by which rows are written through it.
        defaults: column to the expression for what an INSERT leaves out. Into a view without
            such a trigger PostgreSQL inserts with the defaults of its table.

    Raises:
        sqlalchemy.exc.ArgumentError: ``security_invoker`` is False without a ``reason``.
    """

    def __init__(
        self,
        name: str,
        definition: str,
        *,
        security_invoker: bool = True,
        reason: str | None = None,
        security_barrier: bool = False,
        check_option: str | None = None,
        grants: Mapping[str, str] | None = None,
        triggers: Sequence[Trigger] = (),
        defaults: Mapping[str, str] | None = None,
        comment: str | None = None,
        schema: str | None = None,
        metadata: MetaData | None = None,
    ) -> None:
        schema = schema or sql.DEFAULT_SCHEMA
        if not security_invoker and not (reason or "").strip():
            raise ArgumentError(
                f"view {schema}.{name} would run as its owner, past the grants and the row-level "
                "security of the role that queries it: leave out security_invoker=False, or say "
                'why with reason="…"'
            )
        self.reason = reason
        self.state = ViewState(
            name,
            textwrap.dedent(definition).strip().rstrip(";"),
            security_invoker,
            security_barrier,
            check_option,
            comment,
            _defaults(defaults or {}),
            schema,
        )
        self.grants = GrantState(name, privileges.parse(grants or {}), schema)
        self.triggers = [one for trigger in triggers for one in trigger.on(name, schema)]
        self._register(metadata, self.state, self.grants, *self.triggers)

    def states(self, table: Table) -> Iterator[State]:
        """The view, its grants and its triggers."""
        yield self.state
        yield self.grants
        yield from self.triggers


def _defaults(values: Mapping[str, str]) -> tuple[str, ...]:
    found = (f"{sql.ident(column)} SET DEFAULT {value}" for column, value in values.items())
    return tuple(sorted(found))


# --- operate ---------------------------------------------------------------------------------


@revisable(ViewState)
class ViewOperation(Operation[ViewState]):
    """CREATE or DROP VIEW; a change is one of each, since columns can only be appended."""

    def create(self, state: ViewState, edition: str) -> list[str]:
        """CREATE VIEW with its options, then the comment."""
        name = sql.qualified(state.schema, state.name)
        options = [
            option for option in ("security_invoker", "security_barrier") if getattr(state, option)
        ]
        settings = f" WITH ({', '.join(f'{option} = true' for option in options)})"
        check = f"\nWITH {state.check_option.upper()} CHECK OPTION" if state.check_option else ""
        found = [f"CREATE VIEW {name}{settings if options else ''} AS\n{state.definition}{check}"]
        if state.comment is not None:
            found.append(sql.comment_on(state.noun, state.comment))
        found += [f"ALTER VIEW {name} ALTER COLUMN {default}" for default in state.defaults]
        return found

    def drop(self, state: ViewState, edition: str) -> list[str]:
        """One statement; fails while another view reads it."""
        return [f"DROP VIEW {sql.qualified(state.schema, state.name)}"]


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT n.nspname AS schema, c.relname AS name,
       rtrim(pg_get_viewdef(c.oid), ';') AS definition,
       coalesce(CAST(o.value ->> 'security_invoker' AS bool), false) AS security_invoker,
       coalesce(CAST(o.value ->> 'security_barrier' AS bool), false) AS security_barrier,
       o.value ->> 'check_option' AS check_option,
       obj_description(c.oid, 'pg_class') AS comment,
       (SELECT jsonb_object_agg(a.attname, pg_get_expr(d.adbin, d.adrelid))
          FROM pg_attrdef d JOIN pg_attribute a ON (a.attrelid, a.attnum) = (d.adrelid, d.adnum)
         WHERE d.adrelid = c.oid) AS defaults
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (SELECT jsonb_object_agg(option_name, option_value)
                        FROM pg_options_to_table(c.reloptions)) o (value)
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind = 'v'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                      AND e.objid = c.oid AND e.deptype = 'e')
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Every view of ``schemas`` that belongs to no extension."""
    rows = connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    found: list[State] = []
    for row in rows:
        definition = textwrap.dedent(row["definition"]).strip()
        defaults = _defaults(row["defaults"] or {})
        found.append(ViewState(**{**row, "definition": definition, "defaults": defaults}))
    return found


# --- compare: dropped and created, whatever changes but the comment -------------------------------


def copy(state: Any, _shadow: str) -> list[str]:
    """A plain view of the same query, of materialized views too: nothing is computed."""
    return [f"CREATE VIEW {sql.qualified(state.schema, state.name)} AS\n{state.definition}"]


KIND = Kind(
    ViewState,
    ViewOperation,
    read,
    create=Phase.VIEWS,
    drop=Phase.DROP_VIEWS,
    alterable=only_comment_differs,
    relation=True,
    relkinds="v",
    reads=True,
    rename="ALTER VIEW {named} RENAME TO {new}",
    expressions=("definition",),
    copy=copy,
)
