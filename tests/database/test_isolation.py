"""Two tenants with rows everywhere: neither reaches the other's, by any way that is tried.

Each test goes through every relation there is and lists those where it got through.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database import privileges, security
from database.tenancy import take_role, tenant_transaction
from ddl.edition import Edition, detect
from models.shared.base import TIMESERIES
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.time_series import migrate
from tests.support.two_tenants import ONE, TWO, Reach, fill, reaches, row

REFUSALS = {
    "42501": "permission denied",
    "44000": "check option",
    "42P01": "no such relation",
    "55000": "a view that cannot be written to",
    "0A000": "what TimescaleDB says of a change to it",
    "XX001": "what TimescaleDB says of a query on the parent of compressed chunks",
}

Ask = Callable[[str], int]
"""Rows that a statement returned or changed as fleet_app of tenant ONE; -1 where refused."""


@pytest.fixture(scope="module", params=servers("embedded", "machine", "timescaledb", "apache"))
def engine(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """One database for the module: no test changes anything."""
    with engine_of(make_shared_database(named_server(request), like=migrate)) as engine:
        fill(engine)
        yield engine


@pytest.fixture
def as_one(engine: Engine) -> Iterator[Ask]:
    with tenant_transaction(engine, ONE) as connection:
        yield asking(connection)
        connection.rollback()


def must_be_refusal(error: DBAPIError, what: str) -> None:
    """Any other error would hide what the test is about."""
    if getattr(error.orig, "sqlstate", "") not in REFUSALS:
        pytest.fail(f"{what}: {error.orig}")


def asking(connection: Connection) -> Ask:
    def ask(statement: str) -> int:
        with connection.begin_nested() as savepoint:
            try:
                result = connection.exec_driver_sql(
                    statement, execution_options={"no_parameters": True}
                )
                rows = len(result.all()) if result.returns_rows else result.rowcount
            except DBAPIError as error:
                must_be_refusal(error, statement)
                rows = -1
            savepoint.rollback()
        return rows

    return ask


def test_every_relation_shows_own_rows_and_no_other(as_one: Ask) -> None:
    seen = {
        reach.name: as_one(f"SELECT DISTINCT tenant_id FROM {reach.name}") for reach in reaches()
    }
    hidden = {name for name, rows in seen.items() if rows == -1}
    assert {name: rows for name, rows in seen.items() if rows not in (1, -1)} == {}
    others = {
        name: rows
        for name in seen.keys() - hidden
        if (rows := as_one(f"SELECT tenant_id FROM {name} WHERE tenant_id = '{TWO}'"))
    }
    assert others == {}
    assert len(seen) - len(hidden) > 50, "this test would pass without looking"


def test_parallel_workers_see_as_much_as_one_process(engine: Engine) -> None:
    """Workers of TimescaleDB lost rows by chance; with a leader that only waits, all of them."""
    seen = []
    for workers in (0, 2):
        with tenant_transaction(engine, ONE) as connection:
            for name, value in (_PARALLEL | {"max_parallel_workers_per_gather": workers}).items():
                connection.exec_driver_sql(f"SET LOCAL {name} = {value}")
            ask = asking(connection)
            query = "SELECT t.slug, count(*) FROM tenants t JOIN {} r USING (tenant_id) GROUP BY 1"
            seen.append({reach.name: ask(query.format(reach.name)) for reach in reaches()})
            plan = connection.exec_driver_sql(f"EXPLAIN {query.format('telemetry')}").scalars()
            assert ("Workers Planned" in "".join(plan)) == bool(workers)
            connection.rollback()
    assert seen[0] == seen[1]


_PARALLEL = {
    "parallel_leader_participation": "off",
    "parallel_setup_cost": 0,
    "parallel_tuple_cost": 0,
    "min_parallel_table_scan_size": 0,
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
}


def test_the_settings_for_that_are_compared(engine: Engine) -> None:
    with engine.connect() as connection:
        settings = privileges.settings(connection)
        with_timescaledb = detect(connection) is not Edition.POSTGRESQL
        assert (settings.keys() > privileges.SETTINGS.keys()) == with_timescaledb
        assert privileges.problems(connection) == []
        name = connection.engine.url.database
        connection.exec_driver_sql(f"ALTER DATABASE {name} RESET ALL")
        assert len(privileges.problems(connection)) == len(settings)
        found = [one for one in security.differences(connection) if one.kind == "database"]
        for one in found:
            connection.exec_driver_sql(one.mend)
        assert privileges.problems(connection) == []
        connection.rollback()


def test_no_context_shows_nothing(engine: Engine) -> None:
    """Neither none, nor the empty text that a finished transaction leaves, nor another setting."""
    with engine.connect() as connection:
        for tenant in (None, ""):
            take_role(connection, "fleet_app", None)
            if tenant is not None:
                connection.exec_driver_sql("SET LOCAL app.tenant_id = ''")
            for name in ("role", "tenant", "bypass_rls", "is_superuser", "user_id"):
                connection.exec_driver_sql(f"SET LOCAL app.{name} = 'on'")
            ask = asking(connection)
            found = {r.name: ask(f"SELECT tenant_id FROM {r.name}") for r in reaches()}
            assert {name: rows for name, rows in found.items() if rows > 0} == {}
            connection.rollback()


def test_rows_of_the_other_are_neither_changed_nor_deleted(as_one: Ask) -> None:
    through = []
    for reach in reaches():
        for statement in (
            f"UPDATE {reach.name} SET tenant_id = tenant_id WHERE tenant_id = '{TWO}'",
            f"DELETE FROM {reach.name} WHERE tenant_id = '{TWO}'",
        ):
            if as_one(statement) > 0:
                through.append(statement)
    assert through == []


def test_rows_are_not_given_to_the_other(engine: Engine) -> None:
    """Neither new ones nor by renaming the tenant of own ones."""
    through, tried = [], 0
    with tenant_transaction(engine, ONE) as connection:
        for reach in reaches():
            for number, action in enumerate((insertion(reach), moving(reach))):
                if action is None:
                    continue
                savepoint = connection.begin_nested()
                try:
                    changed = connection.execute(action).rowcount
                    if changed:
                        through.append(f"{('insert', 'update')[number]} {reach.name}")
                except DBAPIError as error:
                    tried += 1
                    must_be_refusal(error, reach.name)
                savepoint.rollback()
        connection.rollback()
    assert through == []
    assert tried > 50


def insertion(reach: Reach) -> sa.Insert | None:
    if reach.table is None:
        return sa.insert(sa.table(reach.name, sa.column("tenant_id"))).values(tenant_id=TWO)
    return reach.table.insert().values(row(reach.table, TWO, uuid.UUID(int=0xA3)))


def moving(reach: Reach) -> sa.Update | None:
    relation = sa.table(reach.name, sa.column("tenant_id"))
    return sa.update(relation).values(tenant_id=TWO)


def test_nothing_behind_the_views_is_reached(engine: Engine, as_one: Ask) -> None:
    """Hypertables, chunks compressed or not, materialized rollups, and what TimescaleDB hides."""
    with engine.connect() as connection:
        behind = (
            connection.exec_driver_sql(_BEHIND, execution_options={"no_parameters": True})
            .scalars()
            .all()
        )
        edition = detect(connection)
        if edition is Edition.COMMUNITY:
            compressed = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"
            assert connection.exec_driver_sql(compressed).scalar_one() > 8
    assert len(behind) >= (40 if edition is Edition.COMMUNITY else 10)
    through = [
        statement
        for relation in behind
        for statement in (
            f"SELECT * FROM {relation}",
            f"DELETE FROM {relation}",
            f"INSERT INTO {relation} DEFAULT VALUES",
        )
        if as_one(statement) != -1
    ]
    assert through == []


_BEHIND = f"""
    SELECT format('%I.%I', n.nspname, c.relname)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm')
       AND (n.nspname = '{TIMESERIES}' OR n.nspname = '_timescaledb_internal' AND c.relname ~
            '^(_hyper|compress_hyper|_materialized|_compressed|_partial|_direct)')
