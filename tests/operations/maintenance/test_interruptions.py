"""Ctrl-C in the middle of a command, and what a person mistypes: one line, and nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from operations import cli
from operations.commands import maintain as command
from operations.maintenance import late_data, samples
from tests.support.commands import ROOT
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.late_data import add_tags, differences, rolled_up_tags
from tests.support.servers import DatabaseServer
from tests.support.time_series import ACME, GLOBEX, SLUGS, scalar, with_tenants

TAG = (
    "tag_values",
    "1",
    "--from",
    "2000-01-01",
    "--to",
    "2100-01-01",
    "--reason",
    "wrong",
    "--yes",
)
COUNT = "SELECT count(*) FROM timeseries.tag_values"


@pytest.fixture
def engine(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    url = make_database(timescaledb_server, like=with_tenants)
    monkeypatch.setenv("MIGRATION_DATABASE_URL", url)
    with engine_of(url) as engine:
        rolled_up_tags(engine, (ACME,), compressed=False)
        yield engine


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, [*arguments])
    return " ".join(str(result.exception or result.output).split())


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.timescaledb
def test_before_the_commit_nothing_was_changed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scalar(engine, COUNT)
    carry_out = samples._Chosen.execute

    def interrupted(
        self: samples._Chosen, connection: object, statement: str, *rest: object
    ) -> object:
        done = carry_out(self, connection, statement, *rest)  # type: ignore[arg-type]
        if statement.startswith(("DELETE", "UPDATE")):
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(samples._Chosen, "execute", interrupted)
    for said in (
        invoke("samples", "delete", SLUGS[ACME], *TAG),
        invoke("samples", "correct", SLUGS[ACME], *TAG, "--scale", "2"),
    ):
        assert said.startswith("interrupted: nothing of tag_values of 1 from 2000-01-01"), said
    assert scalar(engine, COUNT) == before
    assert differences(engine, "tag_values_hourly", "bucket < now() - interval '1 day'") == []


@pytest.mark.timescaledb
def test_after_the_commit_the_refresh_is_named_and_completes_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scalar(engine, COUNT)
    with monkeypatch.context() as patch:
        patch.setattr(late_data, "refresh", interrupt)
        said = invoke("samples", "delete", SLUGS[ACME], *TAG)
    gone = before - scalar(engine, COUNT)
    assert gone == before // 2
    assert said == (
        f"delete of {gone} samples is committed, but not in all rollups (interrupted): run: "
        "python -m operations refresh tag_values (or wait for the next maintenance)"
    )
    assert differences(engine, "tag_values_hourly", "bucket < now() - interval '1 day'") != []
    assert "Refreshed timeseries.tag_values_hourly" in invoke("refresh", "tag_values", "--yes")
    assert differences(engine, "tag_values_hourly", "bucket < now() - interval '1 day'") == []


@pytest.mark.timescaledb
def test_a_signal_in_the_middle_of_a_refresh(engine: Engine) -> None:
    """The driver closes the connection then; nothing is left behind but the rest."""
    add_tags(engine, GLOBEX, "9 days", until="2 days")
    starts = "SELECT array_agg(next_start ORDER BY job_id) FROM timescaledb_information.job_stats"
    before = scalar(engine, starts)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL refresh%'"
    waiting += " AND datname = current_database() AND wait_event_type = 'Lock'"
    with engine.connect() as other, other.begin():
        log = "_timescaledb_catalog.continuous_aggs_materialization_invalidation_log"
        other.exec_driver_sql(f"LOCK TABLE {log} IN SHARE MODE")
        command = [sys.executable, "-m", "operations", "refresh", "tag_values", "--yes"]
        # What a shell starts in the background ignores the signal, and so do its children.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        for _ in range(600):
            if scalar(engine, waiting):
                break
            time.sleep(0.1)
        assert scalar(engine, starts) != before
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert said == "interrupted: what was done stays; start it again for the rest\n"
    assert process.returncode == cli.INTERRUPTED
    assert scalar(engine, starts) == before
    assert "Refreshed timeseries.tag_values_hourly" in invoke("refresh", "tag_values", "--yes")
    assert differences(engine, "tag_values_hourly", "bucket < now() - interval '1 day'") == []


@pytest.mark.timescaledb
def test_the_driver_may_close_the_connection(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does after Ctrl-C where a procedure has committed: jobs start again all the same."""
    add_tags(engine, GLOBEX, "9 days", until="2 days")
    starts = "SELECT array_agg(next_start ORDER BY job_id) FROM timescaledb_information.job_stats"
    before = scalar(engine, starts)
    execute = psycopg.Cursor.execute

    def interrupted(self: Any, query: Any, *rest: Any, **options: Any) -> object:
        if str(query).startswith("CALL refresh"):
            assert scalar(engine, starts) != before
            self.connection.close()
            raise KeyboardInterrupt
        return execute(self, query, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", interrupted)
        result = CliRunner().invoke(cli.app, ["refresh", "tag_values", "--yes"])
    assert result.exit_code == cli.INTERRUPTED, result.exception
    assert scalar(engine, starts) == before
    assert "Refreshed timeseries.tag_values_hourly" in invoke("refresh", "tag_values", "--yes")


def test_the_command_line_says_that_it_was_interrupted(
    migrated_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MIGRATION_DATABASE_URL", migrated_database)
    monkeypatch.setattr(command, "run_maintenance", interrupt)
    monkeypatch.setattr(sys, "argv", ["operations", "maintain"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == cli.INTERRUPTED
    assert capsys.readouterr().err == (
        "interrupted: what was done stays; start it again for the rest\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("refresh", "--from", "0001-01-01T00:00+14:00"), "expected a date or a time as in"),
        (("refresh", "--to", "9999-12-31T23:59-12:00"), "expected a date or a time as in"),
        (("refresh", "--from", "yesterday"), "found 'yesterday'"),
        (("refresh", "--from", "2026-02-01", "--to", "2026-01-01"), "expected --from before --to"),
        (("samples", "correct", "a", *TAG, "--scale", "2,5"), "expected a number, found '2,5'"),
    ],
)
def test_usage(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(cli.app, [*arguments])
    assert result.exit_code == 2
    output = " ".join(result.output.replace("│", " ").split())
    assert said in output
