"""Hypertables, columnstores, rollups and their policies change, on every edition.

Where an edition cannot do something, the operation is pending: the same revisions, the same
drift, the same way back.
"""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import Column, Date, Engine, MetaData, Table, Text

from ddl import Columnstore, Hypertable, RefreshPolicy
from tests.ddl.case import Case, nothing
from tests.support.declared_time_series import COMPRESS, ROWS, fleet, no_time_series, rows_for
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
)

# --- every change, there and back, with rows in place ---

CHANGES = {
    "create": (no_time_series, fleet()),
    "drop": (fleet(), no_time_series),
    "chunk interval": (fleet(), fleet(chunk="6 hours")),
    "columnstore age": (
        fleet(),
        fleet(
            store=Columnstore(
                segmentby="tenant_id, device_id", orderby="ts DESC, seq", after="3 days"
            )
        ),
    ),
    "columnstore layout": (
        fleet(),
        fleet(
            store=Columnstore(segmentby="tenant_id", orderby="device_id, ts DESC", after="7 days")
        ),
    ),
    "retention": (fleet(), fleet(keep="500 days")),
    "no retention": (fleet(), fleet(keep=None)),
    "rollup query": (fleet(), fleet(aggregate="avg(v) AS avg, max(v) AS max")),
    "refresh window": (fleet(), fleet(refresh=RefreshPolicy("5 days", "2 hours", "30 minutes"))),
    "refresh schedule": (fleet(), fleet(refresh=RefreshPolicy("3 days", "1 hour", "2 hours"))),
    "rollup retention": (fleet(), fleet(rollup_keep="2 years")),
    "rollup columnstore": (fleet(), fleet(stored_after="20 days")),
    "rollup comment": (fleet(), fleet(rollup_comment="It's by :hour 50%")),
    "no rollup comment": (fleet(), fleet(rollup_comment=None)),
    "rollup option": (fleet(), fleet(materialized_only=True)),
    "no rollup": (fleet(), fleet(rollup=False)),
    "column under the view": (fleet(), fleet(extra=("note",))),
    "column gone": (fleet(extra=("note",)), fleet()),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_change(change: str, every_edition: Engine) -> None:
    before, after = CHANGES[change]
    rows = [] if before is no_time_series else rows_for(every_edition)
    Case(before, after, rows=rows).walk(every_edition)


def test_text_is_the_same_on_every_edition(every_edition: Engine) -> None:
    """One history fits every installation, so what is generated must not differ."""
    Case(
        fleet(),
        fleet(
            chunk="12 hours",
            keep="500 days",
            refresh=RefreshPolicy("4 days", "1 hour", "30 minutes"),
        ),
        upgrade="""
            op.alter_hypertable("telemetry", time_column="ts", chunk_interval="12 hours", schema="timeseries")
            op.alter_retention_policy("telemetry", drop_after="500 days", schema="timeseries")
            op.alter_refresh_policy(
                "telemetry_hourly", start_offset="4 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
            )
        """,
        downgrade="""
            op.alter_refresh_policy(
                "telemetry_hourly", start_offset="3 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
            )
            op.alter_retention_policy("telemetry", drop_after="400 days", schema="timeseries")
            op.alter_hypertable("telemetry", time_column="ts", chunk_interval="1 day", schema="timeseries")
        """,
    ).walk(every_edition)


def test_text_of_a_changed_rollup_is_the_same_on_every_edition(every_edition: Engine) -> None:
    """A laptop writes the revision that keeps the history in production."""
    with every_edition.begin() as connection:
        apply(connection, metadata_of(fleet()))
        after = fleet(aggregate="avg(v) AS avg, max(v) AS max")
        script = migration(connection, metadata_of(after))
    up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    assert 'op.drop_rollup("telemetry_hourly", set_aside=True, schema="timeseries")' in up
    kept = 'keys=["tenant_id", "device_id", "bucket"], copied=["avg"]'
    assert kept in " ".join(up.split())
    assert 'op.drop_rollup("telemetry_hourly", set_aside=True, lost=["max"], schema=' in down
    assert kept in " ".join(down.split())


def test_text_of_a_new_table(every_edition: Engine) -> None:
    with every_edition.begin() as connection:
        apply(connection, metadata_of(no_time_series))
        script = migration(connection, metadata_of(fleet()))
    text = rendered(script.upgrade_ops)
    assert (
        'op.create_hypertable("telemetry", time_column="ts", chunk_interval="1 day", schema="timeseries")'
        in text
    )
    assert 'segmentby="tenant_id,device_id", orderby="ts DESC,seq", after="7 days"' in text
    assert "time_bucket('1 hour', ts) AS bucket" in text
    down = rendered(script.downgrade_ops)
    assert down.index("op.drop_rollup(") < down.index("op.drop_hypertable(")
    assert down.index("op.drop_hypertable(") < down.index("op.drop_table(")
    assert "drop_retention_policy" not in down, "a policy goes with its table"


# --- what must not be left behind or lost ---


@pytest.mark.timescaledb
def test_no_compressed_chunk_is_left_behind(community: Engine) -> None:
    """DROP TABLE alone leaves the tenants' compressed data behind in internal tables."""
    inside = sa.text(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = '_timescaledb_internal' AND c.relkind = 'r'"
    )
    with community.begin() as connection:
        before = connection.scalar(inside)
        apply(connection, metadata_of(fleet()))
        for statement in [*ROWS, COMPRESS]:
            connection.execute(sa.text(statement))
        assert connection.scalar(inside) > before + 10
        apply(connection, metadata_of(no_time_series))
        assert connection.scalar(inside) == before


@pytest.mark.timescaledb
@pytest.mark.parametrize(
    "changed",
    [
        fleet(
            refresh=RefreshPolicy("5 days", "1 hour", "1 hour"),
            rollup_keep="3 years",
            keep="600 days",
        ),
        fleet(rollup_comment="Means of an hour."),
        fleet(materialized_only=True),
    ],
    ids=["schedule", "comment", "option"],
)
def test_changing_what_is_not_the_query_keeps_the_rollup(
    changed: Declare, community: Engine
) -> None:
    """A rebuilt rollup would lose what the raw data no longer has."""
    with community.begin() as connection:
        apply(connection, metadata_of(fleet()))
        connection.execute(sa.text(ROWS[0]))
    with community.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(
            sa.text("CALL refresh_continuous_aggregate('timeseries.telemetry_hourly', NULL, NULL)")
        )
    rows = sa.text(
        "SELECT count(*) FROM timeseries.telemetry_hourly WHERE bucket < now() - '1 day'::interval"
    )
    with community.begin() as connection:
        before = connection.scalar(rows)
        assert before
        connection.execute(sa.text("SELECT drop_chunks('timeseries.telemetry', now())"))
        apply(connection, metadata_of(changed))
        assert connection.scalar(rows) == before
    assert_clean(community, metadata_of(changed))


def test_a_column_under_a_rollup_cannot_change(every_edition: Engine) -> None:
    with every_edition.begin() as connection:
        apply(connection, metadata_of(fleet()))
    with (
        every_edition.connect() as connection,
        pytest.raises(
            CommandError,
            match=r"telemetry_hourly reads column timeseries\.telemetry\.v, whose type would change"
            " from double precision to numeric",
        ),
    ):
        migration(connection, metadata_of(fleet(value=sa.Numeric)))


def test_a_hypertable_stays_one(every_edition: Engine) -> None:
    with every_edition.begin() as connection:
        apply(connection, metadata_of(fleet(rollup=False)))
    with (
        every_edition.connect() as connection,
        pytest.raises(CommandError, match="is a hypertable"),
    ):
        migration(connection, metadata_of(fleet(plain=True)))


def test_a_hypertable_by_date(every_edition: Engine) -> None:
    """Its chunks go with it, though they have no timestamps."""

    def declare(metadata: MetaData) -> None:
        Table(
            "readings",
            metadata,
            Column("device_id", Text, primary_key=True),
            Column("day", Date, primary_key=True),
            Hypertable("day", chunk_interval="7 days"),
            Columnstore("device_id", "day DESC", "30 days"),
        )

    rows = ["INSERT INTO readings SELECT 'd', current_date - i FROM generate_series(1, 60) i"]
    Case(declare, nothing, rows=rows).walk(every_edition)
    Case(nothing, declare).walk(every_edition)
