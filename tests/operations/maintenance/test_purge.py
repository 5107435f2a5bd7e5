"""Rows of ordinary tables that are no longer needed are deleted."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from database.tenancy import tenant_transaction
from operations import lock_waits
from operations.maintenance import purge
from operations.maintenance.run import maintain
from tests.support.engines import engine_of
from tests.support.time_series import (
    ACME,
    GLOBEX,
    alone,
    execute,
    make_tenants,
    removed_rows,
    scalar,
)


def test_old_rows_are_purged(migrated_database: str) -> None:
    """Every purged table, with a row to delete and one to keep."""
    with engine_of(migrated_database) as engine:
        make_tenants(engine)
        execute(
            engine,
            "SET LOCAL ROLE fleet_operator",
            "INSERT INTO rate_limits (tenant_id, action, window_start, hits) VALUES"
            f" ('{ACME}', 'x', now() - interval '2 days', 1), ('{ACME}', 'x', now(), 1)",
            "INSERT INTO jobs (tenant_id, type, status, attempts, finished_at) VALUES"
            f" ('{ACME}', 'x', 'succeeded', 1, now() - interval '31 days'),"
            f" ('{ACME}', 'x', 'succeeded', 1, now())",
        )
        expected = {("rate_limits", None): 1, ("jobs", None): 1}
        assert removed_rows(maintain(engine, dry_run=True)) == expected
        assert scalar(engine, "SELECT count(*) FROM jobs") == 2
        assert removed_rows(maintain(engine)) == expected
        assert scalar(engine, "SELECT count(*) FROM jobs") == 1
        assert scalar(engine, "SELECT count(*) FROM rate_limits") == 1
        [run] = alone(engine, "SELECT job_name, status, rows_affected FROM maintenance_log")
        assert tuple(run) == ("maintain", "completed", 2)


OLD = "now() - interval '60 days'"


def test_rows_that_a_tenant_holds_stop_no_other(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the row itself nor by one that refers to it."""
    monkeypatch.setattr(lock_waits, "LOCK_TIMEOUT", "1s")
    monkeypatch.setattr(lock_waits, "AFTER", 0.2)
    with engine_of(migrated_database) as engine:
        make_tenants(engine)
        lock_waits.limit_waits(engine)
        for tenant in (ACME, GLOBEX):
            execute(
                engine,
                "SET LOCAL ROLE fleet_operator",
                "INSERT INTO rate_limits (tenant_id, action, window_start, hits)"
                f" VALUES ('{tenant}', 'x', {OLD}, 1)",
                "INSERT INTO jobs (tenant_id, type, status, attempts, finished_at)"
                f" VALUES ('{tenant}', 'x', 'succeeded', 1, {OLD})",
                "INSERT INTO export_jobs (tenant_id, export_type, job_id, expires_at)"
                " SELECT tenant_id, 'devices', id, 'infinity' FROM jobs"
                f"  WHERE tenant_id = '{tenant}'",
            )
        with tenant_transaction(engine, ACME) as held:
            held.exec_driver_sql("SELECT FROM rate_limits FOR UPDATE")
            held.exec_driver_sql("SELECT FROM export_jobs FOR UPDATE")
            pid = held.scalar(text("SELECT pg_backend_pid()"))
            report = maintain(engine)
        assert removed_rows(report) == {("rate_limits", None): 1, ("jobs", None): 1}
        (problem,) = report.problems
        assert problem.startswith("jobs: canceling statement due to lock timeout")
        assert "it waited for a row of export_jobs, which is held by" in problem
        assert f"pid {pid} (login " in problem
        assert removed_rows(maintain(engine)) == {("rate_limits", None): 1, ("jobs", None): 1}


def test_every_purge_names_existing_columns(migrated_database: str) -> None:
    with engine_of(migrated_database) as engine:
        assert {purge.count(engine, relation) for relation in purge.PURGED} == {0}
