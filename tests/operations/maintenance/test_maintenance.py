"""What is too old goes, and nothing else: on every edition, from compressed chunks as well."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from typer.testing import CliRunner

from operations.cli import app
from operations.maintenance import purge, time_series
from operations.maintenance import run as maintenance_run
from operations.maintenance.run import MaintenanceError, maintain
from tests.alembic_project import engine_of
from tests.conftest import MakeDatabase
from tests.servers import DatabaseServer
from tests.support.time_series import (
    ACME,
    GLOBEX,
    HOOLI,
    RAW,
    SLUGS,
    add_rows,
    alone,
    checksum,
    checksums,
    compress,
    count,
    execute,
    make_tenants,
    migrate,
    owned,
    refresh,
    scalar,
    set_policy,
    stop_jobs,
    stored,
)

EDITIONS = ("embedded", pytest.param("apache", marks=pytest.mark.timescaledb))


@pytest.fixture
def fleet(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """Community: three tenants with messages 40, 20 and 1 days old, all compressed."""
    url = make_database(timescaledb_server)
    migrate(url)
    with engine_of(url) as engine:
        stop_jobs(engine)
        make_tenants(engine)
        for tenant in SLUGS:
            for age in ("40 days", "20 days", "1 day"):
                add_rows(engine, tenant, age)
        refresh(engine)
        compress(engine)
        yield engine


@pytest.fixture(params=EDITIONS)
def lesser(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """Plain PostgreSQL, then the Apache edition: messages 450, 40 and 1 days old."""
    url = make_database(request.getfixturevalue(f"{request.param}_server"))
    migrate(url)
    with engine_of(url) as engine:
        make_tenants(engine)
        for tenant in SLUGS:
            for age in ("450 days", "40 days", "1 day"):
                add_rows(engine, tenant, age)
        yield engine


def went(report: maintenance_run.Report) -> dict[tuple[str, object], int]:
    found: dict[tuple[str, object], int] = {}
    for removal in report.removals:
        key = removal.relation, removal.tenant_id
        found[key] = found.get(key, 0) + removal.rows
    return found


# --- single tenants, TimescaleDB Community


@pytest.mark.timescaledb
def test_only_the_tenant_of_the_policy_loses_only_what_is_old(fleet: Engine) -> None:
    set_policy(fleet, ACME, "telemetry", 30)
    others = [checksums(fleet, tenant) for tenant in (GLOBEX, HOOLI)]
    rollup = checksums(fleet, ACME)
    report = maintain(fleet)
    assert report.problems == []
    assert went(report) == {(RAW, ACME): 100}
    assert count(fleet, ACME) == 200
    assert scalar(
        fleet, f"SELECT min(ts) > now() - interval '30 days' FROM {RAW} WHERE tenant_id = '{ACME}'"
    )
    assert [checksums(fleet, tenant) for tenant in (GLOBEX, HOOLI)] == others
    # Without a policy of its own a rollup keeps what the raw data has lost.
    after = checksums(fleet, ACME)
    assert {name: after[name] == rollup[name] for name in after} == {
        RAW: False,
        f"{RAW}_hourly": True,
        f"{RAW}_daily": True,
    }
    assert maintain(fleet).removals == []


@pytest.mark.timescaledb
def test_a_dry_run_says_the_same_and_changes_nothing(fleet: Engine) -> None:
    set_policy(fleet, ACME, "telemetry", 30)
    set_policy(fleet, GLOBEX, "telemetry_daily", 10)
    set_policy(fleet, HOOLI, "telemetry", 10)
    before = [checksums(fleet, tenant) for tenant in SLUGS]
    dry = maintain(fleet, dry_run=True)
    assert dry.dry_run
    assert [checksums(fleet, tenant) for tenant in SLUGS] == before
    assert went(dry) == went(maintain(fleet))
    assert [checksums(fleet, tenant) for tenant in SLUGS] != before


@pytest.mark.timescaledb
@pytest.mark.parametrize("whole", ["on", "off"])
def test_more_rows_in_a_chunk_than_may_be_decompressed(fleet: Engine, whole: str) -> None:
    """Both where whole batches are removed, and where they have to be decompressed for it."""
    name = fleet.url.database
    limit = 100_000
    assert scalar(fleet, "SHOW timescaledb.max_tuples_decompressed_per_dml_transaction") == str(
        limit
    )
    alone(
        fleet,
        f'ALTER DATABASE "{name}" SET timescaledb.enable_compressed_direct_batch_delete = {whole}',
    )
    for tenant in SLUGS:
        add_rows(fleet, tenant, "60 days", rows=limit // 2)
    for tenant in (ACME, GLOBEX):
        add_rows(fleet, tenant, "61 days", rows=limit + 1)
    compress(fleet)
    set_policy(fleet, ACME, "telemetry", 50)
    set_policy(fleet, GLOBEX, "telemetry", 50)
    before = checksum(fleet, RAW, HOOLI)
    report = maintain(fleet)
    assert report.problems == []
    assert went(report) == {(RAW, ACME): 150_001, (RAW, GLOBEX): 150_001}
    assert (count(fleet, ACME), count(fleet, GLOBEX)) == (300, 300)
    assert checksum(fleet, RAW, HOOLI) == before


@pytest.mark.timescaledb
def test_a_rollup_loses_rows_by_its_own_policy_only(fleet: Engine) -> None:
    add_rows(fleet, ACME, "90 days")
    add_rows(fleet, GLOBEX, "90 days")
    refresh(fleet)
    compress(fleet)
    before, other = checksums(fleet, ACME), checksums(fleet, GLOBEX)
    set_policy(fleet, ACME, "telemetry_hourly", 60)
    report = maintain(fleet)
    assert report.problems == []
    assert went(report) == {(f"{RAW}_hourly", ACME): 2}
    # (a view over a rollup computes anew what it does not store, so its storage is read)
    table = stored(fleet, "telemetry_hourly")
    assert scalar(
        fleet,
        f"SELECT min(bucket) > now() - interval '60 days' FROM {table} WHERE tenant_id = '{ACME}'",
    )
    after = checksums(fleet, ACME)
    assert (after[RAW], after[f"{RAW}_daily"]) == (before[RAW], before[f"{RAW}_daily"])
    assert checksums(fleet, GLOBEX) == other


@pytest.mark.timescaledb
def test_rollups_survive_where_the_raw_data_of_all_is_gone(fleet: Engine) -> None:
    alone(fleet, f"SELECT drop_chunks('{RAW}', older_than => interval '30 days')")
    before = [checksums(fleet, tenant) for tenant in SLUGS]
    set_policy(fleet, ACME, "telemetry", 10)
    set_policy(fleet, ACME, "telemetry_hourly", 3)
    assert maintain(fleet).problems == []
    after = [checksums(fleet, tenant) for tenant in SLUGS]
    assert after[1:] == before[1:]
    assert after[0][f"{RAW}_daily"] == before[0][f"{RAW}_daily"]


@pytest.mark.timescaledb
def test_a_rollup_that_is_not_refreshed_keeps_the_raw_data(fleet: Engine) -> None:
    set_policy(fleet, ACME, "telemetry", 30)
    alone(
        fleet,
        "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs j"
        " JOIN timescaledb_information.continuous_aggregates a"
        " ON j.hypertable_name IN (view_name, materialization_hypertable_name)"
        " WHERE proc_name LIKE '%refresh%' AND view_name = 'telemetry_daily'",
    )
    report = maintain(fleet)
    assert report.removals == []
    assert len(report.problems) == 2
    paused, kept = report.problems
    assert re.search(r"refresh of timeseries.telemetry_daily: job \d+ is paused", paused)
    assert "policy of acme for telemetry: its rows are kept until telemetry_daily" in kept
    alone(fleet, re.search(r"SELECT alter_job.*\)", paused)[0])  # type: ignore[index]
    assert went(maintain(fleet)) == {(RAW, ACME): 100}


@pytest.mark.timescaledb
def test_a_busy_chunk_is_left_for_the_next_run(
    fleet: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance_run, "LOCK_TIMEOUT", "100ms")
    set_policy(fleet, ACME, "telemetry", 10)
    set_policy(fleet, GLOBEX, "telemetry_daily", 10)
    newer = scalar(
        fleet,
        "SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'telemetry' AND range_start > now() - interval '30 days'"
        " ORDER BY range_start LIMIT 1",
    )
    with fleet.connect() as holder:
        holder.exec_driver_sql(f"LOCK TABLE {newer} IN SHARE ROW EXCLUSIVE MODE")
        report = maintain(fleet)
        holder.rollback()
    assert "policy of acme for telemetry" in report.problems[0]
    assert "lock timeout" in report.problems[0]
    assert "\n" not in report.problems[0]
    # Whole chunks before it went, and so did what comes after it.
    assert went(report)[(RAW, ACME)] == 100
    assert (f"{RAW}_daily", GLOBEX) in went(report)
    assert went(maintain(fleet)) == {(RAW, ACME): 100}


# --- jobs of TimescaleDB


@pytest.mark.timescaledb
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (f"SELECT remove_retention_policy('{RAW}')", "expected a job, found none"),
        (
            f"""SELECT remove_retention_policy('{RAW}');
                SELECT add_retention_policy('{RAW}', drop_after => interval '30 days')""",
            "drop_after expected 400 days, found 30 days",
        ),
        (
            """SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs
                WHERE hypertable_name = 'telemetry' AND proc_name = 'policy_retention'""",
            "is paused",
        ),
    ],
)
def test_a_job_that_is_not_as_declared_is_named_with_its_mend(
    fleet: Engine, harm: str, said: str
) -> None:
    assert maintain(fleet).problems == []
    alone(fleet, harm)
    [problem] = maintain(fleet).problems
    assert problem.startswith("retention of timeseries.telemetry: ")
    assert said in problem
    mend = problem.partition("as the owner: ")[2]
    alone(fleet, *mend.split("; "))
    stop_jobs(fleet)
    assert maintain(fleet).problems == []


@pytest.mark.timescaledb
def test_a_job_that_failed_is_named_with_the_reason(fleet: Engine) -> None:
    job = scalar(
        fleet,
        "SELECT job_id FROM timescaledb_information.jobs"
        " WHERE hypertable_name = 'telemetry' AND proc_name = 'policy_retention'",
    )
    # As the scheduler would write it, which has no worker for every database of a busy server.
    alone(
        fleet,
        "UPDATE _timescaledb_internal.bgw_job_stat SET last_run_success = false,"
        f" last_start = now(), last_finish = now() WHERE job_id = {job}",
        "INSERT INTO _timescaledb_internal.bgw_job_stat_history"
        " (job_id, execution_start, execution_finish, succeeded, data) VALUES"
        f" ({job}, now(), now(), false, "
        """ '{"error_data": {"message": "not\\ntoday", "sqlerrcode": "P0001"}}')""",
    )
    [problem] = maintain(fleet).problems
    assert f"job {job} failed at" in problem
    assert "not today;" in problem
    assert f"CALL run_job({job})" in problem


# --- what may not be read, or is odd


@pytest.mark.timescaledb
def test_policies_that_cannot_be_read_mean_keep(fleet: Engine) -> None:
    set_policy(fleet, ACME, "telemetry", 10)
    execute(fleet, "REVOKE SELECT ON data_retention_policies FROM fleet_operator")
    before = [checksums(fleet, tenant) for tenant in SLUGS]
    report = maintain(fleet)
    assert report.removals == []
    assert "data_retention_policies cannot be read as fleet_operator" in report.problems[0]
    assert [checksums(fleet, tenant) for tenant in SLUGS] == before


@pytest.mark.timescaledb
def test_a_policy_beyond_the_bounds_means_keep(fleet: Engine) -> None:
    execute(
        fleet,
        "ALTER TABLE data_retention_policies DROP CONSTRAINT ck_data_retention_policies_bounds",
    )
    set_policy(fleet, ACME, "telemetry", 2)
    set_policy(fleet, GLOBEX, "nothing", 2)
    report = maintain(fleet)
    assert report.removals == []
    assert [text.partition(";")[0] for text in report.problems] == [
        "policy of globex for nothing: expected no policy for this relation, found 2 days",
        "policy of acme for telemetry: expected 7 to 400 days, found 2 days",
    ]


@pytest.mark.parametrize(
    ("relation", "days"),
    [("telemetry", 6), ("telemetry", 401), ("telemetry_hourly", 2), ("tenants", 30), ("x", 30)],
)
def test_the_database_refuses_such_a_policy(
    migrated_database: str, relation: str, days: int
) -> None:
    with engine_of(migrated_database) as engine:
        make_tenants(engine)
        set_policy(engine, ACME, "telemetry", 7)
        set_policy(engine, GLOBEX, "telemetry", 400)
        with pytest.raises(IntegrityError, match="ck_data_retention_policies_bounds"):
            set_policy(engine, HOOLI, relation, days)


def test_what_would_grow_for_ever_is_swept(migrated_database: str) -> None:
    """Every swept table, with a row that goes and one that stays."""
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
        wanted = {("rate_limits", None): 1, ("jobs", None): 1}
        assert went(maintain(engine, dry_run=True)) == wanted
        assert scalar(engine, "SELECT count(*) FROM jobs") == 2
        assert went(maintain(engine)) == wanted
        assert scalar(engine, "SELECT count(*) FROM jobs") == 1
        assert scalar(engine, "SELECT count(*) FROM rate_limits") == 1
        [run] = alone(engine, "SELECT job_name, status, rows_affected FROM maintenance_log")
        assert tuple(run) == ("maintain", "completed", 2)


def test_every_sweep_names_what_there_is(migrated_database: str) -> None:
    with engine_of(migrated_database) as engine:
        assert {purge.count(engine, relation) for relation in purge.PURGED} == {0}


def test_two_at_once(migrated_database: str) -> None:
    with engine_of(migrated_database) as engine, engine.connect() as other:
        other.exec_driver_sql("SELECT pg_advisory_lock(hashtextextended('maintain', 0))")
        with pytest.raises(MaintenanceError, match="another maintenance runs"):
            maintain(engine)
        other.rollback()
        other.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        maintain(engine)


# --- plain PostgreSQL and the Apache edition


def test_everybody_loses_what_is_older_than_declared(lesser: Engine) -> None:
    dry = maintain(lesser, dry_run=True)
    assert {count(lesser, tenant) for tenant in SLUGS} == {300}
    report = maintain(lesser)
    assert report.problems == dry.problems == []
    assert went(report) == went(dry) == {(RAW, tenant): 100 for tenant in SLUGS}
    assert {count(lesser, tenant) for tenant in SLUGS} == {200}
    assert maintain(lesser).removals == []


def test_tenants_lose_more_by_their_policies(lesser: Engine) -> None:
    set_policy(lesser, ACME, "telemetry", 30)
    set_policy(lesser, GLOBEX, "telemetry_hourly", 30)  # a view here; goes with the raw data
    dry = maintain(lesser, dry_run=True)
    report = maintain(lesser)
    assert report.problems == []
    expected = {(RAW, ACME): 200, (RAW, GLOBEX): 100, (RAW, HOOLI): 100}
    assert went(report) == went(dry) == expected
    assert [count(lesser, tenant) for tenant in SLUGS] == [100, 200, 200]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("DELETE FROM timeseries_ledger WHERE kind = 'retention'", "found none noted"),
        (
            """UPDATE timeseries_ledger SET state = state || '{"drop_after": "30 days"}'
                WHERE kind = 'retention'""",
            "expected 400 days, found 30 days",
        ),
    ],
)
def test_a_retention_that_is_missing_or_shorter_than_declared_means_keep(
    lesser: Engine, harm: str, said: str
) -> None:
    before = [checksums(lesser, tenant) for tenant in SLUGS]
    execute(lesser, harm)
    report = maintain(lesser)
    assert report.removals == []
    assert any(said in problem for problem in report.problems)
    assert [checksums(lesser, tenant) for tenant in SLUGS] == before


def test_what_was_stopped_goes_on(lesser: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run dies after the first tenant; in a plain table after the first batches."""
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
        assert went(report) == {(RAW, ACME): 100}


# --- the command


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
        execute(engine, "DELETE FROM timeseries_ledger WHERE kind = 'retention'")
        odd = CliRunner().invoke(app, ["maintain"])
        assert odd.exit_code == 1
        assert "problem: timeseries.telemetry: expected a retention" in odd.output
