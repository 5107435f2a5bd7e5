"""Policies of row-level security: which rows a role sees and may write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from ddl import sql
from ddl.base import Declaration, Key, Operation, State, explicit
from ddl.kind import Kind
from ddl.plan import Phase
from ddl.revisable import revisable

# --- declare ---------------------------------------------------------------------------------

OWNER = "CURRENT_USER"
"""For ``to``: the owner of the table, by whatever name. That is who creates the policy."""


@dataclass(frozen=True)
class PolicyState(State):
    """One policy; ``to`` holds the roles in order."""

    kind: ClassVar[str] = "policy"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "table", "name")
    positional: ClassVar[tuple[str, ...]] = ("name", "table")

    name: str = ""
    table: str = ""
    to: tuple[str, ...] = explicit(())
    command: str = explicit("all")
    using: str | None = None
    check: str | None = None
    permissive: bool = True
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The table it guards."""
        return (self.schema, self.table)


class Policy(Declaration):
    """A policy of the table: which rows ``to`` sees (``using``) and may write (``check``).

    ``to=OWNER`` means the owner of the table, whom forced row-level security hides all rows from.
    """

    def __init__(
        self,
        name: str,
        *,
        to: str | Sequence[str],
        command: str = "all",
        using: str | None = None,
        check: str | None = None,
        permissive: bool = True,
    ) -> None:
        self.name = name
        self.to = (to,) if isinstance(to, str) else tuple(sorted(to))
        self.command = command
        self.using = using
        self.check = check
        self.permissive = permissive

    def states(self, table: Table) -> Iterator[State]:
        """The policy on ``table``."""
        yield PolicyState(
            self.name,
            table.name,
            self.to,
            self.command,
            self.using,
            self.check,
            self.permissive,
            table.schema or sql.DEFAULT_SCHEMA,
        )


# --- operate ---------------------------------------------------------------------------------


@revisable(PolicyState)
class PolicyOperation(Operation[PolicyState]):
    """CREATE, ALTER or DROP POLICY."""

    def create(self, state: PolicyState, edition: str) -> list[str]:
        """One statement."""
        return [f"CREATE {_target(state)} {clauses(state)}"]

    def alter(self, before: PolicyState, after: PolicyState, edition: str) -> list[str]:
        """Roles and conditions change; the command stays what it is."""
        return [f"ALTER {_target(after)} {' '.join(_conditions(after))}"]

    def drop(self, state: PolicyState, edition: str) -> list[str]:
        """One statement."""
        return [f"DROP {_target(state)}"]


def _target(state: PolicyState) -> str:
    return f"POLICY {sql.ident(state.name)} ON {sql.qualified(state.schema, state.table)}"


def clauses(state: PolicyState) -> str:
    """What follows the table's name in CREATE POLICY."""
    kind = [] if state.permissive else ["AS RESTRICTIVE"]
    return " ".join([*kind, f"FOR {state.command.upper()}", *_conditions(state)])


def _conditions(state: PolicyState) -> list[str]:
    found = [f"TO {', '.join(sql.role(role) for role in state.to)}"]
    if state.using is not None:
        found.append(f"USING ({state.using})")
    if state.check is not None:
        found.append(f"WITH CHECK ({state.check})")
    return found


# --- reflect ---------------------------------------------------------------------------------

_POLICIES = sa.text("""
SELECT n.nspname AS schema, c.relname AS table, p.polname AS name, p.polpermissive AS permissive,
       CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                     WHEN 'd' THEN 'delete' ELSE 'all' END AS command,
       (SELECT array_agg(r.name ORDER BY r.name COLLATE "C")
          FROM (SELECT CASE WHEN o = 0 THEN 'PUBLIC'
                            -- Of a table that somebody took over, the policies are as they were.
                            WHEN o = v.relowner
                              OR o = c.relowner AND o = quote_ident(current_user)::regrole
                            THEN 'CURRENT_USER' ELSE pg_get_userbyid(o)::text END AS name
                  FROM unnest(p.polroles) o) r) AS "to",
       pg_get_expr(p.polqual, p.polrelid) AS "using",
       pg_get_expr(p.polwithcheck, p.polrelid) AS "check"
  FROM pg_policy p
  JOIN pg_class c ON c.oid = p.polrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_class v ON v.oid = to_regclass('public.alembic_version')
 WHERE n.nspname = ANY (CAST(:schemas AS name[]))
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The policies of ``schemas``."""
    rows = connection.execute(_POLICIES, {"schemas": list(schemas)}).mappings()
    return [PolicyState(**{**row, "to": tuple(row["to"])}) for row in rows]


# --- compare ---------------------------------------------------------------------------------


def alterable(before: PolicyState, after: PolicyState) -> bool:
    """True where ALTER POLICY can: it changes conditions, but removes none."""
    return (
        (before.command, before.permissive) == (after.command, after.permissive)
        and after.permissive
        and (before.using is None) == (after.using is None)
        and (before.check is None) == (after.check is None)
    )


KIND = Kind(
    PolicyState,
    PolicyOperation,
    read,
    create=Phase.POLICIES,
    drop=Phase.DROP_POLICIES,
    alterable=alterable,
    expressions=("using", "check"),
    dependent_objects="""
    SELECT 'pg_policy'::regclass, p.oid, 'policy', r.key || p.polname::text
      FROM pg_policy p JOIN relations r ON r.oid = p.polrelid""",
    rename="ALTER POLICY {old} ON {table} RENAME TO {new}",
)
