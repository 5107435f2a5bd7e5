"""The command `operations maintain`."""

from __future__ import annotations

import re
import uuid

import pytest
from typer.testing import CliRunner

from operations.cli import app
from operations.commands.maintain import ProgressLines
from operations.maintenance.late_data import Progress
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


@pytest.mark.parametrize("command", ["maintain", "refresh", "convert"])
def test_what_is_not_the_owners_is_said(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    with engine_of(migrated_database) as engine:
        name = f"login_{uuid.uuid4().hex[:8]}"
        execute(engine, f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE fleet_app")
        login = engine.url.set(username=name, password="x").render_as_string(hide_password=False)
        monkeypatch.setenv("MIGRATION_DATABASE_URL", login)
        error = CliRunner().invoke(app, [command]).exception
        execute(engine, f"DROP ROLE {name}")
        assert "expected a login that may act as the owner of the tables, " in str(error)
        assert f"found {name}: set MIGRATION_DATABASE_URL to the owner's URL" in str(error)
        foreign = engine.url.set(database="postgres").render_as_string(hide_password=False)
        monkeypatch.setenv("MIGRATION_DATABASE_URL", foreign)
        error = CliRunner().invoke(app, [command]).exception
        assert "database postgres at " in str(error)
        assert "expected the tables of this project, found no schema timeseries" in str(error)


def test_the_progress_of_a_long_refresh_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 104.0, 130.0, 131.0, 200.0, 205.0])
    monkeypatch.setattr("operations.commands.maintain.time.monotonic", lambda: next(clock))
    say = ProgressLines()
    for done in (0, 5, 10, 15, 40):
        say(Progress("timeseries.x", done, 40))
    said = "Refreshing timeseries.x: 10 of 40 chunks, about 0:01:30 left\n"
    assert capsys.readouterr().out == said


def test_concurrent_runs(migrated_database: str) -> None:
    with engine_of(migrated_database) as engine, engine.connect() as other:
        other.exec_driver_sql("SELECT pg_advisory_lock(hashtextextended('maintain', 0))")
        with pytest.raises(MaintenanceError, match="another maintenance run is active"):
            maintain(engine)
        other.rollback()
        other.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        maintain(engine)
