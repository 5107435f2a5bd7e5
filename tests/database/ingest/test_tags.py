"""Samples of tags: four types of values, and later ones that correct earlier ones."""

from __future__ import annotations

import datetime
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, NullPool
from sqlalchemy.exc import ProgrammingError

from database.engine import make_engine
from database.ingest import Ingested, TagSample, ingest
from tests.support.telemetry import (
    CONNECTION,
    FORMER,
    GONE,
    HOUR,
    NOW,
    ONE,
    OTHERS_CONNECTION,
    count,
    empty,
    message,
    quarantine,
    rows,
)

SECOND = datetime.timedelta(seconds=1)
DAY = 24 * HOUR
ELSEWHERE = datetime.timezone(datetime.timedelta(hours=5.5))


def sample(value: Any = 1.5, number: int = 0, **changes: Any) -> TagSample:
    return replace(TagSample(ONE, 7, NOW - number * SECOND, value), **changes)


def values(engine: Engine) -> dict[tuple[int, Any], Any]:
    found = rows(engine, "SELECT * FROM timeseries.tag_values")
    return {
        (row.tag_id, row.ts): next(
            (v for v in (row.v_num, row.v_text, row.v_bool, row.v_json) if v is not None), None
        )
        for row in found
    }


@pytest.mark.parametrize(
    ("value", "column"),
    [
        (1.5, "v_num"),
        (-7, "v_num"),
        (2**53, "v_num"),
        (float("inf"), "v_num"),
        (float("-inf"), "v_num"),
        (2**53 + 1, "v_json"),
        (-(2**63), "v_json"),
        (10**30, "v_json"),
        (10**308, "v_json"),
        ("", "v_text"),
        ("a\t\\N\nü", "v_text"),
        (True, "v_bool"),
        (False, "v_bool"),
        ([1, {"a": None}], "v_json"),
        ({"x": 2**60}, "v_json"),
    ],
)
def test_each_value_is_read_as_it_was_sent(shared: Engine, value: Any, column: str) -> None:
    sent = [sample(value, quality=0), sample(value, quality=0)]
    assert ingest(shared, sent, now=NOW) == Ingested(1, 1, 0)
    (row,) = rows(shared, "SELECT * FROM timeseries.tag_values")
    kept = {name: getattr(row, name) for name in ("v_num", "v_text", "v_bool", "v_json")}
    assert kept == {**dict.fromkeys(kept), column: value}
    assert (row.quality, row.connection_id) == (0, CONNECTION)
    assert ingest(shared, sent, now=NOW) == Ingested(0, 2, 0)


