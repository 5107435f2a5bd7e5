"""What a rule is made of, and how a finding is worded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from ddl.sql import literal

# Views for the queries of the rules. "ours" leaves out the tools' own tables and whatever belongs
# to an extension.
CATALOG = """
WITH ours AS (
    SELECT n.oid, n.nspname FROM pg_namespace n WHERE n.nspname IN ({schemas})
), relations AS (
    SELECT c.*, c.oid::regclass::text AS name
      FROM pg_class c JOIN ours ON ours.oid = c.relnamespace
     WHERE c.relname NOT IN ('alembic_version', 'schema_history', 'pending_operations')
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                          AND e.objid = c.oid AND e.deptype = 'e')
), tables AS (
    SELECT * FROM relations WHERE relkind IN ('r', 'p')
), columns AS (
    SELECT t.oid AS table_oid, t.name AS table_name, t.name || '.' || a.attname AS name,
           a.attname, a.attnum, coalesce(nullif(y.typelem, 0), y.oid) AS type, a.attnotnull,
           format_type(a.atttypid, a.atttypmod) AS spelled,
           pg_get_expr(d.adbin, d.adrelid) AS value
      FROM pg_attribute a JOIN tables t ON t.oid = a.attrelid
      JOIN pg_type y ON y.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attnum > 0 AND NOT a.attisdropped
), of_tenants AS (
    SELECT t.* FROM tables t JOIN columns c ON c.table_oid = t.oid AND c.attname = 'tenant_id'
     WHERE t.name <> 'tenants'
), functions AS (
    SELECT p.*, p.oid::regprocedure::text AS name, l.lanname
      FROM pg_proc p JOIN ours ON ours.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
     WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                          AND e.objid = p.oid AND e.deptype = 'e')
), indexes AS (
    SELECT i.indrelid, i.indexrelid, i.indisunique, x.relam, i.indexrelid::regclass::text AS name,
           i.indrelid::regclass::text AS table_name,
           i.indnatts > i.indnkeyatts AS includes,
           coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
           ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false) || ' ' || i.indoption[k - 1]
                        || ' ' || i.indclass[k - 1] || ' ' || i.indcollation[k - 1]
                   FROM generate_series(1, i.indnkeyatts) k ORDER BY k) AS parts,
           ARRAY(SELECT i.indkey[k]::int FROM generate_series(0, i.indnkeyatts - 1) k
                  ORDER BY k) AS attributes
      FROM pg_index i JOIN tables t ON t.oid = i.indrelid
      JOIN pg_class x ON x.oid = i.indexrelid
     WHERE i.indisvalid
), foreign_keys AS (
    SELECT k.*, t.name AS table_name,
           ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (n, place)
                   JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n
                  ORDER BY place) AS names,
           ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (n, place)
                   JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n
                  ORDER BY place) AS target_names
      FROM pg_constraint k JOIN tables t ON t.oid = k.conrelid WHERE k.contype = 'f'
)
"""


@dataclass(frozen=True)
class Finding:
    """An object that breaks a rule."""

    object: str
    found: str
    message: str


@dataclass(frozen=True)
class Rule:
    """A rule that every object keeps.

    Attributes:
        query: what breaks it. A row has the columns ``object`` and ``found``, and any others that
            ``fix`` names; it may select from the parts of ``CATALOG``.
        expected: what would have been found if the rule were kept.
        fix: what to write, and where, with columns of the query in braces.
        broken_by: statements that break the rule, each with the object that must be named and the
            beginning of what is found.
        kept_by: statements that come close and keep it.
    """

    query: str
    expected: str
    fix: str
    broken_by: tuple[tuple[str, str, str], ...]
    kept_by: tuple[str, ...] = ()

    def findings(
        self, connection: Connection, schemas: Sequence[str] = ("public", "timeseries")
    ) -> list[Finding]:
        """What breaks the rule in these schemas, by object."""
        catalog = CATALOG.replace("{schemas}", ", ".join(map(literal, schemas)))
        rows = connection.exec_driver_sql(
            catalog + self.query, execution_options={"no_parameters": True}
        ).mappings()
        return sorted(
            (
                Finding(
                    row["object"],
                    row["found"],
                    f"{row['object']}: expected {self.expected}, found {row['found']}; "
                    f"{self.fix.format(**row)}",
                )
                for row in rows
            ),
            key=lambda finding: (finding.object, finding.found),
        )


TENANT_TABLE = """
    CREATE TABLE crates (tenant_id uuid NOT NULL REFERENCES tenants, id uuid NOT NULL,
                         site_id uuid, PRIMARY KEY (tenant_id, id));
    COMMENT ON TABLE crates IS 'Crates.';
    ALTER TABLE crates ENABLE ROW LEVEL SECURITY; ALTER TABLE crates FORCE ROW LEVEL SECURITY;
"""
"""A table as ``TenantScoped`` makes it, for the examples."""
