"""The command `operations samples correct`, and what `device_state` says after both commands."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from database.ingest import DeviceHealth, EndpointCheck, TagSample, ingest
from models.shared.metrics import Metric
from models.telemetry import metric_columns
from operations.cli import app
from operations.maintenance import corrections, device_states
from tests.database.ingest.conftest import with_devices
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.late_data import buckets, differences, rolled_up_tags
from tests.support.servers import DatabaseServer
from tests.support.telemetry import ENDPOINT, HOUR, NOW, ONE, message, rows
from tests.support.time_series import ACME, GLOBEX, alone, make_tenants, migrate, scalar, stop_jobs

MINUTE = datetime.timedelta(minutes=1)
START, END = NOW - 2 * HOUR, NOW + HOUR
RANGE = ("--from", START.isoformat(), "--to", END.isoformat())


def invoke(command: str, *arguments: str) -> str:
    """Output or error of the command, in one line."""
    result = CliRunner().invoke(app, ["samples", command, *arguments, "--reason", "was wrong"])
    return " ".join(str(result.exception or result.output).split())


@pytest.fixture
def engine(make_database: MakeDatabase, commands_on: Callable[[str], None]) -> Iterator[Engine]:
    database = make_database(like=with_devices)
    commands_on(database)
    with engine_of(database) as engine:
        yield engine


@pytest.fixture
def correct(engine: Engine) -> Callable[..., str]:
    def run(series: str, subject: str, *arguments: str) -> str:
        return invoke("correct", "tenant-0", series, subject, *RANGE, "--yes", *arguments)

    return run


def metrics(engine: Engine) -> list[Any]:
    found = rows(engine, "SELECT metrics FROM timeseries.telemetry ORDER BY ts, seq")
    return [row.metrics for row in found]


def state(engine: Engine) -> dict[str, tuple[Any, datetime.datetime]]:
    found = rows(engine, "SELECT metric, value, ts FROM device_metrics WHERE device_id = 'd1'")
    return {row.metric: (row.value, row.ts) for row in found}


def at(minutes: int, seq: int = 0, **values: Any) -> Any:
    return message(1, ts=NOW - minutes * MINUTE, seq=seq, metrics=values)


def test_numbers_of_messages_are_scaled_and_the_rest_stays(
    engine: Engine, correct: Callable[..., str]
) -> None:
    others = [message(2, metrics={"t": 5}), at(200, t=5)]
    sent = [at(40, t=20.5, u=1), at(30, t="off"), at(20, t=2**60), at(10, u=2), at(5, t=0, u=3)]
    ingest(engine, [*others, *sent], now=NOW)
    arguments = ("telemetry", "d1", "--metric", "t", "--scale", "1.8", "--offset", "32")
    assert correct(*arguments, "--dry-run").startswith(
        f"3 of 5 samples, 0 to {2**60}, which become 32 to 2075258708292324588.8: telemetry of d1"
    )
    assert metrics(engine)[1]["t"] == 20.5
    assert correct(*arguments).endswith("Corrected 3 samples")
    exact = rows(
        engine,
        "SELECT metrics ->> 't' AS t FROM timeseries.telemetry WHERE device_id='d1' ORDER BY ts",
    )
    assert [row[0] for row in exact] == ["5", "68.9", "off", "2075258708292324588.8", None, "32"]
    assert state(engine) == {"t": (32, NOW - 5 * MINUTE), "u": (3, NOW - 5 * MINUTE)}
    (audit,) = rows(engine, "SELECT action, reason, resource_id FROM operator_audit_log")
    assert tuple(audit)[:2] == ("samples.correct", "was wrong")
    assert audit.resource_id.endswith("UTC: t times 1.8 plus 32")


def test_a_value_is_set_or_taken_away(engine: Engine, correct: Callable[..., str]) -> None:
    ingest(engine, [at(40, t=1, u=1), at(30, t="x"), at(20, u=2)], now=NOW)
    assert correct("telemetry", "d1", "--metric", "t", "--set", '"off"').endswith(
        "Corrected 2 samples"
    )
    assert correct("telemetry", "d1", "--metric", "t", "--set", '"off"').startswith("0 of 3")
    assert state(engine)["t"] == ("off", NOW - 30 * MINUTE)
    correct("telemetry", "d1", "--metric", "t", "--set", "null")
    assert metrics(engine) == [{"u": 1}, {}, {"u": 2}]
    assert state(engine) == {"u": (2, NOW - 20 * MINUTE)}


def test_the_newest_that_remains_is_in_the_state(engine: Engine) -> None:
    ingest(engine, [at(300, t=1, u=1), at(200, t=2), at(30, t=3, w=3)], now=NOW)
    ingest(engine, [at(20, t=4), at(20, seq=1, t=5)], now=NOW)
    before = rows(engine, "SELECT status, last_seen_at FROM device_state")
    last = ("--from", (NOW - 25 * MINUTE).isoformat(), "--to", END.isoformat())
    assert invoke("delete", "tenant-0", "telemetry", "d1", *last, "--yes").endswith("2 samples")
    assert state(engine) == {
        "t": (3, NOW - 30 * MINUTE),
        "u": (1, NOW - 300 * MINUTE),
        "w": (3, NOW - 30 * MINUTE),
    }
    invoke("delete", "tenant-0", "telemetry", "d1", *RANGE, "--yes")
    assert state(engine) == {"t": (2, NOW - 200 * MINUTE), "u": (1, NOW - 300 * MINUTE)}
    telemetry = rows(engine, "SELECT last_telemetry_at FROM device_state")
    assert telemetry[0][0] == NOW - 200 * MINUTE
    assert rows(engine, "SELECT status, last_seen_at FROM device_state") == before
    # A batch that comes then is judged by what remains.
    ingest(engine, [at(100, t=9), at(250, u=9)], now=NOW)
    assert state(engine) == {"t": (9, NOW - 100 * MINUTE), "u": (9, NOW - 250 * MINUTE)}
    everything = ("--from", "2000-01-01", "--to", END.isoformat())
    invoke("delete", "tenant-0", "telemetry", "d1", *everything, "--yes")
    assert state(engine) == {}


def test_what_had_no_message_before_stays_in_the_state(
    engine: Engine, correct: Callable[..., str]
) -> None:
    """Retention takes messages, but not what is known of a device."""
    ingest(engine, [at(40, t=1, u=1, w=1), at(30, t=2, v=2), at(20, t=3, w=3)], now=NOW)
    kept = {"u": (1, NOW - 40 * MINUTE), "v": (2, NOW - 30 * MINUTE), "w": (3, NOW - 20 * MINUTE)}
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "DELETE FROM timeseries.telemetry WHERE ts IN (%s, %s)",
            (NOW - 40 * MINUTE, NOW - 20 * MINUTE),
        )
    newest = "SELECT last_telemetry_at FROM device_state"
    correct("telemetry", "d1", "--metric", "t", "--scale", "10")
    assert state(engine) == kept | {"t": (3, NOW - 20 * MINUTE)}
    assert rows(engine, newest) == [(NOW - 20 * MINUTE,)]
    correct("telemetry", "d1", "--metric", "v", "--scale", "10")
    kept["v"] = (20, NOW - 30 * MINUTE)
    assert state(engine) == kept | {"t": (3, NOW - 20 * MINUTE)}
    invoke("delete", "tenant-0", "telemetry", "d1", *RANGE, "--yes")
    del kept["v"]
    assert state(engine) == kept | {"t": (3, NOW - 20 * MINUTE)}
    assert rows(engine, newest) == [(NOW - 20 * MINUTE,)]


def test_only_the_metric_that_is_corrected_is_read_anew(
    engine: Engine, correct: Callable[..., str]
) -> None:
    ingest(engine, [at(40, t=1, u=1), at(30, t=2, u=2)], now=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
        connection.exec_driver_sql("UPDATE device_state SET state = state || '{\"u\": 7}'")
    correct("telemetry", "d1", "--metric", "t", "--set", "null")
    assert state(engine) == {"u": (7, NOW - 30 * MINUTE)}


def test_the_newest_telemetry_is_the_newest_that_is_known(engine: Engine) -> None:
    ingest(engine, [at(40, t=1), at(30, u=2), at(20, u=3)], now=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "DELETE FROM timeseries.telemetry WHERE ts = %s", (NOW - 40 * MINUTE,)
        )
    invoke("delete", "tenant-0", "telemetry", "d1", *RANGE, "--yes")
    assert state(engine) == {"t": (1, NOW - 40 * MINUTE)}
    assert rows(engine, "SELECT last_telemetry_at FROM device_state") == [(NOW - 40 * MINUTE,)]


def test_declared_metrics_stay_in_their_columns_where_they_fit(
    engine: Engine, correct: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = (Metric("speed", "double precision"), Metric("load", "integer"))
    monkeypatch.setattr(corrections, "METRICS", declared)
    monkeypatch.setattr(device_states, "METRICS", declared)
    with engine.begin() as connection:
        run = connection.exec_driver_sql
        run(
            "CREATE FUNCTION fitting_value(value jsonb, type text) RETURNS text LANGUAGE sql"
            f" IMMUTABLE {metric_columns._FITTING}"
        )
        run("ALTER TABLE timeseries.telemetry ADD speed double precision, ADD load integer")
        for minutes, speed, load, left in (
            (9, 0.1, None, {"x": 1}),
            (8, None, 4, {"speed": "fast"}),
            (7, None, 5, {"speed": 2**60 + 1}),
        ):
            run(
                "INSERT INTO timeseries.telemetry (tenant_id, device_id, ts, metrics, speed, load)"
                " VALUES (%s, 'd1', %s, %s, %s, %s)",
                (ONE, NOW - minutes * MINUTE, json.dumps(left), speed, load),
            )

    def stored() -> list[Any]:
        query = "SELECT metrics, speed, load FROM timeseries.telemetry ORDER BY ts"
        return [tuple(row) for row in rows(engine, query)]

    correct("telemetry", "d1", "--metric", "speed", "--scale", "0.1")
    correct("telemetry", "d1", "--metric", "load", "--scale", "0.5")
    assert stored() == [
        ({"x": 1}, 0.01, None),
        ({"speed": "fast"}, None, 2),
        ({"load": 2.5, "speed": (2**60 + 1) / 10}, None, None),
    ]
    correct("telemetry", "d1", "--metric", "load", "--set", "7")
    correct("telemetry", "d1", "--metric", "speed", "--set", "null")
    assert stored() == [({"x": 1}, None, None), ({}, None, 7), ({}, None, 7)]


def test_other_series_and_mistakes(engine: Engine, correct: Callable[..., str]) -> None:
    sent = [
        DeviceHealth(ONE, "d1", NOW, rssi=-70, battery_voltage=3.5, charging=True),
        DeviceHealth(ONE, "d1", NOW - MINUTE, battery_voltage=float("nan")),
        EndpointCheck(ONE, ENDPOINT, NOW, True, 200, 12.5),
        *(TagSample(ONE, 7, NOW - n * MINUTE, v) for n, v in enumerate((1, "x", True, 2**60))),
    ]
    assert ingest(engine, sent, now=NOW).stored == len(sent)
    health, check = ("device_health_telemetry", "d1"), ("health_checks", str(ENDPOINT))
    for arguments, corrected in (
        ((*health, "--metric", "battery_voltage", "--offset", "0.1"), 1),
        ((*health, "--metric", "rssi", "--offset", "-5"), 1),
        ((*health, "--metric", "charging", "--set", "false"), 1),
        ((*check, "--metric", "response_ms", "--set", "null"), 1),
        (("tag_values", "7", "--scale", "2"), 2),
        (("tag_values", "8", "--scale", "2"), 0),
    ):
        found = correct(*arguments)
        said = f"Corrected {corrected} sample{'' if corrected == 1 else 's'}"
        assert found.endswith(said) or found.startswith("0 of"), found
    (row, _) = rows(engine, "SELECT * FROM timeseries.device_health_telemetry ORDER BY ts DESC")
    assert (row.rssi, row.battery_voltage, row.charging) == (-75, 3.6, False)
    assert rows(engine, "SELECT response_ms FROM timeseries.health_checks")[0][0] is None
    tags = "SELECT v_num, v_text, v_bool, v_json FROM timeseries.tag_values ORDER BY ts DESC"
    assert [tuple(row) for row in rows(engine, tags)] == [
        (2, None, None, None),
        (None, "x", None, None),
        (None, None, True, None),
        (None, None, None, 2**61),
    ]
    for given, column in (("5.5", 0), ('"a"', 1), ("false", 2), ("[1]", 3), (str(2**60), 3)):
        assert correct("tag_values", "7", "--set", given).endswith((" sample", " samples"))
        expected: list[Any] = [None] * 4
        expected[column] = json.loads(given)
        assert [tuple(row) for row in rows(engine, tags)] == [tuple(expected)] * 4
    for arguments, message_of_error in (
        (("tag_values", "7"), "nothing to correct"),
        (("tag_values", "7", "--scale", "2", "--set", "1"), "found both"),
        (("tag_values", "7", "--scale", "nan"), "finite"),
        (("tag_values", "7", "--scale", "1e200000"), "overflow"),
        (("tag_values", "7", "--metric", "v_num", "--scale", "2"), "leave --metric out"),
        (("tag_values", "7", "--set", "off"), "expected JSON, as in 21.5, true"),
        (("telemetry", "d1", "--scale", "2"), "expected --metric: the name of a metric"),
        ((*health, "--metric", "ts", "--scale", "2"), "expected one of rssi, "),
        (
            (*health, "--metric", "charging", "--scale", "2"),
            "charging of device_health_telemetry is",
        ),
        ((*health, "--metric", "rssi", "--set", "1.5"), "expected integer for rssi, found 1.5"),
        ((*health, "--metric", "rssi", "--scale", "1e9"), "out of range"),
        ((*check, "--metric", "ok", "--set", "null"), "ok of health_checks always has a value"),
        (("x", "d1", "--scale", "2"), "expected one of device_"),
        (("tag_values", "d1", "--scale", "2"), "invalid input syntax"),
    ):
        assert message_of_error in correct(*arguments), arguments


@pytest.mark.timescaledb
@pytest.mark.parametrize("compressed", [False, True])
def test_corrections_reach_the_rollups(
    timescaledb_server: DatabaseServer,
    make_database: MakeDatabase,
    monkeypatch: pytest.MonkeyPatch,
    compressed: bool,
) -> None:
    url = make_database(timescaledb_server)
    migrate(url)
    monkeypatch.setenv("MIGRATION_DATABASE_URL", url)
    with engine_of(url) as engine:
        stop_jobs(engine)
        make_tenants(engine)
        rolled_up_tags(engine, (ACME, GLOBEX), compressed=compressed)
        others = f"NOT (tenant_id = '{ACME}' AND tag_id = 1)"
        kept = buckets(engine, "tag_values_hourly", others)
        (before,) = alone(engine, "SELECT sum(v_num), count(*) FROM timeseries.tag_values")[0:1]
        slug = str(scalar(engine, f"SELECT slug FROM tenants WHERE tenant_id = '{ACME}'"))
        begins, ends = (f"{NOW - datetime.timedelta(days=n):%Y-%m-%d}" for n in (9, 7))
        times = ("--from", begins, "--to", ends, "--scale", "2", "--offset", "1")
        output = invoke("correct", slug, "tag_values", "1", *times, "--yes", "--actor", "ann")
        assert "96 of 96 samples, 0 to 23, which become 1 to 47" in output
        assert "Refreshed timeseries.tag_values_hourly" in output
        assert output.endswith("Corrected 96 samples")
        (after,) = alone(engine, "SELECT sum(v_num), count(*) FROM timeseries.tag_values")[0:1]
        assert (after[0] - before[0], after[1]) == (96 + 4 * sum(range(24)), before[1])
        assert differences(engine, "tag_values_hourly", "bucket < now() - interval '1 day'") == []
        assert buckets(engine, "tag_values_hourly", others) == kept
