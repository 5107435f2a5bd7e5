"""Telemetry for the tenants of the demonstration, and how it is stored."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine, Row

from database.ingest import Ingested, ingest
from database.tenancy import tenant_transaction
from ddl.edition import Edition, detect
from operations.demo import fleet_generator
from operations.demo.fleet_generator import FleetDevice
from operations.tenants.tenant import Tenant

EVERY = datetime.timedelta(minutes=15)
BATCH = 10_000
TABLE = "timeseries.telemetry"


@dataclass(frozen=True)
class Window:
    """Whole days in UTC that end today at midnight, so a second run adds nothing."""

    start: datetime.datetime
    end: datetime.datetime

    @classmethod
    def of(cls, days: int, now: datetime.datetime | None = None) -> Window:
        """The last ``days`` days before today."""
        moment = (now or datetime.datetime.now(datetime.UTC)).astimezone(datetime.UTC)
        today = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        return cls(today - datetime.timedelta(days=days), today)


_DEVICES = sa.text("""
    SELECT d.device_id, coalesce(d.latitude, s.latitude, 0) AS latitude,
           coalesce(d.longitude, s.longitude, 0) AS longitude,
           (SELECT array_agg(n.metric_key ORDER BY n.metric_key) FROM device_sensors n
             WHERE (n.tenant_id, n.device_id) = (d.tenant_id, d.device_id)) AS metrics
      FROM device_registry d
      LEFT JOIN sites s ON (s.tenant_id, s.site_id) = (d.tenant_id, d.site_id)
     WHERE d.status NOT IN ('suspended', 'revoked', 'decommissioned')
     ORDER BY d.device_id LIMIT :count
""")


def fleet(engine: Engine, tenant: Tenant, count: int) -> list[FleetDevice]:
    """The first ``count`` devices of the tenant that are in use, and what they measure."""
    with tenant_transaction(engine, tenant.tenant_id) as connection:
        return [
            FleetDevice(
                tenant.tenant_id,
                row.device_id,
                # What every device with a radio reports beside its sensors.
                tuple(dict.fromkeys([*(row.metrics or ()), "battery_pct", "signal_rssi"])),
                row.latitude,
                row.longitude,
            )
            for row in connection.execute(_DEVICES, {"count": count})
        ]


def stream(
    engine: Engine,
    devices: Sequence[FleetDevice],
    window: Window,
    on_batch: Callable[[int], None],
) -> Ingested:
    """Ingest the readings of the window; ``on_batch`` is called with the size of each batch."""
    stored = duplicates = quarantined = 0
    for batch in fleet_generator.readings(
        devices, window.start, window.end, every=EVERY, batch=BATCH
    ):
        result = ingest(engine, batch)
        stored += result.stored
        duplicates += result.duplicates
        quarantined += result.quarantined
        on_batch(len(batch))
    return Ingested(stored, duplicates, quarantined)


def expected(devices: Sequence[FleetDevice], window: Window) -> int:
    """About how many messages `stream` sends."""
    return fleet_generator.expected(devices, window.start, window.end, EVERY)


_ROLLUPS = sa.text("""
    SELECT format('%I.%I', view_schema, view_name)
      FROM timescaledb_information.continuous_aggregates
     WHERE format('%I.%I', hypertable_schema, hypertable_name) = :table ORDER BY 1
""")
_CHUNKS = sa.text("""
    SELECT chunk::text
      FROM show_chunks(CAST(:table AS regclass), newer_than => CAST(:start AS timestamptz),
                       older_than => CAST(:end AS timestamptz)) chunk ORDER BY 1
