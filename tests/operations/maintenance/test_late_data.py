"""Late data reaches the rollups, and what rollups have outlives the raw data."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine

from database.tenancy import tenant_transaction
from operations.maintenance import late_data
from operations.maintenance.run import maintain
from tests.support.alembic_project import config_for
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.late_data import (
    TAGS,
    add_tags,
    buckets,
    differences,
    horizon,
    run_jobs,
    run_refresh_jobs,
)
from tests.support.servers import DatabaseServer
from tests.support.time_series import (
    ACME,
    GLOBEX,
    HOOLI,
    RAW,
    add_rows,
    alone,
    compress,
    execute,
    scalar,
    set_policy,
    stop_jobs,
    with_tenants,
)

DAY = datetime.timedelta(days=1)

pytestmark = pytest.mark.timescaledb


@pytest.fixture
def engine(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """Community: three tenants, no rows."""
    with engine_of(make_database(timescaledb_server, like=with_tenants)) as engine:
        yield engine


def add_late(engine: Engine, tenant: uuid.UUID, age: str) -> None:
    """A message in the hour of those that `add_rows` adds, of one of their devices."""
    execute(
        engine,
        f"INSERT INTO {RAW} (tenant_id, ts, device_id, msg_type, metrics) SELECT '{tenant}',"
        f" date_trunc('day', now() - interval '{age}'), 'device-1', 'late', '{{\"t\": 7}}'",
    )


def test_messages_of_any_age_reach_the_rollups(engine: Engine) -> None:
    """Compressed or not, without waiting for maintenance."""
    for age in ("1 day", "5 days", "25 days", "100 days"):
        add_rows(engine, ACME, age)
    run_refresh_jobs(engine)
    assert maintain(engine).problems == []
    compress(engine)
    for tenant in (ACME, GLOBEX):
        for age in ("1 day", "4 days", "5 days", "6 days", "20 days", "25 days", "100 days"):
            add_late(engine, tenant, age)
    assert differences(engine, "telemetry_hourly", "bucket < now() - interval '2 hours'") != []
    run_refresh_jobs(engine)
    assert differences(engine, "telemetry_hourly") == []
    assert maintain(engine).problems == []
    assert differences(engine, "telemetry_hourly") == []
    assert differences(engine, "telemetry_daily") == []
    assert maintain(engine).refreshed == []


def test_the_first_refresh_takes_all_of_an_import_in(engine: Engine) -> None:
    """Before it a rollup shows what the raw data has; so it does after it, whatever its age."""
    for age in ("2 days", "40 days", "100 days", "360 days", "390 days"):
        add_rows(engine, ACME, age)
    before = buckets(engine, "telemetry_daily")
    assert before
    run_refresh_jobs(engine)
    assert buckets(engine, "telemetry_daily") == before
    assert differences(engine, "telemetry_hourly", "bucket > now() - interval '1 year'") == []


def test_the_oldest_rows_that_are_kept_reach_their_rollup(engine: Engine) -> None:
    """Their day began before the retention, but its chunk is dropped as a whole, later.

    In the hour before that its buckets are history already: then those of the next day are taken.
    """
    soon = (
        "now() AT TIME ZONE 'UTC' - interval '22:55' > date_trunc('day', now() AT TIME ZONE 'UTC')"
    )
    late = f"CASE WHEN {soon} THEN interval '2 hours' ELSE interval '2 minutes' END"
    for metric in ("t", "u"):
        execute(
            engine,
            f"INSERT INTO {RAW} (tenant_id, ts, device_id, msg_type, metrics) SELECT '{ACME}',"
            f" now() - interval '400 days' + {late}, 'device-1', '{metric}',"
            " '{\"t\": 7}'",
        )
        assert maintain(engine).problems == []
        assert differences(engine, "telemetry_daily") == []


def test_an_import_is_there_after_the_first_refresh(engine: Engine) -> None:
    """What a rollup computed as long as nothing was stored is not lost when the first is."""
    for tenant in (ACME, GLOBEX):
        add_tags(engine, tenant, "20 days")
    execute(
        engine,
        "INSERT INTO timeseries.quarantine_events (tenant_id, ts, id, reason, topic)"
        f" SELECT '{ACME}', now() - n * interval '77 minutes', gen_random_uuid(), 'bad', ''"
        "   FROM generate_series(0, 130) n",
    )
    names = ("tag_values_hourly", "quarantine_counters_minute")
    before = [buckets(engine, name) for name in names]
    assert [len(one) for one in before] == [2 * 20 * 24 + 2, 131]
    for _ in range(2):
        run_refresh_jobs(engine)
        assert [buckets(engine, name) for name in names] == before


def test_a_bucket_whose_raw_rows_a_policy_deleted_stays(engine: Engine) -> None:
    """Also when another tenant's late row is in the same hour, and the policy is gone by then."""
    for tenant in (ACME, GLOBEX):
        add_rows(engine, tenant, "20 days")
        add_rows(engine, tenant, "40 days")
    maintain(engine)
    set_policy(engine, ACME, "telemetry", 10)
    kept = {name: buckets(engine, name, f"tenant_id = '{ACME}'") for name in
            ("telemetry_hourly", "telemetry_daily")}  # fmt: skip
    assert maintain(engine).problems == []
    assert scalar(engine, f"SELECT count(*) FROM {RAW} WHERE tenant_id = '{ACME}'") == 0
    moment = horizon(engine, "telemetry", ACME)
    assert moment is not None
    execute(engine, "SET LOCAL ROLE fleet_operator", "DELETE FROM data_retention_policies")
    for tenant in (GLOBEX, HOOLI, ACME):
        add_late(engine, tenant, "20 days")
        add_late(engine, tenant, "40 days")
    run_refresh_jobs(engine)
    assert maintain(engine).problems == []
    for name, rows in kept.items():
        assert buckets(engine, name, f"tenant_id = '{ACME}'") == rows
        assert differences(engine, name, f"tenant_id <> '{ACME}'") == []
    assert horizon(engine, "telemetry", ACME) == moment


