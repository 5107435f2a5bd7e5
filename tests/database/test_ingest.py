"""Every message of a batch is stored, known already, or quarantined; or nothing of it happened."""

from __future__ import annotations

import asyncio
import datetime
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, NullPool

from database import ingest_quarantine, ingest_steps
from database.engine import make_async_engine, make_engine
from database.ingest import Ingested, IngestError, Message, async_ingest, ingest
from database.ingest_messages import Batch
from database.tenancy import TenancyError, tenant_transaction
from models.shared.base import PLATFORM_TENANT_ID, Base
from tests.alembic_project import config_for, engine_of
from tests.servers import DatabaseServer

ONE, TWO, GONE = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)
SITE = uuid.UUID(int=11)
NOW = datetime.datetime.now(datetime.UTC)
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def engine(migrated_database: str) -> Iterator[Engine]:
    with engine_of(migrated_database) as engine:
        populate(engine)
        yield engine


def populate(engine: Engine) -> None:
    """Two tenants with the devices d0 to d9, one tenant that is being deleted."""
    with engine.begin() as connection:
        run = connection.exec_driver_sql
        run("SET LOCAL ROLE fleet_operator")
        for number, tenant in enumerate((ONE, TWO, GONE)):
            run(
                "INSERT INTO tenants (tenant_id, slug, name) VALUES (%s, %s, 'x')",
                (tenant, f"tenant-{number}"),
            )
            run(
                "INSERT INTO device_registry (tenant_id, device_id)"
                " SELECT %s, 'd' || n FROM generate_series(0, 9) n",
                (tenant,),
            )
        run(
            "INSERT INTO sites (tenant_id, site_id, name) VALUES (%s, %s, 'here')",
            (ONE, SITE),
        )
        run(
            "UPDATE device_registry SET site_id = %s WHERE tenant_id = %s AND device_id = 'd1'",
            (SITE, ONE),
        )
        run(
            "UPDATE tenants SET status = 'deleted', deleted_at = now() WHERE tenant_id = %s",
            (GONE,),
        )


def message(number: int = 0, **changes: Any) -> Message:
    """The message ``number``, each of another device and moment."""
    plain = Message(
        ONE, f"d{number % 10}", NOW - number * datetime.timedelta(seconds=1), {"t": number + 0.5}
    )
    return replace(plain, **changes)


def rows(engine: Engine, query: str, **values: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.text(query), values))


def count(engine: Engine, table: str = "telemetry") -> int:
    return int(rows(engine, f"SELECT count(*) FROM timeseries.{table}")[0][0])


