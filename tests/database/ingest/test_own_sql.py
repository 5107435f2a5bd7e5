"""Rows that fleet_ingest writes with SQL of its own: what is misplaced goes to quarantine."""

from __future__ import annotations

import contextlib
import datetime
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine

from database.ingest import Ingested, ingest
from database.server_info import server_info
from database.tenancy import take_role
from ddl.edition import Edition
from models import PLATFORM_TENANT_ID
from tests.support.alembic_project import config_for
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.telemetry import NOW, ONE, TWO, count, message, populate, rows

DAY = datetime.timedelta(days=1)
NOBODY = uuid.uuid4()


@pytest.fixture(
    params=["embedded", pytest.param("timescaledb", marks=pytest.mark.timescaledb)],
)
def fleet(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """A migrated database with the tenants and devices of `populate`."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    with engine_of(make_database(server)) as engine:
        command.upgrade(config_for(engine), "head")
        populate(engine)
        yield engine


def insert(
    engine: Engine, table: str, values: Sequence[Mapping[str, Any]], role: str = "fleet_ingest"
) -> None:
    """One statement of the role, with all the rows."""
    columns = list(values[0])
    given = {f"{name}_{n}": row[name] for n, row in enumerate(values) for name in columns}
    listed = ", ".join(
        "(" + ", ".join(f":{name}_{n}" for name in columns) + ")" for n in range(len(values))
    )
    with engine.connect() as connection, connection.begin():
        take_role(connection, role, None)
        connection.execute(
            sa.text(f"INSERT INTO timeseries.{table} ({', '.join(columns)}) VALUES {listed}"), given
        )


def sample(
    device: str = "d1", tenant: uuid.UUID = ONE, age: datetime.timedelta = DAY
) -> dict[str, Any]:
    return {"tenant_id": tenant, "ts": NOW - age, "device_id": device, "metrics": '{"t": 1}'}


def quarantined(engine: Engine) -> set[tuple[Any, ...]]:
    query = (
        "SELECT reason, tenant_id, device_id, event_ts, payload FROM timeseries.quarantine_events"
    )
    found = rows(engine, query)
    assert all(row.payload["ts"] for row in found)
    return {tuple(row)[:4] for row in found}


def test_what_is_misplaced_goes_to_quarantine(fleet: Engine) -> None:
    good = [sample(), sample("d2"), sample("d1", TWO)]
    bad = {
        "unknown_device": sample("nobody"),
        "unknown_tenant": sample(tenant=NOBODY),
        "future_ts": sample(age=-30 * DAY),
        "expired_ts": sample(age=401 * DAY),
    }
    for _ in range(2):
        with contextlib.suppress(sa.exc.IntegrityError):
            insert(fleet, "telemetry", good)
        insert(fleet, "telemetry", list(bad.values()))
        assert count(fleet) == 3
        assert quarantined(fleet) == {
            (
                reason,
                PLATFORM_TENANT_ID if reason == "unknown_tenant" else row["tenant_id"],
                row["device_id"],
                row["ts"],
            )
            for reason, row in bad.items()
        }
        assert count(fleet, "quarantine_events") == 4


def test_rows_beside_them_are_stored(fleet: Engine) -> None:
    second = datetime.timedelta(seconds=1)
    mixed = [sample(age=n * second) for n in range(100)]
    mixed += [sample(age=400 * DAY + n * second) for n in range(1, 100)]
    mixed += [sample("nobody", age=n * second) for n in range(100)]
    insert(fleet, "telemetry", mixed)
    assert count(fleet) == 100
    assert count(fleet, "quarantine_events") == 199


def test_only_rows_of_the_statement_are_removed(fleet: Engine) -> None:
    """What the owner has imported of a device that is gone stays, compressed or not."""
    with fleet.begin() as connection:
        for row in (sample("gone"), sample("gone", age=20 * DAY)):
            connection.execute(
                sa.text(
                    "INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, metrics)"
                    " VALUES (:tenant_id, :ts, :device_id, :metrics)"
                ),
                row,
            )
    with fleet.connect() as connection:
        community = server_info(connection).edition is Edition.COMMUNITY
    if community:
        rows(fleet, "SELECT compress_chunk(c) FROM show_chunks('timeseries.telemetry') c")
    second = datetime.timedelta(seconds=1)
    insert(fleet, "telemetry", [sample("gone", age=20 * DAY + n * second) for n in (-1, 1)])
    assert count(fleet) == 2
    assert count(fleet, "quarantine_events") == 2


def test_a_policy_of_a_tenant_counts(fleet: Engine) -> None:
    """Through both doors: such a row would be deleted before a rollup has it."""
    with fleet.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO data_retention_policies VALUES (:tenant, 'telemetry', 30)"),
            {"tenant": ONE},
        )
    old = 31 * DAY
    insert(fleet, "telemetry", [sample(age=old), sample("d1", TWO, old), sample(age=29 * DAY)])
    assert {row[:3] for row in quarantined(fleet)} == {("expired_ts", ONE, "d1")}
    assert count(fleet) == 2
    delivered = [message(2, ts=NOW - old), message(3, ts=NOW - 29 * DAY)]
    assert ingest(fleet, delivered) == Ingested(1, 0, 1)
    assert {row[:3] for row in quarantined(fleet)} == {
        ("expired_ts", ONE, "d1"),
        ("expired_ts", ONE, "d2"),
    }


def test_every_series_of_the_ingest_is_guarded(fleet: Engine) -> None:
    own, ahead = {"tenant_id": ONE, "ts": NOW}, {"ts": NOW + 30 * DAY}
    cases = {
        "tag_values": own | {"tag_id": -1, "connection_id": NOBODY},
        "device_health_telemetry": own | {"device_id": "nobody"},
        "device_connection_events": own | {"device_id": "nobody", "event": "connected"},
        "health_checks": {"tenant_id": ONE, "checked_at": NOW, "endpoint_id": NOBODY, "ok": True},
        "system_metrics": ahead | {"metric_name": "m", "value": 1},
    }
    for table, row in cases.items():
        insert(fleet, table, [row])
        assert count(fleet, table) == 0
    found = rows(fleet, "SELECT msg_type, reason FROM timeseries.quarantine_events ORDER BY 1")
    assert [tuple(row) for row in found] == [
        ("device_connection_events", "unknown_device"),
        ("device_health_telemetry", "unknown_device"),
        ("health_checks", "unknown_endpoint"),
        ("system_metrics", "future_ts"),
        ("tag_values", "unknown_tag"),
    ]


def test_the_ingest_cannot_delete_otherwise(fleet: Engine) -> None:
    """What the triggers tell each other is of use for the rows of the statement only."""
    insert(fleet, "telemetry", [sample(), sample("d2")])
    forged = [
        {
            "tenant": str(ONE),
            "key": "d1",
            "reason": "unknown_device",
            "first": "2000-01-01",
            "last": "2100-01-01",
        }
    ]
    with fleet.connect() as connection, connection.begin():
        take_role(connection, "fleet_ingest", None)
        connection.execute(
            sa.text("SELECT set_config('fleetschema.misplaced', :forged, true)"),
            {"forged": json.dumps(forged)},
        )
        connection.execute(
            sa.text(
                "INSERT INTO timeseries.telemetry (tenant_id, ts, device_id)"
                " VALUES (:one, :ts, 'd2')"
            ),
            {"one": ONE, "ts": NOW},
        )
    assert count(fleet) == 3
