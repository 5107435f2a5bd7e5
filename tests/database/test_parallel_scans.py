"""Workers of a parallel scan see what one process sees, and the settings for that are in force."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database import privileges, security
from database.tenancy import tenant_transaction
from ddl.edition import Edition, detect
from tests.support.databases import LONG, MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.time_series import migrate
from tests.support.two_tenants import ONE, fill, reaches


@pytest.fixture(
    scope="module",
    params=servers("embedded", "timescaledb", *(("machine", "apache") if LONG else ())),
)
def engine(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """One database for the module: no test changes anything."""
    with engine_of(make_shared_database(named_server(request), like=migrate)) as engine:
        fill(engine)
        yield engine


def test_parallel_workers_see_as_much_as_one_process(engine: Engine) -> None:
    """Workers of TimescaleDB lost rows by chance; with a leader that only waits, all of them."""
    seen = []
    for workers in (0, 2):
        with tenant_transaction(engine, ONE) as connection:
            for name, value in (_PARALLEL | {"max_parallel_workers_per_gather": workers}).items():
                connection.exec_driver_sql(f"SET LOCAL {name} = {value}")
            query = "SELECT t.slug, count(*) FROM tenants t JOIN {} r USING (tenant_id) GROUP BY 1"
            seen.append({one.name: _rows(connection, query.format(one.name)) for one in reaches()})
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


def _rows(connection: Connection, query: str) -> int:
    """-1 where the tenant may not read."""
    with connection.begin_nested() as savepoint:
        try:
            return len(connection.exec_driver_sql(query).all())
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != "42501":
                raise
            savepoint.rollback()
            return -1


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
