"""On plain PostgreSQL and the Apache edition, `maintain` enforces retention without jobs."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from operations.maintenance import run as maintenance_run
from operations.maintenance import time_series
from operations.maintenance.run import maintain
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.time_series import (
    ACME,
    GLOBEX,
    HOOLI,
    RAW,
    SLUGS,
    add_rows,
    checksums,
    count,
    execute,
    make_tenants,
    migrate,
    owned,
    removed_rows,
    set_policy,
)


def test_rows_older_than_declared_are_deleted_for_every_tenant(lesser: Engine) -> None:
    dry = maintain(lesser, dry_run=True)
    assert {count(lesser, tenant) for tenant in SLUGS} == {300}
    report = maintain(lesser)
    assert report.problems == dry.problems == []
    assert removed_rows(report) == removed_rows(dry) == {(RAW, tenant): 100 for tenant in SLUGS}
    assert {count(lesser, tenant) for tenant in SLUGS} == {200}
    assert maintain(lesser).removals == []


def test_policies_of_tenants_delete_more(lesser: Engine) -> None:
    set_policy(lesser, ACME, "telemetry", 30)
    set_policy(lesser, GLOBEX, "telemetry_hourly", 30)  # a view here; goes with the raw data
    dry = maintain(lesser, dry_run=True)
    report = maintain(lesser)
    assert report.problems == []
    expected = {(RAW, ACME): 200, (RAW, GLOBEX): 100, (RAW, HOOLI): 100}
    assert removed_rows(report) == removed_rows(dry) == expected
    assert [count(lesser, tenant) for tenant in SLUGS] == [100, 200, 200]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("DELETE FROM pending_operations WHERE kind = 'retention policy'", "found none pending"),
        (
            """UPDATE pending_operations SET state = state || '{"drop_after": "30 days"}'
                WHERE kind = 'retention policy'""",
            "expected 400 days, found 30 days",
        ),
    ],
)
def test_rows_are_kept_if_a_retention_is_missing_or_too_short(
    lesser: Engine, harm: str, message: str
) -> None:
    before = [checksums(lesser, tenant) for tenant in SLUGS]
    execute(lesser, harm)
    report = maintain(lesser)
    assert report.removals == []
    assert any(message in problem for problem in report.problems)
    assert [checksums(lesser, tenant) for tenant in SLUGS] == before


def test_an_interrupted_run_continues(lesser: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run fails after the first tenant; in a plain table after the first batches."""
    monkeypatch.setattr(time_series, "BATCH", 30)

    class KilledError(Exception):
        pass

    def die(removal: maintenance_run.Removal) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        maintain(lesser, on_removal=die)
    maintain(lesser)
    assert {count(lesser, tenant) for tenant in SLUGS} == {200}


def test_an_owner_that_is_no_superuser(
    embedded_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    with owned(make_database(embedded_server)) as url:
        _as_owner(url)


@pytest.mark.timescaledb
def test_an_owner_that_is_no_superuser_with_timescaledb(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    with owned(make_database(timescaledb_server)) as url:
        _as_owner(url)


def _as_owner(url: str) -> None:
    migrate(url)
    with engine_of(url) as engine:
        make_tenants(engine)
        for tenant in SLUGS:
            for age in ("40 days", "1 day"):
                add_rows(engine, tenant, age)
        set_policy(engine, ACME, "telemetry", 30)
        report = maintain(engine)
        assert report.problems == []
        assert removed_rows(report) == {(RAW, ACME): 100}
