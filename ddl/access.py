"""Checks of all grants together: none shows nothing, and none shows what policies hide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from sqlalchemy import MetaData, Table
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql.base import SchemaEventTarget

from ddl import sql
from ddl.base import Declaration, Declared, Identity, Key, State
from ddl.catalog import Catalog
from ddl.kinds import KINDS
from ddl.kinds.function import FunctionState
from ddl.kinds.grant import GrantState
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.materialized_view import MaterializedViewState
from ddl.kinds.policy import PolicyState
from ddl.kinds.row_level_security import RowLevelSecurityState
from ddl.rollups import RollupState

COMMANDS = ("select", "insert", "update", "delete")
"""The privileges that row-level security narrows."""

_OPAQUE = re.compile(
    # Queries and tables that are given as text, by the server and by its extensions.
    r"(?:query|cursor|table|schema|database)_to_xml(?:schema|_and_xmlschema)?|ts_stat|ts_rewrite"
    r"|dblink\w*|crosstab\w*|connectby|xpath_table"
    # Rows, values and queries of everybody.
    r"|pg_(?:read|stat)_(?:binary_)?file|pg_ls_\w+|lo_(?:get|export)|loread|get_raw_page\w*"
    r"|pg_stats\w*|pg_statistic\w*|pg_stat_activity|pg_stat_statements\w*|pg_largeobject"
    r"|pg_logical_slot_\w+|_timescaledb_\w+"
)
"""Names of what reads rows that nothing in a definition names."""


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


class HiddenFrom(Declaration):
    """Hides the table's rows from roles where row-level security cannot, as on a hypertable.

    ``HiddenFrom("fleet_app")``: no grant to the role on the table, nor on a rollup or materialized
    view over it; a view that runs as its owner may show it some rows.
    """

    def __init__(self, *roles: str) -> None:
        self.roles = roles

    def _set_parent(self, parent: SchemaEventTarget, **kw: Any) -> None:
        super()._set_parent(parent, **kw)
        assert isinstance(parent, Table)
        key = (parent.schema or sql.DEFAULT_SCHEMA, parent.name)
        Declared.on(parent.metadata).hidden[key] = self.roles

    def states(self, table: Table) -> Iterator[State]:
        """Nothing that a server knows."""
        return iter(())


def check_copies(
    metadata: MetaData,
    dependents: Mapping[Identity, set[Identity]] | None = None,
    target: Catalog | None = None,
) -> None:
    """Reject a grant on rows that are kept outside the table whose policies hide them.

    A materialized view or rollup shows all its rows to whoever may read it. So a role whose
    policies narrow what it sees must not have it, if a table behind it would show it less, or
    if what it reads cannot be known.

    Args:
        dependents: for each object those that depend on it, from a server. The text of the
            definitions alone is enough to find most of it at import.
        target: the same definitions as the server spells them.

    Raises:
        sqlalchemy.exc.ArgumentError: names the object, the role and what to write.
    """
    declared = Declared.on(metadata)
    policies = _Policies(declared)
    reads = _reads(declared, dependents or {})
    opaque = _opaque(declared, target)
    copies = {*declared.of(MaterializedViewState), *declared.of(RollupState), *declared.hidden}
    for copy in sorted(copies):
        grants = declared.of(GrantState).get(copy)
        roles = {held.role for held in grants.privileges} if grants else set()
        behind = _behind(copy, reads)
        for is_function, table in sorted(behind):
            for role in sorted(roles):
                if not is_function and policies.hide(table, role):
                    read = "" if copy == table else f" It reads table {'.'.join(table)}."
                    raise ArgumentError(_refused(declared, copy, read, role))
        for node in sorted(behind & opaque.keys()):
            for role in sorted(roles):
                if policies.bind(role):
                    used = (
                        opaque[node] if node[1] == copy else f"{'.'.join(node[1])}: {opaque[node]}"
                    )
                    read = f" What it reads cannot be known ({used})."
                    raise ArgumentError(_refused(declared, copy, read, role))


def _refused(declared: Declared, copy: Key, reads: str, role: str) -> str:
    kinds = (MaterializedViewState, RollupState, HypertableState)
    kind = next((one.kind for one in kinds if copy in declared.of(one)), "table")
    return (
        f"{kind} {'.'.join(copy)}: expected no grant to {role}, which may see some rows only and"
        f" would see all of these, since row-level security does not apply here.{reads} Leave the"
        f' grant out, and let {role} read a view over it: View("…", "SELECT … WHERE <its rows'
        f' only>", security_invoker=False, reason="…", grants={{"{role}": "select"}})'
    )


class _Policies:
    """Which rows the policies let a role see."""

    def __init__(self, declared: Declared) -> None:
        self._hidden = declared.hidden
        self._secured = {
            key for key, one in declared.of(RowLevelSecurityState).items() if one.enable
        }
        self._all: set[tuple[Key, str]] = set()
        self._restricted: set[tuple[Key, str]] = set()
        self._bound = {sql.role(one) for roles in self._hidden.values() for one in roles}
        for state in declared.of(PolicyState).values():
            if state.command in ("all", "select"):
                on = {((state.schema, state.table), sql.role(one)) for one in state.to}
                if (state.using or "").strip("() \n").lower() != "true":
                    self._bound.update(role for _, role in on)
                    if not state.permissive:
                        self._restricted |= on
                elif state.permissive:
                    self._all |= on

    def hide(self, table: Key, role: str) -> bool:
        """True where ``role``, or any role that PUBLIC means, must not see all rows."""
        named = {sql.role(role)}
        meant = self._bound if named == {"PUBLIC"} else named if self._binds(named) else set()
        if table not in self._secured:
            return not meant.isdisjoint(map(sql.role, self._hidden.get(table, ())))
        return any(not self._shows_all(table, one) for one in meant)

    def bind(self, role: str) -> bool:
        """True where some policy narrows what ``role`` sees."""
        return sql.role(role) == "PUBLIC" or self._binds({sql.role(role)})

    def _binds(self, roles: set[str]) -> bool:
        return not self._bound.isdisjoint({*roles, "PUBLIC"})

    def _shows_all(self, table: Key, role: str) -> bool:
        listed = {(table, role), (table, "PUBLIC")}
        return bool(self._all & listed) and not self._restricted & listed


Node: TypeAlias = tuple[bool, Key]
"""A function, or else a relation, by schema and name."""


def _reads(
    declared: Declared, dependents: Mapping[Identity, set[Identity]]
) -> dict[Node, set[Node]]:
    """What each view, rollup and function reads and calls, by its text and by ``dependents``."""
    found: dict[Node, set[Node]] = {}
    readers = [kind for kind in KINDS if kind.reads]
    functions = {key[1]: (True, key[:2]) for key in declared.of(FunctionState)}
    schemas = {key[0] for kind in KINDS if kind.in_schema for key in declared.of(kind.state)}
    relations = {*declared.of(RowLevelSecurityState), *declared.hidden}
    for kind in readers:
        if kind.state is not FunctionState:
            relations.update(declared.of(kind.state))
    for kind in readers:
        for key, state in declared.of(kind.state).items():
            # What a text body reads is in no catalog, and neither is what a rollup reads.
            read = found.setdefault((kind.state is FunctionState, key[:2]), set())
            read |= {(False, one) for one in sql.relations(state.text(), schemas)}
            if isinstance(state, FunctionState) and not state.standard_body:
                # However it names them: nobody parses this text before it runs.
                words = sql.words(state.body)
                read |= {(False, one) for one in relations if one[1] in words}
            read |= {functions[name] for name in sql.calls(state.text()) & functions.keys()}
    names = {kind.name for kind in readers}
    for identity, others in dependents.items():
        for other in others:
            if other[0] in names:
                found.setdefault(_node(other), set()).add(_node(identity))
    return found


def _node(identity: Identity) -> Node:
    return identity[0] == FunctionState.kind, identity[1][:2]


def _opaque(declared: Declared, target: Catalog | None) -> dict[Node, str]:
    """Of what may read rows that its definition does not name, the reason."""
    found: dict[Node, str] = {}
    for kind in KINDS:
        for key, state in declared.of(kind.state).items() if kind.reads else ():
            is_function = isinstance(state, FunctionState)
            texts = [state.body if is_function else state.text()]
            if target is not None and (spelled := target.of(kind.state).get(key)) is not None:
                texts.append(spelled.body if is_function else spelled.text())
            words = {word for text in texts for word in sql.words(text)}
            used = {word for word in words if _OPAQUE.fullmatch(word)}
            if is_function and not state.standard_body:
                # The server does not parse it, so that nothing else knows what it reads.
                if state.language not in ("sql", "plpgsql"):
                    used.add(f"language {state.language}")
                if state.language == "plpgsql":
                    used |= words & {"execute"}
            if used:
                found[is_function, key[:2]] = ", ".join(sorted(used))
    return found


def _behind(relation: Key, reads: Mapping[Node, set[Node]]) -> set[Node]:
    """The relation itself, and all that it reads, through views and functions as well."""
    stack: list[Node] = [(False, relation)]
    found: set[Node] = set()
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack += reads.get(node, ())
    return found