def test_no_value_and_no_number(shared: Engine) -> None:
    sent = [sample(None, quality=2**31), sample(float("nan"), 1, connection_id=str(FORMER))]
    assert ingest(shared, sent, now=NOW) == Ingested(2, 0, 0)
    bad, nan = rows(shared, "SELECT *, to_hex(quality) FROM timeseries.tag_values ORDER BY ts DESC")
    assert (bad.v_num, bad.quality, bad.to_hex) == (None, -(2**31), "80000000")
    assert (str(nan.v_num), nan.connection_id) == ("nan", FORMER)
    assert ingest(shared, sent, now=NOW) == Ingested(0, 2, 0)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "tenant": ({"tenant_id": "x"}, "bad_tenant_id"),
    "deleted tenant": ({"tenant_id": GONE}, "unknown_tenant"),
    "tag as text": ({"tag_id": "7"}, "bad_tag_id"),
    "tag as truth": ({"tag_id": True}, "bad_tag_id"),
    "tag as float": ({"tag_id": 7.0}, "bad_tag_id"),
    "tag too large": ({"tag_id": 2**63}, "bad_tag_id"),
    "no such tag": ({"tag_id": 70}, "unknown_tag"),
    "deleted tag": ({"tag_id": 9}, "unknown_tag"),
    "tag of another tenant": ({"tag_id": 17}, "unknown_tag"),
    "source": ({"connection_id": 1}, "bad_connection_id"),
    "no such source": ({"connection_id": uuid.UUID(int=1)}, "unknown_connection"),
    "source of another tenant": ({"connection_id": OTHERS_CONNECTION}, "unknown_connection"),
    "time": ({"ts": 7}, "bad_ts"),
    "future": ({"ts": NOW + 2 * DAY}, "future_ts"),
    "expired": ({"ts": NOW - 31 * DAY}, "expired_ts"),
    "quality": ({"quality": 2**32}, "bad_quality"),
    "quality below": ({"quality": -(2**31) - 1}, "bad_quality"),
    "quality as text": ({"quality": "good"}, "bad_quality"),
    "NUL": ({"value": "\0"}, "bad_value"),
    "surrogate": ({"value": "\udfff"}, "bad_value"),
    "bytes": ({"value": b"1"}, "bad_value"),
    "NaN in JSON": ({"value": [float("nan")]}, "bad_value"),
    "name no text": ({"value": {1: 2}}, "bad_value"),
    "endless number": ({"value": 10**5000}, "bad_value"),
    "no double": ({"value": -(10**309)}, "bad_value"),
    "too long written out": ({"value": [1e308] * 9000}, "bad_value"),
    "too long": ({"value": "x" * 70_000}, "bad_value"),
    "an object": ({"value": object()}, "bad_value"),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_bad_sample_costs_only_itself(
    shared: Engine, changes: dict[str, Any], reason: str
) -> None:
    good, bad = [sample(n, n) for n in range(5)], replace(sample(0, 9), **changes)
    assert ingest(shared, [*good[:2], bad, *good[2:], message(1)], now=NOW) == Ingested(6, 0, 1)
    assert ingest(shared, [bad, *good], now=NOW) == Ingested(0, 5, 1)
    (kept,) = quarantine(shared)
    assert (kept.reason, kept.msg_type) == (reason, "tag_values")


def test_equal_ids_of_other_types_are_told_apart(shared: Engine) -> None:
    with shared.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO tag_metadata (tenant_id, connection_id, tag_id, driver_type, tag_path)"
            " VALUES (%s, %s, 1, 's7', 'one') ON CONFLICT DO NOTHING",
            (ONE, CONNECTION),
        )
    ids = (True, 1, 1.0, True, 1)
    sent = [sample(n, n, tag_id=tag) for n, tag in enumerate(ids)]
    for order in (sent, sent[::-1], sent[1:], sent[2:]):
        empty(shared)
        good = sum(type(one.tag_id) is int for one in order)
        assert ingest(shared, order, now=NOW) == Ingested(good, 0, len(order) - good)


def test_a_later_value_corrects_the_earlier_one(shared: Engine) -> None:
    assert ingest(shared, [sample(1), sample(2, 1)], now=NOW) == Ingested(2, 0, 0)
    sent = [sample("off"), sample(2, 1), sample(3, 2)]
    assert ingest(shared, sent, now=NOW) == Ingested(1, 1, 0, 1)
    assert values(shared) == {
        (7, NOW): "off",
        (7, NOW - SECOND): 2,
        (7, NOW - 2 * SECOND): 3,
    }
    before = rows(shared, "SELECT xmin, ctid, * FROM timeseries.tag_values ORDER BY ts")
    moved = [replace(one, connection_id=FORMER) for one in sent]
    assert ingest(shared, moved, now=NOW) == Ingested(0, 3, 0), "the same values"
    assert rows(shared, "SELECT xmin, ctid, * FROM timeseries.tag_values ORDER BY ts") == before
    assert ingest(shared, [sample("off", quality=5)], now=NOW) == Ingested(0, 0, 0, 1)
    assert ingest(shared, [sample(None)], now=NOW) == Ingested(0, 0, 0, 1)


