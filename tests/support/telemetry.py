"""Tenants with devices, and telemetry messages of theirs."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from database.ingest import Message
from database.tenancy import tenant_transaction

ONE, TWO, GONE = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)


SITE = uuid.UUID(int=11)

ENDPOINT, OTHERS_ENDPOINT = uuid.UUID(int=21), uuid.UUID(int=22)

CONNECTION, FORMER, OTHERS_CONNECTION = (uuid.UUID(int=number) for number in (31, 32, 33))

NOW = datetime.datetime.now(datetime.UTC)


HOUR = datetime.timedelta(hours=1)


@contextmanager
def refusing(engine: Engine, series: str, condition: str) -> Iterator[None]:
    """Meanwhile the database refuses new rows of a series that do not meet the condition."""
    table = f"ALTER TABLE timeseries.{series}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"{table} ADD CONSTRAINT odd CHECK ({condition}) NOT VALID")
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"{table} DROP CONSTRAINT odd")


def populate(engine: Engine) -> None:
    """Two tenants with the devices d0 to d9, one tenant that is being deleted.

    The first has the tags 7, 8 and the deleted 9, the second the tag 17; each has an endpoint.
    """
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
        for tenant, endpoint in ((ONE, ENDPOINT), (TWO, OTHERS_ENDPOINT)):
            run("INSERT INTO projects (tenant_id, id, name) VALUES (%s, %s, 'p')", (tenant, tenant))
            run(
                "INSERT INTO endpoints (tenant_id, id, project_id, name, url)"
                " VALUES (%s, %s, %s, 'e', 'https://e')",
                (tenant, endpoint, tenant),
            )
        for tenant, connection in ((ONE, CONNECTION), (ONE, FORMER), (TWO, OTHERS_CONNECTION)):
            run(
                "INSERT INTO connections (tenant_id, id, name, type) VALUES (%s, %s, %s, 's7')",
                (tenant, connection, str(connection)),
            )
        run(
            "INSERT INTO poll_groups (group_id, name, poll_rate_ms) VALUES (5, 'p', 1000)"
            " ON CONFLICT DO NOTHING"
        )
        for tenant, connection, tag, status in (
            (ONE, CONNECTION, 7, "active"),
            (ONE, CONNECTION, 8, "pending_delete"),
            (ONE, CONNECTION, 9, "deleted"),
            (TWO, OTHERS_CONNECTION, 17, "active"),
        ):
            run(
                "INSERT INTO tag_metadata (tenant_id, connection_id, tag_id, driver_type, tag_path,"
                " status, deleted_at) VALUES (%s, %s, %s, 's7', %s, %s, %s)",
                (tenant, connection, tag, str(tag), status, NOW if status == "deleted" else None),
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


def newest(engine: Engine, tenant: uuid.UUID = ONE) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Device and metric to the newest value and its time."""
    with tenant_transaction(engine, tenant) as connection:
        found = connection.exec_driver_sql("SELECT * FROM device_metrics").all()
    return {(row.device_id, row.metric): (row.value, row.ts) for row in found}


def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "TRUNCATE timeseries.telemetry, timeseries.quarantine_events,"
            " timeseries.device_health_telemetry, timeseries.device_connection_events,"
            " timeseries.health_checks, timeseries.system_metrics, timeseries.tag_values,"
            " device_state, device_state_backlog"
        )
        # Not truncated, since tags may refer to sensors.
        connection.exec_driver_sql("DELETE FROM device_sensors")
