"""EXPLAIN tells a tenant nothing by which a value of another tenant differs from an unknown one.

What it prints of an index is counted before row-level security has looked at a row, so the indexes
are what matters. Everything is derived from the catalog: each relation that a tenant may read, each
of its columns, each index.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Index, MetaData, Table, UniqueConstraint, Uuid
from sqlalchemy.exc import ArgumentError, DBAPIError

from database import hardening
from database.tenancy import tenant_transaction
from ddl import Policy, sql
from ddl.edition import Edition, detect
from models.shared.access import OWN_TENANT
from models.shared.across import ACROSS, hide_indexes
from tests.isolation.conftest import ME, OTHER
from tests.support.reference_data import acting
from tests.support.time_series import RAW_SQL

UNKNOWN = uuid.UUID(int=0xA3)

# Of a relation that a tenant reads, the columns, and where the rows of all tenants are.
_COLUMNS = """
SELECT c.relname AS relation, a.attname AS column, format_type(a.atttypid, NULL) AS type,
       coalesce(to_regclass('timeseries.' || quote_ident(c.relname)), c.oid::regclass)::text
       AS source,
       EXISTS (SELECT FROM pg_class v WHERE v.relname = c.relname AND v.relkind = 'v'
                  AND v.relnamespace = to_regnamespace('timeseries')) AS is_rollup
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm')
   AND has_column_privilege('fleet_app', c.oid, a.attnum, 'SELECT')
   AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id')
   AND a.attname <> 'tenant_id' AND NOT a.attisdropped AND a.atttypid NOT IN (
       'jsonb'::regtype, 'json'::regtype, 'boolean'::regtype, 'bytea'::regtype)
 ORDER BY 1, a.attnum
