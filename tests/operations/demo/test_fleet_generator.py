"""Made-up fleets: the same in every run, with exactly the requested defects."""

from __future__ import annotations

import datetime
import itertools
import uuid
from collections import Counter
from typing import Any

import pytest

from database.ingest import Message
from operations.demo.fleet_generator import KINDS, Defects, expected, fleet, readings

TENANT = uuid.UUID(int=1)
START = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
NONE = Defects(**dict.fromkeys(Defects.__dataclass_fields__, 0.0))
DEVICES = fleet(TENANT, 20)


def sent(days: int = 2, first: int = 0, **options: Any) -> list[Message]:
    begin = START + first * DAY
    return list(
        itertools.chain.from_iterable(readings(DEVICES, begin, begin + days * DAY, **options))
    )


def key(message: Message) -> tuple[Any, ...]:
    return message.device_id, message.ts


def test_without_defects_every_device_reports_in_order() -> None:
    messages = sent(defects=NONE)
    assert len(messages) == 20 * 2 * 96
    assert len(messages) == expected(
        DEVICES, START, START + 2 * DAY, datetime.timedelta(minutes=15)
    )
    assert len(set(map(key, messages))) == len(messages)
    assert [m.ts for m in messages] == sorted(m.ts for m in messages)
    assert {tuple(m.metrics) for m in messages} == set(KINDS.values())


def test_the_same_day_is_the_same_in_every_window() -> None:
    week = sent(3)
    assert week == sent(3)
    assert week != sent(3, seed=1)

    def of_second_day(messages: list[Message]) -> list[Message]:
        chosen = [m for m in messages if m.received_at and m.received_at >= START + DAY]
        in_day = [m for m in chosen if isinstance(m.ts, datetime.datetime) and m.ts >= START + DAY]
        return sorted(in_day, key=lambda m: (*map(str, key(m)), m.received_at))

    assert of_second_day(week) == of_second_day(sent(2, first=1))


def test_batches_have_the_requested_size() -> None:
    sizes = [len(batch) for batch in readings(DEVICES, START, START + DAY, batch=100)]
    assert set(sizes[:-1]) == {100}
    assert 0 < sizes[-1] <= 100


def only(**share: float) -> list[Message]:
    return sent(defects=Defects(**{**vars(NONE), **share}))


@pytest.mark.parametrize("defect", ["missing", "outages"])
def test_readings_go_missing(defect: str) -> None:
    assert 0.6 * 3840 < len(only(**{defect: 0.2 if defect == "missing" else 1.0})) < 3840


@pytest.mark.parametrize(("defect", "least"), [("late", 3600), ("out_of_order", 900)])
def test_readings_arrive_out_of_order(defect: str, least: int) -> None:
    messages = only(**{defect: 0.1})
    assert len(set(map(key, messages))) == len(messages) == 3840
    delayed = [(m.received_at - m.ts).total_seconds() for m in messages if m.received_at != m.ts]
    assert 200 < len(delayed) < 600
    assert min(delayed) == least
    assert [m.received_at for m in messages] == sorted(m.received_at for m in messages)


def test_readings_are_zero_or_come_twice_or_are_malformed() -> None:
    zero = only(zero=0.1)
    assert 200 < sum(set(m.metrics.values()) == {0} for m in zero) < 600
    twice = Counter(map(key, only(duplicate=0.1)))
    assert 200 < sum(times == 2 for times in twice.values()) < 600
    assert set(twice.values()) == {1, 2}
    bad = only(malformed=0.1)
    assert sum(m.metrics is None for m in bad) > 20
    assert sum("unknown" in m.device_id for m in bad) > 20
    assert sum(m.ts == "yesterday" for m in bad) > 20


def test_values_look_real() -> None:
    by_metric: dict[str, list[float]] = {}
    for message in sent(7, defects=NONE):
        if message.device_id == "device-00003":
            for name, value in message.metrics.items():
                by_metric.setdefault(name, []).append(value)
        for name, value in message.metrics.items():
            if name.endswith("_pct"):
                assert 0 <= value <= 100
    energy = by_metric["energy_kwh"]
    assert energy == sorted(energy), "a counter never goes back"
    assert len(set(by_metric["signal_rssi"])) > 3
