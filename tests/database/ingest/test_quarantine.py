"""A message that cannot be stored costs only itself, and is kept with a reason."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from database.ingest import DeviceHealth, Ingested, ingest
from database.ingest import quarantine as quarantine_module
from models.shared.base import PLATFORM_TENANT_ID
from tests.support.acme_and_globex import operator
from tests.support.telemetry import (
    GONE,
    HOUR,
    NOW,
    ONE,
    TWO,
    message,
    quarantine,
    refusing,
    rows,
)

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "tenant missing": ({"tenant_id": None}, "bad_tenant_id"),
    "tenant no UUID": ({"tenant_id": "acme"}, "bad_tenant_id"),
    "tenant a list": ({"tenant_id": [1]}, "bad_tenant_id"),
    "tenant unknown": ({"tenant_id": uuid.UUID(int=77)}, "unknown_tenant"),
    "tenant deleted": ({"tenant_id": GONE}, "unknown_tenant"),
    "device missing": ({"device_id": None}, "bad_device_id"),
    "device empty": ({"device_id": ""}, "bad_device_id"),
    "device a number": ({"device_id": 7}, "bad_device_id"),
    "device a list": ({"device_id": ["d1"]}, "bad_device_id"),
    "device with NUL": ({"device_id": "d\0"}, "bad_device_id"),
    "device with a surrogate": ({"device_id": "\ud800"}, "bad_device_id"),
    "device too long": ({"device_id": "d" * 256}, "bad_device_id"),
    "device unknown": ({"device_id": "d99"}, "unknown_device"),
    "time missing": ({"ts": None}, "bad_ts"),
    "time a word": ({"ts": "yesterday"}, "bad_ts"),
    "time a number": ({"ts": 1_700_000_000}, "bad_ts"),
    "time without zone": ({"ts": "2026-01-01T00:00:00"}, "bad_ts"),
    "time naive": ({"ts": NOW.replace(tzinfo=None)}, "bad_ts"),
    "far future": ({"ts": NOW + 48 * HOUR}, "future_ts"),
    "end of time": ({"ts": datetime.datetime.max.replace(tzinfo=datetime.UTC)}, "future_ts"),
    "1970": ({"ts": "1970-01-01T00:00:00Z"}, "expired_ts"),
    "year 1": ({"ts": "0001-01-01T00:00:00+14:00"}, "bad_ts"),
    "type empty": ({"msg_type": ""}, "bad_msg_type"),
    "type a list": ({"msg_type": []}, "bad_msg_type"),
    "number a text": ({"seq": "1"}, "bad_seq"),
    "number a truth": ({"seq": True}, "bad_seq"),
    "number too large": ({"seq": 2**63}, "bad_seq"),
    "site no UUID": ({"site_id": "here"}, "bad_site_id"),
    "site a list": ({"site_id": []}, "bad_site_id"),
    "metrics missing": ({"metrics": None}, "bad_metrics"),
    "metrics a list": ({"metrics": [1]}, "bad_metrics"),
    "NaN": ({"metrics": {"t": float("nan")}}, "bad_metrics"),
    "Infinity": ({"metrics": {"a": {"t": float("-inf")}}}, "bad_metrics"),
    "NUL": ({"metrics": {"t": "a\\\0"}}, "bad_metrics"),
    "NUL in a name": ({"metrics": {"\0": 1}}, "bad_metrics"),
    "surrogate": ({"metrics": {"t": "\udfff"}}, "bad_metrics"),
    "name no text": ({"metrics": {1: 1}}, "bad_metrics"),
    "no JSON": ({"metrics": {"t": object()}}, "bad_metrics"),
    "endless number": ({"metrics": {"t": 10**5000}}, "bad_metrics"),
    "no double": ({"metrics": {"a": [10**400]}}, "bad_metrics"),
    "too large written out": ({"metrics": {"a": [1e308] * 9000}}, "metrics_too_large"),
    "too large": ({"metrics": {"t": "x" * 70_000}}, "metrics_too_large"),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_bad_message_costs_only_itself(
    shared: Engine, changes: dict[str, Any], reason: str
) -> None:
    good, bad = [message(number) for number in range(20)], message(9, **changes)
    result = ingest(shared, [*good[:10], bad, *good[10:]], now=NOW)
    assert (result.stored + result.duplicates, result.quarantined) == (20, 1)
    # A message without a time has the day in its key.
    later = min(NOW + 3 * HOUR, NOW.replace(hour=23, minute=59, second=59))
    again = ingest(shared, [bad], now=later)
    assert again == Ingested(0, 0, 1)
    found = rows(shared, "SELECT * FROM timeseries.quarantine_events")
    assert len(found) == 1, "the second delivery has the same key"
    kept = found[0]
    assert kept.reason == reason
    assert kept.detail
    foreign = bad.tenant_id not in (ONE, TWO)
    assert kept.tenant_id == (PLATFORM_TENANT_ID if foreign else ONE)
    assert (kept.payload is None) != (kept.payload_raw is None)


def test_devices_that_are_stopped_are_not_heard_and_others_are(shared: Engine) -> None:
    statuses = ("pending", "active", "inactive", "decommissioned", "suspended", "revoked")
    with operator(shared) as connection:
        for number, status in enumerate(statuses):
            connection.exec_driver_sql(
                "UPDATE device_registry SET status = %s, decommissioned_at = %s"
                " WHERE tenant_id = %s AND device_id = %s",
                (status, NOW if status == "decommissioned" else None, ONE, f"d{number}"),
            )
        connection.exec_driver_sql(
            "UPDATE tenants SET status = 'suspended' WHERE tenant_id = %s", (TWO,)
        )
    try:
        sent = [message(n) for n in range(6)] + [DeviceHealth(ONE, f"d{n}", NOW) for n in range(6)]
        done = ingest(shared, [*sent, message(1, tenant_id=TWO)], now=NOW)
    finally:
        with operator(shared) as connection:
            connection.exec_driver_sql(
                "UPDATE device_registry SET status = 'pending', decommissioned_at = NULL"
            )
            connection.exec_driver_sql(
                "UPDATE tenants SET status = 'active' WHERE status = 'suspended'"
            )
    assert (done.stored, done.quarantined) == (9, 4)
    kept = quarantine(shared)
    assert {(row.reason, row.device_id) for row in kept} == {
        ("unknown_device", "d4"),
        ("unknown_device", "d5"),
    }
    assert "that is not suspended or revoked" in kept[0].detail
    seen = rows(shared, "SELECT device_id FROM device_state WHERE tenant_id = :one", one=ONE)
    assert {row.device_id for row in seen} == {"d0", "d1", "d2", "d3"}


@pytest.mark.parametrize("received", [b'{"a": [1, 2]}', '{"a": [1, 2]}', {"a": [1, 2]}])
def test_quarantine_keeps_json_as_json(shared: Engine, received: Any) -> None:
    ingest(shared, [message(1, ts=None, topic="t/1", payload=received, envelope_version=2)])
    (row,) = quarantine(shared)
    assert (row.payload, row.payload_raw, row.topic) == ({"a": [1, 2]}, None, "t/1")
    assert (row.device_id, row.claimed_tenant, row.envelope_version) == ("d1", str(ONE), "2")


@pytest.mark.parametrize(
    "received", [b"\xff\0", b'{"t": NaN}', b'{"t": "\\u0000"}', b"[" * 5000, b"null", b""]
)
def test_quarantine_keeps_other_bytes_as_bytes(shared: Engine, received: bytes) -> None:
    ingest(shared, [message(1, ts=None, payload=received)])
    (row,) = quarantine(shared)
    assert (row.payload, bytes(row.payload_raw)) == (None, received)


def test_quarantine_keeps_the_beginning_of_too_much(shared: Engine) -> None:
    received = b"x" * (quarantine_module.MAX_PAYLOAD + 5)
    ingest(shared, [message(1, ts=None, payload=received)])
    (row,) = quarantine(shared)
    assert len(row.payload_raw) == quarantine_module.MAX_PAYLOAD
    assert f"of {len(received):,} bytes" in row.detail


def test_the_time_of_the_broker_makes_redelivery_harmless_for_long(shared: Engine) -> None:
    bad = message(1, ts="?", received_at=NOW - 30 * HOUR)
    for later in range(3):
        ingest(shared, [bad], now=NOW + later * 24 * HOUR)
    (row,) = quarantine(shared)
    assert row.ts == NOW - 30 * HOUR


def test_poison_that_only_the_database_sees_costs_only_itself(shared: Engine) -> None:
    sent = [message(number) for number in range(100)]
    for number in (0, 37, 38, 99):
        sent[number] = replace(sent[number], seq=-number - 1)
    with refusing(shared, "telemetry", "seq >= 0"):
        assert ingest(shared, sent) == Ingested(96, 0, 4)
        assert ingest(shared, sent) == Ingested(0, 96, 4)
    assert {row.reason for row in quarantine(shared)} == {"rejected_by_database"}


def test_a_policy_of_the_tenant_counts(shared: Engine) -> None:
    """Such a message would be deleted before a rollup has it."""
    with shared.begin() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
        connection.exec_driver_sql(
            "INSERT INTO data_retention_policies (tenant_id, relation, retention_days)"
            " VALUES (%s, 'telemetry', 30), (%s, 'device_health_telemetry', 40)",
            (ONE, ONE),
        )
    try:
        day = datetime.timedelta(days=1)
        sent = [
            message(1, ts=NOW - 31 * day),
            message(2, ts=NOW - 29 * day),
            message(3, ts=NOW - 31 * day, tenant_id=TWO),
            DeviceHealth(ONE, "d1", NOW - 39 * day),
            DeviceHealth(ONE, "d1", NOW - 41 * day),
            DeviceHealth(TWO, "d1", NOW - 41 * day),
        ]
        assert ingest(shared, sent, now=NOW) == Ingested(4, 0, 2)
        found = {(row.reason, row.event_ts, row.tenant_id) for row in quarantine(shared)}
        assert found == {("expired_ts", NOW - days * day, ONE) for days in (31, 41)}
    finally:
        with shared.begin() as connection:
            connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
            connection.exec_driver_sql("DELETE FROM data_retention_policies")
