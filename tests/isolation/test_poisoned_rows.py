"""A row that a tenant may write stops nobody else: what is made of it fits, or it is refused."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

import models
from database.tenancy import tenant_transaction
from ddl import Declared
from ddl.rollups import RollupState
from tests.database.ingest.conftest import with_devices
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.telemetry import ONE
from tests.support.time_series import alone, execute

SERIES = {
    "telemetry": "device_id, msg_type, metrics) VALUES (%s, now(), %s, %s, %s",
    "device_health_telemetry": "device_id) VALUES (%s, now(), %s",
    "device_connection_events": "device_id, event) VALUES (%s, now(), %s, 'connected'",
}


def name(length: int) -> str:
    """As many characters of four bytes, which no compression makes shorter."""
    return "".join(random.choices([chr(one) for one in range(0x20000, 0x2A000)], k=length))


@pytest.mark.timescaledb
def test_the_longest_names_fit_into_rollups_and_columnstore(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    with engine_of(make_database(timescaledb_server, like=with_devices)) as engine:
        longest = name(255)
        for series, columns in SERIES.items():
            given = (ONE, longest, longest, f'{{"{name(63)}": 1}}')[: columns.count("%s")]
            insert = f"INSERT INTO {series} (tenant_id, ts, {columns})"
            with tenant_transaction(engine, ONE) as connection:
                connection.exec_driver_sql(insert, given)
            with (
                pytest.raises(sa.exc.IntegrityError, match="device_id_short"),
                tenant_transaction(engine, ONE) as connection,
            ):
                connection.exec_driver_sql(insert, (ONE, name(256), *given[2:]))
        for schema, rollup in Declared.on(models.metadata).of(RollupState):
            alone(engine, f"CALL refresh_continuous_aggregate('{schema}.{rollup}', NULL, NULL)")
        for series in SERIES:
            execute(engine, f"SELECT compress_chunk(c) FROM show_chunks('timeseries.{series}') c")


MOMENTS = ("last_seen_at", "last_seen_as_sent", "last_telemetry_at")


@pytest.mark.parametrize("column", MOMENTS)
def test_the_backlog_takes_no_moment_that_the_state_refuses(
    migrated_database: str, column: str
) -> None:
    insert = (
        f"INSERT INTO device_state_backlog (of_tenant, device_id, status, {', '.join(MOMENTS)})"
        " VALUES (gen_random_uuid(), 'd', 'online', %s, %s, %s)"
    )
    with engine_of(migrated_database) as engine, engine.connect() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_ingest")
        with pytest.raises(sa.exc.IntegrityError, match=f"{column}_happened"):
            connection.exec_driver_sql(
                insert, tuple("infinity" if one == column else "now" for one in MOMENTS)
            )
