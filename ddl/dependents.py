"""What depends on what in the catalog, as PostgreSQL itself keeps it in pg_depend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl.base import Identity
from ddl.catalog import Catalog
from ddl.kinds import KINDS

Dependents: TypeAlias = dict[Identity, set[Identity]]
"""For each object those that depend on it directly."""

# A dependent cannot outlive what it refers to: policies, views, triggers and SQL-standard
# functions by column, function or row type, defaults and generated columns by column or
# function, foreign keys by the key they point at. Rewrite rules stand for their view, defaults
# for themselves or for their generated column. Constraints and indexes follow a changed type by
# themselves, not a dropped column.
_QUERY = """
WITH relations AS (
    SELECT c.oid, c.reltype, ARRAY[n.nspname, c.relname]::text[] AS key, k.kind
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN (VALUES {relkinds}) AS k (letter, kind) ON c.relkind = k.letter::"char"
     WHERE n.nspname = ANY (CAST(:schemas AS name[]))
), objects AS (
    SELECT 'pg_class'::regclass AS class, r.oid, r.kind, r.key FROM relations r
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, r.kind, r.key
      FROM relations r JOIN pg_type t ON r.reltype IN (t.oid, t.typelem) AND r.reltype <> 0
    UNION ALL
    SELECT 'pg_rewrite'::regclass, w.oid, r.kind, r.key
      FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class AND r.kind <> 'table'
    UNION ALL
    {objects}
), edges AS (
    SELECT classid AS class, objid AS oid, refclassid AS of_class, refobjid AS of_oid,
           refobjsubid AS number
      FROM pg_depend WHERE deptype IN ('n', 'a')
    UNION ALL
    -- The constraint of the index that a foreign key refers to, else the index.
    SELECT 'pg_constraint'::regclass, f.oid, coalesce(i.refclassid, 'pg_class'::regclass),
           coalesce(i.refobjid, f.conindid), 0
      FROM pg_constraint f
      LEFT JOIN pg_depend i ON i.classid = 'pg_class'::regclass AND i.objid = f.conindid
            AND i.refclassid = 'pg_constraint'::regclass AND i.deptype = 'i'
     WHERE f.contype = 'f'
), found AS (
    SELECT DISTINCT CASE WHEN a.attname IS NULL THEN r.kind ELSE 'column' END AS kind,
           CASE WHEN a.attname IS NULL THEN r.key ELSE r.key || a.attname::text END AS key,
           o.kind AS dependent_kind, o.key AS dependent_key
      FROM edges d
      JOIN objects o ON o.class = d.class AND o.oid = d.oid
      JOIN objects r ON r.class = d.of_class AND r.oid = d.of_oid
      LEFT JOIN pg_attribute a ON r.kind = 'table' AND a.attrelid = r.oid
            AND a.attnum = d.number AND d.number > 0
     -- The sequence of a serial column is a part of the column, on which its default depends.
     WHERE o.kind <> 'sequence'
)
SELECT * FROM found
 WHERE (kind, key) <> (dependent_kind, dependent_key)
   AND NOT (kind = 'column' AND dependent_kind = 'default' AND key = dependent_key)
"""

_TEXT = sa.text(
    _QUERY.format(
        relkinds=", ".join(
            f"('{letter}', '{kind.name}')" for kind in KINDS for letter in kind.relkinds
        ),
        objects="\n    UNION ALL\n".join(
            kind.dependent_objects for kind in KINDS if kind.dependent_objects
        ),
    )
)


def dependents(connection: Connection, schemas: Sequence[str], known: Catalog) -> Dependents:
    """For each object (columns too) of ``schemas`` those that depend on it directly.

    Args:
        known: the catalog of the same schemas. It tells a continuous aggregate, which
            PostgreSQL knows as a view, by its own kind.
    """
    found: Dependents = {}
    for row in connection.execute(_TEXT, {"schemas": list(schemas)}):
        identity = known.identity(row.kind, tuple(row.key))
        dependent = known.identity(row.dependent_kind, tuple(row.dependent_key))
        found.setdefault(identity, set()).add(dependent)
    return found
