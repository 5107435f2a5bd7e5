"""Who keeps notifications from being discarded stops nobody else's transactions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database.embedded import TemporaryServer
from database.tenancy import tenant_transaction
from tests.support.engines import engine_of, execute
from tests.support.servers import embedded_programs
from tests.support.time_series import ACME, GLOBEX, make_tenants, migrate

WRITES = {
    "fleet_alert": "fingerprint, alert_type, severity, summary) SELECT {}, 'threshold', 3, 's'",
    "jobs": "type) SELECT 'export'",
    "telemetry": "device_id, ts) SELECT {}, now()",
    "telemetry_to_store": "device_id, ts) SELECT {}, now()",
}
BATCH = sa.text("SELECT notify_telemetry(ARRAY[CAST(:tenant AS uuid)])")
FILL = sa.text("SELECT count(pg_notify('x', i || repeat('x', 7000))) FROM generate_series(1, 10) i")
USAGE = sa.text("SELECT pg_notification_queue_usage()")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """On a server whose queue is the smallest there may be."""
    with TemporaryServer(embedded_programs(18), max_notify_queue_pages="64") as server:
        execute(server.url("postgres"), "CREATE DATABASE ours")
        migrate(server.url("ours"))
        with engine_of(server.url("ours")) as engine:
            make_tenants(engine)
            yield engine


def write(engine: Engine, name: str) -> None:
    """What of each kind announces itself, by both doors."""
    with tenant_transaction(engine, GLOBEX) as connection:
        for table, row in WRITES.items():
            values = row.format(f"'{name} {table}'").replace(
                " SELECT ", " SELECT current_tenant(), "
            )
            connection.exec_driver_sql(f"INSERT INTO {table} (tenant_id, {values}")
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_ingest")
        connection.execute(BATCH, {"tenant": GLOBEX})


def fill(engine: Engine) -> None:
    """All that there is room for."""
    for _ in range(100):
        with tenant_transaction(engine, ACME) as connection:
            connection.execute(FILL)


def test_a_full_queue_stops_no_other_tenant(engine: Engine) -> None:
    with engine.connect() as listening:
        listening.exec_driver_sql("LISTEN x")
        listening.commit()
        write(engine, "before")
        listening.exec_driver_sql("SELECT")
        with pytest.raises(DBAPIError, match="too many notifications"):
            fill(engine)
        write(engine, "full")
    with engine.connect() as connection:
        assert connection.scalar(USAGE) == 0
