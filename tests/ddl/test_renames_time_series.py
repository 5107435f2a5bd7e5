"""Renames of hypertables, their columns and rollups, on every edition."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy import TIMESTAMP, Column, Double, Engine, Index, MetaData, Table, Text

from ddl import (
    Answers,
    Columnstore,
    Grant,
    Hypertable,
    RefreshPolicy,
    RetentionPolicy,
    Rollup,
    View,
    schema_grant,
)
from ddl.edition import COMMUNITY, detect
from tests.ddl.case import Case
from tests.support.generated_revisions import (
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run_in,
)


def measured(
    table: str = "telemetry",
    *,
    at: str = "ts",
    device: str = "device_id",
    value: str = "v",
    schema: str = "timeseries",
    rollup: str = "hourly",
    device_in_rollup: str = "device",
    most: bool = False,
) -> Callable[[MetaData], None]:
    """A hypertable with columnstore, retention and index, a rollup over it, views over both."""

    def declare(metadata: MetaData) -> None:
        Table(
            table,
            metadata,
            Column(device, Text, primary_key=True),
            Column(at, TIMESTAMP(timezone=True), primary_key=True),
            Column(value, Double),
            Hypertable(at, chunk_interval="1 day"),
            Columnstore(
                device, f"{at} DESC", "7 days", sparse_index=f"bloom({value},{at}), minmax({value})"
            ),
            RetentionPolicy("400 days"),
            Index(None, device, value),
            Grant("insert", to="r_op"),
            schema=schema,
        )
        Rollup(
            rollup,
            f"SELECT {device} AS {device_in_rollup}, time_bucket('1 hour', {at}) AS bucket,"
            f" avg({value}) AS avg{f', max({value}) AS most' if most else ''} FROM {schema}.{table} GROUP BY 1, 2",
            schema=schema,
            refresh=RefreshPolicy("3 days", "1 hour", "30 minutes"),
            columnstore=Columnstore(device_in_rollup, "bucket DESC", "30 days"),
            retention="1 year",
            grants={"r_read": "select"},
            comment="By hour.",
            metadata=metadata,
        )
        View(
            "readings",
            f"SELECT {device} AS device, {value} AS value FROM {schema}.{table}",
            metadata=metadata,
        )
        View(
            "averages",
            f"SELECT {device_in_rollup} AS device, bucket, avg FROM {schema}.{rollup}",
            metadata=metadata,
        )
        schema_grant("usage", on=schema, to="r_op", metadata=metadata)

    return declare


def rows(engine: Engine) -> list[str]:
    found = [
        (
            "INSERT INTO timeseries.telemetry (device_id, ts, v)"
            " SELECT 'd' || i % 3, now() - INTERVAL '10 days' + i * INTERVAL '1 hour', i"
            "   FROM generate_series(1, 200) i"
        )
    ]
    with engine.connect() as connection:
        if detect(connection) == COMMUNITY:
            found.append("SELECT compress_chunk(c) FROM show_chunks('timeseries.telemetry') c")
    return found


CHANGES = {
    "table": (measured("measurements"), "timeseries.telemetry:timeseries.measurements"),
    "time": (measured(at="at"), "timeseries.telemetry.ts:timeseries.telemetry.at"),
    "segment": (
        measured(device="unit"),
        "timeseries.telemetry.device_id:timeseries.telemetry.unit",
    ),
    "value": (measured(value="reading"), "timeseries.telemetry.v:timeseries.telemetry.reading"),
    "rollup": (measured(rollup="by_hour"), ""),
    "column of the rollup": (measured(device_in_rollup="unit"), ""),
    "schema": (measured(schema="series"), "timeseries:series"),
    "table to another schema": (measured(schema="series"), "timeseries.telemetry:series.telemetry"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_rename(change: str, every_edition: Engine) -> None:
    """No table, column or rollup is dropped; up, down and up again, every row and bucket stays."""
    after, option = CHANGES[change]
    renames = (option,) if option else ()
    with every_edition.begin() as connection:
        apply(connection, metadata_of(measured()))
        script = migration(connection, metadata_of(after), Answers(renames))
        assert not re.findall(r"op\.(drop|remove)_\w+", rendered(script.upgrade_ops))
        connection.rollback()
    Case(measured(), after, rows=rows(every_edition), renames=renames).walk(every_edition)
    with every_edition.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM readings")) == 200


def test_history_of_a_rollup_follows_its_column(community: Engine) -> None:
    """Buckets whose raw data is gone are there after the rename of the column they group by."""
    with community.begin() as connection:
        apply(connection, metadata_of(measured()))
    for statement in [*rows(community), REFRESH, DROP_RAW]:
        with community.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(statement))
    with community.begin() as connection:
        before = connection.execute(sa.text(AVERAGES)).all()
        both = metadata_of(measured(device="unit", device_in_rollup="unit"))
        option = "timeseries.telemetry.device_id:timeseries.telemetry.unit"
        up = rendered(migration(connection, both, Answers([option])).upgrade_ops)
        run_in(connection, up)
        assert connection.execute(sa.text(AVERAGES)).all() == before
        assert len(before) == 200
    assert_clean(community, both)


def test_a_renamed_rollup_may_have_another_query(community: Engine) -> None:
    """It is renamed, and then made anew with its history, like one that keeps its name."""
    with community.begin() as connection:
        apply(connection, metadata_of(measured()))
    for statement in [*rows(community), REFRESH, DROP_RAW]:
        with community.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(statement))
    after = metadata_of(measured(value="reading", rollup="by_hour", most=True))
    options = [
        "timeseries.telemetry.v:timeseries.telemetry.reading",
        "timeseries.hourly:timeseries.by_hour",
    ]
    with community.begin() as connection:
        before = connection.execute(sa.text(AVERAGES)).all()
        up = rendered(migration(connection, after, Answers(options)).upgrade_ops)
        assert 'op.rename("rollup", "hourly", "by_hour", schema="timeseries")' in up
        run_in(connection, up)
        assert connection.execute(sa.text(AVERAGES)).all() == before
    assert_clean(community, after)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ('op.rename_table("telemetry", "measurements", schema="timeseries")', "table"),
        (
            'op.alter_column("telemetry", "ts", new_column_name="at", schema="timeseries")',
            "time",
        ),
    ],
)
def test_what_is_pending_follows_a_rename_by_hand(
    text: str, after: str, every_edition: Engine
) -> None:
    """On plain PostgreSQL the relation and its columns are known by their names, in text."""
    with every_edition.begin() as connection:
        apply(connection, metadata_of(measured()))
        run_in(connection, text)
        up = rendered(migration(connection, metadata_of(CHANGES[after][0])).upgrade_ops)
    left = [line for line in up.splitlines() if line.startswith("op.")]
    assert all(line.startswith("op.rename(") for line in left) or up == "pass", up


REFRESH = "CALL refresh_continuous_aggregate('timeseries.hourly', NULL, NULL)"
DROP_RAW = "SELECT drop_chunks('timeseries.telemetry', older_than => INTERVAL '4 days')"
AVERAGES = "SELECT device, bucket, avg FROM averages ORDER BY 1, 2"


def test_unsaid_is_told_at_every_drop(every_edition: Engine) -> None:
    """Not only at that of a table: at the hypertable's, the rollup's and the view's, too."""
    with every_edition.begin() as connection:
        apply(connection, metadata_of(measured()))
    after = metadata_of(measured("samples", rollup="per_hour", most=True))
    with every_edition.connect() as connection:
        up = rendered(migration(connection, after).upgrade_ops)
    drops = [("telemetry", "samples", "table"), ("hourly", "per_hour", "rollup")]
    if "op.drop_hypertable(" in up:  # not pending
        drops.append(("telemetry", "samples", "hypertable"))
    for old, new, drop in drops:
        option = f"timeseries.{old}:timeseries.{new}"
        noted = rf"# if it became {new}: alembic -x rename={option} revision --autogenerate\n(#.*\n)*op\.drop_{drop}\("
        assert re.search(noted, up), f"{drop}:\n{up}"


def test_a_rollup_that_shares_its_buckets_is_told_too(every_edition: Engine) -> None:
    """Its table has got other names, and so have its columns."""
    with every_edition.begin() as connection:
        apply(connection, metadata_of(measured()))
    after = metadata_of(
        measured(device="unit", value="w", rollup="per_hour", device_in_rollup="unit", most=True)
    )
    answers = Answers(
        (
            "timeseries.telemetry.device_id:timeseries.telemetry.unit",
            "timeseries.telemetry.v:timeseries.telemetry.w",
        )
    )
    with every_edition.connect() as connection:
        up = rendered(migration(connection, after, answers).upgrade_ops)
    option = "timeseries.hourly:timeseries.per_hour"
    noted = rf"# if it became per_hour: alembic -x rename={option} revision --autogenerate\n(#.*\n)*op\.drop_rollup\("
    assert re.search(noted, up), up