"""

PLANS = {
    "as planned": {},
    "by index": {"enable_seqscan": "off", "enable_bitmapscan": "off"},
    "by bitmap": {"enable_seqscan": "off", "enable_indexscan": "off"},
}

CONDITIONS = ("{column} = {value}", "{column} >= {value} AND {column} <= {value}")


@pytest.mark.parametrize("plan", PLANS)
def test_no_plan_tells_a_value_of_the_other_from_an_unknown_one(marked: Engine, plan: str) -> None:
    guesses = list(_guesses(marked))
    assert len({relation for relation, *_ in guesses}) > 90
    found = set()
    with tenant_transaction(marked, ME) as connection:
        for name, value in PLANS[plan].items():
            connection.exec_driver_sql(f"SET LOCAL {name} = {value}")
        for relation, column, type_, known in guesses:
            for condition in CONDITIONS:
                plans = [
                    _plan(connection, relation, condition, column, type_, value)
                    for value in (known, _unknown(known))
                ]
                if plans[0] != plans[1]:
                    found.add(f"{relation}.{column}: {condition}\n{plans[0]}\n{plans[1]}")
    assert not found, "\n\n".join(sorted(found))


def _guesses(engine: Engine) -> Iterator[tuple[str, str, str, str]]:
    """A value of the other tenant in each column of each relation, that is not one of the own."""
    with engine.connect() as connection:
        # Elsewhere they are views, whose plans follow the estimates for what they compute.
        rollups = detect(connection) is Edition.COMMUNITY
        for row in connection.exec_driver_sql(_COLUMNS, execution_options=RAW_SQL).all():
            values = f"SELECT {sql.ident(row.column)}::text FROM {row.source}"
            known = connection.exec_driver_sql(
                f"{values} WHERE tenant_id = '{OTHER}' EXCEPT {values} WHERE tenant_id = '{ME}'"
                " LIMIT 1",
                execution_options=RAW_SQL,
            ).scalar()
            if known is not None and _unknown(known) != known and (rollups or not row.is_rollup):
                yield row.relation, row.column, row.type, known


def _unknown(known: str) -> str:
    """A value of the same kind that nobody has: values are made of the ids of the tenants."""
    return known.replace("a1", "a3").replace("161", "163")


def _plan(
    connection: Connection, relation: str, condition: str, column: str, type_: str, value: str
) -> str:
    """All that EXPLAIN says of a guess, without the guess: what is cached is read before."""
    given = condition.format(column=sql.ident(column), value=f"{sql.literal(value)}::{type_}")
    asked = (
        "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF)"
        f" SELECT 1 FROM {sql.ident(relation)} WHERE {given}"
    )
    for _ in range(2):
        lines = connection.exec_driver_sql(asked, execution_options=RAW_SQL).scalars().all()
    told = re.sub(r"Planning:\n\s+Buffers: .*", "", "\n".join(lines))
    told = re.sub(r"'\{.*?\}'::", "'{?}'::", told)  # lists, and hashes for bloom filters
    return told.replace(sql.literal(value), "?").replace(value, "?")


def test_a_hidden_index_is_named_by_nobody_and_used_by_services(marked: Engine) -> None:
    """Each index that does not lead with tenant_id, of a table that tenants read."""
    with marked.connect() as connection:
        hidden = connection.exec_driver_sql(_HIDDEN, execution_options=RAW_SQL).all()
    assert len(hidden) > 30
    for role in ("fleet_operator", "fleet_operator_read", "fleet_ingest"):
        with acting(marked, role) as connection:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            for row in hidden:
                if role == "fleet_ingest" and row.index != "uq_device_api_tokens_client_id":
                    continue
                if row.column == "search_vector" or (row.of_hash and role.endswith("read")):
                    continue
                asked = f"EXPLAIN SELECT tenant_id FROM {row.table} WHERE {row.condition}"
                plan = connection.exec_driver_sql(asked, execution_options=RAW_SQL).scalars().all()
                indexes = [one.index for one in hidden if one.table == row.table]
                assert any(f" {index} " in "\n".join(plan) for index in indexes), (role, plan)
    for role in ("fleet_app", "fleet_ingest", "fleet_operator", "fleet_auth"):
        with acting(marked, role, ME) as connection, pytest.raises(DBAPIError, match="schema acr"):
            connection.exec_driver_sql(f"SELECT 1 FROM tenants WHERE {ACROSS}")


_HIDDEN = """
SELECT i.indrelid::regclass::text AS table, i.indexrelid::regclass::text AS index,
       a.attname AS column, a.attname ~ '_hash$' AS of_hash,
       format('%I = (SELECT NULL::%s)', a.attname, format_type(a.atttypid, NULL))
       || coalesce(' AND ' || nullif(replace(replace(pg_get_expr(i.indpred, i.indrelid),
          'across.tenants(tenant_id) AND ', ''), 'across.tenants(tenant_id)', ''), ''), '')
       AS condition
  FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
 WHERE pg_get_expr(i.indpred, i.indrelid) ~ '^[(]?across[.]tenants[(]tenant_id[)]'
"""


def test_every_index_of_a_tenant_leads_with_tenant_id_or_is_hidden(marked: Engine) -> None:
    """Of ordinary tables, series, rollups and their chunks, compressed or not."""
    with marked.connect() as connection:
        found = connection.exec_driver_sql(_OTHER_INDEXES, execution_options=RAW_SQL).scalars()
        assert found.all() == []


_OTHER_INDEXES = """
SELECT format('%s on %s', i.indexrelid::regclass, i.indrelid::regclass)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
  JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id'
 WHERE (c.relnamespace::regnamespace::text IN ('timeseries', '_timescaledb_internal')
        OR has_any_column_privilege('fleet_app', c.oid, 'SELECT'))
   AND i.indkey[0] <> t.attnum
   AND coalesce(pg_get_expr(i.indpred, i.indrelid), '') !~ '^[(]?across[.]tenants[(]tenant_id[)]'
 ORDER BY 1
"""


def test_no_column_of_a_series_has_statistics_on_which_an_operator_fails(marked: Engine) -> None:
    """Of those that tenants read, and of their chunks."""
    with marked.connect() as connection:
        found = connection.exec_driver_sql(_WITH_STATISTICS, execution_options=RAW_SQL).scalars()
        assert found.all() == []
        assert hardening.gaps(connection) == []


_FALLIBLE = """
SELECT o.oprleft FROM pg_operator o
 WHERE o.oprrest::regproc::text ~ '^(i?c?n?(like|regexeq|regexne)|prefix|matching)sel$'
   AND o.oprleft::regtype::text !~ 'range|tsquery'
