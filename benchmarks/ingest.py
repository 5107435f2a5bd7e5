"""The cost of storing telemetry: through the ingest, and through the tenant view."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Iterator
from unittest import mock

import psycopg
import sqlalchemy as sa
from sqlalchemy import Engine

from benchmarks import fleet
from benchmarks.measure import Ratio, milliseconds, paired
from benchmarks.place import Place
from database.ingest import Message, ingest
from database.ingest.devices import Devices
from database.ingest.states import Said
from models.shared.columns import PLATFORM_TENANT_ID
from models.shared.ingest_views import JUDGED

BATCH = 20_000
COLUMNS = "tenant_id, device_id, ts, msg_type, seq, site_id, metrics"

_BARE = """
    CREATE TABLE bare (
        tenant_id uuid NOT NULL, ts timestamptz NOT NULL, device_id text NOT NULL,
        msg_type text NOT NULL DEFAULT 'telemetry', seq bigint NOT NULL DEFAULT 0, site_id uuid,
        metrics jsonb NOT NULL DEFAULT '{}', ingested_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, device_id, ts, msg_type, seq));
    SELECT create_hypertable('bare', by_range('ts', interval '1 day'),
                             create_default_indexes => false)
"""


def run(place: Place, *, tenants: int, devices: int, rounds: int) -> Iterator[Ratio]:
    """Compare ways to store telemetry; each round stores new messages on both sides."""
    with place.connect() as connection:
        fleet.register(connection, tenants, devices)
        connection.execute(_BARE)
        yield from _ingested(place, connection, tenants, devices, rounds)
        yield from _through_the_view(place, connection, rounds)


def _messages(number: int, tenants: int, devices: int) -> list[Message]:
    """A batch of messages in order of time, devices in any order; different for each number."""
    choose = random.Random(number)  # noqa: S311 # made-up data, no secrets
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    moment += datetime.timedelta(minutes=number)
    pairs = [(t, d) for t in range(tenants) for d in range(1, devices + 1)]
    found: list[Message] = []
    while len(found) < BATCH:
        choose.shuffle(pairs)
        for one, device in pairs[: BATCH - len(found)]:
            metrics = {
                "temperature": round(20 + choose.random() * 5, 1),
                "humidity": round(50 + choose.random() * 20),
                "battery_pct": 97,
                "signal_rssi": -70 - choose.randrange(6),
            }
            found.append(Message(fleet.tenant(one), f"device-{device}", moment, metrics))
        moment += datetime.timedelta(seconds=1)
    return found


def _ingested(
    place: Place, connection: psycopg.Connection, tenants: int, devices: int, rounds: int
) -> Iterator[Ratio]:
    batches = [_messages(number, tenants, devices) for number in range(rounds + 1)]
    # Both sides keep their connection, as services do; that of the other side is open, too.
    engine = sa.create_engine(place.engine.url, pool_size=1)

    def by_batches(number: int) -> None:
        stored = ingest(engine, batches[number]).stored
        assert stored == BATCH, stored

    def by_rows(number: int) -> None:
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY bare ({COLUMNS}) FROM STDIN") as copy,
        ):
            for one in batches[number]:
                metrics = json.dumps(one.metrics)
                row = (one.tenant_id, one.device_id, one.ts, one.msg_type, one.seq, None, metrics)
                copy.write_row(row)

    pairs = paired(by_batches, by_rows, rounds)
    yield Ratio(
        "ingest",
        "ingest() : COPY row by row into a bare hypertable",
        [other / one for one, other in pairs],
        0.9,
        detail=f"{BATCH:,} messages: {milliseconds(pairs)}",
    )
    yield from _what_devices_cost(engine, tenants, devices, rounds)
    yield from _what_a_rate_costs(engine, tenants, devices, rounds)
    engine.dispose()
    yield from _servers_part(place, connection, batches, rounds)


def _nothing(*_: object) -> list[Said]:
    return []


def _what_devices_cost(engine: Engine, tenants: int, devices: int, rounds: int) -> Iterator[Ratio]:
    """With and without writing down state, sensors and newest values of the devices."""
    batches = [_messages(500 + number, tenants, devices) for number in range(2 * rounds + 2)]

    def whole(number: int) -> None:
        ingest(engine, batches[2 * number])

    def without(number: int) -> None:
        with mock.patch.multiple(Devices, take=_nothing, said=_nothing):
            ingest(engine, batches[2 * number + 1])

    pairs = paired(whole, without, rounds)
    yield Ratio(
        "ingest",
        "ingest() : without the state of devices",
        [one / other for one, other in pairs],
        1.1,
        at_least=False,
        detail=f"{tenants * devices:,} devices of 4 metrics: {milliseconds(pairs)}",
    )


def _what_a_rate_costs(engine: Engine, tenants: int, devices: int, rounds: int) -> Iterator[Ratio]:
    """Where every tenant of the batch has a limit that it does not reach."""
    batches = [_messages(800 + number, tenants, devices) for number in range(2 * rounds + 2)]

    def limited(number: int) -> None:
        with engine.begin() as connection:
            connection.execute(_LIMIT_ALL)
        ingest(engine, batches[2 * number])

    def free(number: int) -> None:
        with engine.begin() as connection:
            connection.execute(_LIFT_ALL)
        ingest(engine, batches[2 * number + 1])

    pairs = paired(limited, free, rounds)
    free(rounds)
    yield Ratio(
        "ingest",
        "ingest() of tenants with a rate : without",
        [one / other for one, other in pairs],
        at_least=False,
        detail=f"{BATCH:,} messages of {tenants} limited tenants: {milliseconds(pairs)}",
    )


_LIMIT_ALL = sa.text("""
    INSERT INTO public.ingest_rates (tenant_id, records_per_minute)
    SELECT tenant_id, 1000000 FROM public.tenants WHERE tenant_id <> :platform
    ON CONFLICT DO NOTHING
