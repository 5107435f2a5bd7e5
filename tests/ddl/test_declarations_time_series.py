"""Mistakes in the declaration of a hypertable or rollup."""

from __future__ import annotations

import pytest
from sqlalchemy import TIMESTAMP, Column, MetaData, Table, Uuid
from sqlalchemy.exc import ArgumentError

from ddl import Function, Hypertable, RefreshPolicy, RetentionPolicy, Rollup, Trigger, check_models
from ddl.intervals import days
from ddl.kinds.hypertable import HypertableOperation, HypertableState
from tests.support.declared_time_series import fleet
from tests.support.generated_revisions import metadata_of


def test_key_without_time() -> None:
    with pytest.raises(ArgumentError, match=r"write a primary key over \(tenant_id, ts\)"):
        Table(
            "events",
            MetaData(),
            Column("tenant_id", Uuid, primary_key=True),
            Column("ts", TIMESTAMP(timezone=True)),
            Hypertable("ts", chunk_interval="1 day"),
        )


def test_rollup_without_bucket() -> None:
    with pytest.raises(ArgumentError, match="time_bucket"):
        Rollup("r", "SELECT count(*) FROM t", metadata=MetaData())


def test_dropping_a_hypertable_is_never_left_out() -> None:
    """DROP TABLE does not drop all of its chunks."""
    context = metadata_of(fleet())
    state = context.info["ddl"].of(HypertableState)[("timeseries", "telemetry")]
    assert not HypertableOperation(state, None).is_removal


def rollup_of(source: str, name: str, start: str | None, metadata: MetaData) -> None:
    Rollup(
        name,
        f"SELECT time_bucket('1 hour', ts) AS ts FROM {source} GROUP BY 1",
        refresh=RefreshPolicy(start, "1 hour", "1 hour"),
        retention="20 days",
        metadata=metadata,
    )


def refreshed(start: str | None, keep: str | None = "30 days") -> MetaData:
    """A hypertable that keeps its rows for ``keep``, and a rollup of it."""
    metadata = MetaData()
    retention = [] if keep is None else [RetentionPolicy(keep)]
    hypertable = Hypertable("ts", chunk_interval="1 day")
    ts = Column("ts", TIMESTAMP(timezone=True), primary_key=True)
    Table("raw", metadata, ts, hypertable, *retention, schema="timeseries")
    rollup_of("timeseries.raw", "hourly", start, metadata)
    return metadata


@pytest.mark.parametrize(
    ("start", "keep", "message"),
    [
        ("40 days", "30 days", "refresh starts 40 days ago, .* drops rows after 30 days"),
        ("1 month", "30 days", "or keep raw for longer than 1 month .a month counts as 30 days"),
        ("31 days", "1 mon", "write a start_offset shorter than 1 mon in RefreshPolicy"),
        ("2 days 1 hour", "49:00:00", "starts 2 days 1 hour ago, but hypertable timeseries.raw"),
        (None, "10 years", "rollup public.hourly: its refresh has no start_offset, but hypertable"),
    ],
)
def test_refresh_of_rows_that_are_dropped(start: str | None, keep: str, message: str) -> None:
    """TimescaleDB would delete the buckets of which there are no rows any more."""
    with pytest.raises(ArgumentError, match=message):
        check_models(refreshed(start, keep))


def test_refresh_of_a_rollup_that_drops_its_buckets() -> None:
    metadata = refreshed("3 days")
    rollup_of("hourly", "daily", "3 weeks", metadata)
    with pytest.raises(ArgumentError, match=r"public\.daily: .* rollup public\.hourly drops"):
        check_models(metadata)


@pytest.mark.parametrize(
    ("start", "keep"), [("29 days 23:59", "1 month"), ("20 days", "30 days"), (None, None)]
)
def test_refresh_of_what_is_still_there(start: str | None, keep: str | None) -> None:
    check_models(refreshed(start, keep))


def test_intervals_that_cannot_be_compared() -> None:
    for interval in ("P30D", "30 moons", "30", "30 days ago", ""):
        with pytest.raises(ArgumentError, match=f'interval "{interval}": expected numbers'):
            days(interval)


@pytest.mark.parametrize("level", ["statement", "row"])
def test_a_trigger_that_collects_new_rows_hides_them_from_rollups(level: str) -> None:
    """TimescaleDB does not note what COPY changes then; one that fires for each row is harmless."""
    metadata = refreshed("3 days")
    fixed = {"search_path": "pg_catalog, pg_temp"}
    Function(
        "seen",
        returns="trigger",
        language="plpgsql",
        settings=fixed,
        body="begin return null; end",
        metadata=metadata,
    )
    trigger = Trigger(
        "seen",
        timing="after",
        events="insert",
        function="seen()",
        level=level,
        new_table="new_rows" if level == "statement" else None,
    )
    trigger._set_parent_with_dispatch(metadata.tables["timeseries.raw"])
    if level == "row":
        check_models(metadata)
        return
    with pytest.raises(
        ArgumentError, match=r"seen.* in new_rows, .* COPY .* rollup public\.hourly"
    ):
        check_models(metadata)