"""
_WITH_STATISTICS = f"""
SELECT format('%s.%I', c.oid::regclass, a.attname)
  FROM pg_class s JOIN pg_class c ON c.oid = s.oid OR EXISTS (
       SELECT FROM pg_inherits i WHERE i.inhparent = s.oid AND i.inhrelid = c.oid)
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
 WHERE s.relnamespace = 'timeseries'::regnamespace AND s.relkind = 'r'
   AND has_table_privilege('fleet_app', to_regclass(format('public.%I', s.relname)), 'SELECT')
   AND (a.attstattarget IS DISTINCT FROM 0 OR EXISTS (
        SELECT FROM pg_statistic k WHERE k.starelid = c.oid AND k.staattnum = a.attnum))
   AND coalesce(nullif(t.typbasetype, 0), t.oid) IN ({_FALLIBLE})
 ORDER BY 1
"""


def test_no_condition_fails_in_planning_on_a_value_of_the_other(marked: Engine) -> None:
    """The planner tries it on values that it keeps; what it kept before, a superuser deletes."""
    for statements, fails in (
        ((_ROWS, _AGAIN), False),
        ((_ROWS, _KEEP, _AGAIN), True),
        ((_ROWS, _KEEP, _AGAIN, _NONE, _AGAIN), True),
        ((_ROWS, _KEEP, _AGAIN, _NONE, hardening.script(), _AGAIN), False),
    ):
        with marked.connect() as connection:
            connection.exec_driver_sql("SET LOCAL fleetschema.judged = 'on'")
            for statement in statements:
                connection.exec_driver_sql(statement, execution_options=RAW_SQL)
            left = [gap.name for gap in hardening.gaps(connection) if gap.kind == "column"]
            assert left == (_TRIED if fails and _NONE in statements else []), left
            connection.exec_driver_sql("SET LOCAL ROLE fleet_app")
            for condition, error in _GUESSES.items():
                asked = f"EXPLAIN SELECT FROM telemetry WHERE {condition}"
                with connection.begin_nested() as savepoint:
                    said = ""
                    try:
                        connection.exec_driver_sql(asked, execution_options=RAW_SQL)
                    except DBAPIError as failure:
                        said = str(failure.orig)
                    savepoint.rollback()
                assert (error in said) is fails, (condition, said)


_GUESSES = {
    r"device_id LIKE 'globex-%\'": "must not end with escape character",
    "metrics @@ '$.due.datetime() < \"2021-01-01T00:00:00+00:00\".datetime()'": "time zone usage",
    "metrics @? '$ ? (@.due.datetime() < \"2021-01-01T00:00:00+00:00\".datetime())'": "time zone",
}
_TRIED = ["timeseries.telemetry.device_id", "timeseries.telemetry.metrics"]
_ROWS = f"""
INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, metrics)
SELECT '{OTHER}', now() - n * interval '1 s', 'globex-1', '{{"due": "2020-01-01"}}'
  FROM generate_series(1, 500) n
"""
_KEEP = "ALTER TABLE timeseries.telemetry " + ", ".join(
    f"ALTER COLUMN {column} SET STATISTICS -1" for column in ("device_id", "metrics")
)
_NONE = _KEEP.replace("-1", "0")
_AGAIN = "ANALYZE timeseries.telemetry"


def test_a_unique_key_over_all_tenants_is_refused_as_a_constraint() -> None:
    """A constraint takes no condition; an index gets it where it is declared."""

    def declare(*items: sa.SchemaItem) -> Table:
        policy = Policy("own", to="fleet_app", using=OWN_TENANT)
        columns = [sa.Column(name, Uuid) for name in ("tenant_id", "code")]
        return Table("crates", MetaData(), *columns, policy, *items)

    with pytest.raises(ArgumentError, match=r'write Index\("uq_x", "code", unique=True\)'):
        hide_indexes(declare(UniqueConstraint("code", name="uq_x")))
    table = declare(Index("uq_x", "code", unique=True), Index("ix_x", "tenant_id", "code"))
    hide_indexes(table)
    found = {index.name: index.dialect_options["postgresql"]["where"] for index in table.indexes}
    assert (str(found["uq_x"]), found["ix_x"]) == (ACROSS, None)
