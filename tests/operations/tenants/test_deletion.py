"""A tenant is deleted completely, even if the deletion is interrupted."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from database.tenancy import tenant_transaction
from models.shared.base import PLATFORM_TENANT_ID
from operations.demo import registration
from operations.demo.tenant_data import TENANTS
from operations.tenants import deletion, tenant_tables
from operations.tenants.creation import create_tenant
from operations.tenants.deletion import Step, delete_tenant
from operations.tenants.tenant import TenantError
from tests.support.databases import LONG
from tests.support.engines import engine_of
from tests.support.plain_owner import plain_owner
from tests.support.tenant_rows import ACME, DEVICES, GLOBEX, checksums, counts, execute, scalar


@pytest.fixture
def database(database_of_two: str) -> str:
    return database_of_two


class StoppedError(Exception):
    """The process was killed, as far as the deletion can tell."""


def stop_after(steps: int) -> Callable[[Step], None]:
    def on_step(step: Step) -> None:
        if step.rows is None and step.number > steps:
            raise StoppedError

    return on_step


def test_every_row_of_the_tenant_and_no_other_is_deleted(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    others = (two_tenants[GLOBEX], PLATFORM_TENANT_ID)
    before = [checksums(engine, other) for other in others]
    had = counts(engine, two_tenants[ACME])
    steps: list[Step] = []

    deleted = delete_tenant(engine, ACME, actor="ann", on_step=steps.append)

    assert counts(engine, two_tenants[ACME]) == {}
    assert scalar(engine, "SELECT count(*) FROM tenants WHERE slug = :slug", slug=ACME) == 0
    assert [checksums(engine, other) for other in others] == before
    assert deleted.rows == {**had, "tenants": 1}
    assert deleted.left_over == [TENANTS[0].owner_email]
    email = "SELECT count(*) FROM users WHERE email = :email"
    assert scalar(engine, email, email=TENANTS[0].owner_email) == 1
    # Every step was announced, then done, and the tenant came last.
    assert [step.rows is None for step in steps] == [True, False] * (len(steps) // 2)
    assert steps[-1].relations == "tenant_members, tenants"
    with engine.connect() as connection:
        log = connection.execute(
            sa.text(
                "SELECT user_id, tenant_filter, resource_id FROM operator_audit_log"
                " WHERE action IN ('tenant.delete', 'tenant.delete.finish')"
            )
        ).all()
    assert log == [("ann", two_tenants[ACME], ACME)] * 2


def test_a_plain_owner_deletes_as_well(
    database: str, engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    before = checksums(engine, two_tenants[GLOBEX])
    with plain_owner(database) as url, engine_of(url) as owner:
        delete_tenant(owner, ACME)
        made = create_tenant(owner, slug="new", name="New", owner_email="new@example.com")
    assert counts(engine, two_tenants[ACME]) == {}
    assert checksums(engine, two_tenants[GLOBEX]) == before
    assert counts(engine, made.tenant_id) == made.rows


def test_the_slug_is_free_afterwards(engine: Engine, two_tenants: dict[str, uuid.UUID]) -> None:
    delete_tenant(engine, ACME)
    assert registration.ensure_tenant(engine, TENANTS[0])[1]


def test_members_of_another_tenant_are_not_left_over(engine: Engine) -> None:
    create_tenant(engine, slug="one", name="One", owner_email="ann@example.com")
    create_tenant(engine, slug="two", name="Two", owner_email="ann@example.com")
    assert delete_tenant(engine, "one").left_over == []
    assert delete_tenant(engine, "two").left_over == ["ann@example.com"]


@pytest.mark.parametrize("steps", [0, 1, 7, 12, 23, 24, 34, 35] if LONG else [0, 7, 24, 35])
def test_an_interrupted_run_continues(
    engine: Engine, two_tenants: dict[str, uuid.UUID], steps: int
) -> None:
    before = checksums(engine, two_tenants[GLOBEX])
    had = counts(engine, two_tenants[ACME])
    with pytest.raises(StoppedError):
        delete_tenant(engine, ACME, on_step=stop_after(steps))
    status = "SELECT status FROM tenants WHERE slug = :slug"
    assert scalar(engine, status, slug=ACME) == "deleted"
    left = counts(engine, two_tenants[ACME])
    assert left["tenant_members"] == 1
    with pytest.raises(TenantError, match="is being deleted: finish the deletion"):
        create_tenant(engine, slug=ACME, name="x", owner_email="x@example.com")

    deleted = delete_tenant(engine, ACME)

    assert deleted.rows == {**left, "tenants": 1}
    assert deleted.left_over == [TENANTS[0].owner_email]  # a second run still knows them
    assert set(left) <= set(had)
    assert counts(engine, two_tenants[ACME]) == {}
    assert checksums(engine, two_tenants[GLOBEX]) == before


def test_a_run_whose_session_was_terminated_continues(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    """The deletion waits for a row that another session holds, and is terminated there."""
    with engine.connect() as holder, ThreadPoolExecutor(1) as pool:
        holder.execute(
            sa.text("SELECT FROM device_registry WHERE device_id LIKE 'acme%' FOR UPDATE")
        )
        running = pool.submit(delete_tenant, engine, ACME)
        here = "wait_event_type = 'Lock' AND datname = current_database()"
        wait_for(engine, f"SELECT count(*) FROM pg_stat_activity WHERE {here}")
        execute(engine, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {here}")
        with pytest.raises(
            TenantError, match=r"stopped at device_registry .*run the command again"
        ):
            running.result()
        holder.rollback()
    assert counts(engine, two_tenants[ACME])["device_registry"] == DEVICES
    delete_tenant(engine, ACME)
    assert counts(engine, two_tenants[ACME]) == {}


def test_a_locked_row_is_reported(
    engine: Engine, two_tenants: dict[str, uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "LOCK_TIMEOUT", "200ms")
    with engine.connect() as holder:
        holder.execute(sa.text("SELECT FROM sites WHERE name LIKE 'H%' FOR UPDATE"))
        with pytest.raises(TenantError, match=r"stopped at sites .*lock timeout") as raised:
            delete_tenant(engine, ACME)
    assert "\n" not in str(raised.value)


def test_concurrent_runs(engine: Engine, two_tenants: dict[str, uuid.UUID]) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slowly(step: Step) -> None:
        started.set()
        assert go_on.wait(30)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(delete_tenant, engine, ACME, on_step=slowly)
        assert started.wait(30)
        try:
            with pytest.raises(TenantError, match="is being deleted by another session"):
                delete_tenant(engine, ACME)
            delete_tenant(engine, GLOBEX)  # another tenant is another matter
        finally:
            go_on.set()
        first.result()
    for tenant_id in two_tenants.values():
        assert counts(engine, tenant_id) == {}
    with pytest.raises(TenantError, match="no tenant has the slug"):
        delete_tenant(engine, ACME)


def test_rows_written_meanwhile_are_deleted(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    """The application may still have sessions of the tenant, even an open transaction."""
    acme = two_tenants[ACME]
    new_site = sa.text("INSERT INTO sites (tenant_id, name) VALUES (current_tenant(), :name)")
    writer = tenant_transaction(engine, acme)
    opened: list[Connection] = []
    finisher = threading.Timer(0.5, lambda: writer.__exit__(None, None, None))

    def on_step(step: Step) -> None:
        if step.rows is None and step.number == step.steps:
            with tenant_transaction(engine, acme) as connection:
                connection.execute(new_site, {"name": "committed"})
            opened.append(writer.__enter__())
            opened[0].execute(new_site, {"name": "not committed yet"})
            finisher.start()

    deleted = delete_tenant(engine, ACME, on_step=on_step)
    finisher.join()
    assert deleted.rows["sites"] == len(TENANTS[0].sites) + 2
    assert counts(engine, acme) == {}


def test_the_platform_cannot_be_deleted(engine: Engine) -> None:
    [slug] = [
        scalar(engine, "SELECT slug FROM tenants WHERE tenant_id = :id", id=PLATFORM_TENANT_ID)
    ]
    before = checksums(engine, PLATFORM_TENANT_ID)
    with pytest.raises(TenantError, match="is the platform itself"):
        delete_tenant(engine, slug)
    assert checksums(engine, PLATFORM_TENANT_ID) == before


def test_no_such_tenant(engine: Engine) -> None:
    with pytest.raises(TenantError, match="no tenant has the slug 'nosuch'"):
        delete_tenant(engine, "nosuch")


def test_a_table_that_operators_cannot_empty_is_reported_first(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    """Row-level security without a policy would delete nothing and report success."""
    execute(
        engine,
        "CREATE TABLE closed (tenant_id uuid REFERENCES tenants)",
        "CREATE TABLE blind (tenant_id uuid)",
        "ALTER TABLE blind ENABLE ROW LEVEL SECURITY",
        "GRANT ALL ON blind TO fleet_operator",
    )
    before = checksums(engine, two_tenants[ACME])
    with pytest.raises(TenantError, match="cannot delete from blind, closed"):
        delete_tenant(engine, ACME)
    assert checksums(engine, two_tenants[ACME]) == before
    assert scalar(engine, "SELECT status FROM tenants WHERE slug = :slug", slug=ACME) == "active"


def test_undeclared_tables_and_cycles_of_foreign_keys(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    execute(
        engine,
        "CREATE TABLE hen (tenant_id uuid REFERENCES tenants, id int, egg int,"
        " PRIMARY KEY (tenant_id, id))",
        "CREATE TABLE egg (tenant_id uuid REFERENCES tenants, id int, hen int NOT NULL,"
        " mother int, PRIMARY KEY (tenant_id, id),"
        " FOREIGN KEY (tenant_id, hen) REFERENCES hen,"
        " FOREIGN KEY (tenant_id, mother) REFERENCES egg)",
        "ALTER TABLE hen ADD FOREIGN KEY (tenant_id, egg) REFERENCES egg",
        "GRANT SELECT, DELETE ON hen, egg TO fleet_operator",
    )
    for tenant_id in two_tenants.values():
        execute(
            engine,
            f"INSERT INTO hen SELECT '{tenant_id}', n FROM generate_series(1, 9) n",
            f"INSERT INTO egg SELECT '{tenant_id}', n, n, nullif(n - 1, 0)"
            " FROM generate_series(1, 9) n",
            f"UPDATE hen SET egg = 10 - id WHERE tenant_id = '{tenant_id}'",
        )
    deleted = delete_tenant(engine, ACME)
    assert (deleted.rows["hen"], deleted.rows["egg"]) == (9, 9)
    left = counts(engine, two_tenants[GLOBEX])
    assert (left["hen"], left["egg"]) == (9, 9)


def test_tables_are_emptied_before_those_they_refer_to(engine: Engine) -> None:
    with engine.connect() as connection:
        order = tenant_tables.deletion_order(tenant_tables.read_tenant_tables(connection))
    assert all(len(group) == 1 for group in order)
    place = {group[0].oid: number for number, group in enumerate(order)}
    for group in order:
        for child in group[0].children & place.keys():
            assert place[child] < place[group[0].oid]
    assert order[-1][0].table == tenant_tables.MEMBERS


def wait_for(engine: Engine, query: str) -> None:
    deadline = time.monotonic() + 30
    while not scalar(engine, query):
        assert time.monotonic() < deadline, query
        time.sleep(0.02)
