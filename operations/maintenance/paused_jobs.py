"""Jobs of TimescaleDB's policies that wait while something else works on what they would change."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from database.migration.held_jobs import HELD
from operations.lock import is_usable

PAUSE = datetime.timedelta(hours=1)
"""How far the next start of a job is put off, and half of that later once more. Then it starts by
itself, whatever became of the run."""

_JOBS = sa.text(f"""
    SELECT j.job_id, coalesce(s.next_start, now())::text AS next_start
      FROM timescaledb_information.jobs j
      LEFT JOIN timescaledb_information.job_stats s ON s.job_id = j.job_id
     WHERE j.scheduled AND j.proc_name ~ '^policy_' AND NOT coalesce({HELD}, false)
       AND s.job_status IS DISTINCT FROM 'Running'
       AND quote_ident(j.hypertable_schema) || '.' || quote_ident(j.hypertable_name)
         = ANY (:relations)
""")
# Not of a job that an upgrade has put off meanwhile.
_START = sa.text(f"""
    SELECT alter_job(j.job_id, next_start => CAST(CAST(:start AS text) AS timestamptz))
      FROM timescaledb_information.jobs j
     WHERE j.job_id = :job AND NOT coalesce({HELD}, false)
""")


class PausedJobs:
    """Jobs that wait: not ``scheduled => false``, which would stay after a run that was killed."""

    def __init__(self, connection: Connection, relations: Collection[str]) -> None:
        self.connection = connection
        with connection.begin():
            jobs = connection.execute(_JOBS, {"relations": sorted(relations)}).all()
        self.starts: dict[int, str] = {job.job_id: job.next_start for job in jobs}
        self.until = datetime.datetime.now(datetime.UTC)
        self.renew()

    def renew(self) -> None:
        """Put their next start off once more, if that is near."""
        now = datetime.datetime.now(datetime.UTC)
        if self.until < now + PAUSE / 2:
            self.until = now + PAUSE
            starts = dict.fromkeys(self.starts, self.until.isoformat())
            self._start(self.connection, starts)

    def resume(self, connection: Connection) -> None:
        """Give each its former start."""
        self._start(connection, self.starts)

    @staticmethod
    def _start(connection: Connection, starts: dict[int, str]) -> None:
        with connection.begin():
            for job, start in starts.items():
                connection.execute(_START, {"job": job, "start": start})


@contextmanager
def paused(connection: Connection, relations: Collection[str]) -> Iterator[PausedJobs]:
    """Retention, columnstore and refresh of some relations, named as in statements, wait."""
    jobs = PausedJobs(connection, relations)
    try:
        yield jobs
    finally:
        if is_usable(connection):
            connection.rollback()
            jobs.resume(connection)
        else:
            # If the server is gone, they start when their time comes.
            with suppress(DBAPIError), connection.engine.connect() as another:
                jobs.resume(another)
