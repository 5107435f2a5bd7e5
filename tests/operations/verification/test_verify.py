"""`operations verify` and `operations mend` on every server, and what they say."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from typer.testing import CliRunner

from ddl.sql import send
from operations.cli import app
from operations.verification import PARTS, verify
from tests.support.databases import MakeDatabase, named_server, seed, servers
from tests.support.engines import engine_of
from tests.support.time_series import owned

Run = Callable[..., tuple[int, str]]
"""Runs a command; its exit code and what it printed."""


@pytest.fixture(
    scope="module", params=servers("embedded", "embedded-16", "machine", "timescaledb", "apache")
)
def seeded(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    with engine_of(make_shared_database(named_server(request), like=seed)) as engine:
        yield engine


@pytest.mark.slow
def test_a_correct_database_is_as_expected(seeded: Engine) -> None:
    report = verify(seeded)
    assert [(one.object, one.text) for one in report.findings] == []
    assert report.skipped == []


@pytest.mark.slow
def test_a_correct_database_of_a_plain_owner_is_as_expected(make_database: MakeDatabase) -> None:
    """All but what only a superuser can take from PUBLIC, and the finding says so."""
    with owned(make_database()) as url, engine_of(url) as engine:
        seed(url)
        findings = verify(engine).findings
    assert {one.part for one in findings} == {"hardening"}
    assert {one.by for one in findings} == {"a superuser"}


@pytest.fixture
def run(make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Run:
    url = make_database(like=seed)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)

    def command(*arguments: str, sql: str = "") -> tuple[int, str]:
        if sql:
            with engine_of(url) as engine, engine.begin() as connection:
                send(connection, sql)
        result = CliRunner().invoke(app, arguments, catch_exceptions=True)
        error = "" if isinstance(result.exception, SystemExit | None) else f"{result.exception}"
        return result.exit_code, result.output + error

    return command


@pytest.mark.slow
def test_commands_say_what_they_found_and_mend_it(run: Run) -> None:
    code, output = run("verify")
    assert code == 0
    assert f"as expected (revision, {', '.join(PARTS)})" in " ".join(output.split())
    code, output = run("verify", sql="ALTER TABLE sites NO FORCE ROW LEVEL SECURITY")
    assert code == 1
    assert "row-level security public.sites: force" in output
    assert "fix: python -m operations mend" in output
    code, output = run("mend", "--dry-run")
    assert (code, output.split(";\n")[-2:]) == (
        0,
        ["\nALTER TABLE sites FORCE ROW LEVEL SECURITY", ""],
    )
    assert run("mend", "--yes")[0] == 0
    assert "nothing to mend" in run("mend")[1]
    # One that loses rows is not run by the way.
    gained = "CREATE TABLE kept (id int); INSERT INTO kept SELECT generate_series(1, 3)"
    code, output = run("mend", "--yes", sql=gained)
    assert code == 1
    assert "lost: public.kept: drops the table, 3 rows" in output
    assert "--accept-losses" in output
    assert run("mend", "--yes", "--accept-losses")[0] == 0
    code, output = run("verify", "--json")
    assert (code, json.loads(output)["findings"]) == (0, [])


@pytest.mark.slow
def test_an_old_key_of_the_tenant_context(run: Run, tmp_path: Path) -> None:
    made = ("context", "rotate", "--key-file", str(tmp_path / "key"), "--previous-for", "1")
    assert run(*made)[0] == 0
    old = "UPDATE signing.context_keys SET created_at = now() - interval '91 days'"
    code, output = run("verify", sql=old)
    assert code == 1
    assert "keys of the tenant context: expected one of the last 90 days" in output
    assert "fix: python -m operations context rotate" in output
    assert run(*made)[0] == 0
    assert run("verify")[0] == 0
    # A third body of the function is as good as none: nobody can tell which of two it was.
    assert run("context", "sign")[0] == 0
    forged = "CREATE OR REPLACE FUNCTION current_tenant() RETURNS uuid STABLE RETURN NULL::uuid"
    assert "function public.current_tenant()" in run("verify", sql=forged)[1]
    assert "python -m operations context sign" in run("mend", "--yes")[1]
    assert run("verify")[0] == 0


def test_another_revision_is_the_only_finding(run: Run) -> None:
    code, output = run("verify", "--json", sql="UPDATE alembic_version SET version_num = '0031'")
    document = json.loads(output)
    assert code == 1
    assert [one["fix"] for one in document["findings"]] == ["alembic upgrade head"]
    assert document["skipped"] == list(PARTS)
    code, output = run("verify", sql="UPDATE alembic_version SET version_num = '9999'")
    assert code == 1
    assert "ahead of this code" in output


@pytest.mark.timescaledb
@pytest.mark.slow
def test_rollups_that_are_behind_and_jobs_that_fail(
    make_database: MakeDatabase, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("timescaledb_server")
    with engine_of(make_database(server, like=seed)) as engine:
        old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=9)
        with engine.begin() as connection:
            send(connection, "SELECT set_config('fleetschema.judged', 'on', true)")
            connection.execute(
                sa.text(
                    "INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, metrics)"
                    " VALUES (gen_random_uuid(), :old, 'one', '{\"t\": 1}')"
                ),
                {"old": old},
            )
        (of_hourly, *_) = [one for one in verify(engine).findings if "hourly" in one.object]
        assert of_hourly.fix == "python -m operations maintain"
        assert f"rows of {old:%Y-%m-%d}" in of_hourly.text
        with engine.begin() as connection:
            for statement in _FAILED:
                send(connection, statement)
        (failed,) = [one for one in verify(engine).findings if one.part == "jobs"]
        assert failed.object == "retention policy timeseries.telemetry"
        assert failed.fix.startswith("CALL run_job(")
        assert "records jobs so although they worked" in failed.text


# As this build of PostgreSQL records a job that has done its work.
_FAILED = (
    """INSERT INTO _timescaledb_internal.bgw_job_stat (job_id, last_start, last_finish, next_start,
        last_successful_finish, last_run_success, total_runs, total_duration,
        total_duration_failures, total_successes, total_failures, total_crashes,
        consecutive_failures, consecutive_crashes, flags)
       SELECT job_id, now(), now(), now() + interval '1 day', '-infinity', false, 1, '1 s', '1 s',
              0, 1, 0, 1, 0, 0
         FROM timescaledb_information.jobs
        WHERE proc_name = 'policy_retention' AND hypertable_name = 'telemetry'
       ON CONFLICT (job_id) DO UPDATE
          SET last_start = now(), last_finish = now(), last_run_success = false,
              next_start = now() + interval '1 day'""",
    """INSERT INTO _timescaledb_internal.bgw_job_stat_history
              (job_id, pid, execution_start, execution_finish, succeeded, data)
       SELECT job_id, 1, now(), now(), false,
              '{"error_data": {"message": "cannot drop portal \\"\\""}}'
         FROM timescaledb_information.jobs
        WHERE proc_name = 'policy_retention' AND hypertable_name = 'telemetry'""",
)
