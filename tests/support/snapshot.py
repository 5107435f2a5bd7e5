"""The whole catalog of a database as text, read independently of the code under test."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

# One query per catalog; every object that a person could have created outside the server's and the
# extensions' own schemas. The runner's two tables are left out where the caller says so.
_QUERIES = {
    "schema": "SELECT nspname, {acl:nspacl} FROM pg_namespace n WHERE {schema}",
    "relation": """
        SELECT c.oid::regclass::text, c.relkind, c.relpersistence, c.relrowsecurity,
               c.relforcerowsecurity, c.reloptions::text, {acl:c.relacl}, c.relreplident
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE {schema} AND c.relkind NOT IN ('i', 'I', 't')""",
    "column": """
        SELECT c.oid::regclass || '.' || a.attname, format_type(a.atttypid, a.atttypmod),
               a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attgenerated, a.attidentity,
               a.attcollation::regcollation::text, {acl:a.attacl}, a.attstorage, a.attstattarget
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE {schema} AND c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0
           AND NOT a.attisdropped""",
    "place of a column": """
        SELECT c.oid::regclass || '.' || a.attname,
               row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum)
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE {schema} AND c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0
           AND NOT a.attisdropped""",
    "constraint": """
        SELECT c.conrelid::regclass || ': ' || c.conname, pg_get_constraintdef(c.oid),
               c.condeferrable, c.condeferred, c.convalidated
          FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
         WHERE {schema} AND c.conrelid <> 0""",
    "index": """
        SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), i.indisvalid,
               i.indisclustered, i.indisreplident
          FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {schema} AND c.relkind <> 't'""",
    "trigger": """
        SELECT t.tgrelid::regclass || ': ' || t.tgname, pg_get_triggerdef(t.oid), t.tgenabled
          FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {schema} AND NOT t.tgisinternal""",
    "policy": """
        SELECT p.polrelid::regclass || ': ' || p.polname, p.polcmd, p.polpermissive,
               (SELECT string_agg(r::regrole::text, ',' ORDER BY r::regrole::text)
                  FROM unnest(p.polroles) r),
               pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
          FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {schema}""",
    "function": """
        SELECT c.oid::regprocedure::text, pg_get_functiondef(c.oid), {acl:c.proacl}
          FROM pg_proc c JOIN pg_namespace n ON n.oid = c.pronamespace
         WHERE {schema} AND c.prokind IN ('f', 'p')""",
    "view": """
        SELECT c.oid::regclass::text, pg_get_viewdef(c.oid)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE {schema} AND c.relkind IN ('v', 'm')""",
    "type": """
        SELECT c.oid::regtype::text, c.typtype, {acl:c.typacl}
          FROM pg_type c JOIN pg_namespace n ON n.oid = c.typnamespace
         WHERE {schema} AND c.typtype IN ('e', 'd', 'r')""",
    "sequence": """
        SELECT c.oid::regclass::text, s.seqtypid::regtype::text, s.seqstart, s.seqincrement,
               s.seqmax, s.seqcycle
          FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {schema}""",
    "comment": """
        SELECT (pg_identify_object(d.classoid, d.objoid, d.objsubid)).identity, d.description
          FROM pg_description d
          JOIN (SELECT c.oid, c.relnamespace AS namespace, 'pg_class'::regclass AS class
                  FROM pg_class c
                UNION ALL SELECT p.oid, p.pronamespace, 'pg_proc'::regclass FROM pg_proc p) c
            ON c.oid = d.objoid AND c.class = d.classoid
          JOIN pg_namespace n ON n.oid = c.namespace WHERE {schema}""",
    "default privileges": "SELECT defaclrole::regrole::text, defaclobjtype, {acl:defaclacl}"
    " FROM pg_default_acl",
    "extension": "SELECT extname, extversion FROM pg_extension",
    "event trigger": "SELECT evtname, evtevent FROM pg_event_trigger"
    " WHERE evtname NOT LIKE 'timescaledb%'",
}

_OURS = """n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    AND n.nspname NOT LIKE '\\_timescaledb%' AND n.nspname NOT LIKE 'timescaledb\\_%'"""
_NO_EXTENSION = """ AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = {oid}
    AND e.deptype = 'e')"""

RUNNER_TABLES = ("schema_history", "alembic_version")


_NUMBERS = re.compile(
    r"(?<=_materialized_hypertable_)\d+|(?<=cagg_watermark\()\d+|(?<=_partial_view_)\d+"
    r"|(?<=_direct_view_)\d+|(?<=_compressed_hypertable_)\d+"
)


def snapshot(connection: Connection, *, runner_tables: bool = False) -> dict[str, list[Any]]:
    """Catalog to sorted rows; without what belongs to extensions."""
    connection.execute(sa.text("SET LOCAL search_path = pg_catalog"))
    found: dict[str, list[Any]] = {}
    for name, query in _QUERIES.items():
        owner = "c.oid" if " c " in query else "n.oid"
        condition = _OURS + _NO_EXTENSION.replace("{oid}", owner)
        rows = connection.exec_driver_sql(
            _with_sorted_acl(query).replace("{schema}", condition),
            execution_options={"no_parameters": True},
        )
        listed = sorted((tuple(map(_unnumbered, row)) for row in rows), key=repr)
        if not runner_tables:
            listed = [row for row in listed if not any(t in str(row[0]) for t in RUNNER_TABLES)]
        found[name] = listed
    return found


def _with_sorted_acl(query: str) -> str:
    """What is revoked and granted again comes last, and means the same."""
    acl = r"coalesce((SELECT array_agg(i ORDER BY i::text) FROM unnest(\1) i), \1)::text"
    return re.sub(r"\{acl:([\w.]+)\}", acl, query)


def _unnumbered(value: Any) -> Any:
    """Without the numbers that TimescaleDB gives to the internal objects of a rollup."""
    return _NUMBERS.sub("N", value) if isinstance(value, str) else value


def differences(found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> list[str]:
    """What one snapshot has and the other has not, a line each."""
    lines = []
    for name in expected:
        lines += [f"missing {name}: {row}" for row in expected[name] if row not in found[name]]
        lines += [f"unexpected {name}: {row}" for row in found[name] if row not in expected[name]]
    return lines
