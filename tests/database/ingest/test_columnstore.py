"""Late and repeated messages in chunks that are compressed already."""

from __future__ import annotations

import datetime

import pytest
from sqlalchemy import Engine

from database.ingest import Ingested, ingest
from database.ingest.series import SERIES
from tests.database.ingest.test_series import EVERY, at
from tests.support.telemetry import (
    HOUR,
    NOW,
    ONE,
    count,
    message,
)


def compress(engine: Engine, table: str = "telemetry") -> int:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"
        )
        return len(
            connection.exec_driver_sql(
                "SELECT compress_chunk(c, if_not_compressed => true)"
                f" FROM show_chunks('timeseries.{table}') c"
            ).all()
        )


@pytest.mark.timescaledb
def test_late_and_repeated_points_in_compressed_chunks(community: Engine) -> None:
    old = NOW - 20 * 24 * HOUR
    sent = [message(n, ts=old + n * datetime.timedelta(seconds=1)) for n in range(2000)]
    assert ingest(community, sent[::2]) == Ingested(1000, 0, 0)
    assert compress(community) > 0
    assert ingest(community, sent[1::2]) == Ingested(1000, 0, 0), "late"
    assert ingest(community, sent) == Ingested(0, 2000, 0), "repeated"
    compress(community)
    more = [*sent[:500], *(message(n, ts=old - n * HOUR / 100) for n in range(1, 501))]
    assert ingest(community, more) == Ingested(500, 500, 0), "both"
    assert count(community) == 2500


@pytest.mark.timescaledb
def test_records_of_all_series_in_compressed_chunks(community: Engine) -> None:
    old = NOW - 20 * 24 * HOUR
    for one in EVERY:
        table = SERIES[type(one)].name
        sent = [at(one, old + n * datetime.timedelta(seconds=1)) for n in range(400)]
        assert ingest(community, sent[::2]) == Ingested(200, 0, 0)
        assert compress(community, table) > 0
        assert ingest(community, sent[1::2]) == Ingested(200, 0, 0), "late"
        assert ingest(community, sent) == Ingested(0, 400, 0), "repeated"
        compress(community, table)
        later = [at(one, NOW - n * HOUR) for n in range(5)]
        assert ingest(community, [*sent[:9], *later]) == Ingested(5, 9, 0), "both"
        assert count(community, table) == 405


@pytest.mark.timescaledb
@pytest.mark.slow
def test_more_late_points_than_the_server_decompresses_by_default(community: Engine) -> None:
    old = (NOW - 20 * 24 * HOUR).replace(hour=0, minute=0, second=0, microsecond=0)
    with community.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO timeseries.telemetry (tenant_id, device_id, ts, metrics)"
            " SELECT %s, 'd' || n %% 10, %s::timestamptz + n * interval '0.5 s', '{}'"
            " FROM generate_series(1, 150000) n",
            (ONE, old),
        )
    compress(community)
    half = datetime.timedelta(seconds=0.25)
    late = [
        message(n, device_id=f"d{n % 10}", ts=old + half + n * datetime.timedelta(seconds=25))
        for n in range(3000)
    ]
    assert ingest(community, late) == Ingested(3000, 0, 0)
    assert ingest(community, late) == Ingested(0, 3000, 0)
