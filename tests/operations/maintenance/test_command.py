"""The command `operations maintain`."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from operations.cli import app
from operations.maintenance.run import MaintenanceError, maintain
from tests.support.engines import engine_of
from tests.support.time_series import (
    ACME,
    add_rows,
    count,
    execute,
    make_tenants,
    set_policy,
)


def test_the_command(migrated_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_DATABASE_URL", migrated_database)
    with engine_of(migrated_database) as engine:
        make_tenants(engine)
        add_rows(engine, ACME, "40 days", rows=1234)
        set_policy(engine, ACME, "telemetry", 30)
        dry = CliRunner().invoke(app, ["maintain", "--dry-run"])
        assert (dry.exit_code, count(engine, ACME)) == (0, 1234)
        assert "1,234 rows would go (dry run)" in dry.output
        real = CliRunner().invoke(app, ["maintain"])
        assert (real.exit_code, count(engine, ACME)) == (0, 0)
        assert re.search(r"telemetry +acme +1,234 +policy of 30 days", real.output)
        execute(engine, "DELETE FROM pending_operations WHERE kind = 'retention policy'")
        odd = CliRunner().invoke(app, ["maintain"])
        assert odd.exit_code == 1
        assert "problem: timeseries.telemetry: expected a retention" in odd.output


def test_concurrent_runs(migrated_database: str) -> None:
    with engine_of(migrated_database) as engine, engine.connect() as other:
        other.exec_driver_sql("SELECT pg_advisory_lock(hashtextextended('maintain', 0))")
        with pytest.raises(MaintenanceError, match="another maintenance run is active"):
            maintain(engine)
        other.rollback()
        other.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        maintain(engine)
