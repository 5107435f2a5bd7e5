"""A tenant is deleted from hypertables and rollups as well; the history of others stays."""

from __future__ import annotations

import datetime
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from database.ingest import Message, ingest, steps
from operations.tenants.deletion import Step, delete_tenant
from operations.tenants.tenant import TenantError
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.preparation import after
from tests.support.servers import DatabaseServer
from tests.support.time_series import (
    ACME,
    GLOBEX,
    HOOLI,
    RAW,
    SLUGS,
    add_rows,
    alone,
    checksum,
    checksums,
    compress,
    count,
    execute,
    make_tenants,
    migrate,
    owned,
    refresh,
    scalar,
    set_policy,
    stop_jobs,
    stored,
)


def fill(engine: Engine) -> None:
    make_tenants(engine)
    for tenant in SLUGS:
        for age in ("60 days", "40 days", "1 day"):
            add_rows(engine, tenant, age)
    set_policy(engine, ACME, "telemetry", 30)


@after(migrate)
def filled(url: str) -> None:
    with engine_of(url) as engine:
        fill(engine)


@after(migrate)
def refreshed(url: str) -> None:
    with engine_of(url) as engine:
        stop_jobs(engine)
        fill(engine)
        refresh(engine)


@pytest.fixture
def fleet(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    with engine_of(make_database(timescaledb_server, like=refreshed)) as engine:
        yield engine


@pytest.fixture(params=servers("embedded", "apache"))
def lesser(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    with engine_of(make_database(named_server(request), like=filled)) as engine:
        yield engine


def everywhere(engine: Engine, tenant: uuid.UUID) -> dict[str, int]:
    """Every table of the database, chunks compressed or not, that has rows of the tenant."""
    tables = alone(
        engine,
        "SELECT a.attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid"
        " WHERE attname = 'tenant_id' AND atttypid = 'uuid'::regtype AND relkind IN ('r', 'p')"
        " AND NOT attisdropped",
    )
    counts = {table: count(engine, tenant, table) for (table,) in tables}
    return {table: rows for table, rows in counts.items() if rows}


@pytest.mark.slow
@pytest.mark.timescaledb
@pytest.mark.parametrize("compressed", [True, False])
def test_no_rows_remain_in_chunks_or_rollups(fleet: Engine, compressed: bool) -> None:
    if compressed:
        compress(fleet)
        add_rows(fleet, ACME, "59 days")  # late rows beside compressed ones
    add_rows(fleet, ACME, "500 days")
    assert everywhere(fleet, ACME)
    others = [checksums(fleet, tenant) for tenant in (GLOBEX, HOOLI)]
    deleted = delete_tenant(fleet, "acme")
    assert everywhere(fleet, ACME) == {}
    assert [checksums(fleet, tenant) for tenant in (GLOBEX, HOOLI)] == others
    assert deleted.rows[RAW] == (500 if compressed else 400)
    assert deleted.rows[f"{RAW}_hourly"] == deleted.rows[f"{RAW}_daily"] == 6


@pytest.mark.timescaledb
@pytest.mark.parametrize("compressed", [True, False])
def test_rollups_of_others_stay_where_raw_chunks_were_dropped(
    fleet: Engine, compressed: bool
) -> None:
    if compressed:
        compress(fleet)
    alone(fleet, f"SELECT drop_chunks('{RAW}', older_than => interval '50 days')")
    tables = [stored(fleet, f"telemetry_{name}") for name in ("hourly", "daily")]
    before = [checksum(fleet, table, tenant) for table in tables for tenant in (GLOBEX, HOOLI)]
    views = [checksums(fleet, tenant) for tenant in (GLOBEX, HOOLI)]
    deleted = delete_tenant(fleet, "acme")
    assert deleted.rows[f"{RAW}_hourly"] == 6  # three days, two devices: one without raw data
    assert everywhere(fleet, ACME) == {}
    after = [checksum(fleet, table, tenant) for table in tables for tenant in (GLOBEX, HOOLI)]
    assert after == before
    # Nor when the policies run the next time.
    for job in alone(
        fleet,
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name LIKE '%refresh%'",
    ):
        alone(fleet, f"CALL run_job({job[0]})")
    assert [checksums(fleet, tenant) for tenant in (GLOBEX, HOOLI)] == views
    assert checksums(fleet, ACME)[f"{RAW}_hourly"].startswith("0")


def test_without_continuous_aggregates(lesser: Engine) -> None:
    others = [checksums(lesser, tenant) for tenant in (GLOBEX, HOOLI)]
    deleted = delete_tenant(lesser, "acme")
    assert deleted.rows[RAW] == 300
    assert everywhere(lesser, ACME) == {}
    assert [checksums(lesser, tenant) for tenant in (GLOBEX, HOOLI)] == others


@pytest.mark.timescaledb
def test_an_interrupted_run_continues(fleet: Engine) -> None:
    class StoppedError(Exception):
        pass

    def stop_at(relation: str) -> None:
        def on_step(step: Step) -> None:
            if step.rows is None and step.relations == relation:
                raise StoppedError

        with pytest.raises(StoppedError):
            delete_tenant(fleet, "acme", on_step=on_step)

    compress(fleet)
    others = [checksums(fleet, tenant) for tenant in (GLOBEX, HOOLI)]
    for relation in (RAW, f"{RAW}_daily", f"{RAW}_hourly", "tenant_members, tenants"):
        stop_at(relation)
        assert scalar(fleet, f"SELECT status FROM tenants WHERE tenant_id = '{ACME}'") == "deleted"
    delete_tenant(fleet, "acme")
    assert everywhere(fleet, ACME) == {}
    assert [checksums(fleet, tenant) for tenant in (GLOBEX, HOOLI)] == others


@pytest.mark.timescaledb
def test_rows_ingested_meanwhile_are_deleted(fleet: Engine) -> None:
    def on_step(step: Step) -> None:
        if step.rows is None and step.number == step.steps:
            add_rows(fleet, ACME, "2 days")
            refresh(fleet)

    deleted = delete_tenant(fleet, "acme", on_step=on_step)
    assert deleted.rows[RAW] == 400
    assert everywhere(fleet, ACME) == {}


def test_a_batch_being_ingested_is_deleted(
    embedded_server: DatabaseServer, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began before the tenant was marked as deleted: the deletion waits for it."""
    url = make_database(embedded_server, like=migrate)
    arrived, go_on = threading.Event(), threading.Event()

    def slowly(*given: Any) -> Any:
        arrived.set()
        assert go_on.wait(30)
        return whole(*given)

    whole = steps.Batch.tenants_accepted
    monkeypatch.setattr(steps.Batch, "tenants_accepted", slowly)

    with engine_of(url) as engine, ThreadPoolExecutor(2) as pool:
        make_tenants(engine)
        execute(
            engine,
            "SET LOCAL ROLE fleet_operator",
            f"INSERT INTO device_registry (tenant_id, device_id) VALUES ('{ACME}', 'd')",
        )
        message = Message(ACME, "d", datetime.datetime.now(datetime.UTC), {"x": 1})
        batch = pool.submit(ingest, engine, [message])
        assert arrived.wait(30)
        deletion = pool.submit(delete_tenant, engine, "acme")
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while scalar(engine, waiting) == 0:
            assert not deletion.done(), "it did not wait"
        go_on.set()
        assert batch.result().stored == 1
        assert deletion.result().rows[RAW] == 1
        assert everywhere(engine, ACME) == {}


@pytest.mark.timescaledb
def test_an_owner_that_is_no_superuser(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    with owned(make_database(timescaledb_server)) as url:
        migrate(url)
        with engine_of(url) as engine:
            stop_jobs(engine)
            fill(engine)
            refresh(engine)
            compress(engine)
            others = [checksums(engine, tenant) for tenant in (GLOBEX, HOOLI)]
            delete_tenant(engine, "acme")
            assert checksums(engine, ACME)[RAW].startswith("0")
            assert [checksums(engine, tenant) for tenant in (GLOBEX, HOOLI)] == others


@pytest.mark.timescaledb
def test_a_login_that_is_not_the_owner_deletes_nothing(
    fleet: Engine, timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    """A login that may act as an operator, but owns no hypertable."""
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    execute(fleet, f"CREATE ROLE {name} LOGIN PASSWORD 'x'", f"GRANT fleet_operator TO {name}")
    before = everywhere(fleet, ACME)
    stranger = fleet.url.set(username=name, password="x")
    try:
        with (
            engine_of(stranger.render_as_string(hide_password=False)) as engine,
            pytest.raises(TenantError, match=r"does not own .*timeseries.telemetry, which only"),
        ):
            delete_tenant(engine, "acme")
        assert everywhere(fleet, ACME) == before
    finally:
        execute(fleet, f"DROP ROLE {name}")
