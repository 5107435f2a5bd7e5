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
        if sum(len(written.findall(text)) for text in texts) < row.times:
            named = f"OPERATOR({sql.ident(row.of_schema)}.{row.operator})"
            lists = _LISTS.get(row.operator)
            raise ModelError(
                f"{row.kind} {back[row.schema]}.{row.relation}: operator {row.operator} is that of"
                f" extension {row.extension} in schema {row.of_schema}, where revisions do not look"
                f" for it, and would find another one; write {named}"
                + (
                    f", and instead of {lists[0]} (…) {named} {lists[1]} (ARRAY[…])"
                    if lists
                    else ""
                )
            )


_LISTS = {"=": ("IN", "ANY"), "<>": ("NOT IN", "ALL")}


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


# By the trees that the server keeps, since it also depends on the operators by which it sorts and
# groups: those it finds by the type. Indexes are written in the server's own spelling.
_OPERATORS = sa.text("""
WITH used AS (
    SELECT o.oid, o.oprname AS operator, n.nspname AS of_schema, x.extname AS extension, d.classid,
           d.objid
      FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
      JOIN pg_depend e ON (e.classid, e.objid, e.deptype) = ('pg_operator'::regclass, o.oid, 'e')
      JOIN pg_extension x ON x.oid = e.refobjid
      JOIN pg_depend d ON (d.refclassid, d.refobjid) = ('pg_operator'::regclass, o.oid)
     WHERE n.nspname NOT IN ('pg_catalog', :path)
     GROUP BY 1, 2, 3, 4, 5, 6
), trees (class, id, relation, tree) AS (
    SELECT 'pg_constraint'::regclass, oid, conrelid, CAST(conbin AS text) FROM pg_constraint
     WHERE contype = 'c'
    UNION ALL SELECT 'pg_attrdef'::regclass, oid, adrelid, CAST(adbin AS text) FROM pg_attrdef
    UNION ALL SELECT 'pg_policy'::regclass, oid, polrelid,
                     concat(CAST(polqual AS text), CAST(polwithcheck AS text)) FROM pg_policy
    UNION ALL SELECT 'pg_trigger'::regclass, oid, tgrelid, CAST(tgqual AS text) FROM pg_trigger
    UNION ALL SELECT 'pg_rewrite'::regclass, oid, ev_class, CAST(ev_action AS text) FROM pg_rewrite
), found AS (
    SELECT u.*, c.relnamespace AS namespace, c.relname AS name, t.tree,
           CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END
           AS kind
      FROM used u JOIN trees t ON (t.class, t.id) = (u.classid, u.objid)
      JOIN pg_class c ON c.oid = t.relation
    UNION ALL
    SELECT u.*, p.pronamespace, p.proname, CAST(p.prosqlbody AS text), 'function'
      FROM used u JOIN pg_proc p ON (u.classid, u.objid) = ('pg_proc'::regclass, p.oid)
)
SELECT f.kind, s.nspname AS schema, f.name AS relation, f.operator, f.of_schema, f.extension,
       sum(t.times) AS times
  FROM found f JOIN pg_namespace s ON s.oid = f.namespace
 CROSS JOIN LATERAL (SELECT count(*) AS times
                       FROM regexp_matches(f.tree, format(' \\:opno %s ', f.oid), 'g')) AS t
 WHERE s.nspname = ANY (CAST(:shadows AS name[])) AND t.times > 0
 GROUP BY f.kind, s.nspname, f.name, f.operator, f.of_schema, f.extension
 ORDER BY 1, 2, 3, 4
""")
