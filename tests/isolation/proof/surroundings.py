"""What is no relation: roles, functions, columns, temporary objects, names on the search_path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection

from ddl.sql import ident
from tests.isolation.proof.page import LETTERS, Page
from tests.isolation.proof.probes import CONTEXTS
from tests.isolation.proof.relations import NOBODY, Relation
from tests.isolation.proof.tenants import ONE, TWO

_COLUMNS = sa.text("""
SELECT format('%I.%I', n.nspname, c.relname) AS name, a.attname AS column, p.privilege
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
       unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p (privilege)
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT n.nspname ~ '^(pg_|information_schema$)'
   AND has_column_privilege(:role, c.oid, a.attnum, p.privilege)
UNION ALL
SELECT format('%I.%I', n.nspname, c.relname), '', p.privilege
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
       unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) AS p (privilege)
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT n.nspname ~ '^(pg_|information_schema$)'
   AND has_table_privilege(:role, c.oid, p.privilege)
""")
"""What the server says by itself, for what no statement shows, such as a grant on one column."""


def privileges(
    connection: Connection, page: Page, relations: list[Relation], role: str
) -> list[str]:
    """Privileges that the page does not have, and the reverse."""
    name = "public" if role == NOBODY else role
    listed = list(relations)
    ours = {one.name for one in listed if not one.of_server}
    rows = connection.execute(_COLUMNS, {"role": name})
    found = {tuple(row) for row in rows if row.name in ours}
    expected = set()
    for relation in listed:
        for letter in relation.held(page, role):
            verb = LETTERS[letter].upper()
            columns = [""] if letter == "D" else relation.can(page, role, letter)
            expected |= {(relation.name, column, verb) for column in columns}
    return [
        *(
            f"{role} {verb} {name}({column}): expected nothing"
            for name, column, verb in found - expected
        ),
        *(
            f"{role} {verb} {name}({column}): found nothing"
            for name, column, verb in expected - found
        ),
    ]


_FUNCTIONS = sa.text("""
SELECT p.proname AS name, format('%I.%I', n.nspname, p.proname) AS called, p.prosecdef AS definer,
       ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t) AS takes,
       p.prokind AS kind, n.nspname = ANY (ARRAY['public', 'ingest', 'timeseries', 'signing'])
         AND e.objid IS NULL AS ours
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  LEFT JOIN pg_depend e ON e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND p.prokind IN ('f', 'p')
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND has_schema_privilege(:role, n.oid, 'USAGE')
   AND has_function_privilege(:role, p.oid, 'EXECUTE')
 ORDER BY 2, p.oid
