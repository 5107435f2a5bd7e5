"""What extensions have in schemas where revisions, whose search_path is public, do not look.

The models are built with these schemas in the search_path, so that types are found, which revisions
write with their schema. The text of an expression they write as it is declared: it must not mean
something else, or nothing, without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql
from ddl.base import Key
from ddl.creation import ModelError, Unit


def check_names(connection: Connection, listed: Sequence[Unit]) -> None:
    """Reject calls, and casts to types, that are not found when the revision runs.

    Raises:
        ModelError: an object has one without its schema; the message says what to write.
    """
    rows = connection.execute(_NAMES, {"path": sql.DEFAULT_SCHEMA}).all()
    own = {unit.function for unit in listed}
    patterns = [(row, _pattern(row.name, row.kind)) for row in rows if row.name not in own]
    for unit in listed if patterns else ():
        parsed = [sql.parsed(statement) for statement in unit.statements]
        for row, pattern in patterns:
            if any(pattern.search(statement) for statement in parsed):
                call = row.kind == "function"
                named = f"{sql.ident(row.schema)}.{sql.ident(row.name)}"
                raise ModelError(
                    f"{unit.title} {'calls' if call else 'casts to'} {row.name}"
                    f"{'()' if call else ''}, which extension {row.extension} has in schema"
                    f" {row.schema}, where revisions do not look for it; write"
                    f" {named}{'(…)' if call else ''}"
                )


def _pattern(name: str, kind: str) -> re.Pattern[str]:
    spelled = rf'(?:{re.escape(name)}|{re.escape(sql.quoted(name))})(?![\w$"])'
    if kind == "function":
        return re.compile(rf'(?<![\w.$"]){spelled}\s*\(', re.I)
    cast = r"::|\bcast\s*\((?:[^()]|\([^()]*\))*\bas\b"
    return re.compile(rf"(?:{cast})\s*{spelled}(?!\s*\.)", re.I)


# The type of a column is looked for wherever its extension is, geometry(Point) too.
_NAMES = sa.text("""
WITH theirs AS (
    SELECT e.classid, e.objid, x.extname AS extension
      FROM pg_extension x
      JOIN pg_depend e ON (e.refclassid, e.refobjid) = ('pg_extension'::regclass, x.oid)
                      AND e.deptype = 'e'
     WHERE x.extname <> 'timescaledb'
)
SELECT DISTINCT 'function' AS kind, p.proname AS name, e.extension, n.nspname AS schema
  FROM theirs e JOIN pg_proc p ON e.classid = 'pg_proc'::regclass AND p.oid = e.objid
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname NOT IN ('pg_catalog', :path)
   AND NOT EXISTS (SELECT FROM pg_type t
                    WHERE (t.typname, t.typnamespace) = (p.proname, p.pronamespace))
   AND NOT EXISTS (SELECT FROM pg_proc o JOIN pg_namespace s ON s.oid = o.pronamespace
                    WHERE o.proname = p.proname AND s.nspname IN ('pg_catalog', :path))
UNION ALL
SELECT 'type', t.typname, e.extension, n.nspname
  FROM theirs e JOIN pg_type t ON e.classid = 'pg_type'::regclass AND t.oid = e.objid
  JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname NOT IN ('pg_catalog', :path) AND t.typcategory <> 'A'
 ORDER BY 1, 2
""")


def check_operators(
    connection: Connection, listed: Sequence[Unit], back: Mapping[str, str]
) -> None:
    """Reject operators that are found in the shadow, and not when the revision runs.

    There the same expression would mean another operator: of citext, that of text.

    Args:
        listed: what was built in the shadow.
        back: shadow schema to schema.

    Raises:
        ModelError: an expression has one without its schema; the message says what to write.
    """
    rows = connection.execute(_OPERATORS, {"shadows": [*back], "path": sql.DEFAULT_SCHEMA}).all()
    for row in rows:
        texts = [
            statement
            for unit in _about(listed, (back[row.schema], row.relation))
            for statement in unit.statements
        ]
        written = _written(row.of_schema, row.operator)
        if sum(len(written.findall(text)) for text in texts) < row.objects:
            named = f"OPERATOR({sql.ident(row.of_schema)}.{row.operator})"
            raise ModelError(
                f"{row.kind} {back[row.schema]}.{row.relation}: operator {row.operator} is that of"
                f" extension {row.extension} in schema {row.of_schema}, where revisions do not look"
                f" for it, and would find another one; write {named}, and instead of IN (…)"
                f" {named.replace(row.operator, '=')} ANY (ARRAY[…])"
            )


def _about(listed: Sequence[Unit], key: Key) -> Iterator[Unit]:
    """What is declared of a relation or function."""
    constraint = f"constraint {'.'.join(key)}."
    for unit in listed:
        if (
            key in (unit.relation, *unit.reads)
            or unit.function == key[1]
            or unit.title.startswith(constraint)
        ):
            yield unit


def _written(schema: str, operator: str) -> re.Pattern[str]:
    spelled = rf"(?:{re.escape(schema)}|{re.escape(sql.quoted(schema))})"
    return re.compile(rf"\boperator\s*\(\s*{spelled}\s*\.\s*{re.escape(operator)}\s*\)", re.I)


# Indexes are written in the server's own spelling.
_OPERATORS = sa.text("""
WITH used AS (
    SELECT o.oprname AS operator, n.nspname AS of_schema, x.extname AS extension, d.classid, d.objid
      FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
      JOIN pg_depend e ON (e.classid, e.objid, e.deptype) = ('pg_operator'::regclass, o.oid, 'e')
      JOIN pg_extension x ON x.oid = e.refobjid
      JOIN pg_depend d ON (d.refclassid, d.refobjid) = ('pg_operator'::regclass, o.oid)
     WHERE n.nspname NOT IN ('pg_catalog', :path)
), found AS (
    SELECT u.*, c.relnamespace AS namespace, c.relname AS name,
           CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END
           AS kind
      FROM used u
      LEFT JOIN pg_constraint k ON (u.classid, u.objid) = ('pg_constraint'::regclass, k.oid)
                               AND k.contype = 'c'
      LEFT JOIN pg_attrdef f ON (u.classid, u.objid) = ('pg_attrdef'::regclass, f.oid)
      LEFT JOIN pg_policy p ON (u.classid, u.objid) = ('pg_policy'::regclass, p.oid)
      LEFT JOIN pg_trigger t ON (u.classid, u.objid) = ('pg_trigger'::regclass, t.oid)
      LEFT JOIN pg_rewrite r ON (u.classid, u.objid) = ('pg_rewrite'::regclass, r.oid)
      JOIN pg_class c
           ON c.oid = coalesce(k.conrelid, f.adrelid, p.polrelid, t.tgrelid, r.ev_class)
    UNION ALL
    SELECT u.*, p.pronamespace, p.proname, 'function'
      FROM used u JOIN pg_proc p ON (u.classid, u.objid) = ('pg_proc'::regclass, p.oid)
)
SELECT kind, s.nspname AS schema, name AS relation, operator, of_schema, extension,
       count(DISTINCT (classid, objid)) AS objects
  FROM found JOIN pg_namespace s ON s.oid = found.namespace
 WHERE s.nspname = ANY (CAST(:shadows AS name[]))
 GROUP BY kind, s.nspname, name, operator, of_schema, extension
 ORDER BY 1, 2, 3, 4
""")
