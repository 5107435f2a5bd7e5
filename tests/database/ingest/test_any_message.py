"""Whatever messages a batch has, each is stored, known already, or quarantined."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from database.ingest import Message, ingest
from tests.support.telemetry import (
    GONE,
    HOUR,
    NOW,
    ONE,
    TWO,
    count,
    empty,
    message,
    rows,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


ANY_MESSAGE = st.builds(
    Message,
    tenant_id=st.sampled_from([ONE, str(TWO), GONE, "x", None]) | JSON,
    device_id=st.sampled_from(["d1", "d2", "d3"]) | JSON,
    ts=st.sampled_from([NOW, NOW - HOUR, NOW.isoformat()]) | st.datetimes() | JSON,
    metrics=st.dictionaries(st.text(), JSON, max_size=3) | JSON,
    msg_type=st.just("telemetry") | JSON,
    seq=st.integers() | JSON,
    site_id=st.none() | st.uuids() | JSON,
    topic=st.text() | JSON,
    payload=st.none() | st.binary() | st.text() | JSON,
    envelope_version=JSON,
    received_at=st.none() | st.datetimes(timezones=st.just(datetime.UTC)),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ANY_MESSAGE, max_size=6))
def test_no_message_spoils_a_batch_and_none_is_lost(shared: Engine, sent: list[Message]) -> None:
    empty(shared)
    first = ingest(shared, sent, now=NOW)
    assert first.stored + first.duplicates + first.quarantined == len(sent)
    assert count(shared) == first.stored
    kept = count(shared, "quarantine_events")
    assert (kept > 0) == (first.quarantined > 0)
    assert kept <= first.quarantined
    second = ingest(shared, sent, now=NOW)
    assert (second.stored, second.quarantined) == (0, first.quarantined)
    assert (count(shared), count(shared, "quarantine_events")) == (first.stored, kept)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_stored_metrics_are_those_sent(shared: Engine, metrics: dict[str, Any]) -> None:
    empty(shared)
    if ingest(shared, [message(1, metrics=metrics)]).stored:
        assert same(rows(shared, "SELECT metrics FROM timeseries.telemetry")[0][0], metrics)


def same(found: Any, sent: Any) -> bool:
    """Equal, but that jsonb writes 4e+16 without an exponent, which Python reads as an integer."""
    if isinstance(sent, float):
        return float(found) == sent
    if isinstance(sent, dict):
        return found.keys() == sent.keys() and all(same(found[k], v) for k, v in sent.items())
    if isinstance(sent, list):
        return len(found) == len(sent) and all(map(same, found, sent))
    return type(found) is type(sent) and bool(found == sent)
