"""Rows of ordinary tables that are no longer needed are deleted."""

from __future__ import annotations

from operations.maintenance import purge
from operations.maintenance.run import maintain
from tests.support.engines import engine_of
from tests.support.time_series import (
    ACME,
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


def test_every_purge_names_existing_columns(migrated_database: str) -> None:
    with engine_of(migrated_database) as engine:
        assert {purge.count(engine, relation) for relation in purge.PURGED} == {0}
