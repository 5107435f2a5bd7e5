"""A command waits for no lock without end, and says who holds it."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from psycopg.errors import LockNotAvailable

from database.errors import server_message
from operations import lock_waits
from operations.owner import owner_engine
from operations.tenants.creation import create_tenant
from operations.tenants.rates import rates, set_rate
from tests.support.engines import engine_of


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "LOCK_TIMEOUT", "1s")
    monkeypatch.setattr(lock_waits, "AFTER", 0.2)


def test_a_limit_that_a_thief_holds(
    seeded_database: str, commands_on: Callable[[str], None]
) -> None:
    """A stolen login keeps the transaction open in which it asked for room."""
    thief = f"thief_{uuid.uuid4().hex[:8]}"
    with engine_of(seeded_database) as engine:
        tenant = create_tenant(engine, slug="new", name="New", owner_email="bob@example.com")
        set_rate(engine, "new", 60)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"CREATE ROLE {thief} LOGIN PASSWORD 'x' IN ROLE fleet_ingest"
            )
        commands_on(seeded_database)
        stolen = engine.url.set(username=thief, password="x")
        arguments = {"connect_args": {"application_name": "burglar"}}
        with engine_of(stolen, **arguments) as other, other.begin() as held:
            pid = held.scalar(sa.text("SELECT pg_backend_pid()"))
            held.exec_driver_sql(f"SELECT ingest_room(ARRAY['{tenant.tenant_id}'::uuid])")
            with owner_engine() as owner:
                for per_minute in (60_000, None):
                    with pytest.raises(sa.exc.DBAPIError) as caught:
                        set_rate(owner, "new", per_minute)
                    said = server_message(caught.value)
                    assert said.startswith("canceling statement due to lock timeout"), said
                    assert "it waited for a row of ingest_rates, which is held by" in said
                    assert f"pid {pid} (login {thief}, application burglar" in said
                    assert f"SELECT pg_terminate_backend({pid})" in said
                assert rates(owner, "new")[0].records_per_minute == 60
        with owner_engine() as owner:
            set_rate(owner, "new", None)
            assert rates(owner, "new") == []
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP ROLE {thief}")


def test_a_login_keeps_a_timeout_of_its_own(
    seeded_database: str, commands_on: Callable[[str], None]
) -> None:
    asked = sa.text("SELECT current_setting('lock_timeout')")
    commands_on(seeded_database)
    with owner_engine() as owner:
        with owner.begin() as connection:
            assert connection.scalar(asked) == "1s"
            connection.exec_driver_sql("ALTER ROLE CURRENT_USER SET lock_timeout = '3s'")
        with owner.begin() as connection:
            assert connection.scalar(asked) == "3s"


def test_a_table_and_a_wait_of_the_drivers_own(seeded_database: str) -> None:
    with engine_of(seeded_database) as engine:
        lock_waits.limit_waits(engine)
        with engine.begin() as holder, engine.connect() as waiting:
            holder.exec_driver_sql("LOCK TABLE sites")
            driver = waiting.connection.driver_connection
            assert driver is not None
            with (
                pytest.raises(LockNotAvailable) as caught,
                lock_waits.watched(waiting),
            ):
                driver.execute("SELECT FROM sites")
            assert "it waited for table sites, which is held by pid " in server_message(
                caught.value
            )