def test_of_two_in_a_batch_the_later_counts(shared: Engine) -> None:
    same = NOW.astimezone(ELSEWHERE).isoformat()
    sent = [sample(1), sample(2, ts=same), sample(3), sample(9, 1)]
    assert ingest(shared, sent, now=NOW) == Ingested(2, 2, 0)
    assert values(shared)[7, NOW] == 3
    assert ingest(shared, sent, now=NOW) == Ingested(0, 4, 0)
    assert ingest(shared, [sample(4), sample(5)], now=NOW) == Ingested(0, 1, 0, 1)
    assert values(shared)[7, NOW] == 5


def test_where_the_later_is_refused_the_one_before_it_counts(shared: Engine) -> None:
    with shared.begin() as connection:
        connection.exec_driver_sql(
            "ALTER TABLE timeseries.tag_values ADD CONSTRAINT odd CHECK (v_num <> 13) NOT VALID"
        )
    try:
        sent = [sample(n, n) for n in range(20)]  # 13 is refused, and nothing stands for it
        sent += [sample(1, 30), sample(2, 30), sample(13, 30)]
        sent += [sample(1, 31), sample(13, 31), sample(2, 31)]
        assert ingest(shared, sent, now=NOW) == Ingested(21, 3, 2)
        assert values(shared)[7, NOW - 30 * SECOND] == 2
        assert values(shared)[7, NOW - 31 * SECOND] == 2
        again = ingest(shared, sent, now=NOW)
        assert (again.stored, again.corrected, again.quarantined) == (0, 0, 2)
    finally:
        with shared.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE timeseries.tag_values DROP CONSTRAINT odd")


def test_the_ingest_corrects_and_neither_reads_nor_changes(engine: Engine, login: Any) -> None:
    own = make_engine(login("fleet_ingest"), poolclass=NullPool)
    assert ingest(own, [sample(1)], now=NOW) == Ingested(1, 0, 0)
    assert ingest(own, [sample(2)], now=NOW) == Ingested(0, 0, 0, 1)
    for statement in (
        "SELECT ts FROM timeseries.tag_values",
        "UPDATE timeseries.tag_values SET v_num = 1",
        "DELETE FROM timeseries.tag_values",
        "SELECT tag_path FROM tag_metadata",
    ):
        with own.connect() as connection, pytest.raises(ProgrammingError, match="denied"):
            connection.exec_driver_sql(statement)
    # The function stores nothing that was not there.
    with own.begin() as connection:
        corrected = connection.exec_driver_sql(
            "SELECT correct_tag_values(%s, %s, %s, %s, '{9}', '{NULL}', '{NULL}', '{NULL}', '{0}')",
            ([uuid.UUID(int=77)], [70], [CONNECTION], [NOW - 400 * DAY]),
        ).scalar_one()
    assert (corrected, count(engine, "tag_values")) == (0, 1)
    for role in ("fleet_app", "fleet_auth", "fleet_operator"):
        allowed = rows(
            engine,
            "SELECT has_function_privilege(:role, oid, 'execute') FROM pg_proc"
            " WHERE proname = 'correct_tag_values'",
            role=role,
        )
        assert [tuple(row) for row in allowed] == [(False,)], role


def test_corrections_from_two_sides_at_once(engine: Engine) -> None:
    def batch(value: int) -> list[TagSample]:
        return [sample(value, n, tag_id=7 + n % 2) for n in range(2000)]

    ingest(engine, batch(0)[::3], now=NOW)
    gate = threading.Barrier(2)

    def deliver(sent: list[TagSample]) -> Ingested:
        gate.wait()
        return ingest(engine, sent, now=NOW)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(deliver, [batch(1), batch(2)[::-1]]))
    assert sum(one.stored for one in results) == count(engine, "tag_values") - 667 == 1333
    assert all(one.stored + one.duplicates + one.corrected == 2000 for one in results)
    assert len(set(values(engine).values())) == 1, "of the one that came last, whole"


