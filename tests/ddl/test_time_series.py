"""Hypertables, columnstores, retention, rollups and refreshes, on every edition.

Where an edition cannot do something, the ledger stands for it: the same revisions, the same
drift, the same way back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Column,
    Double,
    Engine,
    Index,
    MetaData,
    NullPool,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.exc import ArgumentError

from ddl import (
    Columnstore,
    Function,
    Grant,
    Hypertable,
    RefreshPolicy,
    RetentionPolicy,
    Rollup,
    View,
    found_by,
    schema_grant,
)
from ddl.differences import lines
from ddl.edition import COMMUNITY, POSTGRESQL, detect
from ddl.kinds.hypertable import HypertableOperation, HypertableState
from tests.ddl.case import Case
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.databases import MakeDatabase
from tests.support.generated_revisions import apply, metadata_of, migration, rendered, run
from tests.support.granted_roles import make_roles
from tests.support.servers import DatabaseServer

MEASURES = "tenant_id, ts, device_id, seq, v"


def nothing(metadata: MetaData) -> None:
    """No time series, but the schema: what is in it is compared."""
    schema_grant("usage", on="timeseries", to="r_op", metadata=metadata)


def fleet(
    *,
    chunk: str = "1 day",
    store: Columnstore | None = None,
    keep: str | None = "400 days",
    aggregate: str = "avg(v) AS avg",
    refresh: RefreshPolicy | None = None,
    rollup_keep: str | None = "1 year",
    stored_after: str = "30 days",
    rollup: bool = True,
    extra: tuple[str, ...] = (),
    plain: bool = False,
    value: Any = Double,
) -> Callable[[MetaData], None]:
    """A hypertable with a tenant view, a rollup with another; each argument is one change."""

    def declare(metadata: MetaData) -> None:
        Function(
            "tenant",
            returns="uuid",
            body="RETURN nullif(current_setting('app.t', true), '')::uuid",
            volatility="stable",
            grants={"r_app": "execute"},
            metadata=metadata,
        )
        series = [] if plain else [Hypertable("ts", chunk_interval=chunk)]
        if not plain:
            series.append(store or standard_store())
        if keep and not plain:
            series.append(RetentionPolicy(keep))
        Table(
            "telemetry",
            metadata,
            Column("tenant_id", Uuid, primary_key=True),
            Column("ts", TIMESTAMP(timezone=True), primary_key=True),
            Column("device_id", Text, primary_key=True),
            Column("seq", BigInteger, primary_key=True, autoincrement=False),
            Column("v", value),
            *(Column(name, Text) for name in extra),
            *series,
            Grant("insert", to="r_op"),
            Index(None, "tenant_id", sa.text("ts DESC")),
            schema="timeseries",
            comment="Measurements.",
        )
        View(
            "telemetry",
            f"SELECT {', '.join([MEASURES, *extra])} FROM timeseries.telemetry"
            " WHERE tenant_id = (SELECT tenant())",
            check_option="cascaded",
            grants={"r_app": "select, insert"},
            metadata=metadata,
        )
        schema_grant("usage", on="timeseries", to="r_op", metadata=metadata)
        if rollup and not plain:
            hourly(metadata, aggregate, refresh, rollup_keep, stored_after)

    return declare


def standard_store() -> Columnstore:
    return Columnstore(segmentby="tenant_id, device_id", orderby="ts DESC, seq", after="7 days")


def hourly(
    metadata: MetaData,
    aggregate: str,
    refresh: RefreshPolicy | None,
    keep: str | None,
    stored_after: str,
) -> None:
    Rollup(
        "telemetry_hourly",
        f"""
        SELECT tenant_id, device_id, time_bucket('1 hour', ts) AS bucket, {aggregate}
          FROM timeseries.telemetry
         GROUP BY 1, 2, 3
        """,
        schema="timeseries",
        refresh=refresh or RefreshPolicy("3 days", "1 hour", "30 minutes"),
        columnstore=Columnstore("tenant_id, device_id", "bucket DESC", stored_after),
        retention=keep,
        grants={"r_read": "select"},
        comment="By hour.",
        metadata=metadata,
    )
    View(
        "telemetry_hourly",
        "SELECT tenant_id, device_id, bucket, avg FROM timeseries.telemetry_hourly"
        " WHERE tenant_id = (SELECT tenant())",
        grants={"r_app": "select"},
        metadata=metadata,
    )


ROWS = [
    (
        "INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, seq, v)"
        " SELECT ('00000000-0000-0000-0000-00000000000' || i % 2 + 1)::uuid,"
        "        now() - INTERVAL '10 days' + i * INTERVAL '1 hour', 'd' || i % 3, i, i"
        "   FROM generate_series(1, 200) i"
    )
]
COMPRESS = "SELECT compress_chunk(c) FROM show_chunks('timeseries.telemetry') c"


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("timescaledb", marks=pytest.mark.timescaledb),
        pytest.param("apache", marks=pytest.mark.timescaledb),
    ]
)
def series(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Engine:
    """An empty database of each edition, with the extension where the server has it."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    engine = sa.create_engine(make_database(server), poolclass=NullPool)
    with engine.begin() as connection:
        make_roles(connection)
        if request.param != "embedded":
            connection.execute(sa.text("CREATE EXTENSION timescaledb"))
    return engine


