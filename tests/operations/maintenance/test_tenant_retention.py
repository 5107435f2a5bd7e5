"""A tenant's own retention: only its rows are deleted, from compressed chunks as well."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from operations.maintenance import run as maintenance_run
from operations.maintenance.run import maintain
from tests.support.engines import engine_of
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
    refresh,
    removed_rows,
    scalar,
    set_policy,
    stored,
)


@pytest.mark.timescaledb
def test_only_old_rows_of_the_tenant_are_deleted(fleet: Engine) -> None:
    set_policy(fleet, ACME, "telemetry", 30)
    others = [checksums(fleet, tenant) for tenant in (GLOBEX, HOOLI)]
    rollup = checksums(fleet, ACME)
    report = maintain(fleet)
    assert report.problems == []
    assert removed_rows(report) == {(RAW, ACME): 100}
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
def test_a_dry_run_reports_the_same_and_changes_nothing(fleet: Engine) -> None:
    set_policy(fleet, ACME, "telemetry", 30)
    set_policy(fleet, GLOBEX, "telemetry_daily", 10)
    set_policy(fleet, HOOLI, "telemetry", 10)
    before = [checksums(fleet, tenant) for tenant in SLUGS]
    dry = maintain(fleet, dry_run=True)
    assert dry.dry_run
    assert [checksums(fleet, tenant) for tenant in SLUGS] == before
    assert removed_rows(dry) == removed_rows(maintain(fleet))
    assert [checksums(fleet, tenant) for tenant in SLUGS] != before


@pytest.mark.timescaledb
@pytest.mark.parametrize("whole", ["on", "off"])
def test_more_rows_in_a_chunk_than_may_be_decompressed(fleet: Engine, whole: str) -> None:
    """Both if whole batches are removed, and if they have to be decompressed first."""
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
    assert removed_rows(report) == {(RAW, ACME): 150_001, (RAW, GLOBEX): 150_001}
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
    assert removed_rows(report) == {(f"{RAW}_hourly", ACME): 2}
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
    assert re.search(r"refresh policy of timeseries.telemetry_daily: job \d+ is paused", paused)
    assert "policy of acme for telemetry: its rows are kept, since telemetry_daily may" in kept
    alone(fleet, re.search(r"SELECT alter_job.*\)", paused)[0])  # type: ignore[index]
    assert removed_rows(maintain(fleet)) == {(RAW, ACME): 100}


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
    assert removed_rows(report)[(RAW, ACME)] == 100
    assert (f"{RAW}_daily", GLOBEX) in removed_rows(report)
    assert removed_rows(maintain(fleet)) == {(RAW, ACME): 100}


@pytest.mark.timescaledb
def test_rows_are_kept_if_policies_cannot_be_read(fleet: Engine) -> None:
    set_policy(fleet, ACME, "telemetry", 10)
    execute(fleet, "REVOKE SELECT ON data_retention_policies FROM fleet_operator")
    before = [checksums(fleet, tenant) for tenant in SLUGS]
    report = maintain(fleet)
    assert report.removals == []
    assert "data_retention_policies cannot be read as fleet_operator" in report.problems[0]
    assert [checksums(fleet, tenant) for tenant in SLUGS] == before


@pytest.mark.timescaledb
def test_rows_are_kept_if_a_policy_is_out_of_bounds(fleet: Engine) -> None:
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
def test_the_database_rejects_such_a_policy(
    migrated_database: str, relation: str, days: int
) -> None:
    with engine_of(migrated_database) as engine:
        make_tenants(engine)
        set_policy(engine, ACME, "telemetry", 7)
        set_policy(engine, GLOBEX, "telemetry", 400)
        with pytest.raises(IntegrityError, match="ck_data_retention_policies_bounds"):
            set_policy(engine, HOOLI, relation, days)