def test_an_upgrade_finds_what_a_former_policy_deleted(engine: Engine) -> None:
    """A database from before horizons were noted, whose policy is gone: rows tell of it."""
    for tenant in (ACME, GLOBEX):
        add_tags(engine, tenant, "20 days")
        add_rows(engine, tenant, "20 days")
    add_tags(engine, HOOLI, "3 days")
    maintain(engine)
    for relation in ("tag_values", "telemetry"):
        set_policy(engine, ACME, relation, 5 if relation == "tag_values" else 10)
    maintain(engine)
    execute(engine, "SET LOCAL ROLE fleet_operator", "DELETE FROM data_retention_policies")
    names = ("tag_values_hourly", "telemetry_hourly", "telemetry_daily")
    kept = {name: buckets(engine, name, f"tenant_id = '{ACME}'") for name in names}
    before = {relation: horizon(engine, relation, ACME) for relation in ("tag_values", "telemetry")}
    config = config_for(engine)
    command.downgrade(config, "0033")
    command.upgrade(config, "head")
    stop_jobs(engine)
    others = "SELECT count(*) FROM raw_data_horizons WHERE of_tenant <> '{}'"
    assert scalar(engine, others.format(ACME)) == 0
    for relation, moment in before.items():
        assert moment - DAY <= horizon(engine, relation, ACME) <= moment
    for tenant in (GLOBEX, ACME):
        add_late(engine, tenant, "20 days")
        add_tags(engine, tenant, "19 days", until="15 days", tag=3)
    run_refresh_jobs(engine)
    assert maintain(engine).problems == []
    for name, rows in kept.items():
        assert set(rows) <= set(buckets(engine, name, f"tenant_id = '{ACME}'"))
        assert differences(engine, name, f"tenant_id <> '{ACME}'") == []


