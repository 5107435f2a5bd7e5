"""What an open transaction of a tenant has written does not keep the messages of others waiting."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, NullPool

from database.engine import make_engine
from database.ingest import Ingested, IngestError, TagSample, delivery, ingest
from database.tenancy import tenant_transaction
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.telemetry import (
    CONNECTION,
    NOW,
    ONE,
    TWO,
    count,
    message,
    newest,
    quarantine,
    rows,
)

SECOND = datetime.timedelta(seconds=1)


@pytest.fixture(params=["postgresql", "timescaledb"])
def held(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """On both servers; as a login of fleet_ingest that waits for a second at most."""
    from tests.database.ingest.conftest import with_devices

    if request.param == "timescaledb":
        server: DatabaseServer = request.getfixturevalue("timescaledb_server")
        url = make_database(server, like=with_devices)
    else:
        url = make_database(like=with_devices)
    with engine_of(url) as engine:
        yield engine


def impatient(engine: Engine) -> Engine:
    return make_engine(
        engine.url, poolclass=NullPool, connect_args={"options": "-c lock_timeout=1s"}
    )


@contextmanager
def writing(engine: Engine, sent: Sequence[Any]) -> Iterator[sa.Connection]:
    """A transaction of the tenant that has written rows with the keys of messages."""
    with tenant_transaction(engine, ONE) as connection:
        insert(connection, sent)
        yield connection


def insert(connection: sa.Connection, sent: Sequence[Any]) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO telemetry_to_store (tenant_id, ts, device_id, seq)"
            " VALUES (current_tenant(), :ts, :device, :seq)"
        ),
        [{"ts": one.ts, "device": one.device_id, "seq": one.seq} for one in sent],
    )


def test_only_held_keys_are_left_to_quarantine(held: Engine) -> None:
    ingest(held, [message(0)])
    sent = [message(n, tenant_id=(ONE, TWO)[n % 2], seq=n) for n in range(60)]
    sent += [message(0), message(1, tenant_id=TWO, metrics=[])]
    keys = [sent[20], sent[44]]
    with writing(held, keys) as connection:
        begun = time.monotonic()
        assert ingest(impatient(held), sent) == Ingested(57, 2, 3)
        assert time.monotonic() - begun < 20
        connection.rollback()
    found = {(one.reason, one.tenant_id, one.device_id) for one in quarantine(held)}
    assert found == {("key_held", ONE, "d0"), ("key_held", ONE, "d4"), ("bad_metrics", TWO, "d1")}
    assert newest(held)["d4", "t"] == (4.5, sent[4].ts), "what was not stored says nothing"
    assert ingest(held, sent) == Ingested(2, 59, 1)


def test_a_deadlock_that_a_tenant_makes_costs_its_own_records(
    held: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last attempt: before that the batch begins again."""
    monkeypatch.setattr(delivery, "ATTEMPTS", 1)
    ingest(held, [message(0, device_id="d9")])
    sent = [message(1), message(2), message(3, tenant_id=TWO)]
    with writing(held, [sent[1]]) as connection, ThreadPoolExecutor(1) as pool:
        batch = pool.submit(ingest, held, sent)
        while not rows(held, "SELECT FROM pg_locks WHERE NOT granted"):
            assert not batch.done(), "it should wait for the key"
            time.sleep(0.01)
        insert(connection, [sent[0]])  # which the batch has written, and waits for the other
        assert batch.result() == Ingested(1, 0, 2)
        connection.rollback()
    assert {one.reason for one in quarantine(held)} == {"key_held"}
    assert ingest(held, sent) == Ingested(2, 1, 0)


def test_a_tenant_that_holds_many_keys_costs_a_bounded_time(held: Engine) -> None:
    ingest(held, [message(0, device_id="d9")])
    own = [message(n, seq=n) for n in range(400)]
    others = [message(n, tenant_id=TWO) for n in range(400)]
    with writing(held, own[::2]):
        begun = time.monotonic()
        done = ingest(impatient(held), [*own, *others])
        assert time.monotonic() - begun < 20
    assert done.stored + done.quarantined == 800
    assert done.quarantined >= 200
    stored = "SELECT count(*) FROM timeseries.telemetry WHERE tenant_id = CAST(:tenant AS uuid)"
    assert rows(held, stored, tenant=TWO)[0][0] == 400
    assert ingest(held, own).stored == done.quarantined - 200


def test_a_key_is_stored_where_its_transaction_ends_in_time(held: Engine) -> None:
    ingest(held, [message(0)])
    with ThreadPoolExecutor() as pool:
        with writing(held, [message(1)]) as connection:
            done = pool.submit(ingest, impatient(held), [message(1), message(2)])
            time.sleep(0.3)
            connection.rollback()
        assert done.result() == Ingested(2, 0, 0)


@pytest.mark.timescaledb
def test_a_chunk_that_is_being_made_keeps_everybody_waiting(community: Engine) -> None:
    """Its rows cannot be stored, and are not quarantined by the thousand: deliver them again."""
    sent = [message(1, tenant_id=TWO), message(2)]
    with (
        writing(community, [message(3)]) as connection,
        pytest.raises(IngestError, match="lock timeout; deliver it again"),
    ):
        ingest(impatient(community), sent)
    connection.close()
    assert ingest(community, sent) == Ingested(2, 0, 0)


def test_held_samples_of_tags(held: Engine) -> None:
    assert ingest(held, [TagSample(TWO, 17, NOW - SECOND, 1.0)]).stored == 1
    sent = [TagSample(ONE, 7, NOW, 1.0), TagSample(ONE, 8, NOW, 2.0), TagSample(TWO, 17, NOW, 3.0)]
    with tenant_transaction(held, ONE) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tag_values (tenant_id, ts, tag_id, connection_id, v_num)"
                " VALUES (current_tenant(), :ts, 7, :connection, 9)"
            ),
            {"ts": NOW, "connection": CONNECTION},
        )
        assert ingest(impatient(held), sent) == Ingested(2, 0, 1)
    assert count(held, "tag_values") == 4
    assert [one.reason for one in quarantine(held)] == ["key_held"]
    assert ingest(held, sent) == Ingested(0, 2, 0, 1)
