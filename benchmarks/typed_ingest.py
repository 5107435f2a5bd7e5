"""Run in a copy of the project: seconds of ingest() and of COPY into typed tables, as JSON."""

from __future__ import annotations

import datetime
import json
import random
import sys
from typing import Any

import psycopg

from benchmarks import fleet
from benchmarks.measure import paired
from database.engine import make_engine
from database.ingest import Message, ingest

BATCH = 20_000
READINGS = "latitude, longitude, elevation, velocity, heading, grade, fuel_consumption"
DIAGNOSTICS = "fuel_state, current_load, status"


BARE = f"tenant_id, device_id, ts, msg_type, seq, site_id, metrics, {READINGS}, {DIAGNOSTICS}"

_BARE = """
    CREATE TABLE typed.bare (LIKE timeseries.telemetry INCLUDING DEFAULTS,
                             PRIMARY KEY (tenant_id, device_id, ts, msg_type, seq));
    SELECT create_hypertable('typed.bare', by_range('ts', interval '1 day'),
                             create_default_indexes => false)
"""


def messages(number: int) -> list[Message]:
    """Readings and diagnostics of 100 trucks in turn; different for each number."""
    choose = random.Random(number)  # noqa: S311 # made-up data, no secrets
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=20)
    moment += datetime.timedelta(minutes=61 * number)
    found: list[Message] = []
    while len(found) < BATCH:
        moment += datetime.timedelta(seconds=30)
        for truck in range(100):
            values: tuple[Any, ...] = (
                round(40 + choose.random(), 5),
                round(-100 - choose.random(), 5),
                choose.randrange(500),
                choose.randrange(100),
                choose.randrange(360),
                choose.randrange(100),
                round(40 * choose.random(), 1),
            )
            metrics = dict(zip(READINGS.split(", "), values, strict=True))
            device = f"truck_{truck}"
            found.append(Message(fleet.tenant(0), device, moment, metrics, "readings"))
            values = (round(choose.random(), 2), choose.randrange(1500), choose.randrange(5))
            metrics = dict(zip(DIAGNOSTICS.split(", "), values, strict=True))
            found.append(Message(fleet.tenant(0), device, moment, metrics, "diagnostics"))
    return found[:BATCH]


def main(rounds: int) -> None:
    """Store new messages on both sides in each round, and remove them at the end."""
    engine = make_engine()
    batches = [messages(number) for number in range(rounds + 1)]

    def ours(number: int) -> None:
        stored = ingest(engine, batches[number]).stored
        assert stored == BATCH, stored

    def by_rows(number: int) -> None:
        """The same columns and the same key, and nothing else."""
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy(f"COPY typed.bare ({BARE}) FROM STDIN") as copy,
        ):
            for one in batches[number]:
                values: list[Any] = [None] * 10
                place = 0 if one.msg_type == "readings" else 7
                listed = list(one.metrics.values())  # type: ignore[attr-defined]
                values[place : place + len(listed)] = listed
                row = (one.tenant_id, one.device_id, one.ts, one.msg_type, one.seq, None, "{}")
                copy.write_row((*row, *values))

    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:

        def theirs(number: int) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                for kind, columns in (("readings", READINGS), ("diagnostics", DIAGNOSTICS)):
                    into = f"COPY typed.{kind} (time, tags_id, {columns}) FROM STDIN"
                    with cursor.copy(into) as copy:
                        for one in batches[number]:
                            if one.msg_type == kind:
                                truck = int(str(one.device_id).removeprefix("truck_"))
                                copy.write_row((one.ts, truck, *one.metrics.values()))  # type: ignore[attr-defined]

        connection.execute(_BARE)
        found = {"bare": paired(ours, by_rows, rounds)}
        batches = [messages(100 + number) for number in range(rounds + 1)]
        found["typed"] = paired(ours, theirs, rounds)
        for table in ("typed.readings", "typed.diagnostics", "timeseries.telemetry"):
            connection.execute(
                f"SELECT drop_chunks('{table}', newer_than => %s)",
                (fleet.START + datetime.timedelta(days=30),),
            )
    sys.stdout.write(json.dumps(found))


main(int(sys.argv[1]))
