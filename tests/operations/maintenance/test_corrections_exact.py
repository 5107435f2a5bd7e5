"""`operations samples correct` computes as decimal numbers do: no digit of an integer is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from database.ingest import DeviceHealth, TagSample, ingest
from operations.cli import app
from tests.database.ingest.conftest import with_devices
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.telemetry import HOUR, NOW, ONE, empty, message, rows

BIG = 2**53 + 1
RANGE = ("--from", (NOW - HOUR).isoformat(), "--to", (NOW + HOUR).isoformat(), "--reason", "wrong")


@pytest.fixture(scope="module")
def database(make_shared_database: MakeDatabase) -> str:
    return make_shared_database(like=with_devices)


@pytest.fixture
def engine(database: str, commands_on: Callable[[str], None]) -> Iterator[Engine]:
    commands_on(database)
    with engine_of(database) as engine:
        empty(engine)
        yield engine


def correct(series: str, subject: str, *arguments: str) -> str:
    given = ["samples", "correct", "tenant-0", series, subject, *RANGE, "--yes", *arguments]
    result = CliRunner().invoke(app, given)
    return " ".join(str(result.exception or result.output).split())


def number(value: object) -> Decimal:
    """What the columns of a tag say, as text."""
    return Decimal(str(value))


def tag(engine: Engine) -> tuple[Any, ...]:
    query = "SELECT v_num::text, v_text, v_bool, v_json::text FROM timeseries.tag_values"
    return tuple(rows(engine, query)[0])


@pytest.mark.parametrize(
    ("sent", "scale", "offset", "num", "json"),
    [
        (1.5, "2", "0", "3", None),
        (2**53 - 1, "3", "0", None, str((2**53 - 1) * 3)),
        (2**53, "1", "1", None, str(2**53 + 1)),
        (BIG, "1", "-1", str(2**53), None),
        (BIG, "1", "2", None, str(BIG + 2)),
        (BIG, "3", str(BIG), None, str(BIG * 4)),
        (-BIG, "0.1", "0", "-900719925474099.2", None),
        (2**70 + 1, "1.000000000000000001", "0", None, "1180591620717411304605.591620717411303425"),
        (10**18, "2", "0", None, str(2 * 10**18)),
        # A double of that size was rounded when it was sent.
        (1.5e20, "3", "1", "4.5e+20", None),
        (0.1, "3", "0.1", "0.4", None),
    ],
)
def test_numbers_of_tags(
    engine: Engine, sent: Any, scale: str, offset: str, num: str | None, json: str | None
) -> None:
    ingest(engine, [TagSample(ONE, 7, NOW, sent)], now=NOW)
    said = correct("tag_values", "7", "--scale", scale, "--offset", offset)
    assert said.endswith("Corrected 1 sample"), said
    found = tag(engine)
    assert found[1:3] == (None, None)
    assert [None if one is None else number(one) for one in (found[0], found[3])] == [
        None if one is None else number(one) for one in (num, json)
    ]


@pytest.mark.parametrize("sent", ["7", True, [2**60], {"a": 1}, None, float("nan")])
def test_what_is_no_number_stays(engine: Engine, sent: Any) -> None:
    ingest(engine, [TagSample(ONE, 7, NOW, sent)], now=NOW)
    before = tag(engine)
    assert correct("tag_values", "7", "--scale", "2").startswith("0 of 1 sample")
    assert tag(engine) == before


def test_metrics_and_columns_of_integers(engine: Engine) -> None:
    sent = [
        message(1, metrics={"t": BIG, "u": 1}, ts=NOW),
        DeviceHealth(ONE, "d1", NOW, uptime_seconds=2**61 + 1, battery_voltage=0.1),
    ]
    ingest(engine, sent, now=NOW)
    exact = ("--scale", "3", "--offset", str(BIG))
    assert correct("telemetry", "d1", "--metric", "t", *exact).endswith("Corrected 1 sample")
    assert correct("device_health_telemetry", "d1", "--metric", "uptime_seconds", *exact).endswith(
        "Corrected 1 sample"
    )
    found = rows(engine, "SELECT metrics ->> 't' FROM timeseries.telemetry")
    assert found == [(str(BIG * 4),)]
    found = rows(engine, "SELECT uptime_seconds FROM timeseries.device_health_telemetry")
    assert found == [((2**61 + 1) * 3 + BIG,)]
    found = rows(engine, "SELECT (state -> 't')::text FROM device_state")
    assert found == [(str(BIG * 4),)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--set", "1e400"),
            "--set: expected JSON, as in 21.5, true, '\"off\"' or null, found '1e400'",
        ),
        (("--scale", "1e400"), "out of range"),
        (("--scale", "1e200000"), "overflow"),
    ],
)
@pytest.mark.parametrize("sent", [3, BIG])
def test_what_no_reader_could_hold_is_refused(
    engine: Engine, arguments: tuple[str, ...], said: str, sent: int
) -> None:
    ingest(engine, [message(1, metrics={"t": sent}, ts=NOW), TagSample(ONE, 7, NOW, sent)], now=NOW)
    assert said in correct("telemetry", "d1", "--metric", "t", *arguments)
    assert said in correct("tag_values", "7", *arguments)
