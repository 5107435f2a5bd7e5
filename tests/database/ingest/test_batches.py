"""A batch is stored as it came, once, however often it is delivered."""

from __future__ import annotations

import asyncio
import datetime
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, NullPool

from database.engine import make_async_engine
from database.ingest import Ingested, Message, async_ingest, ingest
from database.ingest import quarantine as quarantine_module
from database.ingest.binary import jsonb
from database.ingest.messages import Batch
from database.ingest.series import SERIES, TELEMETRY
from database.tenancy import tenant_pseudonym
from models.shared.base import Base
from tests.support.telemetry import (
    HOUR,
    NOW,
    ONE,
    SITE,
    TWO,
    count,
    message,
    rows,
)
from tests.support.time_series import execute


def test_a_batch_is_stored_as_it_came(engine: Engine) -> None:
    odd = {'ü\t"\\': "a\\nb\n\\u0000", "n": None, "l": [1, {"x": True}], "z": 0, "i": 10**30}
    elsewhere = NOW.astimezone(datetime.timezone(datetime.timedelta(hours=5.5))) - 90 * HOUR
    sent = [
        message(1, metrics=odd, seq=2**40, msg_type="a\tb\\N"),
        message(2, site_id=str(TWO), ts=elsewhere.isoformat()),
        message(3, tenant_id=str(TWO).upper()),
    ]
    assert ingest(engine, sent) == Ingested(3, 0, 0)
    found = {row.device_id: row for row in rows(engine, "SELECT * FROM timeseries.telemetry")}
    one = found["d1"]
    assert (one.metrics, one.seq, one.msg_type, one.ts) == (odd, 2**40, "a\tb\\N", sent[0].ts)
    assert one.site_id == SITE, "taken from the registry"
    assert found["d2"].site_id == TWO
    assert found["d2"].ts == elsewhere
    assert (found["d3"].tenant_id, found["d3"].site_id) == (TWO, None)


def test_nothing_is_something(engine: Engine) -> None:
    assert ingest(engine, []) == Ingested(0, 0, 0)


def test_redelivery_changes_nothing(engine: Engine) -> None:
    sent = [message(number) for number in range(50)]
    assert ingest(engine, sent) == Ingested(50, 0, 0)
    assert ingest(engine, sent) == Ingested(0, 50, 0)
    twice = [*sent[40:], *map(message, range(50, 60)), message(55), message(60, metrics=None)]
    assert ingest(engine, twice) == Ingested(10, 11, 1)
    assert count(engine) == 60


def test_twice_in_a_batch_is_stored_once_without_a_second_try(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(TELEMETRY), "stage", "SELECT 1 / 0")
    sent = [message(number // 2) for number in range(20)]
    assert ingest(engine, sent) == Ingested(10, 10, 0)


def test_the_second_of_two_is_stored_where_the_first_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("database.ingest.metrics._json", lambda value: jsonb(value["as"].encode()))
    sent = [
        message(number, metrics={"as": text}) for number, text in ((1, "?"), (1, "{}"), (2, "{}"))
    ]
    assert ingest(engine, [*sent, sent[0]]) == Ingested(2, 0, 2)


def test_the_first_of_two_with_one_key_stays(engine: Engine) -> None:
    assert ingest(engine, [message(1, metrics={"v": 1})]).stored == 1
    assert ingest(engine, [message(1, metrics={"v": 2})]).duplicates == 1
    assert rows(engine, "SELECT metrics FROM timeseries.telemetry")[0][0] == {"v": 1}


def test_a_moment_is_the_same_in_any_zone(engine: Engine) -> None:
    first = message(1)
    assert isinstance(first.ts, datetime.datetime)
    offsets = (datetime.timedelta(hours=-5.5), datetime.timedelta(microseconds=5))
    again = [message(1, ts=first.ts.astimezone(datetime.timezone(one))) for one in offsets]
    assert ingest(engine, [*again, first]) == Ingested(1, 2, 0)
    assert ingest(engine, again[1:]) == Ingested(0, 1, 0)


def test_columns_are_those_of_the_models() -> None:
    copied = {one.name: one.columns for one in (TELEMETRY, *SERIES.values())}
    for name, columns in {**copied, "quarantine_events": quarantine_module.COLUMNS}.items():
        table = Base.metadata.tables[f"timeseries.{name}"]
        dialect = sa.create_engine("postgresql+psycopg://").dialect
        declared = {
            column.name: column.type.compile(dialect).lower()
            for column in table.columns
            if column.name != "ingested_at" and not column.computed
        }
        shortened = {"timestamptz": "timestamp with time zone"}
        assert declared == {name: shortened.get(kind, kind) for name, kind in columns.items()}


def test_one_notification_a_tenant(engine: Engine) -> None:
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN telemetry")

        def heard() -> list[str]:
            return sorted(n.payload for n in listener.notifies(timeout=0.5))

        sent = [message(n, tenant_id=(ONE, TWO)[n % 2]) for n in range(40)]
        ingest(engine, sent)
        assert heard() == sorted(map(tenant_pseudonym, (ONE, TWO)))
        ingest(engine, sent)
        assert heard() == []
        (found,) = rows(engine, "SELECT tenant_pseudonym(CAST(:one AS uuid))", one=ONE)
        assert found[0] == tenant_pseudonym(str(ONE))
        ingest(engine, [*sent[::2], message(41, tenant_id=ONE)])
        assert heard() == [tenant_pseudonym(ONE)]


def test_the_same_batch_from_two_sides_at_once(engine: Engine) -> None:
    sent = [message(number) for number in range(3000)]
    gate = threading.Barrier(2)

    def deliver(batch: list[Message]) -> Ingested:
        gate.wait()
        return ingest(engine, batch)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(deliver, [sent, sent[::-1]]))
    assert sum(result.stored for result in results) == count(engine) == 3000
    assert sum(result.duplicates for result in results) == 3000


def test_asyncio(engine: Engine) -> None:
    sent = [message(number) for number in range(30)]
    bad = message(31, metrics=[])

    async def run() -> list[Ingested]:
        async_engine = make_async_engine(engine.url, poolclass=NullPool)
        found = [await async_ingest(async_engine, [*sent, bad])]
        found.append(await async_ingest(async_engine, [*sent, bad, message(40)]))
        found += await asyncio.gather(
            *(async_ingest(async_engine, [message(100 * n)]) for n in range(1, 6))
        )
        return found

    first, second, *rest = asyncio.run(run())
    assert (first, second) == (Ingested(30, 0, 1), Ingested(1, 30, 1))
    assert rest == [Ingested(1, 0, 0)] * 5
    assert (count(engine), count(engine, "quarantine_events")) == (36, 1)


def test_json_stays_readable() -> None:
    batch = Batch([message(1, metrics={"ü": "\\"})], NOW)
    batch.answers([(str(ONE), None, "d1", None)])
    line = b"".join(batch.encoded())
    assert json.loads(line[line.index(b"{") :]) == {"ü": "\\"}


def test_no_statement_of_a_batch_is_compiled(engine: Engine) -> None:
    """That takes up to a second, whatever the statement is, and states have less time."""
    execute(
        engine,
        """
        CREATE TABLE seen (jit text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            'BEGIN INSERT INTO public.seen VALUES (current_setting(''jit'')); RETURN NULL; END';
        CREATE TRIGGER see AFTER INSERT OR UPDATE ON device_state EXECUTE FUNCTION see()
        """,
    )
    assert ingest(engine, [message(1)]).stored == 1
    assert {jit for (jit,) in rows(engine, "SELECT jit FROM seen")} == {"off"}
