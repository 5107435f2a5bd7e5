"""A revision that one edition generated is the same text on every other, and runs there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import (
    TIMESTAMP,
    Column,
    Date,
    Double,
    Engine,
    MetaData,
    NullPool,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from ddl import Columnstore, Hypertable, RefreshPolicy, RetentionPolicy, Rollup, buckets
from ddl.sql import send
from tests.ddl.case import nothing
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.databases import MakeDatabase, with_buckets
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

pytestmark = [pytest.mark.timescaledb, pytest.mark.slow]

DEVICE_DAYS = """
    SELECT device, time_bucket('1 day', ts) AS bucket, avg(value) AS mean, count(*) AS n
      FROM readings
     GROUP BY 1, 2
"""


def readings(*rollups: str, comment: str | None = None, ts: Any = None) -> Declare:
    """A hypertable, and rollups r1, r2, … of the given queries over it or over each other."""

    def declare(metadata: MetaData) -> None:
        Table(
            "readings",
            metadata,
            Column("device", Text, nullable=False),
            Column("ts", ts or TIMESTAMP(timezone=True), nullable=False),
            Column("value", Double),
            PrimaryKeyConstraint("device", "ts"),
            Hypertable("ts", chunk_interval="1 day"),
            Columnstore(segmentby="device", orderby="ts DESC", after="7 days"),
            RetentionPolicy("400 days"),
        )
        for number, query in enumerate(rollups, start=1):
            Rollup(
                f"r{number}",
                query,
                refresh=RefreshPolicy("4 months", "1 hour", "1 hour"),
                retention="10 years",
                comment=comment,
                metadata=metadata,
            )

    return declare


def with_metrics(query: str) -> Declare:
    """A rollup over a hypertable that is joined with a plain table."""

    def declare(metadata: MetaData) -> None:
        readings()(metadata)
        Table("devices", metadata, Column("device", Text, primary_key=True), Column("site", Text))
        Rollup("r1", query, metadata=metadata)

    return declare


def query(bucket: str, selected: str = "count(*) AS n", source: str = "readings") -> str:
    return f"SELECT device, {bucket} AS bucket, {selected} FROM {source} GROUP BY 1, 2"


ZONED = "time_bucket('1 day', ts, 'Europe/Berlin')"
SITES = """
    SELECT d.site, time_bucket('1 hour', r.ts) AS bucket, count(*) AS n
      FROM readings r JOIN devices d ON d.device = r.device
     WHERE d.site <> 'first(' AND r.value > 0 GROUP BY d.site, 2
"""

CHANGES: dict[str, tuple[Declare, Declare]] = {
    "create": (readings(), readings(DEVICE_DAYS)),
    "query": (readings(DEVICE_DAYS), readings(DEVICE_DAYS.replace("avg", "max"))),
    "drop": (readings(DEVICE_DAYS), readings()),
    "everything": (readings(DEVICE_DAYS), nothing),
    "comment": (readings(DEVICE_DAYS), readings(DEVICE_DAYS, comment="By day.")),
    "hierarchy": (
        readings(
            query("time_bucket('1 hour', ts)"),
            query("time_bucket('1 day', bucket)", "sum(n) AS n", "r1"),
        ),
        nothing,
    ),
    "month": (readings(query("time_bucket('1 month', ts)")), readings()),
    "zone": (readings(query(ZONED)), readings(query(ZONED.replace("1 day", "1 week")))),
    "named": (
        readings(
            query(
                "time_bucket('12 hours', ts, timezone => 'Asia/Tokyo',"
                " origin => '2001-01-01 00:00:00+00'::timestamptz)"
            )
        ),
        readings(query("time_bucket('1 day', ts, \"offset\" => '6 hours'::interval)")),
    ),
    "origin": (
        readings(query("time_bucket('3 days', ts, '2020-02-02'::timestamptz)")),
        readings(),
    ),
    "date": (
        readings(query("time_bucket('1 week', ts)"), ts=Date()),
        readings(query("time_bucket('1 month', ts)"), ts=Date()),
    ),
    "timestamp without zone": (
        readings(query("time_bucket('1 day', ts, '6 hours'::interval)"), ts=TIMESTAMP()),
        nothing,
    ),
    "first and last": (
        readings(
            query(
                "time_bucket('1 day', ts)",
                "first(value, ts) AS value, last(value, ts) FILTER (WHERE value > 0) AS readings",
            )
        ),
        readings(),
    ),
    "column named like the table": (
        readings(query("time_bucket('1 day', readings.ts)", "max(readings.value) AS readings")),
        readings(),
    ),
    "join": (
        with_metrics(SITES),
        with_metrics(SITES.replace("JOIN", "LEFT JOIN")),
    ),
}

Make = Callable[[str], Engine]


@pytest.fixture
def make(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Make:
    """Makes an empty database on a server, as the runner prepares it."""

    def database(server: str) -> Engine:
        url = make_database(request.getfixturevalue(f"{server}_server"), like=with_buckets)
        return sa.create_engine(url, poolclass=NullPool)

    return database


SERVERS = ("embedded", "apache", "timescaledb")


@pytest.mark.parametrize("change", CHANGES)
def test_one_text_that_runs_everywhere(change: str, make: Make) -> None:
    before, after = map(metadata_of, CHANGES[change])
    engines = {server: make(server) for server in SERVERS}
    texts = {}
    for server, engine in engines.items():
        with engine.begin() as connection:
            apply(connection, before)
            script = migration(connection, after)
            # What the way back holds was read from the catalog.
            texts[server] = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    assert texts["apache"] == texts["timescaledb"]
    assert texts["embedded"] == texts["timescaledb"]
    up, down = texts["embedded"]
    assert "date_bin" not in down
    for engine in engines.values():
        start = catalog_states(engine)
        run(engine, up)
        assert_clean(engine, after)
        run(engine, down)
        assert_clean(engine, before)
        assert unequal_states(catalog_states(engine), start) == []
        run_offline(engine, up)
        assert_clean(engine, after)


def test_a_view_of_an_earlier_version(make: Make) -> None:
    """It called `date_bin`, which computes the same: there is nothing to change."""
    engine = make("embedded")
    models = metadata_of(readings(DEVICE_DAYS))
    with engine.begin() as connection:
        apply(connection, models)
        send(
            connection,
            "CREATE OR REPLACE VIEW r1 AS SELECT device, date_bin('1 day', ts,"
            " TIMESTAMPTZ '2000-01-03 00:00:00+00') AS bucket, avg(value) AS mean, count(*) AS n"
            " FROM readings GROUP BY 1, 2; " + buckets.removal(),
        )
    assert_clean(engine, models)
