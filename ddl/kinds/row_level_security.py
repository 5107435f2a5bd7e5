"""Row-level security of tables: whether it is on, and whether it binds the owner, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, Table

from ddl import privileges, sql
from ddl.base import Declaration, Key, Operation, State, explicit
from ddl.changes import Changes
from ddl.edition import COMMUNITY
from ddl.kind import Kind, always
from ddl.plan import Phase, Plan
from ddl.revisable import revisable

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowLevelSecurityState(State):
    """Row-level security of one table."""

    kind: ClassVar[str] = "row-level security"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "table")
    positional: ClassVar[tuple[str, ...]] = ("table",)

    table: str = ""
    enable: bool = explicit(True)
    force: bool = explicit(True)
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The table itself."""
        return self.key


class RowLevelSecurity(Declaration):
    """Row-level security of the table: on, and for its owner too, unless said otherwise."""

    def __init__(self, *, enable: bool = True, force: bool = True) -> None:
        self.enable = enable
        self.force = force

    def states(self, table: Table) -> Iterator[State]:
        """The setting for ``table``."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        yield RowLevelSecurityState(table.name, self.enable, self.force, schema)


# --- operate ---------------------------------------------------------------------------------

_VERB = "set_row_level_security"


@revisable(RowLevelSecurityState, create=_VERB, drop=_VERB, alter=_VERB)
class RowLevelSecurityOperation(Operation[RowLevelSecurityState]):
    """ALTER TABLE … ENABLE/DISABLE and FORCE/NO FORCE ROW LEVEL SECURITY.

    In a revision it also creates the policies and grants that come with it: without policies it
    shows no rows to any role that it binds.
    """

    def __init__(self, before: Any, after: Any) -> None:
        super().__init__(before, after)
        self.policies: dict[str, str] = {}
        """Name to clauses of the policies that are created with it."""

    @classmethod
    def set_row_level_security(
        cls,
        operations: Operations,
        table: str,
        *,
        enable: bool,
        force: bool,
        policies: Mapping[str, str] | None = None,
        grants: Mapping[str, str] | None = None,
        schema: str = "public",
    ) -> None:
        """Switch row-level security of ``table``, and create policies and grants with it.

        Args:
            policies: name to the clauses of CREATE POLICY:
                ``"FOR SELECT TO fleet_app USING (tenant_id = current_tenant())"``.
            grants: role, or roles with commas between them, to privileges.
        """
        operation = cls(None, RowLevelSecurityState(table, enable, force, schema))
        operation.policies.update(policies or {})
        operation.grants = privileges.parse(grants or {})
        operations.invoke(operation)

    @property
    def state(self) -> RowLevelSecurityState:
        """What it becomes."""
        assert self.after is not None
        return self.after

    @property
    def is_removal(self) -> bool:
        """Switching off is superfluous where the table is dropped anyway."""
        return not (self.state.enable or self.state.force)

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The setting, then the policies and grants that come with it."""
        positional, keywords = super().arguments()
        found: dict[str, Any] = {key: keywords.pop(key) for key in ("enable", "force")}
        if self.policies:
            found["policies"] = dict(sorted(self.policies.items()))
        return positional, found | keywords

    def statements(self, edition: str = COMMUNITY) -> list[str]:
        """Both settings, whatever they were; then the policies and the grants."""
        state = self.state
        found = self.create(state, edition)
        target = sql.qualified(state.schema, state.table)
        for name, text in sorted(self.policies.items()):
            found.append(f"CREATE POLICY {sql.ident(name)} ON {target} {text}")
        return found + privileges.statements(state.table, state.schema, self.grants)

    def create(self, state: RowLevelSecurityState, edition: str) -> list[str]:
        """One statement per setting."""
        table = sql.qualified(state.schema, state.table)
        return [
            f"ALTER TABLE {table} {'ENABLE' if state.enable else 'DISABLE'} ROW LEVEL SECURITY",
            f"ALTER TABLE {table} {'FORCE' if state.force else 'NO FORCE'} ROW LEVEL SECURITY",
        ]

    def drop(self, state: RowLevelSecurityState, edition: str) -> list[str]:
        """Never: off is a setting like on."""
        raise TypeError("row-level security is switched off, not dropped")  # pragma: no cover


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT n.nspname AS schema, c.relname AS table, c.relrowsecurity AS enable,
       c.relforcerowsecurity AS force
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind IN ('r', 'p')
   AND (c.relrowsecurity OR c.relforcerowsecurity)
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The tables of ``schemas`` where row-level security is on or forced."""
    rows = connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    return [RowLevelSecurityState(**row) for row in rows]


# --- compare: a table that says nothing has it off ------------------------------------------------


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Bring each table to its setting; without a declaration it is off."""
    before, after = changes.sides(RowLevelSecurityState)
    for key in sorted(before.keys() | after.keys()):
        off = RowLevelSecurityState(key[1], enable=False, force=False, schema=key[0])
        sides = before.get(key, off), after.get(key, off)
        if sides[0] != sides[1]:
            goes = key in changes.gone_relations()
            plan.add(kind.drop if goes else kind.create, RowLevelSecurityOperation(*sides))


KIND = Kind(
    RowLevelSecurityState,
    RowLevelSecurityOperation,
    read,
    create=Phase.ROW_LEVEL_SECURITY,
    drop=Phase.DROP_POLICIES,
    alterable=always,
    compare=compare,
)
