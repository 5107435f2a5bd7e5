"""What the ingest writes of devices, in the transaction of the batch."""

from __future__ import annotations

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from database.ingest import ConnectionEvent, ingest
from database.ingest.states import ARRAYS
from database.tenancy import tenant_transaction
from tests.support.telemetry import HOUR, NOW, ONE, TWO, message, newest, refusing, rows

SECOND = datetime.timedelta(seconds=1)


def states(engine: Engine) -> dict[str, Any]:
    query = "SELECT * FROM device_state ORDER BY tenant_id, device_id"
    return {row.device_id: row for row in rows(engine, query)}


def test_a_batch_says_which_devices_are_online_and_what_they_measure(shared: Engine) -> None:
    odd = {"t": 1.5, 'ü"\\': "a\nb\\", "off": None, "pos": {"lat": 1}, "on": True, "n": 10**30}
    ahead, old = NOW + HOUR, NOW - HOUR
    sent = [message(1, ts=NOW, metrics=odd), message(2, ts=old), message(3, ts=ahead)]
    ingest(shared, [*sent, message(4, tenant_id=TWO), message(5, metrics="?")], now=NOW)
    found = states(shared)
    assert {name: row.status for name, row in found.items()} == {
        "d1": "online",
        "d2": "stale",
        "d3": "online",
        "d4": "online",
    }
    assert [found[d].last_seen_at for d in ("d1", "d2", "d3")] == [NOW, old, NOW]
    assert [found[d].last_telemetry_at for d in ("d1", "d2", "d3")] == [NOW, old, ahead]
    assert newest(shared) == {
        **{("d1", name): (value, NOW) for name, value in odd.items()},
        ("d2", "t"): (2.5, old),
        ("d3", "t"): (3.5, ahead),
    }
    assert list(newest(shared, TWO)) == [("d4", "t")]
    with tenant_transaction(shared, ONE) as connection:
        sensors = connection.exec_driver_sql(
            "SELECT metric_key, source FROM device_sensors WHERE device_id = 'd1'"
        ).all()
    assert {tuple(row) for row in sensors} == {(name, "unmodeled") for name in odd}


def test_late_batches_move_no_value_back_and_bring_what_is_new(shared: Engine) -> None:
    ingest(shared, [message(1, ts=NOW, metrics={"lat": 1, "t": 1})], now=NOW)
    late = [
        message(1, ts=NOW - 5 * SECOND, metrics={"fuel": 5, "t": 5}),
        message(1, ts=NOW - 9 * SECOND, metrics={"fuel": 9, "load": 9}),
    ]
    for one in late:
        ingest(shared, [one], now=NOW)
    assert newest(shared) == {
        ("d1", "lat"): (1, NOW),
        ("d1", "t"): (1, NOW),
        ("d1", "fuel"): (5, NOW - 5 * SECOND),
        ("d1", "load"): (9, NOW - 9 * SECOND),
    }
    between = NOW - 2 * SECOND
    ingest(shared, [message(1, ts=between, metrics={"fuel": 2, "t": 2})], now=NOW)
    assert newest(shared)["d1", "fuel"] == (2, between)
    assert newest(shared)["d1", "t"] == (1, NOW)
    assert states(shared)["d1"].last_seen_at == NOW


def test_redelivery_changes_nothing_of_devices(shared: Engine) -> None:
    sent = [message(n, ts=NOW - n * HOUR / 7) for n in range(12)]
    ingest(shared, sent, now=NOW)
    before = rows(shared, "SELECT xmin, * FROM device_state ORDER BY device_id")
    ingest(shared, [*sent, message(99, device_id="d9", ts=NOW - 50 * HOUR)], now=NOW)
    after = rows(shared, "SELECT xmin, * FROM device_state ORDER BY device_id")
    assert after == before


def test_a_rejected_message_says_nothing_of_its_device(shared: Engine) -> None:
    bad = [message(1, seq=13), message(2, metrics=[]), message(3, ts="?")]
    with refusing(shared, "telemetry", "seq <> 13"):
        ingest(shared, [*bad, message(4)], now=NOW)
    assert list(states(shared)) == ["d4"]


def test_the_second_of_two_speaks_where_the_first_is_refused(shared: Engine) -> None:
    two = [message(1, metrics={"t": value}) for value in (1, 2)]
    with refusing(shared, "telemetry", "metrics <> '{\"t\": 1}'"):
        assert ingest(shared, [*two, message(2)]).stored == 2
    assert {key: value for key, (value, _) in newest(shared).items()} == {
        ("d1", "t"): 2,
        ("d2", "t"): 2.5,
    }