def test_dropped_chunks_take_no_bucket_along(engine: Engine) -> None:
    """By the retention policy or by hand, whoever refreshes afterwards and over which range."""
    add_tags(engine, ACME, "45 days", until="20 days")
    alone(engine, "CALL refresh_continuous_aggregate('timeseries.tag_values_hourly', NULL, NULL)")
    before = buckets(engine, "tag_values_hourly")
    run_jobs(engine, "policy_retention")
    alone(engine, f"SELECT drop_chunks('{TAGS}', older_than => interval '24 days')")
    # Late rows make chunks anew, but not the youngest, even if it is after 22 o'clock.
    for days in ("45 days", "27 days"):
        add_tags(engine, GLOBEX, days, until=f"{days} -2 hours")
        add_tags(engine, ACME, days, until=f"{days} -2 hours")
    run_refresh_jobs(engine)
    maintain(engine)
    alone(
        engine,
        "CALL refresh_continuous_aggregate('timeseries.tag_values_hourly', NULL, NULL, true)",
    )
    assert buckets(engine, "tag_values_hourly", f"tenant_id = '{ACME}'") == before
    assert len(buckets(engine, "tag_values_hourly", f"tenant_id = '{GLOBEX}'")) == 6


def test_history_without_raw_data_can_be_added(engine: Engine) -> None:
    """An import older than its retention is rolled up before a job drops it."""
    add_tags(engine, ACME, "50 days", until="40 days")
    run_refresh_jobs(engine)
    maintain(engine)
    run_jobs(engine, "policy_retention")
    assert scalar(engine, f"SELECT count(*) FROM {TAGS}") == 0
    assert len(buckets(engine, "tag_values_hourly")) == 241


def test_corrected_rows_change_what_is_covered(engine: Engine) -> None:
    """The other side: a bucket follows its raw data as long as that is complete."""
    add_tags(engine, ACME, "20 days")
    maintain(engine)
    execute(
        engine,
        f"DELETE FROM {TAGS} WHERE ts < now() - interval '15 days'",
        f"UPDATE {TAGS} SET v_num = 1 WHERE ts < now() - interval '10 days'",
    )
    run_refresh_jobs(engine)
    # The jobs of TimescaleDB 2.28 leave a bucket that begins with the last row that changed.
    maintain(engine)
    assert differences(engine, "tag_values_hourly") == []


def test_what_is_stored_ahead_of_its_policy_is_refreshed_too(engine: Engine) -> None:
    """Yesterday's bucket is the policy's tomorrow; stored by hand, it would be wrong till then."""
    add_rows(engine, ACME, "1 day")
    alone(
        engine,
        "CALL refresh_continuous_aggregate('timeseries.telemetry_daily', NULL,"
        " date_trunc('day', now()))",
    )
    add_late(engine, ACME, "1 day")
    assert differences(engine, "telemetry_daily") != []
    assert maintain(engine).problems == []
    assert differences(engine, "telemetry_daily") == []


def test_a_rollup_keeps_to_its_own_policy(engine: Engine) -> None:
    """Late rows do not bring back what was deleted from the rollup."""
    for tenant in (ACME, GLOBEX):
        add_rows(engine, tenant, "40 days")
    maintain(engine)
    set_policy(engine, ACME, "telemetry_hourly", 30)
    assert [one.rows for one in maintain(engine).removals] == [2]
    for tenant in (ACME, GLOBEX):
        add_late(engine, tenant, "40 days")
    assert maintain(engine).removals == []
    assert buckets(engine, "telemetry_hourly", f"tenant_id = '{ACME}'") == []
    assert differences(engine, "telemetry_hourly", f"tenant_id <> '{ACME}'") == []
    assert differences(engine, "telemetry_daily") == []


def test_a_refresh_looks_for_gaps_where_there_are_some(engine: Engine) -> None:
    """A look-up of the rollup for each pair of chunks took a second per refresh of a year."""
    execute(
        engine,
        f"INSERT INTO {RAW} (tenant_id, ts, device_id, metrics) SELECT '{ACME}', date_trunc('day',"
        " now()) - n * interval '1 day', 'device-1', '{\"t\": 7}' FROM generate_series(3, 40) n",
    )
    maintain(engine)
    with engine.connect() as connection:
        with connection.begin():
            (rollup,) = (r for r in late_data.rollups(connection) if r.table == "telemetry_daily")
        with connection.begin():
            late_data.note_dropped(connection, rollup)
            scans = connection.exec_driver_sql(
                "SELECT sum(seq_scan + idx_scan) FROM pg_stat_xact_user_tables"
                " WHERE schemaname = '_timescaledb_internal'"
            ).scalar_one()
    assert scans < 20