def quarantine(engine: Engine) -> list[Any]:
    return rows(engine, "SELECT * FROM timeseries.quarantine_events ORDER BY reason, id")


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
    monkeypatch.setattr(ingest_steps, "_STAGE", "SELECT 1 / 0")
    sent = [message(number // 2) for number in range(20)]
    assert ingest(engine, sent) == Ingested(10, 10, 0)


def test_the_second_of_two_is_stored_where_the_first_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("database.ingest_messages._metrics", lambda value: value)
    sent = [message(1, metrics="no json"), message(1, metrics="{}"), message(2, metrics="{}")]
    assert ingest(engine, [*sent, sent[0]]) == Ingested(2, 0, 2)


def test_the_first_of_two_with_one_key_stays(engine: Engine) -> None:
    assert ingest(engine, [message(1, metrics={"v": 1})]).stored == 1
    assert ingest(engine, [message(1, metrics={"v": 2})]).duplicates == 1
    assert rows(engine, "SELECT metrics FROM timeseries.telemetry")[0][0] == {"v": 1}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "tenant missing": ({"tenant_id": None}, "bad_tenant_id"),
    "tenant no UUID": ({"tenant_id": "acme"}, "bad_tenant_id"),
    "tenant a list": ({"tenant_id": [1]}, "bad_tenant_id"),
    "tenant unknown": ({"tenant_id": uuid.UUID(int=77)}, "unknown_tenant"),
    "tenant deleted": ({"tenant_id": GONE}, "unknown_tenant"),
    "device missing": ({"device_id": None}, "bad_device_id"),
    "device empty": ({"device_id": ""}, "bad_device_id"),
    "device a number": ({"device_id": 7}, "bad_device_id"),
    "device a list": ({"device_id": ["d1"]}, "bad_device_id"),
    "device with NUL": ({"device_id": "d\0"}, "bad_device_id"),
    "device with a surrogate": ({"device_id": "\ud800"}, "bad_device_id"),
    "device too long": ({"device_id": "d" * 256}, "bad_device_id"),
    "device unknown": ({"device_id": "d99"}, "unknown_device"),
    "time missing": ({"ts": None}, "bad_ts"),
    "time a word": ({"ts": "yesterday"}, "bad_ts"),
    "time a number": ({"ts": 1_700_000_000}, "bad_ts"),
    "time without zone": ({"ts": "2026-01-01T00:00:00"}, "bad_ts"),
    "time naive": ({"ts": NOW.replace(tzinfo=None)}, "bad_ts"),
    "far future": ({"ts": NOW + 48 * HOUR}, "future_ts"),
    "end of time": ({"ts": datetime.datetime.max.replace(tzinfo=datetime.UTC)}, "future_ts"),
    "1970": ({"ts": "1970-01-01T00:00:00Z"}, "expired_ts"),
    "year 1": ({"ts": "0001-01-01T00:00:00+14:00"}, "expired_ts"),
    "zone of microseconds": (
        {"ts": NOW.astimezone(datetime.timezone(datetime.timedelta(microseconds=5)))},
        "refused_by_database",
    ),
    "type empty": ({"msg_type": ""}, "bad_msg_type"),
    "type a list": ({"msg_type": []}, "bad_msg_type"),
    "number a text": ({"seq": "1"}, "bad_seq"),
    "number a truth": ({"seq": True}, "bad_seq"),
    "number too large": ({"seq": 2**63}, "bad_seq"),
    "site no UUID": ({"site_id": "here"}, "bad_site_id"),
    "site a list": ({"site_id": []}, "bad_site_id"),
    "metrics missing": ({"metrics": None}, "bad_metrics"),
    "metrics a list": ({"metrics": [1]}, "bad_metrics"),
    "NaN": ({"metrics": {"t": float("nan")}}, "bad_metrics"),
    "Infinity": ({"metrics": {"a": {"t": float("-inf")}}}, "bad_metrics"),
    "NUL": ({"metrics": {"t": "a\\\0"}}, "bad_metrics"),
    "NUL in a name": ({"metrics": {"\0": 1}}, "bad_metrics"),
    "surrogate": ({"metrics": {"t": "\udfff"}}, "bad_metrics"),
    "name no text": ({"metrics": {1: 1}}, "bad_metrics"),
    "no JSON": ({"metrics": {"t": object()}}, "bad_metrics"),
    "endless number": ({"metrics": {"t": 10**5000}}, "bad_metrics"),
    "too large": ({"metrics": {"t": "x" * 70_000}}, "metrics_too_large"),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_bad_message_costs_only_itself(
    shared: Engine, changes: dict[str, Any], reason: str
) -> None:
    good, bad = [message(number) for number in range(20)], message(9, **changes)
    result = ingest(shared, [*good[:10], bad, *good[10:]], now=NOW)
    assert (result.stored + result.duplicates, result.quarantined) == (20, 1)
    again = ingest(shared, [bad], now=NOW + 3 * HOUR)
    assert again == Ingested(0, 0, 1)
    found = rows(shared, "SELECT * FROM timeseries.quarantine_events")
    assert len(found) == 1, "the second delivery has the same key"
    kept = found[0]
    assert kept.reason == reason
    assert kept.detail
    foreign = bad.tenant_id not in (ONE, TWO)
    assert kept.tenant_id == (PLATFORM_TENANT_ID if foreign else ONE)
    assert (kept.payload is None) != (kept.payload_raw is None)


@pytest.fixture(scope="module")
def shared_engine(embedded_server: DatabaseServer, migrated_template: str) -> Iterator[Engine]:
    """One database for many small tests."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    options: Any = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}
    server = sa.create_engine(embedded_server.url("postgres"), **options)
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    engine = make_engine(embedded_server.url(name))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"GRANT TEMPORARY ON DATABASE {name} TO fleet_ingest")
    populate(engine)
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def shared(shared_engine: Engine) -> Engine:
    empty(shared_engine)
    return shared_engine


def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE timeseries.telemetry, timeseries.quarantine_events")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ANY_MESSAGE = st.builds(
    Message,
    tenant_id=st.sampled_from([ONE, str(TWO), GONE, "x", None]) | JSON,
    device_id=st.sampled_from(["d1", "d2", "d3"]) | JSON,
    ts=st.sampled_from([NOW, NOW - HOUR, NOW.isoformat()]) | st.datetimes() | JSON,
    metrics=st.dictionaries(st.text(), JSON, max_size=3) | JSON,
    msg_type=st.just("telemetry") | JSON,
    seq=st.integers() | JSON,
    site_id=st.none() | st.uuids() | JSON,
    topic=st.text() | JSON,
    payload=st.none() | st.binary() | st.text() | JSON,
    envelope_version=JSON,
    received_at=st.none() | st.datetimes(timezones=st.just(datetime.UTC)),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ANY_MESSAGE, max_size=6))
def test_no_message_spoils_a_batch_and_none_is_lost(shared: Engine, sent: list[Message]) -> None:
    empty(shared)
    first = ingest(shared, sent, now=NOW)
    assert first.stored + first.duplicates + first.quarantined == len(sent)
    assert count(shared) == first.stored
    kept = count(shared, "quarantine_events")
    assert (kept > 0) == (first.quarantined > 0)
    assert kept <= first.quarantined
    second = ingest(shared, sent, now=NOW)
    assert (second.stored, second.quarantined) == (0, first.quarantined)
    assert (count(shared), count(shared, "quarantine_events")) == (first.stored, kept)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_stored_metrics_are_those_sent(shared: Engine, metrics: dict[str, Any]) -> None:
    empty(shared)
    if ingest(shared, [message(1, metrics=metrics)]).stored:
        assert same(rows(shared, "SELECT metrics FROM timeseries.telemetry")[0][0], metrics)


def same(found: Any, sent: Any) -> bool:
    """Equal, but that jsonb writes 4e+16 without an exponent, which Python reads as an integer."""
    if isinstance(sent, float):
        return float(found) == sent
    if isinstance(sent, dict):
        return found.keys() == sent.keys() and all(same(found[k], v) for k, v in sent.items())
    if isinstance(sent, list):
        return len(found) == len(sent) and all(map(same, found, sent))
    return type(found) is type(sent) and bool(found == sent)


@pytest.mark.parametrize("received", [b'{"a": [1, 2]}', '{"a": [1, 2]}', {"a": [1, 2]}])
def test_quarantine_keeps_json_as_json(shared: Engine, received: Any) -> None:
    ingest(shared, [message(1, ts=None, topic="t/1", payload=received, envelope_version=2)])
    (row,) = quarantine(shared)
    assert (row.payload, row.payload_raw, row.topic) == ({"a": [1, 2]}, None, "t/1")
    assert (row.device_id, row.claimed_tenant, row.envelope_version) == ("d1", str(ONE), "2")


@pytest.mark.parametrize(
    "received", [b"\xff\0", b'{"t": NaN}', b'{"t": "\\u0000"}', b"[" * 5000, b"null", b""]
)
def test_quarantine_keeps_other_bytes_as_bytes(shared: Engine, received: bytes) -> None:
    ingest(shared, [message(1, ts=None, payload=received)])
    (row,) = quarantine(shared)
    assert (row.payload, bytes(row.payload_raw)) == (None, received)


def test_quarantine_keeps_the_beginning_of_too_much(shared: Engine) -> None:
    received = b"x" * (ingest_quarantine.MAX_PAYLOAD + 5)
    ingest(shared, [message(1, ts=None, payload=received)])
    (row,) = quarantine(shared)
    assert len(row.payload_raw) == ingest_quarantine.MAX_PAYLOAD
    assert "of 1,048,581 bytes" in row.detail


def test_the_time_of_the_broker_makes_redelivery_harmless_for_long(shared: Engine) -> None:
    bad = message(1, ts="?", received_at=NOW - 30 * HOUR)
    for later in range(3):
        ingest(shared, [bad], now=NOW + later * 24 * HOUR)
    (row,) = quarantine(shared)
    assert row.ts == NOW - 30 * HOUR


def test_poison_that_only_the_database_sees_costs_only_itself(shared: Engine) -> None:
    zone = datetime.timezone(datetime.timedelta(microseconds=5))
    sent = [message(number) for number in range(100)]
    for number in (0, 37, 38, 99):
        sent[number] = replace(sent[number], ts=NOW.astimezone(zone), seq=number)
    assert ingest(shared, sent) == Ingested(96, 0, 4)
    assert ingest(shared, sent) == Ingested(0, 96, 4)
    assert {row.reason for row in quarantine(shared)} == {"refused_by_database"}


def test_columns_are_those_of_the_models() -> None:
    for name, columns in (
        ("telemetry", ingest_steps.COLUMNS),
        ("quarantine_events", ingest_quarantine.COLUMNS),
    ):
        table = Base.metadata.tables[f"timeseries.{name}"]
        dialect = sa.create_engine("postgresql+psycopg://").dialect
        declared = {
            column.name: column.type.compile(dialect).lower().split()[0]
            for column in table.columns
            if column.name != "ingested_at"
        }
        shortened = {"timestamptz": "timestamp"}
        assert declared == {name: shortened.get(kind, kind) for name, kind in columns.items()}


def test_one_notification_a_tenant(engine: Engine) -> None:
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN telemetry")

        def heard() -> list[str]:
            return sorted(n.payload for n in listener.notifies(timeout=0.5))

        sent = [message(n, tenant_id=(ONE, TWO)[n % 2]) for n in range(40)]
        ingest(engine, sent)
        assert heard() == [str(ONE), str(TWO)]
        ingest(engine, sent)
        assert heard() == []
        ingest(engine, [*sent[::2], message(41, tenant_id=ONE)])
        assert heard() == [str(ONE)]


@pytest.fixture
def login(engine: Engine) -> Iterator[Callable[..., sa.URL]]:
    """A login that is granted one role and nothing else."""
    made = []

    def make(role: str) -> sa.URL:
        name = f"login_{uuid.uuid4().hex[:8]}"
        made.append(name)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE {role}")
        return engine.url.set(username=name, password="x")

    yield make
    with engine.begin() as connection:
        for name in made:
            connection.exec_driver_sql(f"DROP ROLE {name}")


def test_a_login_of_fleet_ingest_is_enough_and_reads_nothing(
    engine: Engine, login: Callable[..., sa.URL]
) -> None:
    own = make_engine(login("fleet_ingest"), poolclass=NullPool)
    sent = [message(1), message(2, device_id="nobody")]
    assert ingest(own, sent) == Ingested(1, 0, 1)
    assert ingest(own, sent) == Ingested(0, 1, 1)
    for table in ("telemetry", "telemetry_hourly", "quarantine_events"):
        for schema in ("timeseries", "public"):
            with own.connect() as connection, pytest.raises(sa.exc.ProgrammingError) as refused:
                connection.exec_driver_sql(f"SELECT count(*) FROM {schema}.{table}")
            assert "permission denied" in str(refused.value)
    with own.connect() as connection, pytest.raises(sa.exc.ProgrammingError):
        connection.exec_driver_sql("SELECT notes FROM device_registry")


def test_another_login_is_refused(engine: Engine, login: Callable[..., sa.URL]) -> None:
    with pytest.raises(TenancyError, match="may not act as fleet_ingest"):
        ingest(make_engine(login("fleet_app"), poolclass=NullPool), [message(1)])


def test_each_tenant_sees_its_own(engine: Engine) -> None:
    ingest(engine, [message(n, tenant_id=(ONE, TWO)[n % 3 == 0]) for n in range(30)])
    for tenant, expected in ((ONE, 20), (TWO, 10)):
        with tenant_transaction(engine, tenant) as connection:
            found = connection.exec_driver_sql("SELECT tenant_id FROM telemetry").scalars().all()
        assert found == [tenant] * expected


def test_role_and_settings_end_with_the_batch(migrated_database: str, engine: Engine) -> None:
    single = make_engine(migrated_database, pool_size=1, max_overflow=0)
    ingest(single, [message(1)])
    ingest(single, [message(1)])
    with single.connect() as connection:
        row = connection.exec_driver_sql(
            "SELECT current_user = session_user, to_regclass('pg_temp.telemetry_staging')"
        ).one()
    assert tuple(row) == (True, None)
    single.dispose()


def kill_others(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("after", [0, 1, 400])
def test_a_killed_connection_leaves_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    sent = [message(n, metrics={"t": "x" * 1000}) for n in range(500)]
    sent.append(message(501, device_id="nobody"))
    encoder = Batch._encoder

    def deadly(batch: Batch) -> Callable[[Message], Any]:
        encode, seen = encoder(batch), []

        def wrapped(one: Message) -> Any:
            seen.append(one)
            if len(seen) == after + 1:
                kill_others(engine)
            return encode(one)

        return wrapped

    pooled = make_engine(engine.url)
    with monkeypatch.context() as patched:
        patched.setattr(Batch, "_encoder", deadly)
        with pytest.raises(IngestError, match="deliver it again"):
            ingest(pooled, sent)
    assert (count(engine), count(engine, "quarantine_events")) == (0, 0)
    assert ingest(pooled, sent) == Ingested(500, 0, 1)
    pooled.dispose()


def test_a_failure_at_the_end_takes_all_of_it_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_quarantine, "statement", lambda: "SELECT 1 / %(zero)s")
    monkeypatch.setattr(ingest_quarantine, "parameters", lambda batch: {"zero": 0})
    with pytest.raises(IngestError, match="nothing of a batch of 2 messages was stored: division"):
        ingest(engine, [message(1), message(2, metrics=None)])
    assert count(engine) == 0


def test_a_missing_table_says_what_to_run(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("REVOKE INSERT ON timeseries.telemetry FROM fleet_ingest")
    with pytest.raises(IngestError, match=r"permission denied.*; run `alembic upgrade head`, then"):
        ingest(engine, [message(1)])


def test_an_unreachable_server_raises(engine: Engine) -> None:
    nowhere = make_engine("postgresql://nobody@127.0.0.1:1/none", poolclass=NullPool)
    with pytest.raises(IngestError, match="nothing of a batch of 1 messages was stored"):
        ingest(nowhere, [message(1)])


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


def test_the_asynchronous_twin(engine: Engine) -> None:
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


def test_the_asynchronous_twin_leaves_nothing_of_a_failure(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ingest_quarantine, "statement", lambda: "SELECT pg_terminate_backend(pg_backend_pid())"
    )
    monkeypatch.setattr(ingest_quarantine, "parameters", lambda batch: {})

    async def run() -> None:
        await async_ingest(
            make_async_engine(engine.url, poolclass=NullPool), [message(1), message(2, ts=None)]
        )

    with pytest.raises(IngestError, match="nothing of a batch of 2"):
        asyncio.run(run())
    assert count(engine) == 0


@pytest.fixture
def community(timescaledb_server: DatabaseServer, make_database: Any) -> Iterator[Engine]:
    url = make_database(timescaledb_server)
    with engine_of(url) as engine:
        command.upgrade(config_for(engine), "head")
        populate(engine)
        yield engine


def compress(engine: Engine) -> int:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"
        )
        return len(
            connection.exec_driver_sql(
                "SELECT compress_chunk(c, if_not_compressed => true)"
                " FROM show_chunks('timeseries.telemetry') c"
            ).all()
        )


@pytest.mark.timescaledb
def test_late_and_repeated_points_in_compressed_chunks(community: Engine) -> None:
    old = NOW - 20 * 24 * HOUR
    sent = [message(n, ts=old + n * datetime.timedelta(seconds=1)) for n in range(2000)]
    assert ingest(community, sent[::2]) == Ingested(1000, 0, 0)
    assert compress(community) > 0
    assert ingest(community, sent[1::2]) == Ingested(1000, 0, 0), "late"
    assert ingest(community, sent) == Ingested(0, 2000, 0), "repeated"
    compress(community)
    more = [*sent[:500], *(message(n, ts=old - n * HOUR / 100) for n in range(1, 501))]
    assert ingest(community, more) == Ingested(500, 500, 0), "both"
    assert count(community) == 2500


@pytest.mark.timescaledb
@pytest.mark.slow
def test_more_late_points_than_the_server_decompresses_by_default(community: Engine) -> None:
    old = (NOW - 20 * 24 * HOUR).replace(hour=0, minute=0, second=0, microsecond=0)
    with community.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO timeseries.telemetry (tenant_id, device_id, ts, metrics)"
            " SELECT %s, 'd' || n %% 10, %s::timestamptz + n * interval '0.5 s', '{}'"
            " FROM generate_series(1, 150000) n",
            (ONE, old),
        )
    compress(community)
    half = datetime.timedelta(seconds=0.25)
    late = [
        message(n, device_id=f"d{n % 10}", ts=old + half + n * datetime.timedelta(seconds=25))
        for n in range(3000)
    ]
    assert ingest(community, late) == Ingested(3000, 0, 0)
    assert ingest(community, late) == Ingested(0, 3000, 0)


def test_json_stays_readable() -> None:
    batch = Batch([message(1, metrics={"ü": "\\"})], NOW)
    batch.answers([(str(ONE), "d1", None)])
    (line,) = b"".join(batch.encoded()).decode().splitlines()
    assert json.loads(line.split("\t")[-1].replace("\\\\", "\\")) == {"ü": "\\"}
