"""A hypertable, a rollup and tenant views over both, with an argument for each change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Column,
    Double,
    Engine,
    Index,
    MetaData,
    Table,
    Text,
    Uuid,
)

from ddl import (
    Columnstore,
    Function,
    Grant,
    Hypertable,
    RefreshPolicy,
    RetentionPolicy,
    Rollup,
    View,
    schema_grant,
)
from ddl.edition import COMMUNITY, detect

MEASURES = "tenant_id, ts, device_id, seq, v"


def no_time_series(metadata: MetaData) -> None:
    """No time series but their schema, so that its content is compared."""
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
    rollup_comment: str | None = "By hour.",
    materialized_only: bool = False,
    indexes: Sequence[str] | None = None,
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
        properties = [] if plain else [Hypertable("ts", chunk_interval=chunk)]
        if not plain:
            properties.append(store or standard_store())
        if keep and not plain:
            properties.append(RetentionPolicy(keep))
        Table(
            "telemetry",
            metadata,
            Column("tenant_id", Uuid, primary_key=True),
            Column("ts", TIMESTAMP(timezone=True), primary_key=True),
            Column("device_id", Text, primary_key=True),
            Column("seq", BigInteger, primary_key=True, autoincrement=False),
            Column("v", value),
            *(Column(name, Text) for name in extra),
            *properties,
            Grant("insert", to="r_op"),
            Index(None, "tenant_id", sa.text("ts DESC")),
            schema="timeseries",
            comment="Measurements.",
        )
        View(
            "telemetry",
            f"SELECT {', '.join([MEASURES, *extra])} FROM timeseries.telemetry"
            " WHERE tenant_id = (SELECT tenant())",
            security_invoker=False,
            reason="Its condition shows a tenant its own rows.",
            check_option="cascaded",
            grants={"r_app": "select, insert"},
            metadata=metadata,
        )
        schema_grant("usage", on="timeseries", to="r_op", metadata=metadata)
        if rollup and not plain:
            hourly(
                metadata,
                aggregate,
                refresh,
                rollup_keep,
                stored_after,
                comment=rollup_comment,
                materialized_only=materialized_only,
                indexes=indexes,
            )

    return declare


def standard_store() -> Columnstore:
    return Columnstore(segmentby="tenant_id, device_id", orderby="ts DESC, seq", after="7 days")


def hourly(
    metadata: MetaData,
    aggregate: str,
    refresh: RefreshPolicy | None,
    keep: str | None,
    stored_after: str,
    *,
    comment: str | None,
    materialized_only: bool,
    indexes: Sequence[str] | None,
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
        comment=comment,
        materialized_only=materialized_only,
        indexes=indexes,
        metadata=metadata,
    )
    View(
        "telemetry_hourly",
        "SELECT tenant_id, device_id, bucket, avg FROM timeseries.telemetry_hourly"
        " WHERE tenant_id = (SELECT tenant())",
        security_invoker=False,
        reason="Its condition shows a tenant its own rows.",
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


def rows_for(engine: Engine) -> list[str]:
    """Two tenants' rows, in the columnstore where there is one."""
    with engine.connect() as connection:
        return [*ROWS, COMPRESS] if detect(connection) == COMMUNITY else ROWS
