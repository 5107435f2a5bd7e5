"""Records of every series beside messages: stored as they came, once, or kept with a reason."""

from __future__ import annotations

import asyncio
import datetime
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, NullPool

from database.engine import make_async_engine, make_engine
from database.ingest import (
    ConnectionEvent,
    DeviceHealth,
    EndpointCheck,
    Ingested,
    Record,
    ServiceMetric,
    TagSample,
    async_ingest,
    ingest,
)
from database.ingest.series import SERIES
from models.shared.base import PLATFORM_TENANT_ID
from tests.database.ingest.test_any_message import JSON
from tests.support.telemetry import (
    CONNECTION,
    ENDPOINT,
    GONE,
    HOUR,
    NOW,
    ONE,
    OTHERS_ENDPOINT,
    TWO,
    count,
    empty,
    message,
    quarantine,
    refusing,
    rows,
)

DAY = 24 * HOUR
SECOND = datetime.timedelta(seconds=1)
HEALTH = DeviceHealth(ONE, "d1", NOW, rssi=-70, battery_voltage=3.7, extra={"a": [1]})
EVENT = ConnectionEvent(ONE, "d1", NOW, "connected", details={"ip": "192.0.2.1"})
CHECK = EndpointCheck(ONE, ENDPOINT, NOW, True, 200, 12.5)
METRIC = ServiceMetric("queue_length", NOW, 7, "api", {"queue": "a"})
TAG = TagSample(ONE, 7, NOW, 1.5, 0, CONNECTION)
EVERY = (HEALTH, EVENT, CHECK, METRIC, TAG)
TABLES = {kind: one.name for kind, one in SERIES.items()}


def at(record: Any, ts: Any) -> Any:
    return replace(record, **{SERIES[type(record)].time: ts})


def totals(engine: Engine) -> dict[str, int]:
    return {name: found for name in TABLES.values() if (found := count(engine, name))}


def test_records_of_all_series_are_stored_as_they_came(shared: Engine) -> None:
    odd = {"ü\t": "a\\nb\n"}
    everything = DeviceHealth(
        str(TWO).upper(), "d2", NOW.isoformat(), -70, -100, -11, 9, 101, "LTE\t1", "c\\N", "26201",
        97, float("nan"), "solar", False, -12.5, 40, 50, 2**40, 5, 6, 7, 8, 9, 52.5, 13.25, 3.5,
        True, odd,
    )  # fmt: skip
    check = EndpointCheck(TWO, str(OTHERS_ENDPOINT), NOW, False, None, None, 1, 2.5, 3.5, "x\ny")
    metric = ServiceMetric("m\t", NOW, float("-inf"), labels=odd)
    sent = [message(1), *EVERY, everything, check, metric, message(2)]
    assert ingest(shared, sent, now=NOW) == Ingested(len(sent), 0, 0)
    assert count(shared) == 2
    assert totals(shared) == {
        **dict.fromkeys(TABLES.values(), 2),
        **{TABLES[kind]: 1 for kind in (ConnectionEvent, TagSample)},
    }
    for one in (*EVERY, everything, check, metric):
        series = SERIES[type(one)]
        stored = [
            row
            for row in rows(shared, f"SELECT * FROM timeseries.{series.name}")
            if not series.tenants or str(row.tenant_id) == str(one.tenant_id).lower()
            if getattr(row, "metric_name", 0) == getattr(one, "metric_name", 0)
        ]
        assert len(stored) == 1
        for name in series.sent:
            column = "v_num" if name == "value" and one is TAG else name
            expected, found = getattr(one, name), getattr(stored[0], column)
            if isinstance(found, uuid.UUID):
                found, expected = str(found), str(expected).lower()
            if isinstance(found, datetime.datetime):
                found, expected = found.isoformat(), NOW.isoformat()
            if name in ("extra", "details", "labels"):
                expected = expected or {}
            assert found == expected or repr(found) == repr(expected), name
    assert ingest(shared, sent, now=NOW) == Ingested(0, len(sent), 0)
    late = [at(one, NOW - DAY) for one in EVERY]
    assert ingest(shared, [*sent, *late, *late], now=NOW) == Ingested(5, len(sent) + 5, 0)


