"""Jobs of TimescaleDB's policies, which wait while revisions or a conversion are on their way.

Between two revisions a database is in a state that nobody runs: a policy may be new whose
protection is the work of a later one. The scheduler starts a new job at once, so a rollup could
lose history in a second of a deploy. Their next start is put off by `_FAR`; a run that is killed
leaves them so, and the next one that comes to its end gives them their time back. So does one that
failed before it changed anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import sqlalchemy as sa
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from ddl import pending_operations
from ddl.sql import send

_FAR: Final = "interval '5000 years'"

HELD: Final = "(isfinite(j.next_start) AND j.next_start > now() + interval '1000 years')"
"""SQL: whether the job "j" of timescaledb_information.jobs waits."""

PAUSE: Final = f"""DO $jobs$ BEGIN
    -- A job that never ran has no next start, one that runs has -infinity, one that a person has
    -- paused has infinity.
    PERFORM alter_job(j.job_id, next_start =>
                coalesce(nullif(j.next_start, '-infinity'), now()) + {_FAR})
       FROM timescaledb_information.jobs j
      WHERE j.scheduled AND j.proc_name ~ '^policy_' AND j.hypertable_name IS NOT NULL
        AND pg_has_role(j.owner::name, 'USAGE')
        AND coalesce(j.next_start, now()) < now() + interval '1000 years';
END $jobs$"""
"""No job of a policy starts from the commit on; needs TimescaleDB Community."""

RESUME: Final = f"""DO $jobs$ BEGIN
    PERFORM alter_job(j.job_id, next_start => j.next_start - {_FAR})
       FROM timescaledb_information.jobs j
      WHERE {HELD} AND pg_has_role(j.owner::name, 'USAGE');
END $jobs$"""
"""Each starts when it would have started."""


@contextmanager
def held(connection: Connection, head: str | None) -> Iterator[None]:
    """Jobs wait while revisions are applied; each of them ends with `PAUSE` of its own.

    Args:
        head: where the database already is at this revision, there is nothing to wait for.
    """
    before = _heads(connection)
    query = f"SELECT EXISTS (SELECT FROM timescaledb_information.jobs j WHERE {HELD})"
    unfinished = connection.scalar(sa.text(query))
    if before != (head,):
        send(connection, PAUSE)
    connection.commit()
    try:
        yield
    except BaseException:
        with suppress(SQLAlchemyError):
            connection.rollback()
            if not unfinished and _heads(connection) == before:
                send(connection, RESUME)
            connection.commit()
        raise
    # Else rollups of a conversion that was interrupted are not filled yet.
    if not pending_operations.entries(connection):
        send(connection, RESUME)
    connection.commit()


def _heads(connection: Connection) -> tuple[str, ...]:
    return MigrationContext.configure(connection).get_current_heads()
