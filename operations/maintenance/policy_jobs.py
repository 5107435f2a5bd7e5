"""The jobs by which TimescaleDB keeps retention, columnstores and rollups: do they all run?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

import models
from ddl import columnstore, retention, rollup, twin
from ddl.base import Declared, Key
from ddl.columnstore import ColumnstoreOperation
from ddl.edition import COMMUNITY, detect
from ddl.retention import RetentionOperation
from ddl.rollup import RefreshOperation
from ddl.sql import qualified
from ddl.timeseries import TimeSeriesState, noted

OVERDUE = "1 day"
"""How late a job may start: there may be a queue, and a server that was down."""

_KINDS: dict[str, tuple[Any, Any, str]] = {
    "retention": (retention, RetentionOperation, "policy_retention"),
    "columnstore": (columnstore, ColumnstoreOperation, "policy_compression"),
    "refresh": (rollup, RefreshOperation, "policy_refresh_continuous_aggregate"),
}
_JOBS = sa.text("""
    SELECT j.job_id, j.proc_name, coalesce(a.view_schema, j.hypertable_schema) AS schema,
           coalesce(a.view_name, j.hypertable_name) AS name, s.last_run_status AS status,
           to_char(s.last_run_started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS started,
           -- A job that runs right now has no next start: it is infinitely long ago.
           s.next_start > '-infinity'
               AND s.next_start < now() - CAST(:overdue AS interval) AS overdue,
           s.last_successful_finish < now() - CAST(:overdue AS interval)
               AND (SELECT min(e.start_time) FROM timescaledb_information.job_errors e
                     WHERE e.job_id = j.job_id) < now() - CAST(:overdue AS interval) AS starved,
           (SELECT e.err_message FROM timescaledb_information.job_errors e
             WHERE e.job_id = j.job_id ORDER BY e.start_time DESC LIMIT 1) AS said
      FROM timescaledb_information.jobs j
      LEFT JOIN timescaledb_information.job_stats s ON s.job_id = j.job_id
      LEFT JOIN timescaledb_information.continuous_aggregates a
        ON j.hypertable_schema IN (a.view_schema, a.materialization_hypertable_schema)
       AND j.hypertable_name IN (a.view_name, a.materialization_hypertable_name)
     ORDER BY j.job_id
""")


@dataclass(frozen=True)
class JobProblem:
    """A declared job that does not do its work."""

    kind: str
    """retention, columnstore or refresh."""
    relation: Key
    text: str
    """What was expected and found, and the command that mends it."""


def problems(connection: Connection) -> list[JobProblem]:
    """Every declared job that is missing, different, paused, overdue or failed.

    None where TimescaleDB runs no jobs, and none of those that the ledger holds.
    """
    if detect(connection) != COMMUNITY:
        return []
    running: dict[tuple[str, Key], Any] = {
        (row.proc_name, (row.schema, row.name)): row
        for row in connection.execute(_JOBS, {"overdue": OVERDUE})
    }
    schemas = twin.schemas_of(models.metadata)
    found: list[JobProblem] = []
    for kind, (reader, operation, procedure) in _KINDS.items():
        declared = Declared.on(models.metadata).of(kind)
        states = reader.reflect(connection, schemas)
        actual = {state.key: state for state in states if state.kind == kind}
        ledger = {(row["schema"], row["name"]) for row in noted(connection, kind, schemas)}
        for key in sorted(declared.keys() - ledger):
            if kind == "columnstore" and declared[key].after is None:
                continue
            wanted = normal(connection, declared[key])
            job = running.get((procedure, key))
            for text in _complaints(wanted, actual.get(key), job, operation):
                found.append(JobProblem(kind, key, f"{kind} of {qualified(*key)}: {text}"))
    return found


def normal(connection: Connection, state: TimeSeriesState) -> Any:
    """The state with its intervals as the server spells them."""
    query = sa.text("SELECT CAST(CAST(:given AS text) AS interval)::text")
    changed = {
        field: connection.scalar(query, {"given": getattr(state, field)})
        for field in state.intervals
        if getattr(state, field) is not None
    }
    return dataclasses.replace(state, **changed)


def _complaints(wanted: Any, actual: Any, job: Any, operation: Any) -> Iterator[str]:
    if actual is None or job is None:
        yield f"expected a job, found none; as the owner: {_mend(operation(None, wanted))}"
        return
    differing = [
        f"{field} expected {getattr(wanted, field)}, found {getattr(actual, field)}"
        for field in wanted.intervals
        if getattr(wanted, field) != getattr(actual, field)
    ]
    if differing:
        mend = _mend(operation(actual, wanted))
        yield f"job {job.job_id}: {', '.join(differing)}; as the owner: {mend}"
    if wanted.scheduled and not actual.scheduled:
        mend = f"SELECT alter_job({job.job_id}, scheduled => true)"
        yield f"job {job.job_id} is paused; as the owner: {mend}"
    elif job.status == "Failed" and (job.starved or not _lacked_worker(job)):
        reason = " ".join((job.said or "no reason was kept").split())[:300]
        yield (
            f"job {job.job_id} failed at {job.started} UTC: {reason}; mend the "
            f"cause, then, as the owner: CALL run_job({job.job_id})"
        )
    elif job.overdue:
        yield (
            f"job {job.job_id} has not started for more than {OVERDUE}: let the server have "
            "workers (timescaledb.max_background_workers, max_worker_processes), then, as a "
            "superuser: SELECT _timescaledb_functions.start_background_workers()"
        )


def _lacked_worker(job: Any) -> bool:
    """All workers were busy, as when many jobs are made at once; the server tries again soon."""
    return (job.said or "").startswith("failed to start job")


def _mend(operation: Any) -> str:
    return "; ".join(operation.native())