"""


@pytest.mark.timescaledb
def test_functions_of_timescaledb_give_no_way_in(engine: Engine) -> None:
    with engine.connect() as connection:
        if detect(connection) is not Edition.COMMUNITY:
            pytest.skip("has no such functions, or none that work")
        chunk = connection.exec_driver_sql(
            "SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks"
            " WHERE hypertable_name = 'telemetry'",
            execution_options={"no_parameters": True},
        ).scalar()
        job = connection.exec_driver_sql(
            "SELECT min(job_id) FROM timescaledb_information.jobs WHERE job_id >= 1000"
        ).scalar()
    calls = (
        f"SELECT decompress_chunk('{chunk}')",
        f"SELECT drop_chunks('{TIMESERIES}.telemetry', older_than => now())",
        f"SELECT remove_retention_policy('{TIMESERIES}.telemetry')",
        f"SELECT add_retention_policy('{TIMESERIES}.tag_values', drop_after => interval '1 hour')",
        f"CALL refresh_continuous_aggregate('{TIMESERIES}.telemetry_hourly', NULL, NULL)",
        f"SELECT alter_job({job}, scheduled => false)",
        f"CALL run_job({job})",
        f"SELECT set_chunk_time_interval('{TIMESERIES}.telemetry', interval '1 hour')",
        "CREATE TABLE public.mine (tenant_id uuid)",
        "CREATE TEMPORARY TABLE mine (tenant_id uuid)",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql RETURN 1",
        f"COPY {TIMESERIES}.telemetry TO STDOUT",
        f"SET ROLE fleet_operator; SELECT * FROM {TIMESERIES}.telemetry",
    )
    through = []
    login = f"tenant_bound_{uuid.uuid4().hex[:8]}"
    url = _login(engine, login)
    try:
        with engine_of(url) as other:
            for call in calls:
                with other.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
                    session.exec_driver_sql(f"SET app.tenant_id = '{ONE}'")
                    try:
                        session.exec_driver_sql(call, execution_options={"no_parameters": True})
                    except DBAPIError:
                        continue
                    through.append(call)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP ROLE {login}")
    assert through == []


def _login(engine: Engine, name: str) -> str:
    """A login as services have: granted fleet_app and nothing else."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE fleet_app")
    url = engine.url.set(username=name, password="x")
    return url.render_as_string(hide_password=False)
