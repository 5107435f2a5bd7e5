"""Grants on tables, columns, views, functions and schemas, one state per object."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import DDLOperation, Declaration, Declared, Key, State

_OPTION = " with grant option"

# --- declare ---------------------------------------------------------------------------------


class Privilege(NamedTuple):
    """One privilege of one role; ``column`` is empty for the whole object."""

    role: str
    name: str
    column: str = ""
    grantable: bool = False


@dataclass(frozen=True)
class GrantState(State):
    """All that others than the owner may do with one object.

    ``on`` is written as in GRANT: ``sites``, ``function uuid7()``, ``schema public``.
    """

    kind: ClassVar[str] = "grant"

    on: str
    privileges: frozenset[Privilege] = frozenset()
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def key(self) -> Key:
        """(schema, object)."""
        return (self.schema, self.on)

    @property
    def relation(self) -> Key | None:
        """The table, view or function that carries the grants; None for a schema."""
        on = self.on.replace('"', "") if self.on.startswith("function ") else self.on
        return None if on.startswith("schema ") else (self.schema, on)

    def title(self) -> str:
        """The grants as a person would name them."""
        return f"grants on {self.on}"

    @staticmethod
    def parse(grants: Mapping[str, str]) -> frozenset[Privilege]:
        """Read ``{"fleet_app": "select, update (name, email)"}``."""
        found = set()
        for role, text in grants.items():
            for part in sql.split_list(text):
                match = re.fullmatch(rf"(\w+)(?: ?\((.*)\))?({_OPTION})?", part, re.I)
                # ALL means more on each new version of the server.
                if match is None or match[1].lower() == "all":
                    raise ArgumentError(
                        f'grant to {role}: expected "select, update (name)", found {part!r}'
                    )
                for column in sql.split_list(match[2] or "") or [""]:
                    name = sql.unquoted(column) if column else ""
                    found.add(Privilege(role, match[1].lower(), name, bool(match[3])))
        return frozenset(found)

    @staticmethod
    def spell(privileges: Iterable[Privilege]) -> dict[str, str]:
        """The reverse of :meth:`parse`, sorted, with the columns of a privilege gathered."""
        gathered: dict[str, dict[tuple[str, bool, bool], list[str]]] = {}
        for role, name, column, grantable in sorted(privileges):
            parts = gathered.setdefault(role, {})
            parts.setdefault((name, bool(column), grantable), []).append(sql.ident(column))
        return {
            role: ", ".join(
                name
                + (f" ({', '.join(columns)})" if of_columns else "")
                + (_OPTION if grantable else "")
                for (name, of_columns, grantable), columns in parts.items()
            )
            for role, parts in gathered.items()
        }


class Grant(Declaration):
    """What a role may do with the table: ``Grant("select, update (name)", to="fleet_app")``."""

    def __init__(self, privileges: str, *, to: str) -> None:
        self.privileges = GrantState.parse({to: privileges})

    def states(self, table: Table) -> Iterator[State]:
        """Adds to the grants that the table has already."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        declared = Declared.on(table.metadata)
        known = declared.states.setdefault("grant", {}).pop((schema, table.name), None)
        state = known or GrantState(on=table.name, schema=schema)
        assert isinstance(state, GrantState)
        yield replace(state, privileges=state.privileges | self.privileges)