SENT = st.tuples(
    st.sampled_from([7, 8]),
    st.integers(0, 3),
    st.sampled_from([None, 1, 1.5, True, "1", [1], 2**60, float("inf")]),
    st.sampled_from([None, 0, 2**32 - 1]),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(SENT, max_size=6), max_size=5))
def test_in_any_order_the_latest_value_stands(shared: Engine, batches: Any) -> None:
    empty(shared)
    expected: dict[Any, Any] = {}
    for batch in batches:
        before = dict(expected)
        sent = []
        for tag, second, value, quality in batch:
            expected[tag, second] = repr(value), quality
            sent.append(sample(value, second, tag_id=tag, quality=quality))
        new = len(expected) - len(before)
        changed = sum(before[key] != expected[key] for key in before)
        found = ingest(shared, sent, now=NOW)
        assert found == Ingested(new, len(sent) - new - changed, 0, changed)
        assert ingest(shared, sent, now=NOW) == Ingested(0, len(sent), 0)
    assert len(values(shared)) == len(expected)
    for (tag, second), (value, _) in expected.items():
        found_value = values(shared)[tag, NOW - second * SECOND]
        assert repr(found_value) == value or found_value == float(value)


def compress(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "SELECT compress_chunk(c) FROM show_chunks('timeseries.tag_values') c"
        )


def untouched(engine: Engine) -> bool:
    """Whether no compressed chunk has rows outside the columnstore."""
    chunks = rows(
        engine,
        "SELECT format('%I.%I', schema_name, table_name) FROM _timescaledb_catalog.chunk"
        " WHERE status & 1 = 1",
    )
    assert chunks
    return all(rows(engine, f"SELECT count(*) FROM ONLY {one[0]}")[0][0] == 0 for one in chunks)


@pytest.mark.timescaledb
def test_corrections_in_compressed_chunks(community: Engine) -> None:
    old = NOW - 20 * DAY

    def batch(change: float, *numbers: int) -> list[TagSample]:
        return [
            sample(n + change, ts=old + n * 60 * SECOND, tag_id=7 + n % 2, quality=0)
            for n in numbers
        ]

    everything = range(3000)
    assert ingest(community, batch(0, *everything)).stored == 3000
    compress(community)
    assert ingest(community, batch(0, *everything)) == Ingested(0, 3000, 0)
    assert untouched(community), "the same values rewrite nothing"
    sent = [*batch(0, *range(100)), *batch(1, 5, 2000), *batch(0.5, 5), *batch(2, 3000)]
    assert ingest(community, sent) == Ingested(1, 101, 0, 2)
    assert ingest(community, sent) == Ingested(0, len(sent), 0)
    compress(community)
    assert ingest(community, [*sent, *batch(0, *everything[6:2000])]).corrected == 0
    assert untouched(community)
    found = rows(
        community,
        "SELECT ts, v_num FROM timeseries.tag_values"
        " WHERE v_num <> round(extract(epoch FROM ts - :old) / 60) ORDER BY ts",
        old=old,
    )
    assert [row.v_num for row in found] == [5.5, 2001, 3002]
    assert count(community, "tag_values") == 3001


@pytest.mark.timescaledb
def test_a_correction_reaches_the_rollup(community: Engine) -> None:
    hour = (NOW - 10 * DAY).replace(minute=0, second=0, microsecond=0)
    sent = [sample(n, ts=hour + n * SECOND) for n in range(10)]
    ingest(community, sent)
    refresh = (
        "CALL refresh_continuous_aggregate('timeseries.tag_values_hourly', %s::timestamptz,"
        " %s::timestamptz)"
    )
    with community.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(refresh, (hour, hour + HOUR))
        compress(community)
        ingest(community, [replace(sent[3], value=103)])
        connection.exec_driver_sql(refresh, (hour, hour + HOUR))
    (row,) = rows(community, "SELECT avg, max, count FROM timeseries.tag_values_hourly")
    assert tuple(row) == (14.5, 103, 10)