""").bindparams(platform=PLATFORM_TENANT_ID)
_LIFT_ALL = sa.text("DELETE FROM public.ingest_rates")


def _servers_part(
    place: Place, connection: psycopg.Connection, batches: list[list[Message]], rounds: int
) -> Iterator[Ratio]:
    """The same bytes, prepared in advance, so that only the tables differ."""
    lines = [
        "".join(
            f"{m.tenant_id}\t{m.device_id}\t{m.ts}\t{m.msg_type}\t1\t\\N\t{json.dumps(m.metrics)}\n"
            for m in batch
        ).encode()
        for batch in batches
    ]

    def copy(into: psycopg.Connection, table: str, number: int) -> None:
        with into.cursor() as cursor, cursor.copy(f"COPY {table} ({COLUMNS}) FROM STDIN") as one:
            one.write(lines[number])
        into.commit()

    with place.connect("fleet_ingest") as writer:
        writer.execute(f"SET {JUDGED} = 'on'")
        pairs = paired(
            lambda number: copy(writer, "timeseries.telemetry", number),
            lambda number: copy(connection, "bare", number),
            rounds,
        )
    yield Ratio(
        "ingest",
        "COPY into telemetry as fleet_ingest : into a bare hypertable",
        [other / one for one, other in pairs],
        0.9,
        detail=f"the same bytes: {milliseconds(pairs)}",
    )


def _through_the_view(place: Place, connection: psycopg.Connection, rounds: int) -> Iterator[Ratio]:
    tenant = fleet.tenant(0)
    source = """
        INSERT INTO {} (tenant_id, ts, device_id, seq, metrics)
        SELECT %s, now() - interval '4 days' + n * interval '1 second', 'device-1', %s,
               '{{"temperature": 21.5, "humidity": 55}}' FROM generate_series(1, 20000) n
    """
    with place.connect("fleet_app", tenant) as app:

        def view(number: int) -> None:
            # The view for many rows; through `telemetry` a trigger inserts them one by one.
            app.execute(source.format("telemetry_to_store"), (tenant, 2 * number))
            app.commit()

        def table(number: int) -> None:
            connection.execute(source.format("timeseries.telemetry"), (tenant, 2 * number + 1))

        pairs = paired(view, table, rounds)
    yield Ratio(
        "ingest",
        "INSERT through telemetry_to_store : into the hypertable",
        [other / one for one, other in pairs],
        0.9,
        detail=f"20,000 rows: {milliseconds(pairs)}",
    )
