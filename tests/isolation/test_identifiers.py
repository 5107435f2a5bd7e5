"""Which numbers count over tenants, and that docs/isolation.md names them."""

from __future__ import annotations

import contextlib
import itertools
import re
import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, ProgrammingError

from database.tenancy import tenant_transaction
from ddl.edition import Edition, detect
from ddl.sql import ident
from models.shared.base import TIMESERIES
from models.shared.roles import ROLE_NAMES
from tests.isolation.conftest import ME, OTHER
from tests.support.commands import ROOT
from tests.support.reference_data import acting
from tests.support.time_series import RAW_SQL
from tests.support.two_tenants import tenant_tables

COUNTED = sa.text("""
    SELECT c.relname || '.' || a.attname
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
      LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
     WHERE c.relnamespace = ANY (ARRAY['public', 'timeseries']::regnamespace[])
       AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id')
       AND (a.attidentity <> '' OR EXISTS (
              SELECT FROM pg_depend s JOIN pg_class q ON q.oid = s.refobjid AND q.relkind = 'S'
               WHERE s.classid = 'pg_attrdef'::regclass AND s.objid = d.oid))
     ORDER BY 1
""")


def named() -> list[str]:
    page = (ROOT / "docs" / "isolation.md").read_text(encoding="utf-8")
    [sentence] = re.findall(r"Numbers from identity columns \(([^)]*)\)", page)
    return sorted(re.findall(r"`(\w+\.\w+)`", sentence))


def test_the_page_names_every_number_that_counts_over_tenants(marked: Engine) -> None:
    with marked.connect() as connection:
        assert list(connection.scalars(COUNTED)) == named()
        # A function or trigger could count by a sequence, too.
        calling = connection.exec_driver_sql(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND (prosrc ~* 'nextval' OR pg_get_function_sqlbody(oid) ~* 'nextval')",
            execution_options={"no_parameters": True},
        )
        assert calling.scalars().all() == []


@pytest.mark.parametrize("column", named())
def test_they_do(marked: Engine, column: str) -> None:
    """The number of one tenant's row and of the other's next one are neighbours."""
    table, _, name = column.partition(".")
    query = f"SELECT max({name}) FROM {table} WHERE tenant_id = %s"
    with marked.connect() as connection:
        found = [connection.exec_driver_sql(query, (one,)).scalar() for one in (OTHER, ME)]
    assert found[1] == found[0] + 1


def test_ids_are_random_beside_the_time(marked: Engine) -> None:
    """Two ids of one moment are apart by more than anybody could count."""
    with marked.connect() as connection:
        ids = connection.exec_driver_sql("SELECT uuid7() FROM generate_series(1, 1000)")
        tails = {one.int & (2**62 - 1) for one in ids.scalars()}
    assert len(tails) == 1000
    gaps = sorted(tails)
    assert max(b - a for a, b in itertools.pairwise(gaps)) > 2**50


def test_system_columns_are_those_of_tables_only(marked: Engine) -> None:
    """As the page says: xmin and ctid count for all tenants; tenant views have none."""
    shown = set()
    for table in tenant_tables():
        with tenant_transaction(marked, ME) as connection:
            try:
                connection.exec_driver_sql(f"SELECT xmin, ctid FROM public.{ident(table.name)}")
            except DBAPIError:
                continue
            shown.add(table.schema)
    assert TIMESERIES not in shown
    assert shown == {None}


# Statistics of columns, of groups of columns and of expressions, wherever rows of tenants are.
SHOWN = """
SELECT DISTINCT s.schemaname || '.' || s.tablename
  FROM (SELECT schemaname, tablename FROM pg_stats
        UNION ALL SELECT schemaname, tablename FROM pg_stats_ext
        UNION ALL SELECT schemaname, tablename FROM pg_stats_ext_exprs) s
  JOIN pg_class c ON c.relname = s.tablename AND c.relnamespace = (
       SELECT oid FROM pg_namespace WHERE nspname = s.schemaname)
 WHERE EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id')
"""


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_statistics_show_nothing_of_tenants(marked: Engine, role: str) -> None:
    with marked.connect() as connection:
        # A superuser sees them, chunks and what is compressed included.
        assert len(connection.exec_driver_sql(SHOWN).all()) > 100
    with acting(marked, role, ME) as connection:
        visible = set(connection.exec_driver_sql(SHOWN).scalars())
        # Statistics of what the role may read anyway, of all tenants.
        if role.startswith("fleet_operator"):
            visible = {one for one in visible if one.startswith("public.")}
        assert visible == set()
        with pytest.raises(DBAPIError, match="permission denied for table pg_statistic"):
            connection.exec_driver_sql("SELECT FROM pg_statistic")


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_sequences_show_no_number(marked: Engine, role: str) -> None:
    with marked.connect() as connection:
        ours = connection.exec_driver_sql(
            "SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences"
            " WHERE schemaname IN ('public', 'timeseries') AND last_value IS NOT NULL",
            execution_options=RAW_SQL,
        ).scalars()
        names = ours.all()
    assert len(names) >= 2
    with acting(marked, role, ME) as connection:
        told = connection.exec_driver_sql(
            "SELECT sequencename FROM pg_sequences"
            " WHERE schemaname IN ('public', 'timeseries') AND last_value IS NOT NULL"
        )
        assert told.all() == []
        for name in names:
            for asked in ("last_value FROM {}", "nextval('{}')", "currval('{}')"):
                with pytest.raises(DBAPIError, match="permission"), connection.begin_nested():
                    connection.exec_driver_sql(f"SELECT {asked.format(name)}")
            # From 17 on it is NULL where it was an error.
            with contextlib.suppress(ProgrammingError), connection.begin_nested():
                query = f"SELECT pg_sequence_last_value('{name}')"
                assert connection.exec_driver_sql(query).scalar() is None


def test_sizes_and_estimates_are_of_all_tenants(marked: Engine) -> None:
    """As the page says: the server tells everybody how large a table is, and how common a value."""
    sizes = (
        "SELECT oid, reltuples, relpages, pg_relation_size(oid) FROM pg_class"
        " WHERE relnamespace::regnamespace::text IN ('public', 'timeseries')"
        " AND relkind = 'r' ORDER BY oid"
    )
    with marked.connect() as connection:
        all_of_them = connection.exec_driver_sql(sizes).all()
    with tenant_transaction(marked, ME) as connection:
        assert connection.exec_driver_sql(sizes).all() == all_of_them
        estimates = [
            connection.exec_driver_sql(
                f"EXPLAIN (FORMAT JSON) SELECT FROM telemetry WHERE tenant_id = '{tenant}'"
            ).scalar_one()[0]["Plan"]["Plan Rows"]
            for tenant in (OTHER, uuid.UUID(int=0xA3))
        ]
        assert estimates[0] > estimates[1]
        if detect(connection) is Edition.COMMUNITY:
            assert all(connection.exec_driver_sql(query).scalars().all() for query in CATALOGS)


_LATE = "_timescaledb_catalog.continuous_aggs_materialization_invalidation_log"
CATALOGS = (
    "SELECT numrows_pre_compression FROM _timescaledb_catalog.compression_chunk_size",
    "SELECT watermark FROM _timescaledb_catalog.continuous_aggs_watermark",
    f"SELECT lowest_modified_value FROM {_LATE}",
)