""")


def functions(connection: Connection, page: Page, role: str) -> list[str]:
    """Functions of ours that a role may call and the page does not say, and the reverse."""
    name = "public" if role == NOBODY else role
    rows = connection.execute(_FUNCTIONS, {"role": name}).mappings()
    found = {row["name"] for row in rows if row["ours"]}
    expected = {one for one, callers in page.callers.items() if role in callers}
    return [
        *(f"{role} calls {one}(): expected not to" for one in sorted(found - expected)),
        *(f"{role} calls {one}(): found not to" for one in sorted(expected - found)),
    ]


def calls(connection: Connection, role: str, behind: str) -> Iterator[tuple[str, bool]]:
    """A call of each function that a role may call, with what is another's; whether it is ours.

    ``behind`` is a relation that the role may not use.
    """
    for row in connection.execute(_FUNCTIONS, {"role": role}).mappings():
        for samples in (_OF_OTHER, _SERIES | {"regclass": f"'{behind}'"}):
            values = [samples.get(one, f"NULL::{one}") for one in row["takes"]]
            if any(one in ("internal", "cstring") or one.startswith("any") for one in row["takes"]):
                continue
            verb = "CALL" if row["kind"] == "p" else "SELECT * FROM"
            yield f"{verb} {row['called']}({', '.join(values)})", row["ours"]


_OF_OTHER = {
    "uuid": f"'{TWO.tenant}'",
    "uuid[]": f"ARRAY['{TWO.tenant}'::uuid]",
    "text": "'telemetry'",
    "text[]": "ARRAY['telemetry']",
    "name": "'telemetry'",
    "regclass": "'timeseries.telemetry'",
    "integer": "1",
    "bigint": "1",
    "interval": "interval '1 day'",
    "boolean": "true",
    "jsonb": "'{}'",
    "timestamp with time zone": "now()",
    "timestamp with time zone[]": "ARRAY[now()]",
}
_SERIES = _OF_OTHER | {"text": "'timeseries.telemetry'", "integer": "1001", "bigint": "1001"}


def effects(
    driver: psycopg.Connection[Any], called: Iterable[tuple[str, bool]], *, sees: bool
) -> Iterator[str]:
    """Calls that said something of the other tenant, unless the role ``sees`` it.

    And those of an extension that wrote. What ours write is subject to the policies.
    """
    for statement, ours in called:
        driver.execute(f"BEGIN; {CONTEXTS['own']()}; SET LOCAL statement_timeout = 2000")
        try:
            result = driver.execute(statement.encode())
            said = str(result.fetchall()) if result.description else ""
            wrote = driver.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
        except psycopg.Error as error:
            said, wrote = str(error.diag.message_primary), (None,)
        driver.execute("ROLLBACK")
        if wrote != (None,) and not ours:
            yield f"{statement}: wrote"
        if TWO.mark in said and not sees:
            yield f"{statement}: {said[:200]}"


def changed(connection: Connection, login: str, called: Iterable[str]) -> list[str]:
    """Tables of which calls by a login, as the first tenant, changed rows of others.

    All of it is in one transaction of a superuser, which is rolled back.
    """
    tables = connection.execute(sa.text(_OF_TENANTS)).scalars().all()
    sums = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {} t WHERE tenant_id <> '{}'"
    asked = [sums.format(table, ONE.tenant) for table in tables]
    before = [connection.exec_driver_sql(one).one() for one in asked]
    driver: Any = connection.connection.driver_connection
    driver.execute(f"SET LOCAL SESSION AUTHORIZATION {login}; {CONTEXTS['own']()}")
    for statement in called:
        driver.execute("SAVEPOINT called; SET LOCAL statement_timeout = 2000")
        try:
            driver.execute(statement.encode())
        except psycopg.Error:
            driver.execute("ROLLBACK TO SAVEPOINT called")
        driver.execute("RELEASE SAVEPOINT called")
    driver.execute("RESET SESSION AUTHORIZATION; SET LOCAL statement_timeout = 0")
    after = [connection.exec_driver_sql(one).one() for one in asked]
    connection.rollback()
    return [table for table, old, new in zip(tables, before, after, strict=True) if old != new]


_OF_TENANTS = """
    SELECT a.attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
     WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND c.relnamespace IN ('public'::regnamespace, 'timeseries'::regnamespace) ORDER BY 1
"""


def attempts(role: str, others: Iterable[str]) -> dict[str, str]:
    """Statement to SQLSTATE, "" where it must work: becoming another, making objects, shadowing."""
    refused = "42501"
    temporary = "" if role == "fleet_ingest" else refused
    found = {
        "CREATE TEMPORARY TABLE sites (tenant_id uuid)": temporary,
        "CREATE TEMPORARY VIEW sites AS SELECT 1": refused,
        "CREATE TEMPORARY SEQUENCE s": refused,
        "CREATE TABLE public.mine (x int)": refused,
        "CREATE VIEW public.mine AS SELECT 1": refused,
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql RETURN 1": refused,
        "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql RETURN 1": refused,
        "CREATE OPERATOR public.= (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)": refused,
        "CREATE TYPE public.mine AS (x int)": refused,
        "CREATE SCHEMA mine": refused,
        "CREATE PUBLICATION mine FOR TABLE sites": refused,
        "CREATE EXTENSION dblink": refused,
        "SET row_security = off; SELECT FROM sites": refused,
        "SET session_replication_role = replica": refused,
        "COPY (SELECT 1) TO PROGRAM 'true'": refused,
        "COPY (SELECT 1) TO '/tmp/x'": refused,
        "SELECT pg_read_file('PG_VERSION')": refused,
    }
    for other in others:
        allowed = other == role
        found[f"SET ROLE {ident(other)}"] = "" if allowed else refused
        found[f"SET SESSION AUTHORIZATION {ident(other)}"] = refused
    return found
