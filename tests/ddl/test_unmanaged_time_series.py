"""What TimescaleDB has beyond the declared: schedules, further policies, grants behind the views."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from ddl import found_by
from ddl.differences import Difference, lines
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.declared_time_series import fleet, rows_for
from tests.support.generated_revisions import apply, metadata_of, migration, rendered, run

JOBS = "FROM timescaledb_information.jobs WHERE proc_name ="
CHUNK = "(SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks WHERE hypertable_name = 'telemetry' LIMIT 1)"
ON_CHUNK = f"DO $$ BEGIN EXECUTE 'GRANT SELECT ON ' || {CHUNK} || ' TO r_app, PUBLIC'; END $$"
BEHIND = "DO $$ BEGIN EXECUTE (SELECT 'GRANT SELECT, UPDATE ON _timescaledb_internal.' || materialization_hypertable_name || ' TO r_app' FROM timescaledb_information.continuous_aggregates); END $$"
WINDOW = "start_offset => INTERVAL '300 days', end_offset => INTERVAL '10 days', schedule_interval => INTERVAL '1 day'"

DRIFT = {
    "schedule of retention": (
        f"SELECT alter_job(job_id, schedule_interval => '100 years') {JOBS} 'policy_retention' AND hypertable_name = 'telemetry'",
        (
            "retention policy timeseries.telemetry schedule_interval: expected 1 day, found 100 years;"
            " run: SELECT alter_job(N, schedule_interval => INTERVAL '1 day')"
        ),
    ),
    "schedule of the columnstore": (
        f"SELECT alter_job(job_id, schedule_interval => '100 years') {JOBS} 'policy_compression' AND hypertable_name = 'telemetry'",
        (
            "columnstore timeseries.telemetry schedule_interval: expected 12:00:00, found 100 years;"
            " run: SELECT alter_job(N, schedule_interval => INTERVAL '12:00:00')"
        ),
    ),
    "limits of a refresh": (
        f"SELECT alter_job(job_id, max_runtime => '1 s', max_retries => 0, retry_period => '1 year') {JOBS} 'policy_refresh_continuous_aggregate'",
        "refresh policy timeseries.telemetry_hourly max_retries: expected -1, found 0; run: SELECT alter_job(N, max_retries => -1)",
        (
            "refresh policy timeseries.telemetry_hourly max_runtime: expected 00:00:00, found 00:00:01;"
            " run: SELECT alter_job(N, max_runtime => INTERVAL '00:00:00')"
        ),
        (
            "refresh policy timeseries.telemetry_hourly retry_period: expected 00:30:00, found 1 year;"
            " run: SELECT alter_job(N, retry_period => INTERVAL '00:30:00')"
        ),
    ),
    "fixed schedule": (
        f"SELECT alter_job(job_id, fixed_schedule => true, initial_start => now() + INTERVAL '9 years') {JOBS} 'policy_retention' AND hypertable_name = 'telemetry'",
        (
            "retention policy timeseries.telemetry fixed_schedule: expected false, found true;"
            " run: SELECT alter_job(N, fixed_schedule => false)"
        ),
    ),
    "configuration of a job": (
        f"SELECT alter_job(job_id, config => config || '{{\"maxchunks_to_compress\": 1}}') {JOBS} 'policy_compression' AND hypertable_name = 'telemetry'",
        (
            'columnstore timeseries.telemetry config: expected {}, found {"maxchunks_to_compress": 1};'
            """ run: SELECT alter_job(N, config => '{"hypertable_id": N, "compress_after": "7 days"}'::jsonb || '{}')"""
        ),
    ),
    "second refresh policy": (
        f"SELECT add_continuous_aggregate_policy('timeseries.telemetry_hourly', {WINDOW})",
        "job N: a further refresh policy of timeseries.telemetry_hourly found, not declared; run: SELECT delete_job(N)",
    ),
    "action": (
        "SELECT add_job('public.tenant', '1 hour')",
        "job N: public.tenant found, not declared; run: SELECT delete_job(N)",
    ),
    "tablespace": (
        "SELECT attach_tablespace('pg_default', 'timeseries.telemetry')",
        "hypertable timeseries.telemetry tablespaces: expected nothing, found pg_default; run: SELECT detach_tablespaces('timeseries.telemetry')",
    ),
    "grant on a chunk": (
        ON_CHUNK,
        "grant _timescaledb_internal._hyper_N_N_chunk to PUBLIC: not declared: SELECT; run: REVOKE SELECT ON _timescaledb_internal._hyper_N_N_chunk FROM PUBLIC",
        "grant _timescaledb_internal._hyper_N_N_chunk to r_app: not declared: SELECT; run: REVOKE SELECT ON _timescaledb_internal._hyper_N_N_chunk FROM r_app",
    ),
    "grant behind a rollup": (
        BEHIND,
        *(
            f"grant _timescaledb_internal.{one}_hypertable_N to r_app: not declared: SELECT, UPDATE;"
            f" run: REVOKE SELECT, UPDATE ON _timescaledb_internal.{one}_hypertable_N FROM r_app"
            for one in ("_compressed", "_materialized")
        ),
    ),
    "index on a rollup": (
        "CREATE INDEX by_time ON timeseries.telemetry_hourly (bucket) WHERE bucket > '2020-01-01 00:00+00'",
        "index timeseries.telemetry_hourly USING btree (bucket) WHERE (bucket > '2020-01-01 00:00:00+00'::timestamp with time zone) found, not declared; run: DROP INDEX _timescaledb_internal.by_time",
    ),
    "publication of everything": (
        "CREATE PUBLICATION everything FOR ALL TABLES",
        "publication everything found, not declared; run: DROP PUBLICATION everything",
    ),
    "owner of a rollup": (
        "ALTER TABLE timeseries.telemetry_hourly OWNER TO r_owner",
        "view timeseries.telemetry_hourly owner: expected postgres, found r_owner; run: ALTER TABLE timeseries.telemetry_hourly OWNER TO postgres",
    ),
}


def numbered(found: list[Difference]) -> list[str]:
    """The lines, every number of an object or job replaced by N."""
    text = "\n".join(" ".join(line.split()[1:]) for line in lines(found))
    return re.sub(
        r'(?<=job )\d+|(?<=job\()\d+|(?<=id": )\d+|(?<=_)\d+(?=[_ ])', "N", text
    ).splitlines()


@pytest.mark.timescaledb
@pytest.mark.parametrize("name", DRIFT)
def test_it_is_named_with_the_command_that_mends_it(community: Engine, name: str) -> None:
    statements, *expected = DRIFT[name]
    models = metadata_of(fleet())
    with community.begin() as connection:
        apply(connection, models)
        for statement in rows_for(community)[:1]:
            connection.execute(sa.text(statement))
    with community.connect() as connection:
        assert found_by(migration(connection, models)) == []
    start = catalog_states(community)
    with community.begin() as connection:
        connection.exec_driver_sql(statements, execution_options={"no_parameters": True})
        found = found_by(migration(connection, models))
        assert numbered(found) == expected
        for one in found:
            connection.exec_driver_sql(one.mend, execution_options={"no_parameters": True})
        assert found_by(migration(connection, models)) == []
    assert not unequal_states(catalog_states(community), start)


@pytest.mark.timescaledb
def test_policies_that_no_model_declares_are_found_as_a_whole(community: Engine) -> None:
    """What would they be compared with? A revision removes them."""
    with community.begin() as connection:
        apply(connection, metadata_of(fleet()))
    models = metadata_of(fleet(keep=None, rollup_keep=None))
    with community.connect() as connection:
        script = migration(connection, models)
    assert [(one.kind, one.name, one.detail, one.mend) for one in found_by(script)] == [
        ("retention policy", "timeseries.telemetry", "", ""),
        ("retention policy", "timeseries.telemetry_hourly", "", ""),
    ]


@pytest.mark.timescaledb
def test_a_second_dimension(community: Engine) -> None:
    models = metadata_of(fleet())
    with community.begin() as connection:
        apply(connection, models)
        connection.execute(
            sa.text("SELECT add_dimension('timeseries.telemetry', by_hash('device_id', 4))")
        )
        (found,) = found_by(migration(connection, models))
    assert found.what() == (
        "dimension device_id: expected nothing, found 4 partitions;"
        " run: -- no command: a dimension stays until the rows are moved to a new table"
    )


@pytest.mark.timescaledb
def test_the_first_of_two_refresh_policies_is_compared(community: Engine) -> None:
    """The revision removes both, and adds the declared one."""
    models = metadata_of(fleet())
    rollup = "'timeseries.telemetry_hourly'"
    with community.begin() as connection:
        apply(connection, models)
        for statement in (
            f"SELECT remove_continuous_aggregate_policy({rollup})",
            f"SELECT add_continuous_aggregate_policy({rollup}, {WINDOW})",
            f"SELECT add_continuous_aggregate_policy({rollup}, start_offset => INTERVAL '3 days', end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '30 minutes')",
        ):
            connection.execute(sa.text(statement))
    with community.connect() as connection:
        script = migration(connection, models)
    assert numbered(found_by(script)) == [
        "refresh policy timeseries.telemetry_hourly start_offset: expected 3 days, found 300 days",
        "refresh policy timeseries.telemetry_hourly end_offset: expected 01:00:00, found 10 days",
        "refresh policy timeseries.telemetry_hourly every: expected 00:30:00, found 1 day",
        "job N: a further refresh policy of timeseries.telemetry_hourly found, not declared; run: SELECT delete_job(N)",
    ]
    run(community, rendered(script.upgrade_ops))
    with community.connect() as connection:
        assert found_by(migration(connection, models)) == []
