"""Every function, operator, cast and kind of expression, as a tenant, beside rows of another one.

What there is comes from the catalog of the server. Whatever the server answers (rows, errors,
notices, plans) must not have the mark of the other tenant, which is in each of its values.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import take_role, tenant_transaction
from tests.isolation.conftest import ME, OTHER
from tests.support.databases import LONG

MARK = re.compile(rf"{str(OTHER)[-6:]}|{OTHER.hex[-6:]}", re.IGNORECASE)
"""The end of its id, as in its text; own rows and the statements have no such digits."""

SHORT = 700
"""Statements for each server in the short form, drawn with a seed that the failure shows."""

SKIPPED = (
    "pg_sleep|advisory|terminate|cancel_backend|pg_notify|set_config|setval|nextval|lo_|_lo|"
    "pg_stat_reset|pg_switch|pg_rotate|pg_reload|import_system|pg_promote|replication|snapshot|"
    "txid|pg_(current_xact|xact)|uuid|random|clock|timeofday|backup|pg_log|pg_ls|pg_read|"
    "pg_stat_file|logical|cursor_to_xml|crosstab|^database_to_xml|^schema_to_xml"
)
"""Functions with effects on others, or with nothing to do with what they are given."""

COLUMNS = {
    "telemetry": ("device_id", "msg_type", "tenant_id", "ts", "seq", "metrics"),
    "tag_values": ("tag_id", "v_num", "v_text", "tenant_id"),
    "audit_events": ("action", "category", "id"),
    "telemetry_hourly": ("device_id", "metric", "bucket", "avg", "count", "tenant_id"),
    "telemetry_to_store": ("device_id", "metrics"),
    "sites": ("name", "site_id", "location", "created_at"),
    "alert_rules": ("name", "tenant_id", "actions"),
}

WHERE = "SELECT count(*) FROM {view} t WHERE ({value}) IS NOT NULL"
FORMS = (
    WHERE,
    "EXPLAIN (COSTS OFF) SELECT FROM {view} t WHERE ({value}) IS NULL",
    "SELECT FROM {view} t WHERE NOT EXISTS (SELECT ({value}) LIMIT 1)",
    (
        "SELECT FROM (VALUES (1)) d LEFT JOIN (SELECT ({value}) AS x FROM {view} t) t ON true"
        " WHERE x IS NOT NULL"
    ),
    (
        "SELECT FROM {view} t WHERE (SELECT 1 FROM pg_class WHERE false"
        " LIMIT CASE WHEN ({value}) IS NULL THEN 1 END) IS NOT NULL"
    ),
    "SELECT ({value}) FROM {view} t LIMIT 3",
    "SELECT count(*) FROM {view} t GROUP BY {column} HAVING ({value}) IS NOT NULL",
    "SELECT max({column}::text) OVER (ORDER BY ({value})::text) FROM {view} t",
    (
        "SELECT t.tenant_id FROM {view} t JOIN {view} u ON u.tenant_id = t.tenant_id"
        " AND ({value}) IS NOT NULL"
    ),
    "SELECT x FROM {view} t, LATERAL (SELECT ({value}) AS x) l WHERE x IS NOT NULL",
    "SELECT FROM (SELECT DISTINCT {column} FROM {view} t) t WHERE ({value}) IS NOT NULL",
    "SELECT count(({value})) FILTER (WHERE ({value}) IS NOT NULL) FROM {view} t",
    "WITH c AS (SELECT * FROM {view}) SELECT FROM c t WHERE ({value}) IS NOT NULL",
)
WRITES = {
    "sites": (
        "UPDATE sites t SET name = t.name WHERE ({value}) IS NOT NULL RETURNING ({value})",
        "DELETE FROM sites t WHERE ({value}) IS NOT NULL",
        "DELETE FROM sites t USING sites u WHERE u.site_id = t.site_id AND ({value}) IS NOT NULL",
        (
            "INSERT INTO sites AS t (tenant_id, site_id, name) SELECT tenant_id, site_id, name"
            " FROM sites ON CONFLICT (tenant_id, site_id) DO UPDATE SET name = t.name"
            " WHERE ({value}) IS NOT NULL"
        ),
        "SELECT FROM sites t WHERE ({value}) IS NOT NULL FOR UPDATE",
    ),
    "telemetry_to_store": (
        (
            "INSERT INTO telemetry_to_store AS t SELECT * FROM telemetry_to_store"
            " ON CONFLICT DO NOTHING RETURNING ({value})"
        ),
        (
            "INSERT INTO telemetry_to_store AS t (tenant_id, ts, device_id)"
            " SELECT tenant_id, ts + interval '1 s', device_id FROM telemetry RETURNING ({value})"
        ),
    ),
}
"""Statements that change rows, where a tenant may; all are rolled back."""

PLANS = (
    {},
    {"enable_indexscan": "off", "enable_bitmapscan": "off"},
    {"cpu_tuple_cost": "0", "cpu_operator_cost": "1000", "enable_indexscan": "off"},
    {"cpu_operator_cost": "0", "enable_indexscan": "off", "enable_bitmapscan": "off"},
)

KINDS = (
    "CASE WHEN {c}::text > 'a' THEN {c}::text::int END",
    "CASE {c}::text WHEN 'a' THEN 1 ELSE {c}::text::int END",
    "coalesce({c}::text::int, 1)",
    "nullif({c}::text::int, 1)",
    "greatest({c}::text::int, 1)",
    "ROW({c}::text::int, 1) < ROW(1, 1)",
    "ROW({c}::text, 1) IS DISTINCT FROM ROW('a'::text, 1)",
    "ARRAY[{c}::text::int]",
    "ARRAY[ARRAY[{c}::text], string_to_array({c}::text, '0')]",
    "(ARRAY[1, 2])[length({c}::text::int::text)]",
    "{c}::text::int = ANY (ARRAY[1])",
    "{c}::text::int IN (1, 2)",
    "{c}::text::int IN (SELECT 1)",
    "{c}::text LIKE ANY (ARRAY['%1'])",
    "{c}::text LIKE '%' || {c}::text ESCAPE {c}::text",
    "{c}::text SIMILAR TO {c}::text || '('",
    "{c}::text ~ ({c}::text || '(')",
    "{c}::text::int BETWEEN 1 AND 2",
    "({c}::text || '}}')::int[]",
    "({c}::text)::xml IS DOCUMENT",
    "xmlparse(DOCUMENT {c}::text)",
    "xmlelement(name x, {c})",
    "xmlexists({c}::text PASSING xmlparse(CONTENT {c}::text))",
    "{c}::text::regclass",
    "{c}::text::json",
    "{c}::text COLLATE \"C\" > 'a'",
    "overlay({c}::text placing {c}::text from {c}::text::int)",
    "extract(epoch from {c}::text::timestamptz)",
    "{c}::text::timestamptz AT TIME ZONE {c}::text",
    "(SELECT {c}::text::int)",
    "EXISTS (SELECT FROM pg_class WHERE false OFFSET {c}::text::int)",
    "(SELECT count(*) FROM generate_series(1, {c}::text::int))",
    "(SELECT sum({c}::text::int))",
    "(SELECT rank() OVER (ROWS {c}::text::int PRECEDING))",
    "format({c}::text, 1)",
    "to_tsquery({c}::text || ' (')",
    "jsonb_path_query_first(to_jsonb({c}), ({c}::text || '!')::jsonpath)",
    "current_setting({c}::text)",
    "has_table_privilege({c}::text, 'select')",
    "nullif(pg_input_is_valid({c}::text, {c}::text), true)",
    "JSON_OBJECT({c}::text : 1, {c}::text : 2 WITH UNIQUE KEYS)",
    "JSON_ARRAY({c}, {c}::text::int)",
    "JSON_OBJECTAGG({c}::text : 1 WITH UNIQUE KEYS) FILTER (WHERE true)",
    "{c}::text IS JSON",
    "JSON({c}::text)",
    "JSON_SCALAR({c}::text)",
    "JSON_SERIALIZE({c}::text)",
    "JSON_VALUE({c}::text, '$' ERROR ON ERROR)",
    "JSON_QUERY({c}::text, '$' ERROR ON ERROR)",
    "JSON_EXISTS({c}::text, '$' ERROR ON ERROR)",
)

SAMPLES = {
    "text": "'a'",
    "name": "'a'",
    "boolean": "true",
    "jsonb": "'{\"a\": 1}'",
    "json": "'{}'",
    "uuid": f"'{ME}'",
    "interval": "'1 day'",
    "bytea": "'a'",
    "text[]": "'{a}'",
    "anyarray": "'{a}'::text[]",
    "tsquery": "'a'",
    "jsonpath": "'$.a'",
}


def given(type_name: str) -> str:
    """A value of a type; a number or a date where nothing else is known, or else NULL."""
    if type_name in SAMPLES:
        return f"{SAMPLES[type_name]}::{type_name.replace('anyarray', 'text[]')}"
    if re.fullmatch(r"(small|big)?int(eger)?|numeric|real|double precision|oid", type_name):
        return f"1::{type_name}"
    if re.match(r"timestamp|date", type_name):
        return f"'2026-01-01'::{type_name}"
    return "NULL" if type_name.startswith("any") else f"NULL::{type_name}"


_FUNCTIONS = sa.text("""
    SELECT format('%I.%I', n.nspname, p.proname) AS name,
           ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t) AS takes
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE prokind = 'f' AND pronargs BETWEEN 1 AND 4 AND p.proname !~ :skipped
       AND prorettype NOT IN ('internal'::regtype, 'trigger'::regtype, 'event_trigger'::regtype,
                              'cstring'::regtype, 'void'::regtype)
       AND NOT 'internal'::regtype = ANY (proargtypes::oid[])
       AND has_function_privilege('fleet_app', p.oid, 'execute')
       AND has_schema_privilege('fleet_app', n.oid, 'usage')
     ORDER BY p.oid""")
_OPERATORS = sa.text("""
    SELECT format('OPERATOR(%I.%s)', n.nspname, oprname) AS name,
           nullif(oprleft, 0)::regtype::text AS before, oprright::regtype::text AS after
      FROM pg_operator o JOIN pg_namespace n ON n.oid = oprnamespace
     WHERE oprcode <> 0 AND has_schema_privilege('fleet_app', n.oid, 'usage') ORDER BY o.oid""")
_TYPES = sa.text("""
    SELECT format_type(t.oid, NULL) FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
     WHERE typtype IN ('b', 'd', 'e', 'r', 'm') AND typname !~ '^_timescaledb|^_'
       AND has_schema_privilege('fleet_app', n.oid, 'usage') AND typisdefined ORDER BY t.oid""")


def accepts(takes: str, has: str) -> bool:
    """Whether an argument of a type takes a column of another without a cast in the statement."""
    numbers = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
    wider = has in numbers and takes in numbers[numbers.index(has) :]
    element = takes in ('"any"', "anyelement", "anynonarray", "anycompatible")
    return takes == has or wider or element or (takes == "name" and has == "text")


def values(connection: Connection, column: str, has: str) -> Iterator[str]:
    """Every expression over a column that the catalog knows."""
    for kind in KINDS:
        yield kind.replace("{c}", column)
    for name in connection.execute(_TYPES).scalars():
        yield f"{column}::{name}"
        yield f"{column}::text::{name}"
    for function in connection.execute(_FUNCTIONS, {"skipped": SKIPPED}).mappings():
        for at, takes in enumerate(function["takes"]):
            if accepts(takes, has) or (takes == "cstring" and has == "text"):
                rest = [given(other) for other in function["takes"]]
                rest[at] = f"{column}::cstring" if takes == "cstring" else column
                yield f"{function['name']}({', '.join(rest)})"
    for operator in connection.execute(_OPERATORS).mappings():
        name, before, after = operator["name"], operator["before"], operator["after"]
        if accepts(after, has):
            left = "" if before is None else f"{column if before == after else given(before)} "
            yield f"{left}{name} {column}"
        if before is not None and accepts(before, has):
            yield f"{column} {name} {given(after)}"


def statements(connection: Connection, columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Each value in a WHERE, and in one other statement."""
    of_type = sa.text(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute"
        " WHERE attrelid = CAST(:view AS regclass) AND attname = :column"
    )
    for view, names in columns.items():
        for column in names:
            kind = connection.scalar(of_type, {"view": view, "column": column})
            assert kind is not None, f"{view} has no column {column}"
            name = f"t.{column}"
            forms = (*FORMS, *WRITES.get(view, ()))
            for number, value in enumerate(values(connection, name, str(kind))):
                for form in (WHERE, forms[number % len(forms)]):
                    # Not by format(): values have braces.
                    asked = form.replace("{view}", view).replace("{column}", name)
                    yield asked.replace("{value}", value)


