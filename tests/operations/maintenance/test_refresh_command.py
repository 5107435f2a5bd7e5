"""The command `operations refresh`."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from operations.cli import app
from operations.maintenance.run import maintain
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.late_data import add_tags, differences, run_refresh_jobs
from tests.support.servers import DatabaseServer
from tests.support.time_series import ACME, GLOBEX, make_tenants, migrate, set_policy, stop_jobs


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["refresh", *arguments])
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.timescaledb
def test_an_import_is_refreshed(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database(timescaledb_server, like=migrate)
    monkeypatch.setenv("MIGRATION_DATABASE_URL", url)
    with engine_of(url) as engine:
        stop_jobs(engine)
        make_tenants(engine)
        for tenant in (ACME, GLOBEX):
            add_tags(engine, tenant, "20 days", until="10 days")
        run_refresh_jobs(engine)
        set_policy(engine, ACME, "tag_values", 15)
        maintain(engine)
        run_refresh_jobs(engine)
        add_tags(engine, GLOBEX, "20 days", until="8 days", tag=2)

        code, output = invoke("tag_values", "--from", "2001-01-01", "--to", "2001-02-01")
        assert (code, output) == (
            0,
            "Nothing to refresh: the rollups have all rows of this range",
        )
        # Said before it asks: how far, what is there, and what no raw data covers any more.
        code, output = invoke("tag_values")
        assert code == 1
        said = re.search(
            r"tag_values_hourly: 1[23] chunks .*; (\d+) rows .* which (\d+) stay", output
        )
        assert said is not None
        rows, stay = int(said[1]), int(said[2])
        assert rows == 2 * 241
        assert 24 * 4 <= stay <= 24 * 5
        assert differences(engine, "tag_values_hourly", f"tenant_id = '{GLOBEX}'") != []
        code, output = invoke("tag_values_hourly", "--yes")
        assert code == 0
        assert "Refreshed timeseries.tag_values_hourly" in output
        assert differences(engine, "tag_values_hourly", f"tenant_id = '{GLOBEX}'") == []
        assert invoke("--yes")[1].startswith("Nothing to refresh")


def test_mistakes_and_editions(migrated_database: str, commands_on: Callable[[str], None]) -> None:
    commands_on(migrated_database)
    assert invoke() == (
        0,
        "Rollups are views on this edition: they always show the raw data as it is",
    )
    assert invoke("--from", "yesterday")[0] == 2
    code, output = invoke("--from", "2026-02-01", "--to", "2026-01-01")
    assert code == 2
    assert "expected --from before --to" in output


@pytest.mark.timescaledb
def test_a_name_that_is_none(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database(timescaledb_server, like=migrate)
    monkeypatch.setenv("MIGRATION_DATABASE_URL", url)
    code, output = invoke("telemety")
    assert code == 2
    assert "found telemety" in output