@pytest.fixture
def community(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Engine:
    """A database of the Community edition."""
    engine = sa.create_engine(make_database(timescaledb_server), poolclass=NullPool)
    with engine.begin() as connection:
        make_roles(connection)
        connection.execute(sa.text("CREATE EXTENSION timescaledb"))
        if detect(connection) != COMMUNITY:
            pytest.skip("the server has the Apache edition")
    return engine


def rows_for(engine: Engine) -> list[str]:
    """Two tenants' rows, in the columnstore where there is one."""
    with engine.connect() as connection:
        return [*ROWS, COMPRESS] if detect(connection) == COMMUNITY else ROWS


# --- every change, forth and back, with rows in place ---

CHANGES = {
    "create": (nothing, fleet()),
    "drop": (fleet(), nothing),
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
    "no rollup": (fleet(), fleet(rollup=False)),
    "column under the view": (fleet(), fleet(extra=("note",))),
    "column gone": (fleet(extra=("note",)), fleet()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change(change: str, series: Engine) -> None:
    before, after = CHANGES[change]
    rows = [] if before is nothing else rows_for(series)
    Case(before, after, rows=rows).walk(series)


def test_text_is_the_same_on_every_edition(series: Engine) -> None:
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
    ).walk(series)


def test_text_of_a_new_table(series: Engine) -> None:
    with series.begin() as connection:
        apply(connection, metadata_of(nothing))
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


# --- drift ---


DRIFT = {
    "SELECT set_chunk_time_interval('timeseries.telemetry', INTERVAL '2 days')": [
        "hypertable timeseries.telemetry chunk_interval: expected 1 day, found 2 days"
    ],
    "SELECT remove_retention_policy('timeseries.telemetry')": [
        "retention policy timeseries.telemetry expected, missing"
    ],
    "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
    " WHERE proc_name = 'policy_retention' AND hypertable_name = 'telemetry'": [
        "retention policy timeseries.telemetry scheduled: expected true, found false"
    ],
    "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
    " WHERE proc_name = 'policy_refresh_continuous_aggregate'": [
        "refresh policy timeseries.telemetry_hourly scheduled: expected true, found false"
    ],
    "CALL remove_columnstore_policy('timeseries.telemetry')": [
        "columnstore timeseries.telemetry after: expected 7 days, found nothing"
    ],
    "CALL remove_columnstore_policy('timeseries.telemetry');"
    " ALTER TABLE timeseries.telemetry SET (timescaledb.enable_columnstore = false)": (
        ["columnstore timeseries.telemetry expected, missing"]
    ),
    "SELECT remove_continuous_aggregate_policy('timeseries.telemetry_hourly')": [
        "refresh policy timeseries.telemetry_hourly expected, missing"
    ],
    "DROP VIEW public.telemetry_hourly": ["view public.telemetry_hourly expected, missing"],
    "GRANT SELECT ON timeseries.telemetry TO r_app": [
        "grant timeseries.telemetry to r_app: not declared: SELECT"
    ],
    "ALTER VIEW public.telemetry RESET (check_option)": [
        "view public.telemetry check_option: expected cascaded, found nothing"
    ],
}


@pytest.mark.timescaledb
@pytest.mark.parametrize("statement", DRIFT)
def test_drift_is_found_and_fixed(statement: str, community: Engine) -> None:
    with community.begin() as connection:
        apply(connection, metadata_of(fleet()))
    start = catalog_states(community)
    with community.begin() as connection:
        for single in statement.split(";"):
            connection.execute(sa.text(single))
    with community.connect() as connection:
        script = migration(connection, metadata_of(fleet()))
    found = [" ".join(line.split()) for line in lines(found_by(script))]
    assert found == DRIFT[statement]
    text = rendered(script.upgrade_ops)
    run(community, text)
    assert unequal_states(catalog_states(community), start) == []


def test_a_pending_operation_that_is_gone_is_found(engine: Engine) -> None:
    with engine.begin() as connection:
        assert detect(connection) == POSTGRESQL
        apply(connection, metadata_of(fleet()))
        connection.execute(sa.text("DELETE FROM pending_operations WHERE kind = 'columnstore'"))
        script = migration(connection, metadata_of(fleet()))
    assert {one.kind for one in found_by(script)} == {"columnstore"}


# --- what must not be left or lost ---


@pytest.mark.timescaledb
def test_no_compressed_chunk_is_left_behind(community: Engine) -> None:
    """DROP TABLE alone leaves the tenants' compressed data in tables that nobody can see."""
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
        apply(connection, metadata_of(nothing))
        assert connection.scalar(inside) == before


@pytest.mark.timescaledb
def test_changing_a_schedule_keeps_the_rollup(community: Engine) -> None:
    """A rebuilt rollup would lose what the raw data no longer has."""
    with community.begin() as connection:
        apply(connection, metadata_of(fleet()))
        connection.execute(sa.text(ROWS[0]))
    with community.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(
            sa.text("CALL refresh_continuous_aggregate('timeseries.telemetry_hourly', NULL, NULL)")
        )
    identity = sa.text("SELECT 'timeseries.telemetry_hourly'::regclass::oid")
    with community.begin() as connection:
        before = connection.scalar(identity)
        changed = fleet(
            refresh=RefreshPolicy("5 days", "1 hour", "1 hour"),
            rollup_keep="3 years",
            keep="600 days",
        )
        apply(connection, metadata_of(changed))
        assert connection.scalar(identity) == before


def test_a_column_under_a_rollup_cannot_change(series: Engine) -> None:
    with series.begin() as connection:
        apply(connection, metadata_of(fleet()))
    with (
        series.connect() as connection,
        pytest.raises(CommandError, match="telemetry_hourly reads"),
    ):
        migration(connection, metadata_of(fleet(value=sa.Numeric)))


def test_a_hypertable_stays_one(series: Engine) -> None:
    with series.begin() as connection:
        apply(connection, metadata_of(fleet(rollup=False)))
    with series.connect() as connection, pytest.raises(CommandError, match="is a hypertable"):
        migration(connection, metadata_of(fleet(plain=True)))


# --- mistakes in a declaration ---


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
    """Its chunks do not go with the table."""
    context = metadata_of(fleet())
    state = context.info["ddl"].of(HypertableState)[("timeseries", "telemetry")]
    assert not HypertableOperation(state, None).is_removal