REFUSED: list[tuple[Record, dict[str, Any], str]] = [
    *((one, {"tenant_id": "?"}, "bad_tenant_id") for one in EVERY[:3]),
    *((one, {"tenant_id": [1]}, "bad_tenant_id") for one in EVERY[:3]),
    *((one, {"tenant_id": GONE}, "unknown_tenant") for one in EVERY[:3]),
    *((one, {"tenant_id": uuid.UUID(int=77)}, "unknown_tenant") for one in EVERY[:3]),
    *((one, {"device_id": {}}, "bad_device_id") for one in EVERY[:2]),
    *((one, {"device_id": "d99"}, "unknown_device") for one in EVERY[:2]),
    (CHECK, {"endpoint_id": "e"}, "bad_endpoint_id"),
    (CHECK, {"endpoint_id": OTHERS_ENDPOINT}, "unknown_endpoint"),
    *((one, {SERIES[type(one)].time: None}, "bad_ts") for one in EVERY),
    *((one, {SERIES[type(one)].time: NOW.replace(tzinfo=None)}, "bad_ts") for one in EVERY),
    *((one, {SERIES[type(one)].time: NOW + 2 * DAY}, "future_ts") for one in EVERY),
    (HEALTH, {"ts": NOW - 91 * DAY}, "expired_ts"),
    (EVENT, {"ts": NOW - 91 * DAY}, "expired_ts"),
    (CHECK, {"checked_at": NOW - 31 * DAY}, "expired_ts"),
    (METRIC, {"ts": NOW - 31 * DAY}, "expired_ts"),
    (HEALTH, {"rssi": 2**31}, "bad_rssi"),
    (HEALTH, {"rssi": "-70"}, "bad_rssi"),
    (HEALTH, {"rssi": True}, "bad_rssi"),
    (HEALTH, {"uptime_seconds": 2**63}, "bad_uptime_seconds"),
    (HEALTH, {"battery_voltage": 2**53 + 1}, "bad_battery_voltage"),
    (HEALTH, {"charging": 1}, "bad_charging"),
    (HEALTH, {"network_type": "\0"}, "bad_network_type"),
    (HEALTH, {"extra": []}, "bad_extra"),
    (HEALTH, {"extra": {"a": float("nan")}}, "bad_extra"),
    (HEALTH, {"extra": {1: 2}}, "bad_extra"),
    (HEALTH, {"extra": {"a": "x" * 70_000}}, "bad_extra"),
    (EVENT, {"event": "lost"}, "bad_event"),
    (EVENT, {"event": ["connected"]}, "bad_event"),
    (EVENT, {"seq": None}, "bad_seq"),
    (EVENT, {"details": "x"}, "bad_details"),
    (CHECK, {"ok": None}, "bad_ok"),
    (CHECK, {"response_ms": -1}, "bad_response_ms"),
    (CHECK, {"response_ms": float("-inf")}, "bad_response_ms"),
    (CHECK, {"error": "\ud800"}, "bad_error"),
    (METRIC, {"metric_name": ""}, "bad_metric_name"),
    (METRIC, {"metric_name": "m" * 256}, "bad_metric_name"),
    (METRIC, {"service": None}, "bad_service"),
    (METRIC, {"value": None}, "bad_value"),
    (METRIC, {"value": "7"}, "bad_value"),
    (METRIC, {"labels": {"a": object()}}, "bad_labels"),
]


@pytest.mark.parametrize(("good", "changes", "reason"), REFUSED)
def test_a_bad_record_costs_only_itself(
    shared: Engine, good: Any, changes: dict[str, Any], reason: str
) -> None:
    bad = replace(good, **changes, topic="t/1")
    assert ingest(shared, [bad, good, bad], now=NOW) == Ingested(1, 0, 2)
    assert ingest(shared, [good, bad], now=NOW) == Ingested(0, 1, 1)
    (kept,) = quarantine(shared)
    assert (kept.reason, kept.topic, kept.msg_type) == (reason, "t/1", TABLES[type(good)])
    assert kept.detail
    known = getattr(bad, "tenant_id", None) == ONE
    assert kept.tenant_id == (ONE if known else PLATFORM_TENANT_ID)
    assert (kept.payload is None) != (kept.payload_raw is None)


