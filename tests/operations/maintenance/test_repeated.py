"""Where nothing changed since the last one, maintenance refreshes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from operations.maintenance import late_data
from operations.maintenance.run import maintain
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.late_data import add_tags, differences
from tests.support.servers import DatabaseServer
from tests.support.time_series import ACME, GLOBEX, HOOLI, add_rows, alone, with_tenants


@pytest.fixture
def engine(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    with engine_of(make_database(timescaledb_server, like=with_tenants)) as engine:
        yield engine


@pytest.mark.timescaledb
def test_a_second_run_refreshes_nothing(engine: Engine) -> None:
    for tenant in (ACME, GLOBEX):
        add_tags(engine, tenant, "9 days", until="2 days")
        for age in ("30 days", "20 days", "19 days", "3 days"):
            add_rows(engine, tenant, age, 50)
    assert {one.rollup for one in maintain(engine).refreshed} == {
        "timeseries.tag_values_hourly",
        "timeseries.telemetry_hourly",
        "timeseries.telemetry_daily",
    }
    assert maintain(engine).refreshed == []
    # Older than all, beside the first chunk, in the midst and in a gap.
    for age in ("40 days", "31 days", "20 days", "10 days"):
        add_rows(engine, HOOLI, age, 60)
        assert sorted((one.rollup, one.chunks) for one in maintain(engine).refreshed) == [
            ("timeseries.telemetry_daily", 1),
            ("timeseries.telemetry_hourly", 1),
        ], age
        assert maintain(engine).refreshed == []
    for name in ("tag_values_hourly", "telemetry_hourly", "telemetry_daily"):
        assert differences(engine, name) == []


@pytest.mark.timescaledb
@pytest.mark.parametrize("bucket", ["'7 days', ts", "'1 month', ts, 'Europe/Berlin'"])
def test_buckets_across_the_borders_of_chunks(engine: Engine, bucket: str) -> None:
    """No bucket begins or ends where a chunk does, and most are in several."""
    # Starting in the middle of a bucket.
    for age in range(100, 30, -1):
        add_rows(engine, ACME, f"{age} days", 3)
    query = f"SELECT time_bucket({bucket}) AS bucket, count(*) AS count FROM timeseries.telemetry"
    alone(
        engine,
        "CREATE MATERIALIZED VIEW timeseries.coarse WITH (timescaledb.continuous) AS"
        f" {query} GROUP BY 1 WITH NO DATA",
    )
    bound = "WHERE bucket < now() - interval '70 days'"
    raw = f"SELECT * FROM ({query} GROUP BY 1) AS raw {bound}"
    shown = f"SELECT bucket, count FROM timeseries.coarse {bound}"
    with engine.connect() as connection:
        for age in (None, "101 days", "90 days", "80 days"):
            if age is not None:
                add_rows(engine, HOOLI, age, 1)
            with connection.begin():
                found = late_data.rollups(connection)
            (rollup,) = (one for one in found if one.table == "coarse")
            assert late_data.take_in(connection, rollup) is not None
            assert late_data.take_in(connection, rollup) is None, age
            assert alone(engine, f"({raw} EXCEPT {shown}) UNION ALL ({shown} EXCEPT {raw})") == []
