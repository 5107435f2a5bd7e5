"""A rollup that is made anew keeps the buckets that are older than its raw data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import TIMESTAMP, Column, Double, Engine, MetaData, Table, Text

from ddl import Columnstore, Hypertable, Rollup
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
    run_offline,
)
from tests.support.time_series import alone, execute, scalar

pytestmark = pytest.mark.timescaledb

MEAN, BOTH = "avg(value) AS mean", "avg(value) AS mean, max(value) AS peak"


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


REFRESH = [
    f"CALL refresh_continuous_aggregate('{name}', NULL, '2026-03-31Z')"
    for name in ("hourly", "daily")
]
EXPIRE = "SELECT drop_chunks('readings', older_than => TIMESTAMPTZ '2026-03-11')"


@pytest.fixture
def filled(community: Engine) -> Callable[[Declare], Engine]:
    """Makes 90 days of rollups, and 20 of the raw data: from 11 March 2026 on."""

    def fill(declare: Declare) -> Engine:
        with community.begin() as connection:
            apply(connection, metadata_of(declare))
        execute(
            community,
            "INSERT INTO readings SELECT d, h, extract(epoch FROM h) / 3600 FROM"
            " generate_series(TIMESTAMPTZ '2026-01-01Z', '2026-03-31Z', '30 minutes') h,"
            " unnest(ARRAY['a', 'b']) d",
        )
        with community.connect() as connection:
            names = connection.scalars(
                sa.text("SELECT view_name FROM timescaledb_information.continuous_aggregates")
            ).all()
        alone(community, *(call for call in REFRESH if call.split("'")[1] in names))
        execute(community, EXPIRE)
        return community

    return fill


def change(engine: Engine, after: Declare) -> tuple[str, str]:
    """Upgrade to other models as autogenerate would; returns both directions."""
    with engine.connect() as connection:
        script = migration(connection, metadata_of(after))
    up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    run(engine, up)
    assert_clean(engine, metadata_of(after))
    return up, down


def rows(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


MEANS = "SELECT device, bucket, mean FROM hourly ORDER BY 1, 2"
COUNTED = """
SELECT count(*), count(peak),
       (min(bucket) FILTER (WHERE peak IS NOT NULL) AT TIME ZONE 'UTC')::date::text FROM hourly
"""


# --- one rollup -------------------------------------------------------------------------------


@pytest.mark.parametrize("real_time", [True, False])
def test_a_new_column_keeps_every_bucket(
    filled: Callable[[Declare], Engine], real_time: bool
) -> None:
    """Where there is raw data it has its values at once, without a refresh."""
    options = {"materialized_only": not real_time}
    engine = filled(hourly(**options))
    before = rows(engine, MEANS)
    assert len(before) == 2 * (89 * 24 + real_time)
    start = catalog_states(engine)
    up, down = change(engine, hourly(BOTH, **options))
    assert 'op.drop_rollup("hourly", set_aside=True)' in up
    assert 'keys=["device", "bucket"], copied=["mean"]' in up
    assert rows(engine, MEANS) == before
    assert rows(engine, COUNTED) == [(len(before), 2 * (20 * 24 + real_time), "2026-03-11")]
    assert not scalar(engine, "SELECT count(*) FROM hourly WHERE peak < mean")
    run(engine, down)
    assert rows(engine, MEANS) == before
    assert not unequal_states(catalog_states(engine), start)
    run_offline(engine, up)
    assert rows(engine, MEANS) == before


def test_a_column_that_goes_takes_only_itself(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly(BOTH))
    before = rows(engine, MEANS)
    up, down = change(engine, hourly())
    assert 'op.drop_rollup("hourly", set_aside=True, lost=["peak"])' in up
    assert rows(engine, MEANS) == before
    run(engine, down)
    assert rows(engine, MEANS) == before


def test_a_rollup_over_a_rollup_comes_along(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly(over=daily()))
    days = "SELECT device, day, mean FROM daily ORDER BY 1, 2"
    before = rows(engine, MEANS), rows(engine, days)
    assert len(before[1]) > 2 * 88
    up, down = change(engine, hourly(BOTH, over=daily()))
    assert up.index('op.drop_rollup("daily", set') < up.index('op.drop_rollup("hourly", set')
    assert up.index('op.create_rollup(\n    "hourly"') < up.index('op.create_rollup(\n    "daily"')
    assert (rows(engine, MEANS), rows(engine, days)) == before
    run(engine, down)
    assert (rows(engine, MEANS), rows(engine, days)) == before