def test_an_operator_keeps_what_a_tenant_says_of_a_sensor(shared: Engine) -> None:
    with tenant_transaction(shared, ONE) as connection:
        connection.exec_driver_sql(
            "INSERT INTO device_sensors (tenant_id, device_id, metric_key, display_name)"
            " VALUES (current_tenant(), 'd1', 't', 'Temperature')"
        )
    ingest(shared, [message(1, metrics={"t": 1, "x" * 300: 1})])
    found = rows(shared, "SELECT display_name, source FROM device_sensors")
    assert [tuple(row) for row in found] == [("Temperature", "required")]
    assert {metric for _, metric in newest(shared)} == {"t"}


def test_a_deleted_sensor_does_not_come_back_with_an_older_value(shared: Engine) -> None:
    """Whatever has come since."""
    for ts, metrics in ((NOW - 3 * SECOND, {"x": 1}), (NOW - 2 * SECOND, {"y": 2})):
        assert ingest(shared, [message(1, ts=ts, metrics=metrics)]).stored == 1
    with tenant_transaction(shared, ONE) as connection:
        connection.exec_driver_sql("DELETE FROM device_sensors WHERE metric_key = 'x'")
    for ts, metrics in ((NOW - SECOND, {"y": 3}), (NOW - 30 * SECOND, {"x": 0})):
        assert ingest(shared, [message(1, ts=ts, metrics=metrics)]).stored == 1
    kept = {("d1", "y"): (3, NOW - SECOND)}
    assert newest(shared) == kept
    assert ingest(shared, [message(1, ts=NOW, metrics={"x": 5})]).stored == 1
    assert newest(shared) == kept | {("d1", "x"): (5, NOW)}


@pytest.mark.parametrize("late", [False, True])
def test_a_deleted_sensor_comes_back_with_its_metric(shared: Engine, late: bool) -> None:
    ingest(shared, [message(1, ts=NOW, metrics={"t": 1, "u": 1}), message(2, ts=NOW)])
    with tenant_transaction(shared, ONE) as connection:
        connection.exec_driver_sql("DELETE FROM device_sensors WHERE metric_key = 't'")
    assert newest(shared) == {("d1", "u"): (1, NOW)}
    times = (NOW - SECOND, NOW + SECOND) if late else (NOW + SECOND,)
    for ts in times:
        ingest(shared, [message(1, ts=ts, metrics={"t": 2, "u": 2})])
    assert newest(shared)["d1", "t"] == (2, NOW + SECOND)
    assert len(rows(shared, "SELECT FROM device_sensors WHERE device_id = 'd1'")) == 2


def test_a_device_that_invents_names_stays_small(shared: Engine) -> None:
    for number in range(6):
        names = [f"invented-name-{number}-{n}" for n in range(1000)]
        ingest(shared, [message(1, ts=NOW + number * SECOND, metrics=dict.fromkeys(names, 0))])
    (count,) = rows(shared, "SELECT count(*) FROM device_sensors")[0]
    assert 1000 <= count < 6000
    assert len(newest(shared)) == count
    ingest(shared, [message(1, ts=NOW + 9 * SECOND, metrics={"invented-name-0-1": 7, "new": 1})])
    assert newest(shared)["d1", "invented-name-0-1"] == (7, NOW + 9 * SECOND)
    assert ("d1", "new") not in newest(shared)


def test_batches_of_the_same_devices_at_once(engine: Engine) -> None:
    gate = threading.Barrier(4)

    def deliver(number: int) -> None:
        gate.wait()
        for turn in range(8):
            sent = [
                message(
                    device, ts=NOW + (turn * 4 + number) * SECOND, metrics={"n": turn * 4 + number}
                )
                for device in range(10)
            ]
            ingest(engine, sent if number % 2 else sent[::-1])

    with ThreadPoolExecutor(4) as pool, pytest.MonkeyPatch.context() as patched:
        patched.setattr("database.ingest.delivery.ATTEMPTS", 1)
        list(pool.map(deliver, range(4)))
    assert newest(engine) == {(f"d{n}", "n"): (31, NOW + 31 * SECOND) for n in range(10)}


def test_the_parameters_are_those_of_the_function(shared: Engine) -> None:
    (declared,) = rows(
        shared,
        "SELECT pg_get_function_arguments(oid) FROM pg_proc WHERE proname = 'record_devices'",
    )[0]
    named = {"timestamptz": "timestamp with time zone"}
    assert declared == ", ".join(
        f"{name} {named.get(kind, kind)}[]" for name, kind in ARRAYS.items()
    )