def schema_grant(privileges: str, *, on: str, to: str, metadata: MetaData) -> None:
    """Declare what a role may do in a schema: ``usage``, ``create``."""
    declared = Declared.on(metadata)
    known = declared.states.setdefault("grant", {}).pop((on, f"schema {on}"), None)
    state = known or GrantState(on=f"schema {on}", schema=on)
    assert isinstance(state, GrantState)
    declared.add(replace(state, privileges=state.privileges | GrantState.parse({to: privileges})))


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("grant")
@Operations.register_operation("revoke")
class GrantOperation(DDLOperation):
    """GRANT or REVOKE on one object, for any number of roles."""

    noun = "grant"

    @classmethod
    def grant(
        cls, operations: Operations, on: str, to: Mapping[str, str], *, schema: str = "public"
    ) -> None:
        """``op.grant("sites", {"fleet_app": "select, update (name)"})``."""
        operations.invoke(cls(None, GrantState(on, GrantState.parse(to), schema)))

    @classmethod
    def revoke(
        cls, operations: Operations, on: str, of: Mapping[str, str], *, schema: str = "public"
    ) -> None:
        """``op.revoke("sites", {"PUBLIC": "select"})``."""
        operations.invoke(cls(GrantState(on, GrantState.parse(of), schema), None))

    @property
    def verb(self) -> str:
        """Grant or revoke; a change is one of each."""
        return "revoke" if self.after is None else "grant"

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The object and a dictionary of role to privileges."""
        state: GrantState = self.state
        keywords = {} if state.schema == sql.DEFAULT_SCHEMA else {"schema": state.schema}
        if state.on.startswith("schema "):
            keywords = {}
        return [state.on, GrantState.spell(state.privileges)], keywords

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """(verb, object, {role: privileges})."""
        return (self.verb, self.state.on, GrantState.spell(self.state.privileges))

    def statements(self) -> list[str]:
        """One GRANT or REVOKE per role and grant option."""
        state: GrantState = self.state
        target = _target(state)
        found = []
        for role, text in GrantState.spell(state.privileges).items():
            parts = sql.split_list(text)
            for grantable in (False, True):
                listed = [
                    _privilege(part.removesuffix(_OPTION))
                    for part in parts
                    if part.endswith(_OPTION) is grantable
                ]
                if not listed:
                    continue
                what = ", ".join(listed)
                if self.after is None:
                    # With the option goes what the role granted by it.
                    cascade = " CASCADE" if grantable else ""
                    found.append(f"REVOKE {what} ON {target} FROM {sql.role(role)}{cascade}")
                else:
                    option = " WITH GRANT OPTION" if grantable else ""
                    found.append(f"GRANT {what} ON {target} TO {sql.role(role)}{option}")
        return found


def _privilege(text: str) -> str:
    name, _, columns = text.partition(" (")
    if not columns:
        return name.upper()
    return f"{name.upper()} ({columns}"


def _target(state: GrantState) -> str:
    noun, _, rest = state.on.partition(" ")
    if noun == "schema" and rest:
        return f"SCHEMA {sql.ident(rest)}"
    if noun == "function" and rest:
        prefix = "" if state.schema == sql.DEFAULT_SCHEMA else f"{sql.ident(state.schema)}."
        return f"FUNCTION {prefix}{rest}"
    return f"TABLE {sql.qualified(state.schema, state.on)}"


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
WITH objects AS (
    SELECT n.nspname AS schema, c.relname::text AS "on", '' AS "column", c.relowner AS owner,
           coalesce(c.relacl, acldefault('r', c.relowner)) AS acl, 'pg_class'::regclass AS class,
           c.oid
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    UNION ALL
    SELECT n.nspname, c.relname, a.attname, c.relowner, a.attacl, 'pg_class'::regclass, c.oid
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND NOT c.relispartition
    UNION ALL
    SELECT n.nspname, 'function ' || quote_ident(p.proname) || '('
               || pg_get_function_identity_arguments(p.oid) || ')', '', p.proowner,
           coalesce(p.proacl, acldefault('f', p.proowner)), 'pg_proc'::regclass, p.oid
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prokind = 'f'
    UNION ALL
    SELECT n.nspname, 'schema ' || n.nspname, '', n.nspowner,
           coalesce(n.nspacl, acldefault('n', n.nspowner)), 'pg_namespace'::regclass, n.oid
      FROM pg_namespace n
)
SELECT o.schema, o."on", o."column", lower(a.privilege_type) AS name,
       CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END AS role,
       a.is_grantable AS grantable
  FROM objects o CROSS JOIN LATERAL aclexplode(o.acl) a
 WHERE o.schema = ANY (CAST(:schemas AS name[])) AND a.grantee <> o.owner
   AND NOT EXISTS (SELECT FROM pg_depend e
                    WHERE e.classid = o.class AND e.objid = o.oid AND e.deptype = 'e')
""")


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The grants to others than the owner, of every object of ``schemas`` that has any."""
    found: dict[Key, set[Privilege]] = defaultdict(set)
    for row in connection.execute(_QUERY, {"schemas": list(schemas)}):
        key = (row.schema, row.on)
        found[key].add(Privilege(row.role, row.name, row.column, row.grantable))
    return [GrantState(on, frozenset(held), schema) for (schema, on), held in found.items()]
