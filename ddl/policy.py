"""Row security of tables (ENABLE and FORCE apart) and its policies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, Table

from ddl import sql
from ddl.base import DDLOperation, Declaration, Key, State

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowSecurityState(State):
    """Whether row security is on for a table, and whether it binds the owner too."""

    kind: ClassVar[str] = "row security"
    positional: ClassVar[tuple[str, ...]] = ("table",)

    table: str
    enable: bool = True
    force: bool = True
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def key(self) -> Key:
        """(schema, table)."""
        return (self.schema, self.table)

    @property
    def relation(self) -> Key | None:
        """The table itself."""
        return self.key


@dataclass(frozen=True)
class PolicyState(State):
    """One policy; ``to`` holds the roles in order."""

    kind: ClassVar[str] = "policy"
    positional: ClassVar[tuple[str, ...]] = ("name", "table")

    name: str
    table: str
    to: tuple[str, ...] = ()
    command: str = "all"
    using: str | None = None
    check: str | None = None
    permissive: bool = True
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def key(self) -> Key:
        """(schema, table, name)."""
        return (self.schema, self.table, self.name)

    @property
    def relation(self) -> Key | None:
        """The table it guards."""
        return (self.schema, self.table)


class RowSecurity(Declaration):
    """Row security of the table: on, and for its owner too, unless said otherwise."""

    def __init__(self, *, enable: bool = True, force: bool = True) -> None:
        self.enable = enable
        self.force = force

    def states(self, table: Table) -> Iterator[State]:
        """The setting for ``table``."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        yield RowSecurityState(table.name, self.enable, self.force, schema)


class Policy(Declaration):
    """A policy of the table: which rows ``to`` sees (``using``) and may write (``check``)."""

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


@Operations.register_operation("set_row_security")
class RowSecurityOperation(DDLOperation):
    """ALTER TABLE … ENABLE/DISABLE and FORCE/NO FORCE ROW LEVEL SECURITY."""

    noun = "row_security"
    verb = "set_row_security"

    @classmethod
    def set_row_security(
        cls,
        operations: Operations,
        table: str,
        *,
        enable: bool = True,
        force: bool = True,
        schema: str = "public",
    ) -> None:
        """Bring row security of ``table`` to the given setting."""
        operations.invoke(cls(None, RowSecurityState(table, enable, force, schema)))

    @property
    def is_removal(self) -> bool:
        """Switching off is not worth a line where the table goes anyway."""
        return not (self.after.enable or self.after.force)

    def arguments(self) -> tuple[list[object], dict[str, object]]:
        """Both settings, always: their defaults are the safe ones, said aloud."""
        state: RowSecurityState = self.after
        keywords: dict[str, object] = {"enable": state.enable, "force": state.force}
        if state.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = state.schema
        return [state.table], keywords

    def statements(self) -> list[str]:
        """One statement per setting."""
        state: RowSecurityState = self.after
        table = sql.qualified(state.schema, state.table)
        return [
            f"ALTER TABLE {table} {'ENABLE' if state.enable else 'DISABLE'} ROW LEVEL SECURITY",
            f"ALTER TABLE {table} {'FORCE' if state.force else 'NO FORCE'} ROW LEVEL SECURITY",
        ]


@Operations.register_operation("create_policy")
@Operations.register_operation("alter_policy")
@Operations.register_operation("drop_policy")
class PolicyOperation(DDLOperation):
    """CREATE, ALTER or DROP POLICY."""

    noun = "policy"

    @classmethod
    def create_policy(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        to: str | Sequence[str],
        command: str = "all",
        using: str | None = None,
        check: str | None = None,
        permissive: bool = True,
        schema: str = "public",
    ) -> None:
        """Create a policy on ``table`` for the roles ``to``."""
        roles = (to,) if isinstance(to, str) else tuple(to)
        state = PolicyState(name, table, roles, command, using, check, permissive, schema)
        operations.invoke(cls(None, state))

    @classmethod
    def alter_policy(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        to: str | Sequence[str],
        command: str = "all",
        using: str | None = None,
        check: str | None = None,
        schema: str = "public",
    ) -> None:
        """Change roles and conditions of a policy; its command stays what it is."""
        roles = (to,) if isinstance(to, str) else tuple(to)
        state = PolicyState(name, table, roles, command, using, check, True, schema)
        operations.invoke(cls(state, state))

    @classmethod
    def drop_policy(
        cls, operations: Operations, name: str, table: str, *, schema: str = "public"
    ) -> None:
        """Drop a policy of ``table``."""
        operations.invoke(cls(PolicyState(name, table, schema=schema), None))

    def statements(self) -> list[str]:
        """One statement."""
        state: PolicyState = self.state
        target = f"POLICY {sql.ident(state.name)} ON {sql.qualified(state.schema, state.table)}"
        if self.after is None:
            return [f"DROP {target}"]
        clauses = [f"TO {', '.join(sql.role(role) for role in state.to)}"]
        if state.using is not None:
            clauses.append(f"USING ({state.using})")
        if state.check is not None:
            clauses.append(f"WITH CHECK ({state.check})")
        if self.before is not None:
            return [" ".join([f"ALTER {target}", *clauses])]
        kind = "" if state.permissive else " AS RESTRICTIVE"
        return [" ".join([f"CREATE {target}{kind} FOR {state.command.upper()}", *clauses])]


def alterable(before: PolicyState, after: PolicyState) -> bool:
    """True where ALTER POLICY reaches: it can change conditions, but not take one away."""
    return (
        (before.command, before.permissive) == (after.command, after.permissive)
        and after.permissive
        and (before.using is None) == (after.using is None)
        and (before.check is None) == (after.check is None)
    )


# --- reflect ---------------------------------------------------------------------------------

_POLICIES = sa.text("""
SELECT n.nspname AS schema, c.relname AS table, p.polname AS name, p.polpermissive AS permissive,
       CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                     WHEN 'd' THEN 'delete' ELSE 'all' END AS command,
       (SELECT array_agg(CASE WHEN o = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(o)::text END
                         ORDER BY CASE WHEN o = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(o)::text END
                         COLLATE "C")
          FROM unnest(p.polroles) o) AS "to",
       pg_get_expr(p.polqual, p.polrelid) AS "using",
       pg_get_expr(p.polwithcheck, p.polrelid) AS "check"
  FROM pg_policy p
  JOIN pg_class c ON c.oid = p.polrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[]))
""")

_ROW_SECURITY = sa.text("""
SELECT n.nspname AS schema, c.relname AS table, c.relrowsecurity AS enable,
       c.relforcerowsecurity AS force
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind IN ('r', 'p')
   AND (c.relrowsecurity OR c.relforcerowsecurity)
""")


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The policies of ``schemas``, and the tables where row security is on or forced."""
    parameters = {"schemas": list(schemas)}
    found: list[State] = [
        PolicyState(**{**row, "to": tuple(row["to"])})
        for row in connection.execute(_POLICIES, parameters).mappings()
    ]
    found += [
        RowSecurityState(**row) for row in connection.execute(_ROW_SECURITY, parameters).mappings()
    ]
    return found
