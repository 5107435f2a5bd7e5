"""Drift of hypertables, rollups and their policies, pending ones included."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from ddl import buckets, found_by
from ddl.differences import lines
from ddl.edition import POSTGRESQL, detect
from ddl.sql import send
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.declared_time_series import fleet
from tests.support.generated_revisions import apply, metadata_of, migration, rendered, run

DRIFT = {
    "SELECT set_chunk_time_interval('timeseries.telemetry', INTERVAL '2 days')": [
        "hypertable timeseries.telemetry chunk_interval: expected 1 day, found 2 days"
    ],
    "SELECT remove_retention_policy('timeseries.telemetry')": [
        "retention policy timeseries.telemetry expected, missing"
    ],
    "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
    " WHERE proc_name = 'policy_retention' AND hypertable_name = 'telemetry'": [
        "retention policy timeseries.telemetry scheduled: expected true, found false"
    ],
    "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
    " WHERE proc_name = 'policy_refresh_continuous_aggregate'": [
        "refresh policy timeseries.telemetry_hourly scheduled: expected true, found false"
    ],
    "CALL remove_columnstore_policy('timeseries.telemetry')": [
        "columnstore timeseries.telemetry after: expected 7 days, found nothing"
    ],
    "ALTER TABLE timeseries.telemetry SET (timescaledb.sparse_index = 'bloom(v)')": [
        "columnstore timeseries.telemetry sparse_index: expected nothing, found bloom(v)"
    ],
    "ALTER TABLE timeseries.telemetry SET (timescaledb.sparse_index = '')": [
        "columnstore timeseries.telemetry sparse_index: expected None, found ''"
    ],
    "CALL remove_columnstore_policy('timeseries.telemetry');"
    " ALTER TABLE timeseries.telemetry SET (timescaledb.enable_columnstore = false)": (
        ["columnstore timeseries.telemetry expected, missing"]
    ),
    "SELECT remove_continuous_aggregate_policy('timeseries.telemetry_hourly')": [
        "refresh policy timeseries.telemetry_hourly expected, missing"
    ],
    "DROP VIEW public.telemetry_hourly": ["view public.telemetry_hourly expected, missing"],
    "GRANT SELECT ON timeseries.telemetry TO r_app": [
        "grant timeseries.telemetry to r_app: not declared: SELECT"
    ],
    "ALTER VIEW public.telemetry RESET (check_option)": [
        "view public.telemetry check_option: expected cascaded, found nothing"
    ],
}


@pytest.mark.timescaledb
@pytest.mark.parametrize("statement", DRIFT)
def test_drift_is_found_and_fixed(statement: str, community: Engine) -> None:
    with community.begin() as connection:
        apply(connection, metadata_of(fleet()))
    start = catalog_states(community)
    with community.begin() as connection:
        for single in statement.split(";"):
            connection.execute(sa.text(single))
    with community.connect() as connection:
        script = migration(connection, metadata_of(fleet()))
    found = [" ".join(line.split()[1:]) for line in lines(found_by(script))]
    assert found == DRIFT[statement]
    text = rendered(script.upgrade_ops)
    run(community, text)
    assert unequal_states(catalog_states(community), start) == []


def test_a_pending_operation_that_is_gone_is_found(engine: Engine) -> None:
    with engine.begin() as connection:
        assert detect(connection) == POSTGRESQL
        send(connection, buckets.creation())
        apply(connection, metadata_of(fleet()))
        connection.execute(sa.text("DELETE FROM pending_operations WHERE kind = 'columnstore'"))
        script = migration(connection, metadata_of(fleet()))
    assert {one.kind for one in found_by(script)} == {"columnstore"}
