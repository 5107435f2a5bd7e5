"""Which value of a metric is the newest, whatever the order in which messages are delivered."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from database.ingest import Message, ingest
from database.tenancy import tenant_transaction
from tests.database.ingest.test_columnstore import compress
from tests.support.telemetry import HOUR, NOW, ONE, empty, message, newest, rows

START = NOW - 30 * HOUR
SECOND = datetime.timedelta(seconds=1)


def test_of_one_moment_the_highest_seq_counts_in_any_order(shared: Engine) -> None:
    for seq in (2, 7, 4):
        ingest(shared, [message(1, ts=NOW, seq=seq, metrics={"t": seq, f"only{seq}": seq})])
    assert newest(shared) == {
        ("d1", "t"): (7, NOW),
        **{("d1", f"only{seq}"): (seq, NOW) for seq in (2, 7, 4)},
    }


def test_of_one_moment_and_seq_the_last_type_counts_in_any_order(shared: Engine) -> None:
    kinds = ("b", "B", "ä", "a")
    for kind in kinds:
        ingest(shared, [message(1, ts=NOW, msg_type=kind, metrics={"t": kind})])
    ingest(shared, [message(2, ts=NOW, msg_type=kind, metrics={"t": kind}) for kind in kinds])
    assert newest(shared) == {("d1", "t"): ("ä", NOW), ("d2", "t"): ("ä", NOW)}


def test_a_value_of_a_duplicate_is_not_the_newest(shared: Engine) -> None:
    ingest(shared, [message(1, ts=NOW, metrics={"t": 1, "old": 1})])
    ingest(shared, [message(1, ts=NOW - HOUR, metrics={"late": 1})])
    done = ingest(
        shared,
        [message(1, ts=NOW, metrics={"t": 2, "invented": 2}), message(2, metrics={"t": 3})],
    )
    assert (done.stored, done.duplicates) == (1, 1)
    assert {name: value for name, (value, _) in newest(shared).items()} == {
        ("d1", "t"): 1,
        ("d1", "old"): 1,
        ("d1", "late"): 1,
        ("d2", "t"): 3,
    }
    assert not rows(shared, "SELECT FROM device_sensors WHERE metric_key = 'invented'")


@pytest.mark.timescaledb
def test_what_is_stored_counts_in_compressed_chunks_too(community: Engine) -> None:
    old = NOW - 20 * 24 * HOUR
    ingest(community, [message(n, device_id="d1", ts=old + n * HOUR, seq=3) for n in range(40)])
    assert compress(community) > 0
    last = old + 39 * HOUR
    for seq, value in ((3, "duplicate"), (2, "lower"), (4, "higher")):
        sent = [
            message(1, ts=last, seq=seq, metrics={"t": value}),
            message(1, ts=old, seq=9 + seq, metrics={"t": "late"}),
        ]
        ingest(community, sent)
        assert newest(community)["d1", "t"] == ("higher" if seq == 4 else 39.5, last)


@dataclass
class Model:
    """What is stored, and what is the newest of it."""

    stored: dict[tuple[str, Any, int], dict[str, int]] = field(default_factory=dict)

    def take(self, one: Any, ts: Any) -> None:
        self.stored.setdefault((one.device_id, ts, one.seq), one.metrics)

    def newest(self) -> dict[tuple[str, str], tuple[int, Any]]:
        return {
            (device, name): (value, ts)
            for (device, ts, _), metrics in sorted(self.stored.items(), key=lambda kept: kept[0])
            for name, value in metrics.items()
        }


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, None, "d0", "d1"]),
            st.lists(
                st.tuples(
                    st.integers(0, 1),
                    st.integers(0, 4),
                    st.integers(0, 2),
                    st.sets(st.sampled_from("abc")),
                    st.booleans(),
                ),
                max_size=5,
            ),
        ),
        max_size=5,
    )
)
def test_the_newest_of_each_metric_is_known_in_any_order(shared: Engine, batches: Any) -> None:
    """Also where another transaction holds the state of a device meanwhile."""
    empty(shared)
    model, numbers = Model(), itertools.count()
    for held, batch in batches:
        sent = []
        for device, second, seq, names, as_text in batch:
            ts = START + second * HOUR
            one = Message(
                str(ONE).upper() if as_text else ONE,
                f"d{device}",
                ts.isoformat() if as_text else ts,
                dict.fromkeys(sorted(names), next(numbers)),
                seq=seq,
            )
            sent.append((one, ts))
        spelled = [(one.tenant_id, one.device_id) for one, _ in sent]
        # The messages of a device that is named in one way come together.
        for one, ts in sorted(sent, key=lambda x: spelled.index((x[0].tenant_id, x[0].device_id))):
            model.take(one, ts)
        with holding(shared, held):
            ingest(shared, [one for one, _ in sent], now=NOW)
    ingest(shared, [message(9, metrics={})], now=NOW)
    assert newest(shared) == model.newest()
    with tenant_transaction(shared, ONE) as connection:
        sensors = connection.exec_driver_sql("SELECT device_id, metric_key FROM device_sensors")
        assert set(map(tuple, sensors)) == model.newest().keys()
    assert rows(shared, "SELECT FROM device_state_backlog") == []


@contextmanager
def holding(engine: Engine, device: str | None) -> Iterator[None]:
    """Meanwhile a transaction holds the row of a device, or what would become its row."""
    with engine.connect() as connection, connection.begin() as transaction:
        if device is not None:
            connection.exec_driver_sql(
                "SELECT FROM device_registry WHERE tenant_id = %s AND device_id = %s FOR UPDATE",
                (ONE, device),
            )
            connection.exec_driver_sql(
                "SELECT FROM device_state WHERE tenant_id = %s AND device_id = %s FOR UPDATE",
                (ONE, device),
            )
        yield
        transaction.rollback()


@pytest.mark.parametrize(
    ("stored", "sent", "expected"),
    [
        ([(20, 0, {"b": 5})], [(10, 0, {"a": 1}), (20, 0, {"a": 2})], {"a": 1, "b": 5}),
        ([(20, 5, {"b": 5})], [(20, 3, {"a": 1}), (20, 5, {"a": 2})], {"a": 1, "b": 5}),
        (
            [(20, 0, {"b": 5}), (30, 0, {"c": 1})],
            [(10, 0, {"a": 1}), (20, 0, {"a": 2}), (30, 0, {"a": 3, "b": 6})],
            {"a": 1, "b": 5, "c": 1},
        ),
    ],
)
def test_a_duplicate_hides_no_older_value(
    shared: Engine, stored: Any, sent: Any, expected: dict[str, int]
) -> None:
    """A message with the key of one that is stored, and other content, changes nothing."""
    for batch in (stored, sent):
        ingest(
            shared,
            [
                message(1, ts=START + second * SECOND, seq=seq, metrics=metrics)
                for second, seq, metrics in batch
            ],
            now=NOW,
        )
    assert {name: value for (_, name), (value, _) in newest(shared).items()} == expected
