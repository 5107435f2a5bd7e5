"""The whole catalog of some schemas as dictionaries, and what depends on what in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import (
    columnstore,
    constraint,
    function,
    grant,
    hypertable,
    policy,
    retention,
    rollup,
    schema,
    sql,
    table,
    trigger,
    view,
)
from ddl.base import Identity, Key, State
from ddl.timeseries import LEDGER

_READERS = (
    *(schema, table, constraint, function, trigger, policy, view, grant),
    *(hypertable, columnstore, retention, rollup),
)
_RELATIONS = ("table", "view", "function", "rollup")


class Catalog:
    """States by kind and key."""

    def __init__(self, states: Iterable[State]) -> None:
        self._states: dict[str, dict[Key, Any]] = {}
        for state in states:
            self._states.setdefault(state.kind, {})[state.key] = state

    def of(self, kind: str) -> dict[Key, Any]:
        """The states of ``kind`` by key."""
        return self._states.get(kind, {})

    def kinds(self) -> list[str]:
        """The kinds that have any object, sorted."""
        return sorted(kind for kind, states in self._states.items() if states)

    def get(self, identity: Identity) -> Any:
        """The state of an object, or None."""
        return self.of(identity[0]).get(identity[1])

    def without_tables(self, excluded: Callable[[Key], bool]) -> Catalog:
        """A copy without the tables for which ``excluded`` is true, and all that is on them."""
        relations = {state.relation for kind in _RELATIONS for state in self.of(kind).values()}
        relations -= {key for key in self.of("table") if excluded(key)}
        return Catalog(
            state
            for states in self._states.values()
            for state in states.values()
            if state.relation is None or state.relation in relations
        )


def read(connection: Connection, schemas: Sequence[str]) -> Catalog:
    """Read ``schemas`` with one query per kind, in the server's own spelling.

    The caller sets ``search_path`` to pg_catalog, so that every name comes out qualified. Tables
    of extensions, partitions, foreign tables and materialized views are nobody's declaration,
    and neither is what is on them. What stands for a rollup is no view, and the ledger of time
    series is nobody's table.
    """
    states = [state for reader in _READERS for state in reader.reflect(connection, schemas)]
    rollups = {state.key for state in states if state.kind == "rollup"}
    views = (state for state in states if state.kind != "view" or state.key not in rollups)
    return Catalog(views).without_tables(lambda key: key[1] == LEDGER)


def renamed(state: State, names: dict[str, str]) -> State:
    """``state`` with every schema of ``names`` called by its other name."""
    return dataclasses.replace(
        state,
        **{
            field.name: rename(getattr(state, field.name), names)
            for field in dataclasses.fields(state)
        },
    )


def rename(value: Any, names: dict[str, str]) -> Any:
    """``value``, a name or SQL or tuples of those, with every schema of ``names`` renamed."""
    if type(value) is tuple:
        return tuple(rename(item, names) for item in value)
    if not isinstance(value, str) or value in names:
        return names.get(value, value)
    for old, new in names.items():
        value = value.replace(f"{old}.", f"{sql.ident(new)}.").replace(old, new)
    return value


# A dependent cannot outlive what it refers to: policies, views, triggers and SQL-standard
# functions by column, function or row type, defaults and generated columns by column or
# function, foreign keys by the key they point at. Rewrite rules stand for their view, defaults
# for themselves or for their generated column. Constraints and indexes follow a changed type by
# themselves, not a dropped column.
_DEPENDENTS = sa.text("""
WITH relations AS (
    SELECT c.oid, c.reltype, ARRAY[n.nspname, c.relname]::text[] AS key, c.relname,
           CASE c.relkind WHEN 'v' THEN 'view' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index'
                ELSE 'table' END AS kind
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind IN ('r', 'p', 'v', 'i', 'I')
), objects AS (
    SELECT 'pg_class'::regclass AS class, r.oid, r.kind, r.key FROM relations r
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, r.kind, r.key
      FROM relations r JOIN pg_type t ON r.reltype IN (t.oid, t.typelem) AND r.reltype <> 0
    UNION ALL
    SELECT 'pg_rewrite'::regclass, w.oid, r.kind, r.key
      FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class AND r.kind = 'view'
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid, 'policy', r.key || p.polname::text
      FROM pg_policy p JOIN relations r ON r.oid = p.polrelid
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid, 'trigger', r.key || t.tgname::text
      FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'pg_constraint'::regclass, k.oid, 'constraint', r.key || k.conname::text
      FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid,
           CASE a.attgenerated WHEN '' THEN 'default' ELSE 'column' END, r.key || a.attname::text
      FROM pg_attrdef d JOIN relations r ON r.oid = d.adrelid
      JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, 'function',
           -- Of names alone the array would be one of names, which end after 63 bytes.
           ARRAY[n.nspname::text, p.proname::text, pg_get_function_identity_arguments(p.oid)]
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname = ANY (CAST(:schemas AS name[]))
), found AS (
    SELECT CASE WHEN a.attname IS NULL THEN r.kind ELSE 'column' END AS kind,
           CASE WHEN a.attname IS NULL THEN r.key ELSE r.key || a.attname::text END AS key,
           o.kind AS dependent_kind, o.key AS dependent_key
      FROM pg_depend d
      JOIN objects o ON o.class = d.classid AND o.oid = d.objid
      JOIN objects r ON r.class = d.refclassid AND r.oid = d.refobjid
      LEFT JOIN pg_attribute a ON r.kind = 'table' AND a.attrelid = r.oid
            AND a.attnum = d.refobjsubid AND d.refobjsubid > 0
     WHERE d.deptype IN ('n', 'a')
    UNION
    SELECT coalesce(own.kind, 'index'), coalesce(own.key, x.key), o.kind, o.key
      FROM pg_constraint f
      JOIN objects o ON o.class = 'pg_constraint'::regclass AND o.oid = f.oid
      JOIN objects x ON x.class = 'pg_class'::regclass AND x.oid = f.conindid
      LEFT JOIN pg_constraint k ON k.conindid = f.conindid AND k.contype IN ('p', 'u')
      LEFT JOIN objects own ON own.class = 'pg_constraint'::regclass AND own.oid = k.oid
     WHERE f.contype = 'f'
)
SELECT * FROM found
 WHERE (kind, key) <> (dependent_kind, dependent_key)
   AND NOT (kind = 'column' AND dependent_kind = 'default' AND key = dependent_key)
""")


def dependents(connection: Connection, schemas: Sequence[str]) -> dict[Identity, set[Identity]]:
    """For each object (columns too) of ``schemas`` those that hang on it directly."""
    found: dict[Identity, set[Identity]] = {}
    for row in connection.execute(_DEPENDENTS, {"schemas": list(schemas)}):
        dependent = (row.dependent_kind, tuple(row.dependent_key))
        found.setdefault((row.kind, tuple(row.key)), set()).add(dependent)
    return found