def answers(connection: Connection, statement: str, notices: list[str]) -> str:
    """All that the server says to a statement."""
    notices.clear()
    savepoint = connection.begin_nested()
    try:
        result = connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        rows = result.fetchmany(50) if result.returns_rows else []
        said = str([tuple(one) for one in rows])
    except (DBAPIError, ValueError) as error:
        said = str(getattr(error, "orig", error))
    finally:
        savepoint.rollback()
    return "\n".join([said, *notices])


def leaks(connection: Connection, asked: Sequence[str]) -> list[str]:
    """Statements whose answer has the mark, with the answer."""
    found, failed, notices = [], 0, list[str]()
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.add_notice_handler(lambda one: notices.append(str(one.message_primary)))
    connection.exec_driver_sql("SET LOCAL statement_timeout = '5s'")
    for number, statement in enumerate(asked):
        if number % 50 == 0:
            for name in {name for plan in PLANS for name in plan}:
                connection.exec_driver_sql(f"SET LOCAL {name} TO DEFAULT")
            for name, value in PLANS[number // 50 % len(PLANS)].items():
                connection.exec_driver_sql(f"SET LOCAL {name} = {value}")
        said = answers(connection, statement, notices)
        failed += not said.startswith("[")
        if MARK.search(said):
            found.append(f"{statement}: {said}")
    assert failed < 0.9 * len(asked), "most statements are none"
    return found


def test_no_answer_has_anything_of_the_other(marked: Engine) -> None:
    seed = random.randrange(10**6)
    with tenant_transaction(marked, ME) as connection:
        asked = list(statements(connection, COLUMNS))
        assert len(asked) > 10_000, "the catalog was not read"
        connection.rollback()
    chosen = random.Random(seed).sample(asked, len(asked) if LONG else SHORT)
    found = []
    # Not in one transaction, which would keep too many locks.
    for first in range(0, len(chosen), 350):
        with tenant_transaction(marked, ME) as connection:
            found += leaks(connection, chosen[first : first + 350])
            connection.rollback()
    assert found == [], f"seed {seed}"


def test_a_view_without_order_is_found_out(marked: Engine) -> None:
    """What the test above looks for is there, where nothing prevents it."""
    with marked.connect() as connection:
        connection.exec_driver_sql(
            "CREATE VIEW unordered AS SELECT * FROM timeseries.telemetry"
            " WHERE tenant_id = (SELECT current_tenant());"
            "GRANT SELECT ON unordered TO fleet_app"
        )
        take_role(connection, "fleet_app", ME)
        asked = [
            one
            for one in statements(connection, {"unordered": ("device_id",)})
            if "::text::" in one or "JSON" in one
        ]
        assert len(leaks(connection, asked[:500])) >= 10
        connection.rollback()


@pytest.mark.parametrize("view", ["telemetry_hourly", "telemetry_to_store", "sites"])
def test_no_operator_tries_values_of_the_other_in_planning(marked: Engine, view: str) -> None:
    """For views of hypertables see docs/isolation.md."""
    column = "name" if view == "sites" else "device_id"
    with tenant_transaction(marked, ME) as connection:
        for operator in ("LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"):
            asked = f"EXPLAIN SELECT FROM {view} WHERE {column} {operator} '%{str(OTHER)[-6:]}\\'"
            assert answers(connection, asked, []).startswith("[")
        connection.rollback()
