"""Tenants with devices, and millions of readings, which are generated inside the server."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass

import psycopg

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

REALISTIC = """jsonb_build_object(
    'temperature', round((20 + 5 * sin(extract(epoch FROM t.ts) / 13750 + d.n)
                          + random() * 0.3)::numeric, 1),
    'humidity', round((55 + 10 * cos(extract(epoch FROM t.ts) / 13750 + d.n)
                       + random())::numeric, 0),
    'battery_pct', round((100 - extract(epoch FROM t.ts - %(start)s) / 86400)::numeric, 0),
    'signal_rssi', -70 - (random() * 6)::int)"""
"""Sensor values that drift, with one decimal."""

RANDOM = """jsonb_build_object(
    'temperature', round(random()::numeric, 4), 'humidity', round(random()::numeric, 4),
    'battery_pct', round(random()::numeric, 4), 'signal_rssi', round(random()::numeric, 4))"""
"""Four independent random numbers with four decimals."""


def tenant(number: int) -> str:
    """The ID of a tenant, numbered from 0."""
    return str(uuid.UUID(int=0xB0000000 + number))


@dataclass(frozen=True)
class Readings:
    """A message of every device at every interval."""

    tenants: int
    devices: int
    """Devices of each tenant."""
    every: datetime.timedelta
    days: int
    start: datetime.datetime = START
    metrics: str = REALISTIC

    @property
    def rows(self) -> int:
        """How many messages."""
        per_day = datetime.timedelta(days=1) // self.every
        return self.tenants * self.devices * per_day * self.days

    @property
    def end(self) -> datetime.datetime:
        """The end of the last day."""
        return self.start + datetime.timedelta(days=self.days)


def register(connection: psycopg.Connection, tenants: int, devices: int) -> None:
    """Create tenants and their devices; those that exist stay."""
    connection.execute(
        "INSERT INTO tenants (tenant_id, slug, name) SELECT t.id, 't' || t.id, 'Tenant'"
        " FROM unnest(%s::uuid[]) AS t(id) ON CONFLICT DO NOTHING",
        ([tenant(number) for number in range(tenants)],),
    )
    connection.execute(
        "INSERT INTO device_registry (tenant_id, device_id)"
        " SELECT tenant_id, 'device-' || n FROM tenants, generate_series(1, %s) n"
        " WHERE tenant_id = ANY (%s::uuid[]) ON CONFLICT DO NOTHING",
        (devices, [tenant(number) for number in range(tenants)]),
    )


def fill(connection: psycopg.Connection, readings: Readings) -> None:
    """Store the readings day by day, in order of arrival."""
    statement = f"""
        INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, metrics)
        SELECT i.id, t.ts, 'device-' || d.n, {readings.metrics}
          FROM generate_series(%(day)s, %(day)s + interval '1 day' - %(every)s, %(every)s) AS t(ts),
               unnest(%(tenants)s::uuid[]) AS i(id), generate_series(1, %(devices)s) AS d(n)
    """
    for number in range(readings.days):
        values = {
            "start": readings.start,
            "day": readings.start + datetime.timedelta(days=number),
            "every": readings.every,
            "tenants": [tenant(one) for one in range(readings.tenants)],
            "devices": readings.devices,
        }
        connection.execute(statement, values)


def compress(connection: psycopg.Connection, relation: str = "timeseries.telemetry") -> None:
    """Move every chunk into the columnstore, and update the statistics."""
    connection.execute(
        "SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks(%s::regclass) c",
        (relation,),
    )
    connection.execute(f"VACUUM ANALYZE {relation}")