""")
_COMPRESS = sa.text(
    "SELECT compress_chunk(CAST(:chunk AS regclass), if_not_compressed => true) IS NOT NULL"
)


def edition(engine: Engine) -> Edition:
    """The edition of the database."""
    with engine.connect() as connection:
        return detect(connection)


def refresh(engine: Engine, window: Window) -> list[str]:
    """Refresh the rollups of telemetry over the window; returns their names.

    Community edition only: elsewhere rollups are views, which are never out of date.
    """
    around = {"start": window.start, "end": window.end + datetime.timedelta(days=1)}
    # A refresh commits by itself, so it cannot run inside a transaction.
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        names = list(connection.scalars(_ROLLUPS, {"table": TABLE}))
        for name in names:
            call = sa.text("CALL refresh_continuous_aggregate(:name, :start, :end)")
            connection.execute(call, {"name": name, **around})
    return names


def compress(engine: Engine, window: Window) -> int:
    """Move the chunks of the window into the columnstore; returns how many. Community only.

    The columnstore policy would do so when they are a week old.
    """
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        chunks = list(connection.scalars(_CHUNKS, _range(window)))
        for chunk in chunks:
            # One by one, so that only one chunk is locked at a time.
            connection.execute(_COMPRESS, {"chunk": chunk})
    return len(chunks)


@dataclass(frozen=True)
class Storage:
    """Size of the chunks of a window in bytes, of all tenants together, indexes included."""

    before: int
    """As rows."""
    after: int | None
    """In the columnstore; None where there is none."""


_COMPRESSED = sa.text("""
    SELECT sum(s.before_compression_total_bytes)::bigint AS before,
           sum(s.after_compression_total_bytes)::bigint AS after
      FROM chunk_compression_stats(CAST(:table AS regclass)) s
     WHERE s.compression_status = 'Compressed'
       AND format('%I.%I', s.chunk_schema, s.chunk_name) IN (
             SELECT chunk::text
               FROM show_chunks(CAST(:table AS regclass),
                                newer_than => CAST(:start AS timestamptz),
                                older_than => CAST(:end AS timestamptz)) chunk)
""")
_IN_ROWS = {
    Edition.POSTGRESQL: "SELECT pg_total_relation_size(CAST(:table AS regclass))",
    Edition.APACHE: "SELECT hypertable_size(CAST(:table AS regclass))",
    Edition.COMMUNITY: "SELECT hypertable_size(CAST(:table AS regclass))",
}


def storage(engine: Engine, window: Window) -> Storage:
    """The size of the telemetry of a window; without a columnstore that of the whole table."""
    with engine.connect() as connection:
        found = detect(connection)
        if found.has_policies:
            sizes = connection.execute(_COMPRESSED, _range(window)).one()
            if sizes.before is not None:
                return Storage(sizes.before, sizes.after)
        return Storage(
            connection.execute(sa.text(_IN_ROWS[found]), {"table": TABLE}).scalar_one(), None
        )


@dataclass(frozen=True)
class Sight:
    """What a tenant sees of its telemetry through its views."""

    points: int
    devices: int
    hourly: int
    daily: int
    quarantined: int
    latest: Sequence[Row[Any]]
    """Rows (device_id, ts, metrics)."""


_COUNTED = sa.text("""
    SELECT (SELECT count(*) FROM telemetry) AS points,
           (SELECT count(DISTINCT device_id) FROM telemetry) AS devices,
           (SELECT count(*) FROM telemetry_hourly) AS hourly,
           (SELECT count(*) FROM telemetry_daily) AS daily,
           (SELECT count(*) FROM quarantine_events) AS quarantined
""")
_LATEST = sa.text("""
    SELECT device_id, ts, metrics FROM telemetry
     WHERE ts >= :since ORDER BY ts DESC, device_id LIMIT 3
""")


def seen_by_tenant(engine: Engine, tenant: Tenant, window: Window) -> Sight:
    """Read as fleet_app bound to the tenant; no query names the tenant."""
    since = window.end - datetime.timedelta(days=1)
    with tenant_transaction(engine, tenant.tenant_id) as connection:
        counts = connection.execute(_COUNTED).one()
        latest = connection.execute(_LATEST, {"since": since}).all()
    return Sight(**counts._mapping, latest=latest)


def _range(window: Window) -> dict[str, Any]:
    return {"table": TABLE, "start": window.start, "end": window.end}
