"""Rollups by hour and by day that are older than their raw data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Column,
    Double,
    Engine,
    Identity,
    MetaData,
    Table,
    Text,
)

from ddl import Columnstore, Hypertable, Rollup
from tests.support.generated_revisions import Declare, apply, metadata_of
from tests.support.time_series import alone, execute

MEAN, BOTH = "avg(value) AS mean", "avg(value) AS mean, max(value) AS peak"
MEANS = "SELECT device, bucket, mean FROM hourly ORDER BY 1, 2"
DAYS = "SELECT device, day, mean FROM daily ORDER BY 1, 2"


def readings(metadata: MetaData) -> None:
    Table(
        "readings",
        metadata,
        Column("device", Text, primary_key=True),
        Column("ts", TIMESTAMP(timezone=True), primary_key=True),
        Column("value", Double),
        Hypertable("ts", chunk_interval="1 day"),
        Columnstore("device", "ts DESC", "7 days"),
    )


def keyed(device: Any) -> Declare:
    """The same rows with a device of a type, which may be NULL."""

    def declare(metadata: MetaData) -> None:
        Table(
            "readings",
            metadata,
            Column("device", device),
            Column("ts", TIMESTAMP(timezone=True), primary_key=True),
            Column("value", Double),
            Column("id", BigInteger, Identity(), primary_key=True),
            Hypertable("ts", chunk_interval="1 day"),
        )

    return declare


def hourly(
    values: str = MEAN,
    *,
    width: str = "1 hour",
    where: str = "",
    over: Callable[[MetaData], None] | None = None,
    table: Declare = readings,
    **options: Any,
) -> Declare:
    """A rollup by hour; ``over`` declares what reads it."""

    def declare(metadata: MetaData) -> None:
        table(metadata)
        Rollup(
            "hourly",
            f"SELECT device, time_bucket('{width}', ts) AS bucket, {values} FROM readings {where}"
            " GROUP BY 1, 2",
            metadata=metadata,
            **options,
        )
        if over is not None:
            over(metadata)

    return declare


def daily(values: str = "avg(mean) AS mean", **options: Any) -> Declare:
    """A rollup by day over that by hour."""

    def declare(metadata: MetaData) -> None:
        Rollup(
            "daily",
            f"SELECT device, time_bucket('1 day', bucket) AS day, {values} FROM hourly"
            " GROUP BY 1, 2",
            metadata=metadata,
            **options,
        )

    return declare


_REFRESH = "CALL refresh_continuous_aggregate('{}', NULL, '2026-03-31Z')"


def fill(engine: Engine, declare: Declare) -> None:
    """90 days of rollups, and 20 of the raw data: from 11 March 2026 on."""
    with engine.begin() as connection:
        apply(connection, metadata_of(declare))
    execute(
        engine,
        "INSERT INTO readings SELECT d, h, extract(epoch FROM h) / 3600 FROM"
        " generate_series(TIMESTAMPTZ '2026-01-01Z', '2026-03-31Z', '30 minutes') h,"
        " unnest(ARRAY['a', 'b']) d",
    )
    with engine.connect() as connection:
        names = connection.scalars(
            sa.text("SELECT view_name FROM timescaledb_information.continuous_aggregates")
        ).all()
    alone(engine, *(_REFRESH.format(name) for name in sorted(names, reverse=True)))
    execute(engine, "SELECT drop_chunks('readings', older_than => TIMESTAMPTZ '2026-03-11Z')")


def query(engine: Engine, text: str) -> list[Any]:
    """The rows of a query as tuples."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(text)]
