"""Grants on tables, columns, views, functions and schemas, one state per object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, Table

from ddl import privileges, sql
from ddl.base import Declaration, Declared, Key, Operation, State, relation_of
from ddl.changes import Changes
from ddl.kind import Kind, always
from ddl.plan import Phase, Plan
from ddl.privileges import Privilege
from ddl.revisable import revisable

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class GrantState(State):
    """Everything that roles other than the owner may do with one object.

    ``on`` is written as in GRANT: ``sites``, ``function uuid7()``, ``schema public``.
    """

    kind: ClassVar[str] = "grant"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "on")
    positional: ClassVar[tuple[str, ...]] = ("on",)

    on: str = ""
    privileges: frozenset[Privilege] = frozenset()
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The table, view, function or sequence that carries the grants; None for a schema."""
        return None if self.on.startswith("schema ") else relation_of(self.schema, self.on)

    def title(self) -> str:
        """With the schema: ``grant timeseries.telemetry_daily``, ``grant schema public``."""
        noun, _, rest = self.on.partition(" ")
        if noun == "schema" and rest:
            return f"grant {self.on}"
        if noun in ("function", "sequence") and rest:
            return f"grant {noun} {self.schema}.{rest}"
        return f"grant {self.schema}.{self.on}"

    def text(self) -> str:
        """Grants mention nothing but their object."""
        return ""

    def details(self) -> Mapping[str, Any]:
        """What each role may do."""
        return privileges.by_role(self.privileges)


class Grant(Declaration):
    """What a role may do with the table: ``Grant("select, update (name)", to="fleet_app")``.

    Args:
        on: another object of the table's schema that the grant is about, named as in GRANT:
            ``"sequence orders_id_seq"``.
    """

    def __init__(self, granted: str, *, to: str, on: str | None = None) -> None:
        self.privileges = privileges.parse({to: granted})
        self.on = on

    def states(self, table: Table) -> Iterator[State]:
        """The grants declared on the object so far, and this one."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        yield _added(Declared.on(table.metadata), self.on or table.name, schema, self.privileges)


def schema_grant(granted: str, *, on: str, to: str, metadata: MetaData) -> None:
    """Declare what a role may do in a schema: ``usage``, ``create``."""
    declared = Declared.on(metadata)
    declared.add(_added(declared, f"schema {on}", on, privileges.parse({to: granted})))


def unnamed_schema(name: str, *, metadata: MetaData) -> None:
    """Declare that nobody gets USAGE on a schema for what is granted in it, so nobody can name it.

    The server lets a role run a function of a policy or an index by EXECUTE alone.
    """
    Declared.on(metadata).unnamed.add(name)


def declare_usage(metadata: MetaData) -> None:
    """Declare USAGE on a schema for whoever is granted anything in it; public has its own."""
    declared = Declared.on(metadata)
    for grant in list(declared.of(GrantState).values()):
        if grant.relation is not None and grant.schema not in {
            sql.DEFAULT_SCHEMA,
            *declared.unnamed,
        }:
            for role in sorted({held.role for held in grant.privileges}):
                schema_grant("usage", on=grant.schema, to=role, metadata=metadata)


def _added(declared: Declared, on: str, schema: str, added: frozenset[Privilege]) -> GrantState:
    """The state declared on an object so far, taken out of ``declared``, with more added."""
    known = declared.of(GrantState).pop((schema, on), None) or GrantState(on, schema=schema)
    return replace(known, privileges=known.privileges | added)


# --- operate ---------------------------------------------------------------------------------


@revisable(GrantState, create="grant", drop="revoke")
class GrantOperation(Operation[GrantState]):
    """GRANT or REVOKE on one object, for any number of roles; a change is one of each."""

    @classmethod
    def grant(
        cls, operations: Operations, on: str, to: Mapping[str, str], *, schema: str = "public"
    ) -> None:
        """``op.grant("sites", {"fleet_app": "select, update (name)"})``."""
        operations.invoke(cls(None, GrantState(on, privileges.parse(to), schema)))

    @classmethod
    def revoke(
        cls, operations: Operations, on: str, of: Mapping[str, str], *, schema: str = "public"
    ) -> None:
        """``op.revoke("sites", {"PUBLIC": "select"})``."""
        operations.invoke(cls(GrantState(on, privileges.parse(of), schema), None))

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The object and a dictionary of role to privileges."""
        state = self.state
        in_public = state.schema == sql.DEFAULT_SCHEMA or state.on.startswith("schema ")
        keywords = {} if in_public else {"schema": state.schema}
        return [state.on, privileges.spell(state.privileges)], keywords

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """(verb, object, {role: privileges})."""
        return (self.verb, self.state.on, privileges.by_role(self.state.privileges))

    def create(self, state: GrantState, edition: str) -> list[str]:
        """One GRANT per role and grant option."""
        return privileges.statements(state.on, state.schema, state.privileges)

    def drop(self, state: GrantState, edition: str) -> list[str]:
        """One REVOKE per role and grant option."""
        return privileges.statements(state.on, state.schema, state.privileges, revoke=True)


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
    SELECT n.nspname, 'sequence ' || c.relname, '', c.relowner,
           coalesce(c.relacl, acldefault('s', c.relowner)), 'pg_class'::regclass, c.oid
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S'
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


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The grants to others than the owner, of every object of ``schemas`` that has any."""
    found: dict[Key, set[Privilege]] = defaultdict(set)
    for row in connection.execute(_QUERY, {"schemas": list(schemas)}):
        key = (row.schema, row.on)
        found[key].add(Privilege(row.role, row.name, row.column, row.grantable))
    return [GrantState(on, frozenset(held), schema) for (schema, on), held in found.items()]


# --- compare: what is lost is revoked, what is gained is granted ---------------------------------


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Revoke and grant what differs, and grant again what an object lost by being recreated."""
    before, after = changes.sides(GrantState)
    gone = changes.gone_relations()
    for key in sorted(before.keys() | after.keys()):
        nothing = GrantState(key[1], frozenset(), key[0])
        current, target = before.get(key, nothing), after.get(key, nothing)
        kept = {
            one
            for one in current.privileges & target.privileges
            if current.relation not in gone
            and not changes.is_recreated("column", (*key, one.column))
        }
        lost, gained = current.privileges - kept, target.privileges - kept
        if lost:
            plan.add(kind.drop, GrantOperation(replace(current, privileges=lost), None))
        if gained:
            granted = replace(target, on=_spelled(changes, target), privileges=gained)
            plan.add(kind.create, GrantOperation(None, granted))


def _spelled(changes: Changes, target: GrantState) -> str:
    """The model's own spelling of a function's signature."""
    for kind in changes.kinds:
        if kind.relation and kind.state.grantable:
            for state in changes.target.of(kind.state).values():
                if state.relation == target.relation:
                    return str(changes.spelled(state).granted_as)
    return target.on


KIND = Kind(
    GrantState,
    GrantOperation,
    read,
    create=Phase.GRANTS,
    drop=Phase.REVOKES,
    alterable=always,
    compare=compare,
)
