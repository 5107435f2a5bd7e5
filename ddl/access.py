"""Checks that a policy backs every grant on a table with row-level security."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Declared, Key
from ddl.kinds.grant import GrantState
from ddl.kinds.policy import PolicyState
from ddl.kinds.row_level_security import RowLevelSecurityState

COMMANDS = ("select", "insert", "update", "delete")
"""The privileges that row-level security narrows."""


def check_policies(metadata: MetaData) -> None:
    """Reject a grant that no policy backs: the role would see no rows, and no error.

    Raises:
        sqlalchemy.exc.ArgumentError: names the table, the role and what to write.
    """
    declared = Declared.on(metadata)
    policies: dict[Key, set[tuple[str, str]]] = {}
    for state in declared.of(PolicyState).values():
        if state.permissive:
            backed = {(sql.role(role), state.command) for role in state.to}
            policies.setdefault((state.schema, state.table), set()).update(backed)
    for key, security in declared.of(RowLevelSecurityState).items():
        grants = declared.of(GrantState).get(key)
        for held in sorted(grants.privileges if grants and security.enable else ()):
            roles = (sql.role(held.role), "PUBLIC")
            backing = {(role, command) for role in roles for command in ("all", held.name)}
            if held.name in COMMANDS and backing.isdisjoint(policies.get(key, ())):
                raise ArgumentError(
                    f"table {key[1]}: {held.role} is granted {held.name}, but row-level security"
                    f" is on and no permissive policy lets it {held.name} any row; write "
                    f'Policy("…", to="{held.role}", using="…") beside the grant'
                )