def test_a_tenant_cannot_break_the_times_of_its_devices(shared: Engine) -> None:
    ingest(shared, [message(1, ts=NOW)], now=NOW)
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_transaction(shared, ONE) as connection,
    ):
        connection.exec_driver_sql('UPDATE device_state SET state_times = \'{"t": "x"}\'')
    with tenant_transaction(shared, ONE) as connection:
        connection.exec_driver_sql("UPDATE device_state SET status = 'offline', state = '{}'")


def test_no_batch_waits_for_rows_that_a_tenant_holds(shared: Engine) -> None:
    sent = [message(n, ts=NOW) for n in (1, 2)] + [message(n, tenant_id=TWO) for n in (1, 2)]
    ingest(shared, sent)
    again = [
        replace(one, ts=NOW + SECOND, metrics={"t": 9, "new": device})
        for device, one in enumerate(sent)
    ]
    with tenant_transaction(shared, ONE) as connection:
        connection.exec_driver_sql("UPDATE device_state SET state = '{}' WHERE device_id = 'd1'")
        connection.exec_driver_sql(
            "INSERT INTO device_sensors (tenant_id, device_id, metric_key, display_name)"
            " VALUES (current_tenant(), 'd3', 't', 'x')"
        )
        connection.exec_driver_sql(
            "INSERT INTO device_state (tenant_id, device_id) VALUES (current_tenant(), 'd4')"
        )
        assert ingest(shared, again).stored == 4
        assert {k: v for k, (v, _) in newest(shared).items()} == {
            ("d1", "t"): 1.5,
            ("d2", "t"): 9,
            ("d2", "new"): 1,
        }
        for device in (3, 4):
            sent = [message(device), message(5 + device, tenant_id=TWO)]
            assert ingest(shared, sent).stored == 2
    assert {k: v for k, (v, _) in newest(shared, TWO).items()} == {
        ("d1", "t"): 9,
        ("d1", "new"): 2,
        ("d2", "t"): 9,
        ("d2", "new"): 3,
        ("d8", "t"): 8.5,
        ("d9", "t"): 9.5,
    }
    ingest(shared, [message(9)])
    assert {k: v for k, (v, _) in newest(shared).items()} == {
        ("d1", "t"): 9,
        ("d1", "new"): 0,
        ("d2", "t"): 9,
        ("d2", "new"): 1,
        ("d3", "t"): 3.5,
        ("d4", "t"): 4.5,
        ("d9", "t"): 9.5,
    }, "what was held is there after the next batch of the tenant"
    sensors = "SELECT FROM device_sensors WHERE tenant_id = CAST(:tenant AS uuid)"
    assert len(rows(shared, sensors, tenant=ONE)) == 7


def test_what_is_left_out_for_long_is_kept_once(shared: Engine) -> None:
    """However many batches come, and whatever becomes of the device."""
    sent = [message(n, ts=NOW - HOUR, metrics={"first": n}) for n in (1, 2)]
    ingest(shared, sent)
    with tenant_transaction(shared, ONE) as connection:
        connection.exec_driver_sql("UPDATE device_state SET state = state || '{\"mine\": 1}'")
        for number in range(3):
            batch = [
                message(
                    device, ts=NOW + number * SECOND, metrics={f"m{number}": number, "t": number}
                )
                for device in (1, 2)
            ]
            ingest(shared, [*batch, ConnectionEvent(ONE, "d1", NOW + HOUR, "disconnected")])
        assert len(rows(shared, "SELECT FROM device_state_backlog")) == 2
        assert set(newest(shared)) == {("d1", "first"), ("d2", "first")}
    with tenant_transaction(shared, ONE) as connection:
        connection.exec_driver_sql("DELETE FROM device_registry WHERE device_id = 'd2'")
    try:
        ingest(shared, [message(9)])
        assert rows(shared, "SELECT FROM device_state_backlog") == []
        found = states(shared)
        assert list(found) == ["d1", "d9"]
        assert found["d1"].status == "offline"
        assert found["d1"].state == {"first": 1, "mine": 1, "m0": 0, "m1": 1, "m2": 2, "t": 2}
    finally:
        with shared.begin() as connection:
            connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
            connection.exec_driver_sql(
                "INSERT INTO device_registry (tenant_id, device_id) VALUES (%s, 'd2')", (ONE,)
            )