def test_what_only_the_database_refuses_costs_only_itself(shared: Engine) -> None:
    with refusing(shared, "device_health_telemetry", "rssi <> -13"):
        sent = [at(replace(HEALTH, rssi=-n), NOW - n * SECOND) for n in range(50)]
        # Of two with one key the first is refused, so the second is stored.
        sent.append(at(HEALTH, NOW - 13 * SECOND))
        assert ingest(shared, [*sent, EVENT], now=NOW) == Ingested(51, 0, 1)
        # Now the second is there, so the first is a repetition, and refused all the same.
        assert ingest(shared, [*sent, EVENT], now=NOW) == Ingested(0, 51, 1)
        assert [row.reason for row in quarantine(shared)] == ["rejected_by_database"]


def test_what_is_no_record_is_refused_by_name(shared: Engine) -> None:
    with pytest.raises(TypeError, match=r"expected one of Message, TagSample, .*; found dict"):
        ingest(shared, [HEALTH, {"ts": NOW}])  # type: ignore[list-item]
    assert totals(shared) == {}


def any_record(kind: type[Record], good: Record) -> st.SearchStrategy[Record]:
    """Records each of whose fields is good or anything."""
    other = JSON | st.datetimes(timezones=st.just(datetime.UTC)) | st.uuids()
    own = set(SERIES[kind].sent)
    return st.builds(
        kind,
        **{
            one.name: st.just(getattr(good, one.name)) | other if one.name in own else JSON
            for one in fields(kind)
            if one.name != "received_at"
        },
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.one_of(*(any_record(type(one), one) for one in EVERY)), max_size=6))
def test_no_record_spoils_a_batch_and_none_is_lost(shared: Engine, sent: list[Record]) -> None:
    empty(shared)
    first = ingest(shared, sent, now=NOW)
    assert first.stored + first.duplicates + first.quarantined == len(sent)
    assert sum(totals(shared).values()) == first.stored
    kept = count(shared, "quarantine_events")
    assert (kept > 0) == (first.quarantined > 0)
    second = ingest(shared, sent, now=NOW)
    assert (second.stored, second.quarantined) == (0, first.quarantined)
    assert count(shared, "quarantine_events") == kept


def mixed(number: int = 1000) -> Iterator[Any]:
    for n in range(number):
        for one in EVERY:
            yield at(one, NOW - n * SECOND)
        yield message(n)


def test_the_same_mixed_batch_from_two_sides_at_once(engine: Engine) -> None:
    sent = list(mixed())
    gate = threading.Barrier(2)

    def deliver(batch: list[Any]) -> Ingested:
        gate.wait()
        return ingest(engine, batch, now=NOW)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(deliver, [sent, sent[::-1]]))
    assert sum(result.stored for result in results) == len(sent)
    assert sum(result.duplicates for result in results) == len(sent)
    assert totals(engine) == dict.fromkeys(TABLES.values(), 1000)


def test_asyncio_takes_them_too(shared: Engine) -> None:
    async def run() -> Ingested:
        engine = make_async_engine(shared.url, poolclass=NullPool)
        return await async_ingest(engine, [*EVERY, replace(CHECK, ok="?")], now=NOW)

    assert asyncio.run(run()) == Ingested(5, 0, 1)


def test_a_login_of_fleet_ingest_is_enough_and_reads_nothing(engine: Engine, login: Any) -> None:
    own = make_engine(login("fleet_ingest"), poolclass=NullPool)
    for expected in (Ingested(5, 0, 1), Ingested(0, 5, 1)):
        assert ingest(own, [*EVERY, replace(CHECK, ok="?")], now=NOW) == expected
    with own.connect() as connection:
        for column in ("url", "name"):
            with pytest.raises(Exception, match="permission denied"):
                connection.exec_driver_sql(f"SELECT {column} FROM endpoints")
            connection.rollback()