def test_an_interrupted_run_continues(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some chunks at a time; jobs that waited have their former start again."""

    class KilledError(Exception):
        pass

    for age in ("100 days", "101 days", "102 days"):
        add_rows(engine, ACME, age)
    stats = "FROM timescaledb_information.job_stats WHERE next_start"
    starts = f"SELECT array_agg(next_start ORDER BY job_id) {stats} IS NOT NULL"
    before = scalar(engine, starts)
    refresh = late_data.refresh
    done = []

    def die(*arguments: object, **keywords: object) -> None:
        if len(done) == 1:
            # Retention, columnstore and refresh of telemetry and its rollup wait for an hour.
            assert scalar(engine, f"SELECT count(*) {stats} < now() + interval '61 min'") == 5
            raise KilledError
        refresh(*arguments, **keywords)  # type: ignore[arg-type]
        done.append(arguments)

    with monkeypatch.context() as patch:
        patch.setattr(late_data, "refresh", die)
        with pytest.raises(KilledError):
            maintain(engine)
    assert scalar(engine, starts) == before
    report = maintain(engine)
    # The step that was done went beyond its chunk by a day.
    assert [(one.rollup, one.chunks) for one in report.refreshed] == [
        (f"{RAW}_daily", 1),
        (f"{RAW}_hourly", 3),
    ]
    assert differences(engine, "telemetry_daily") == []
    assert differences(engine, "telemetry_hourly") == []


def test_many_chunks_are_refreshed_in_few_steps(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that follow each other, more at a time as long as that is quick."""
    for first, last in ((300, 260), (200, 195)):
        execute(
            engine,
            f"INSERT INTO {RAW} (tenant_id, ts, device_id, metrics) SELECT '{ACME}', date_trunc("
            "'day', now()) - n * interval '1 day' + interval '1 hour', 'device-1', '{\"t\": 7}'"
            f" FROM generate_series({last}, {first}) n",
        )
    refresh, calls = late_data.refresh, []

    def counted(connection: sa.Connection, step: late_data.Step) -> None:
        calls.append(step)
        refresh(connection, step)

    monkeypatch.setattr(late_data, "refresh", counted)
    progress: list[late_data.Progress] = []
    report = maintain(engine, on_progress=progress.append)
    assert {one.chunks for one in report.refreshed} == {47}
    of_one = [one.done for one in progress if one.rollup == f"{RAW}_daily"]
    assert of_one[0] == 0
    assert of_one[-1] == 47
    assert 41 in of_one, "no step goes over a gap"
    assert len(calls) < 2 * 20
    for name in ("telemetry_daily", "telemetry_hourly"):
        assert differences(engine, name) == []
    assert {one.chunks for one in maintain(engine).refreshed} <= {2}, (
        "borders of what was refreshed"
    )


@pytest.mark.parametrize("relation", ["telemetry_hourly", "telemetry_daily"])
def test_questions_do_not_ask_a_rollup_for_what_it_no_longer_has(
    engine: Engine, relation: str
) -> None:
    """The rows are all there, so the answer is theirs, also when the policy is gone again."""
    for days in range(2, 60, 4):
        add_rows(engine, ACME, f"{days} days", step="7 minutes")
    run_refresh_jobs(engine)

    def counted(width: str) -> int:
        with tenant_transaction(engine, ACME) as connection:
            return connection.execute(
                sa.text(
                    "SELECT sum(count) FROM metric_series('device-1', 't', now() - interval"
                    " '70 days', now() - interval '30 minutes', CAST(:width AS interval))"
                ),
                {"width": width},
            ).scalar_one()

    set_policy(engine, ACME, relation, 7 if relation == "telemetry_daily" else 4)
    assert sum(one.rows for one in maintain(engine).removals) > 20
    for _ in range(2):
        assert [counted(width) for width in ("1 hour", "5 hours", "1 day", "7 days")] == [750] * 4
        execute(engine, "SET LOCAL ROLE fleet_operator", "DELETE FROM data_retention_policies")
