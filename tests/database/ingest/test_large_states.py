"""A device whose state is very large stops no batch, of whomever else it is."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine

from database.ingest import ingest
from database.tenancy import tenant_transaction
from models.device.state_size import MOST_METRICS, STATE_BYTES
from tests.support.alembic_project import config_for
from tests.support.telemetry import NOW, ONE, TWO, message, newest, rows
from tests.support.time_series import execute

SECOND = datetime.timedelta(seconds=1)
MB = 1024 * 1024
SIZES = """
    SELECT pg_column_size(state || '{}'), state, state_times
      FROM device_state WHERE device_id = 'd1'
"""
LARGE = "x" * 60_000


def state(engine: Engine) -> tuple[int, dict[str, Any], dict[str, Any]]:
    [row] = rows(engine, SIZES)
    return tuple(row)


def neighbours(engine: Engine, metric: str = "t") -> None:
    """A batch with the device and with others stores all, and their newest values."""
    later = NOW + 60 * SECOND
    batch = [message(1, ts=later, metrics={metric: 2}), message(0, tenant_id=TWO, ts=later)]
    assert ingest(engine, batch).stored == 2
    assert newest(engine)["d1", metric] == (2, later)
    assert newest(engine, TWO)


def test_large_values_stay_until_there_are_too_many(shared: Engine) -> None:
    ingest(shared, [message(1, ts=NOW, metrics={"t": 1, "spectrum": LARGE})])
    assert newest(shared)["d1", "spectrum"] == (LARGE, NOW)
    for number in range(19):
        ts = NOW + (number + 1) * SECOND
        ingest(shared, [message(1, seq=number, ts=ts, metrics={f"m{number}": LARGE})])
    size, kept, _ = state(shared)
    assert size < STATE_BYTES
    assert kept["t"] == 1
    assert kept["spectrum"] is None
    assert newest(shared)["d1", "m18"] == (None, NOW + 19 * SECOND)
    neighbours(shared)


def test_a_batch_with_too_many_large_values_is_stored(shared: Engine) -> None:
    text = "".join(random.choices([chr(one) for one in range(0x20000, 0x2A000)], k=65_500))
    batch = [message(1, seq=number, ts=NOW, metrics={f"m{number}": text}) for number in range(20)]
    batch.append(message(1, seq=20, ts=NOW, metrics={"t": 1}))
    assert ingest(shared, batch).stored == 21
    size, kept, _ = state(shared)
    assert size < STATE_BYTES
    assert kept == {"t": 1, **{f"m{number}": None for number in range(20)}}
    assert ingest(shared, batch).duplicates == 21
    neighbours(shared)


def test_of_names_without_end_the_newest_are_taken(shared: Engine) -> None:
    batch = [
        message(1, ts=NOW + n * SECOND, metrics={f"{n}-{i}": 1 for i in range(MOST_METRICS // 2)})
        for n in range(4)
    ]
    assert ingest(shared, batch).stored == 4
    _, kept, times = state(shared)
    assert len(kept) == MOST_METRICS
    assert {name[0] for name in kept} == {"2", "3"}
    assert not times.keys() - kept.keys()
    neighbours(shared, "3-7")


@pytest.mark.parametrize(
    ("what", "size"),
    [
        ("jsonb_build_object('a', repeat('x', 268435400))", STATE_BYTES),
        ("(select jsonb_object_agg(n, repeat('y', 2000)) from generate_series(1, 3000) n)", MB),
        (
            "(select jsonb_object_agg(repeat('y', 20000) || n, 1) from generate_series(1, 500) n)",
            99,
        ),
        ("(select jsonb_object_agg(n, 1) from generate_series(1, 300000) n)", STATE_BYTES),
    ],
    ids=["value", "values", "names", "metrics"],
)
def test_what_a_tenant_writes_stops_nobody(shared: Engine, what: str, size: int) -> None:
    ingest(shared, [message(1, ts=NOW, metrics={"t": 1})])
    with tenant_transaction(shared, ONE) as connection:
        connection.exec_driver_sql(f"UPDATE device_state SET state = {what} WHERE device_id = 'd1'")
    size_before, kept, _ = state(shared)
    assert size_before <= size
    neighbours(shared, next(iter(kept), "t"))
    size_after, kept, _ = state(shared)
    assert size_after <= size
    assert len(kept) <= MOST_METRICS


def test_values_of_no_time_are_older_than_all(shared: Engine) -> None:
    with tenant_transaction(shared, ONE) as connection:
        connection.exec_driver_sql(
            "INSERT INTO device_state (tenant_id, device_id, state)"
            """ VALUES (current_tenant(), 'd1', '{"t": 1, "u": 1}')"""
        )
    neighbours(shared)
    assert newest(shared)["d1", "u"][0] == 1
    ingest(shared, [message(1, seq=1, ts=NOW, metrics={"u": 2})])
    assert newest(shared)["d1", "u"] == (2, NOW)


@pytest.mark.parametrize("column", ["desired_state", "reported_state"])
def test_a_large_shadow_is_refused(shared: Engine, column: str) -> None:
    ingest(shared, [message(1, ts=NOW)])
    change = f"UPDATE device_state SET {column} = jsonb_build_object('a', repeat('x', :size))"
    with (
        pytest.raises(sa.exc.IntegrityError, match="of device d1 is larger than 256 kB"),
        tenant_transaction(shared, ONE) as connection,
    ):
        connection.execute(sa.text(change), {"size": STATE_BYTES})
    with tenant_transaction(shared, ONE) as connection:
        connection.execute(sa.text(change), {"size": STATE_BYTES - 100})


@pytest.mark.parametrize("odd", ['"soon"', "[1]", "1e300", "true", "{}"])
@pytest.mark.parametrize("table", ["device_state", "device_state_backlog"])
def test_a_moment_that_is_none_is_refused(shared: Engine, table: str, odd: str) -> None:
    ingest(shared, [message(1, ts=NOW, metrics={"t": 1})])
    tenant = "tenant_id" if table == "device_state" else "of_tenant"
    more = ("", "") if table == "device_state" else (", status, last_seen_at", ", 'online', now()")
    with shared.connect() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_ingest")
        with pytest.raises(sa.exc.IntegrityError, match="state_times_seconds"):
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({tenant}, device_id, state_times{more[0]})"
                f" VALUES (%s, 'd2', %s{more[1]})",
                (ONE, f'{{"t": {odd}}}'),
            )


def test_the_upgrade_mends_what_is_there(engine: Engine) -> None:
    """What would make each later batch raise, and take its time."""
    config = config_for(engine)
    command.downgrade(config, "0080")
    execute(
        engine,
        "INSERT INTO device_state (tenant_id, device_id, state, state_times)"
        f""" VALUES ('{ONE}', 'd1', '{{"a": 1}}', '{{"a": "soon"}}')""",
        "INSERT INTO device_state (tenant_id, device_id, state)"
        f" SELECT '{ONE}', 'd2', jsonb_object_agg(n, repeat('x', 3000))"
        f" FROM generate_series(1, {MOST_METRICS + 1}) n",
        "INSERT INTO device_state_backlog"
        " (of_tenant, device_id, status, last_seen_at, state, state_times)"
        f""" VALUES ('{ONE}', 'd3', 'online', now(), '{{"a": 1}}', '{{"a": [1]}}')""",
    )
    command.upgrade(config, "head")
    found = rows(engine, "SELECT device_id, state, state_times FROM device_state ORDER BY 1")
    assert found[0] == ("d1", {"a": 1}, {})
    assert found[1][1].keys() < {str(n) for n in range(1, MOST_METRICS + 2)}
    assert set(found[1][1].values()) == {None}
    for table in ("device_state", "device_state_backlog"):
        validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_state_times_seconds"
        execute(engine, validate)
