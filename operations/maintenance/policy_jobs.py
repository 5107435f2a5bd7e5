"""Whether the jobs of TimescaleDB's policies (retention, columnstore, refresh) all run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

import models
from database.migration.held_jobs import HELD
from ddl import pending_operations, shadow
from ddl.base import Declared, Key
from ddl.edition import COMMUNITY, detect
from ddl.kind import Kind
from ddl.kinds import columnstore, refresh_policy, retention_policy
from ddl.sql import qualified
from ddl.time_series import TimeSeriesState, pending

OVERDUE = "1 day"
"""How late a job may start: jobs queue up, and the server may have been down."""

_PROCEDURES: tuple[tuple[Kind[Any], str], ...] = (
    (retention_policy.KIND, "policy_retention"),
    (columnstore.KIND, "policy_compression"),
    (refresh_policy.KIND, "policy_refresh_continuous_aggregate"),
)
_JOBS = sa.text(f"""
    SELECT j.job_id, j.proc_name, coalesce(a.view_schema, j.hypertable_schema) AS schema,
           coalesce(a.view_name, j.hypertable_name) AS name, s.last_run_status AS status,
           to_char(s.last_run_started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS started,
           -- A job that is running has the next start -infinity.
           s.next_start > '-infinity'
               AND s.next_start < now() - CAST(:overdue AS interval) AS overdue,
           s.next_start = 'infinity' AS paused, {HELD} AS held,
           s.last_successful_finish < now() - CAST(:overdue AS interval)
               AND (SELECT min(e.start_time) FROM timescaledb_information.job_errors e
                     WHERE e.job_id = j.job_id) < now() - CAST(:overdue AS interval) AS starved,
           (SELECT e.err_message FROM timescaledb_information.job_errors e
             WHERE e.job_id = j.job_id ORDER BY e.start_time DESC LIMIT 1) AS message
      FROM timescaledb_information.jobs j
      LEFT JOIN timescaledb_information.job_stats s ON s.job_id = j.job_id
      LEFT JOIN timescaledb_information.continuous_aggregates a
        ON j.hypertable_schema IN (a.view_schema, a.materialization_hypertable_schema)
       AND j.hypertable_name IN (a.view_name, a.materialization_hypertable_name)
     ORDER BY j.job_id
""")


@dataclass(frozen=True)
class JobProblem:
    """A declared job that does not run as declared."""

    kind: str
    """retention policy, columnstore or refresh policy."""
    relation: Key
    found: str
    """What was expected, and what was found."""
    fix: str
    """The SQL that fixes it."""
    by: str = "the owner"
    """Who runs it; or a superuser."""
    before: str = ""
    """What a person does first."""
    differs: bool = True
    """Whether it is not as declared, so that `alembic check` finds it, too."""

    @property
    def text(self) -> str:
        """All of it in one line."""
        first = f"{self.before}, then, " if self.before else ""
        return (
            f"{self.kind} of {qualified(*self.relation)}: {self.found}; "
            f"{first}as {self.by}: {self.fix}"
        )


def problems(connection: Connection) -> list[JobProblem]:
    """Every declared job that is missing, different, paused, overdue or failed.

    None where TimescaleDB runs no jobs, and none for operations that are pending.
    """
    if detect(connection) != COMMUNITY:
        return []
    running: dict[tuple[str, Key], Any] = {
        (row.proc_name, (row.schema, row.name)): row
        for row in connection.execute(_JOBS, {"overdue": OVERDUE})
    }
    schemas = shadow.schemas_of(models.metadata)
    fills = any(
        kind == pending_operations.FILL for kind, _ in pending_operations.entries(connection)
    )
    unfinished = "python -m operations convert" if fills else "alembic upgrade head"
    found: list[JobProblem] = []
    for kind, procedure in _PROCEDURES:
        declared = Declared.on(models.metadata).of(kind.state)
        current = {state.key: state for state in kind.read(connection, schemas)}
        left = {(row["schema"], row["name"]) for row in pending(connection, kind.name, schemas)}
        for key in sorted(declared.keys() - left):
            if kind is columnstore.KIND and declared[key].after is None:
                continue
            target = normal(connection, declared[key])
            job = running.get((procedure, key))
            state: Any = current.get(key)
            found += _differing(kind, key, target, state, job)
            if job is not None and state is not None and state.scheduled >= target.scheduled:
                found += _failing(kind, key, job, unfinished)
    return found


def normal(connection: Connection, state: TimeSeriesState) -> Any:
    """The state with its intervals in the server's spelling."""
    query = sa.text("SELECT CAST(CAST(:given AS text) AS interval)::text")
    changed = {
        field: connection.scalar(query, {"given": getattr(state, field)})
        for field in state.intervals
        if getattr(state, field) is not None
    }
    return dataclasses.replace(state, **changed)


def _differing(
    kind: Kind[Any], key: Key, target: Any, current: Any, job: Any
) -> Iterator[JobProblem]:
    operation: Any = kind.operation
    if current is None or job is None:
        fix = _fix(operation(None, target))
        yield JobProblem(kind.name, key, "expected a job, found none", fix)
        return
    differing = [
        f"{field} expected {getattr(target, field)}, found {getattr(current, field)}"
        for field in target.intervals
        if getattr(target, field) != getattr(current, field)
    ]
    if differing:
        fix = _fix(operation(current, target))
        yield JobProblem(kind.name, key, f"job {job.job_id}: {', '.join(differing)}", fix)
    if target.scheduled and not current.scheduled:
        fix = f"SELECT alter_job({job.job_id}, scheduled => true)"
        yield JobProblem(kind.name, key, f"job {job.job_id} is paused", fix)


def _failing(kind: Kind[Any], key: Key, job: Any, unfinished: str) -> Iterator[JobProblem]:
    if job.held:
        found = f"job {job.job_id} waits for a command that did not come to its end"
        yield JobProblem(kind.name, key, found, unfinished, differs=False)
    elif job.paused:
        found = f"job {job.job_id} is paused until infinity"
        fix = f"SELECT alter_job({job.job_id}, next_start => now())"
        yield JobProblem(kind.name, key, found, fix, differs=False)
    elif job.status == "Failed" and (job.starved or not _lacked_worker(job)):
        reason = " ".join((job.message or "no reason was recorded").split())[:300]
        found = f"job {job.job_id} failed at {job.started} UTC: {reason}"
        if _LIKE_SUCCESS in reason:
            found += (
                " (this build of the server records jobs so although they worked: update"
                " PostgreSQL, or run maintain by cron)"
            )
        fix = f"CALL run_job({job.job_id})"
        yield JobProblem(kind.name, key, found, fix, before="fix the cause", differs=False)
    elif job.overdue:
        yield JobProblem(
            kind.name,
            key,
            f"job {job.job_id} has not started for more than {OVERDUE}",
            "SELECT _timescaledb_functions.start_background_workers()",
            by="a superuser",
            before="give the server more workers (timescaledb.max_background_workers,"
            " max_worker_processes)",
            differs=False,
        )


_LIKE_SUCCESS = 'cannot drop portal ""'
"""By which some builds of PostgreSQL 15 record every job of TimescaleDB as failed, after its work
was committed."""


def _lacked_worker(job: Any) -> bool:
    """Whether all workers were busy; the server soon tries again."""
    return (job.message or "").startswith("failed to start job")


def _fix(operation: Any) -> str:
    return "; ".join(operation.statements())
