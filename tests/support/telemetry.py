"""Tenants with devices, and telemetry messages of theirs."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from database.ingest import Message

ONE, TWO, GONE = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)


SITE = uuid.UUID(int=11)


NOW = datetime.datetime.now(datetime.UTC)


HOUR = datetime.timedelta(hours=1)


def populate(engine: Engine) -> None:
    """Two tenants with the devices d0 to d9, one tenant that is being deleted."""
    with engine.begin() as connection:
        run = connection.exec_driver_sql
        run("SET LOCAL ROLE fleet_operator")
        for number, tenant in enumerate((ONE, TWO, GONE)):
            run(
                "INSERT INTO tenants (tenant_id, slug, name) VALUES (%s, %s, 'x')",
                (tenant, f"tenant-{number}"),
            )
            run(
                "INSERT INTO device_registry (tenant_id, device_id)"
                " SELECT %s, 'd' || n FROM generate_series(0, 9) n",
                (tenant,),
            )
        run(
            "INSERT INTO sites (tenant_id, site_id, name) VALUES (%s, %s, 'here')",
            (ONE, SITE),
        )
        run(
            "UPDATE device_registry SET site_id = %s WHERE tenant_id = %s AND device_id = 'd1'",
            (SITE, ONE),
        )
        run(
            "UPDATE tenants SET status = 'deleted', deleted_at = now() WHERE tenant_id = %s",
            (GONE,),
        )


def message(number: int = 0, **changes: Any) -> Message:
    """The message ``number``, each of another device and moment."""
    plain = Message(
        ONE, f"d{number % 10}", NOW - number * datetime.timedelta(seconds=1), {"t": number + 0.5}
    )
    return replace(plain, **changes)


def rows(engine: Engine, query: str, **values: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.text(query), values))


def count(engine: Engine, table: str = "telemetry") -> int:
    return int(rows(engine, f"SELECT count(*) FROM timeseries.{table}")[0][0])


def quarantine(engine: Engine) -> list[Any]:
    return rows(engine, "SELECT * FROM timeseries.quarantine_events ORDER BY reason, id")


def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "TRUNCATE timeseries.telemetry, timeseries.quarantine_events, device_state,"
            " device_sensors CASCADE"
        )
