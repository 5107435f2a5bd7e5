"""The state of a device, and the rollout of firmware to many."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import TIMESTAMP, Engine
from sqlalchemy.exc import DBAPIError

import models
from database.tenancy import tenant_pseudonym, tenant_transaction
from tests.support.acme_and_globex import operator
from tests.support.seeded_tenant import heard, one, run


@pytest.fixture
def device(engine: Engine, acme: uuid.UUID) -> uuid.UUID:
    run(
        engine,
        acme,
        "INSERT INTO device_registry (tenant_id, device_id) VALUES (current_tenant(), 'd1')",
        "INSERT INTO device_state (tenant_id, device_id) VALUES (current_tenant(), 'd1')",
    )
    return acme


def test_versions_of_a_device_shadow(engine: Engine, device: uuid.UUID) -> None:
    want = "SELECT set_desired_state('d1', '{}', {})"
    assert one(run(engine, device, want.format('{"fan": 1}', 0))) == 1
    assert one(run(engine, device, want.format('{"fan": 2}', 0))) is None, (
        "another session was faster"
    )
    assert one(run(engine, device, want.format('{"led": 1}', 1))) == 2
    report = "SELECT report_state('d1', '{}', {})"
    assert one(run(engine, device, report.format('{"fan": 1}', 2))) is True
    assert one(run(engine, device, report.format('{"fan": 0}', 1))) is None, "too late"
    assert one(run(engine, device, report.format('{"fan": 0}', 9))) is None, "no such version"
    [row] = run(engine, device, "SELECT desired_state, reported_state FROM device_state")
    assert (row.desired_state, row.reported_state) == ({"fan": 1, "led": 1}, {"fan": 1})
    with pytest.raises(DBAPIError, match="reported version 1 after version 2"):
        run(engine, device, "UPDATE device_state SET reported_version = 1")
    with pytest.raises(DBAPIError, match="set by the database"):
        run(engine, device, "UPDATE device_state SET desired_version = 7")


def test_a_change_of_device_state_is_notified(engine: Engine, device: uuid.UUID) -> None:
    online = "UPDATE device_state SET status = 'online', last_seen_at = now()"
    assert heard(engine, "device_state", lambda: run(engine, device, online)) == [
        tenant_pseudonym(device)
    ]
    assert heard(engine, "device_state", lambda: run(engine, device, online)) == []


CAMPAIGN = uuid.UUID(int=0xCA)


@pytest.fixture
def campaign(engine: Engine, acme: uuid.UUID) -> uuid.UUID:
    group, image = uuid.UUID(int=0x61), uuid.UUID(int=0xF1)
    run(
        engine,
        acme,
        "INSERT INTO device_registry (tenant_id, device_id)"
        " SELECT current_tenant(), 'd' || n FROM generate_series(0, 9) n",
        "INSERT INTO device_groups (tenant_id, group_id, name)"
        f" VALUES (current_tenant(), '{group}', 'all')",
        "INSERT INTO device_group_members (tenant_id, group_id, device_id)"
        f" SELECT current_tenant(), '{group}', device_id FROM device_registry",
        "INSERT INTO firmware_versions (tenant_id, id, version, file_url)"
        f" VALUES (current_tenant(), '{image}', '2.0', 'https://x.example/2.0')",
        "INSERT INTO ota_campaigns (tenant_id, id, name, firmware_version_id, target_group_id,"
        f" rollout_rate, abort_threshold) VALUES (current_tenant(), '{CAMPAIGN}', 'two',"
        f" '{image}', '{group}', 4, 0.1)",
    )
    assert one(run(engine, acme, f"SELECT start_campaign('{CAMPAIGN}')")) == 10
    return acme


NEXT = f"SELECT next_ota_devices('{CAMPAIGN}')"
STATUS = "SELECT status, succeeded, failed FROM ota_campaigns"


def report(engine: Engine, tenant: uuid.UUID, device: str, *steps: str) -> None:
    for step in steps:
        run(
            engine,
            tenant,
            f"UPDATE ota_device_status SET status = '{step}' WHERE device_id = '{device}'",
        )


def test_a_rollout_continues_as_devices_finish(engine: Engine, campaign: uuid.UUID) -> None:
    assert one(run(engine, campaign, f"SELECT start_campaign('{CAMPAIGN}')")) is None
    begun = [row[0] for row in run(engine, campaign, NEXT)]
    assert sorted(begun) == ["d0", "d1", "d2", "d3"]
    assert run(engine, campaign, NEXT) == []
    while begun:
        report(engine, campaign, begun.pop(), "installing", "success")
        begun += [row[0] for row in run(engine, campaign, NEXT)]
    assert tuple(run(engine, campaign, STATUS)[0]) == ("completed", 10, 0)


def test_too_many_failures_abort_a_rollout(engine: Engine, campaign: uuid.UUID) -> None:
    """One of ten is exactly the threshold, two exceed it, even if reported at the same moment."""
    run(engine, campaign, NEXT)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda device: report(engine, campaign, device, "failed"), ("d0", "d1")))
    assert tuple(run(engine, campaign, STATUS)[0]) == ("aborted", 0, 2)
    assert run(engine, campaign, NEXT) == []
    with pytest.raises(DBAPIError, match="cannot go from downloading to success"):
        report(engine, campaign, "d2", "success")


def test_devices_that_fell_silent_are_marked_and_announced(
    engine: Engine, device: uuid.UUID
) -> None:
    mark = "SELECT mark_silent_devices()"
    seen = "UPDATE device_state SET status = '{}', last_seen_at = now() - interval '{}'"

    def marked(status: str, ago: str) -> tuple[int, str]:
        run(engine, device, seen.format(status, ago))
        number = one(run(engine, device, mark))
        return number, one(run(engine, device, "SELECT status FROM device_state"))

    assert marked("online", "14 minutes") == (0, "online")
    assert marked("online", "16 minutes") == (1, "stale")
    assert marked("stale", "23 hours") == (0, "stale")
    assert marked("stale", "25 hours") == (1, "offline")
    assert marked("online", "25 hours") == (1, "offline")
    assert marked("offline", "25 hours") == (0, "offline")
    run(engine, device, seen.format("online", "1 hour"))
    assert heard(engine, "device_state", lambda: run(engine, device, mark)) == [
        tenant_pseudonym(device)
    ]
    run(engine, device, "UPDATE device_state SET status = 'online', last_seen_at = NULL")
    assert one(run(engine, device, mark)) == 0
    run(engine, device, "UPDATE device_state SET last_state_change_at = now() - interval '1 hour'")
    assert one(run(engine, device, mark)) == 1, "never seen, and called online an hour ago"


TIMES = [
    (table.name, column.name)
    for table in models.metadata.tables.values()
    if table.schema is None and models.SCOPES[table.key] == "tenant"
    for column in table.columns
    if isinstance(column.type, TIMESTAMP)
    and re.fullmatch(r"(last|first)_.*|shadow_updated_at|data_used_updated_at", column.name)
]


def test_a_tenant_cannot_give_a_state_a_time_that_never_passes(
    engine: Engine, device: uuid.UUID
) -> None:
    assert {("device_state", "last_seen_at"), ("device_sensors", "last_seen_at")} < set(TIMES)
    listed = set(
        one(run(engine, device, "SELECT array_agg(conname) FROM pg_constraint WHERE contype = 'c'"))
    )
    assert {f"ck_{table}_{column}_happened" for table, column in TIMES} <= listed
    for column in sorted(column for table, column in TIMES if table == "device_state"):
        if column == "last_seen_as_sent":
            continue
        change = f"UPDATE device_state SET {column} = {{}}"
        for value in ("'infinity'", "'-infinity'", "now() + interval '25 hours'"):
            with pytest.raises(DBAPIError, match=f"{column}_happened"):
                run(engine, device, change.format(value))
        run(engine, device, change.format("now() + interval '23 hours'"))


def test_marking_waits_for_no_transaction(engine: Engine, device: uuid.UUID) -> None:
    run(engine, device, "UPDATE device_state SET status = 'online', last_seen_at = '2020-01-01Z'")
    with tenant_transaction(engine, device) as connection:
        connection.exec_driver_sql("UPDATE device_state SET state = '{\"t\": 1}'")
        with operator(engine) as worker:
            assert worker.exec_driver_sql("SELECT mark_silent_devices()").scalar_one() == 0
    with operator(engine) as worker:
        assert worker.exec_driver_sql("SELECT mark_silent_devices()").scalar_one() == 1
