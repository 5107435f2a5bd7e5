"""Rollups whose raw data comes late or goes early: jobs, and what a rollup should hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine

import models
from ddl.base import Declared
from ddl.rollups import RollupState
from tests.support.time_series import alone, execute, scalar

TAGS = "timeseries.tag_values"


def run_refresh_jobs(engine: Engine) -> None:
    """Every refresh policy once. (Scheduled jobs fail on some builds of the server.)"""
    run_jobs(engine, "policy_refresh_continuous_aggregate")


def run_jobs(engine: Engine, procedure: str) -> None:
    jobs = alone(
        engine,
        "SELECT job_id FROM timescaledb_information.jobs"
        f" WHERE proc_name = '{procedure}' ORDER BY job_id",
    )
    for (job,) in jobs:
        alone(engine, f"CALL run_job({job})")


def differences(engine: Engine, rollup: str, condition: str = "true") -> list[Any]:
    """Rows that the rollup has and the raw data does not give (found), or the reverse (missing)."""
    definition = Declared.on(models.metadata).of(RollupState)["timeseries", rollup].definition
    raw = f"SELECT * FROM ({definition}) AS raw WHERE {condition}"
    # From what is stored above the watermark and below: as a reader sees it.
    shown = f"SELECT * FROM timeseries.{rollup} WHERE {condition}"
    return alone(
        engine,
        "SET search_path = public, timescaledb_substitute",
        f"SELECT 'found', x::text FROM ({shown} EXCEPT {raw}) AS x"
        f" UNION ALL SELECT 'missing', x::text FROM ({raw} EXCEPT {shown}) AS x",
    )


def buckets(engine: Engine, rollup: str, condition: str = "true") -> list[str]:
    """The rows of a rollup as a reader sees them, in order."""
    query = f"SELECT x::text FROM timeseries.{rollup} AS x WHERE {condition} ORDER BY 1"
    return [row[0] for row in alone(engine, query)]


def add_tags(engine: Engine, tenant: object, days: str, *, until: str = "0", tag: int = 1) -> None:
    """A sample each 30 minutes, from ``days`` ago to ``until`` ago."""
    execute(
        engine,
        f"INSERT INTO {TAGS} (tenant_id, ts, tag_id, connection_id, v_num)"
        f" SELECT '{tenant}', ts, {tag}, '{tenant}', extract(hour FROM ts)"
        f"   FROM generate_series(date_trunc('hour', now()) - interval '{days}',"
        f"                        now() - interval '{until}', '30 minutes') ts"
        " ON CONFLICT DO NOTHING",
    )


def horizon(engine: Engine, relation: str, tenant: object) -> Any:
    """From when on the raw data of a tenant is noted as complete."""
    return scalar(
        engine,
        "SELECT max(complete_from) FROM raw_data_horizons"
        f" WHERE relation = '{relation}' AND of_tenant = '{tenant}'",
    )


def rolled_up_tags(engine: Engine, tenants: Iterable[object], *, compressed: bool) -> None:
    """Two weeks of two tags of each tenant, all of them in the hourly rollup."""
    for tenant in tenants:
        for tag in (1, 2):
            add_tags(engine, tenant, "14 days", tag=tag)
    alone(
        engine,
        "CALL refresh_continuous_aggregate('timeseries.tag_values_hourly',"
        " NULL, date_trunc('hour', now()))",
    )
    if compressed:
        alone(engine, f"SELECT compress_chunk(c) FROM show_chunks('{TAGS}') c")
