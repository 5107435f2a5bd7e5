"""The telemetry of the demonstration: stored once, seen by its tenant, on every edition."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from operations.commands import demo_telemetry as shown
from operations.console import console
from operations.demo import registration, telemetry
from operations.demo.telemetry import Window
from operations.demo.tenant_data import TENANTS
from operations.tenants.tenant import Tenant
from tests.support.databases import seed
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer

DEVICES = 12


@pytest.fixture
def plain(seeded_database: str) -> Iterator[Engine]:
    with engine_of(seeded_database) as engine:
        yield engine


@pytest.fixture
def community(timescaledb_server: DatabaseServer, make_database: Any) -> Iterator[Engine]:
    with engine_of(make_database(timescaledb_server, like=seed)) as engine:
        yield engine


@pytest.fixture
def apache(apache_server: DatabaseServer, make_database: Any) -> Iterator[Engine]:
    with engine_of(make_database(apache_server, like=seed)) as engine:
        yield engine


def tenants_of(engine: Engine) -> list[Tenant]:
    made = []
    for demo_tenant in TENANTS:
        tenant, _ = registration.ensure_tenant(engine, demo_tenant)
        numbers = registration.missing_devices(engine, demo_tenant, tenant.tenant_id, 40)
        registration.register(engine, demo_tenant, tenant.tenant_id, numbers, lambda devices: None)
        made.append(tenant)
    return made


def run(engine: Engine, tenants: list[Tenant], days: int = 2) -> str:
    with console.capture() as captured:
        shown.show(engine, tenants, devices=DEVICES, days=days)
    return captured.get()


def sights(engine: Engine, tenants: list[Tenant], days: int = 2) -> list[tuple[Any, ...]]:
    window = Window.of(days)
    found = [telemetry.seen_by_tenant(engine, tenant, window) for tenant in tenants]
    return [(s.points, s.devices, s.hourly, s.daily, s.quarantined) for s in found]


def check(engine: Engine, tenants: list[Tenant]) -> str:
    """Streams twice; returns what the first time printed."""
    first = run(engine, tenants)
    before = sights(engine, tenants)
    assert "nothing new" not in first
    for points, devices, hourly, daily, _ in before:
        assert devices == DEVICES
        assert 0.8 * DEVICES * 192 < points <= DEVICES * 192
        assert hourly > daily > 0
    again = run(engine, tenants)
    assert " 0 stored" in again
    assert "nothing new: all of it is there already" in again
    assert sights(engine, tenants) == before
    return first


def test_on_plain_postgresql(plain: Engine) -> None:
    printed = check(plain, tenants_of(plain))
    assert "Left out on postgresql: hypertables, the columnstore and stored rollups" in printed
    assert "as rows" in printed
    assert "columns *" not in printed


@pytest.mark.timescaledb
def test_on_the_apache_edition(apache: Engine) -> None:
    printed = check(apache, tenants_of(apache))
    assert "Left out on timescaledb-apache: the columnstore and stored rollups" in printed


@pytest.mark.timescaledb
def test_on_the_community_edition(community: Engine) -> None:
    printed = check(community, tenants_of(community))
    assert "Refreshed timeseries.telemetry_daily, timeseries.telemetry_hourly" in printed
    assert "2 chunks are in the columnstore" in printed
    assert "times smaller" in printed
    storage = telemetry.storage(community, Window.of(2))
    assert storage.after is not None
    assert storage.after < storage.before


def test_a_longer_window_adds_only_what_is_missing(plain: Engine) -> None:
    tenants = tenants_of(plain)
    run(plain, tenants, days=1)
    before = sights(plain, tenants)
    run(plain, tenants, days=2)
    after = sights(plain, tenants)
    assert [s[0] for s in after] > [1.8 * s[0] for s in before]


def test_a_window_is_of_whole_days() -> None:
    late = datetime.datetime(2026, 3, 2, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=3)))
    window = Window.of(7, late)
    assert window.end == datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    assert window.end - window.start == datetime.timedelta(days=7)
