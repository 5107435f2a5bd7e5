"""What health reports and connection events say of devices, in the transaction of the batch."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from database.ingest import ConnectionEvent, DeviceHealth, Ingested, ingest
from tests.support.telemetry import HOUR, NOW, ONE, empty, message, rows

SECOND = datetime.timedelta(seconds=1)


def known(engine: Engine) -> dict[str, tuple[str, datetime.datetime]]:
    found = rows(engine, "SELECT device_id, status, last_seen_at FROM device_state ORDER BY 1")
    return {row.device_id: (row.status, row.last_seen_at) for row in found}


def event(what: str, ago: float, device: str = "d1", seq: int = 0) -> ConnectionEvent:
    return ConnectionEvent(str(ONE).upper(), device, NOW - ago * SECOND, what, seq)


def health(ago: float, device: str = "d1", **values: Any) -> DeviceHealth:
    return DeviceHealth(ONE, device, (NOW - ago * SECOND).isoformat(), **values)


@pytest.mark.parametrize(
    ("sent", "status", "ago"),
    [
        ([event("connected", 5)], "online", 5),
        ([event("connected", 90_000)], "online", 90_000),
        ([event("connected", 5), event("disconnected", 3)], "offline", 3),
        ([event("connection_lost", 3), event("connected", 5)], "offline", 3),
        ([event("disconnected", 5, seq=1), event("connected", 5, seq=2)], "online", 5),
        ([health(5)], "online", 5),
        ([health(5000)], "stale", 5000),
        ([health(-5)], "online", 0),
        ([event("disconnected", 5), health(3)], "online", 3),
        ([event("disconnected", 5), health(5)], "offline", 5),
        ([event("disconnected", 5), message(1, ts=NOW - 3 * SECOND)], "online", 3),
        ([event("disconnected", 3), message(1, ts=NOW - 5 * SECOND)], "offline", 3),
    ],
)
def test_the_newest_of_a_batch_counts(
    shared: Engine, sent: list[Any], status: str, ago: float
) -> None:
    ingest(shared, sent, now=NOW)
    assert known(shared) == {"d1": (status, NOW - ago * SECOND)}
    assert ingest(shared, sent, now=NOW).stored == 0
    assert known(shared) == {"d1": (status, NOW - ago * SECOND)}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ([event("disconnected", -60), health(-30)], "offline"),
        ([event("connected", -30), event("disconnected", -60)], "offline"),
        ([event("disconnected", -60), message(1, ts=NOW + 30 * SECOND)], "offline"),
        ([event("disconnected", -30), message(1, ts=NOW + 60 * SECOND)], "online"),
        ([event("disconnected", -30), event("connected", 5)], "offline"),
        ([event("disconnected", 5), message(1, ts=NOW + 30 * SECOND)], "online"),
    ],
)
def test_of_moments_ahead_of_the_clock_the_later_one_counts(
    shared: Engine, sent: list[Any], status: str, together: bool
) -> None:
    """Though both are told as now: in one batch, or in two, in any order."""
    for order in (sent, sent[::-1]):
        empty(shared)
        for batch in [order] if together else [[one] for one in order]:
            ingest(shared, batch, now=NOW)
        assert known(shared) == {"d1": (status, NOW)}


def test_who_is_ahead_of_the_clock_does_not_hide_what_is_said_later(shared: Engine) -> None:
    ingest(shared, [message(1, ts=NOW + HOUR)], now=NOW)
    ingest(shared, [event("disconnected", -60)], now=NOW + 61 * SECOND)
    assert known(shared) == {"d1": ("offline", NOW + 60 * SECOND)}


def test_a_late_batch_changes_nothing_of_devices(shared: Engine) -> None:
    ingest(shared, [event("connected", 5), message(2, ts=NOW)], now=NOW)
    before = rows(shared, "SELECT xmin, * FROM device_state ORDER BY device_id")
    late = [event("disconnected", 9), health(7), event("connection_lost", 6, seq=3)]
    assert ingest(shared, late, now=NOW) == Ingested(3, 0, 0)
    assert rows(shared, "SELECT xmin, * FROM device_state ORDER BY device_id") == before


def test_values_of_metrics_stay(shared: Engine) -> None:
    ingest(shared, [message(1, ts=NOW - HOUR, metrics={"t": 1})], now=NOW)
    ingest(shared, [event("disconnected", 5), health(9, rssi=-70)], now=NOW)
    (row,) = rows(shared, "SELECT * FROM device_state")
    assert (row.status, row.state, row.last_telemetry_at) == ("offline", {"t": 1}, NOW - HOUR)


def test_what_is_refused_says_nothing(shared: Engine) -> None:
    sent = [event("gone", 5), health(5, "d2", rssi="?"), health(5, "nobody"), event("connected", 4)]
    assert ingest(shared, [*sent[:3], event("connected", 4, "d3")], now=NOW).quarantined == 3
    assert list(known(shared)) == ["d3"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["connected", "disconnected", "connection_lost", "health", "t"]),
                st.integers(-9, 20),
            ),
            max_size=4,
        ),
        max_size=5,
    )
)
def test_in_any_order_the_newest_decides(
    shared: Engine, batches: list[list[tuple[str, int]]]
) -> None:
    empty(shared)
    expected: dict[int, str] = {}
    for batch in batches:
        sent: list[Any] = []
        for what, ago in batch:
            if ago in expected:
                continue
            expected[ago] = "online" if what in ("connected", "health", "t") else "offline"
            if what == "health":
                sent.append(health(ago))
            elif what == "t":
                sent.append(message(1, ts=NOW - ago * SECOND))
            else:
                sent.append(event(what, ago))
        ingest(shared, sent, now=NOW)
    newest = min(expected, default=None)
    assert known(shared) == (
        {} if newest is None else {"d1": (expected[newest], NOW - max(newest, 0) * SECOND)}
    )
