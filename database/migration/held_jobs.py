"""Jobs of TimescaleDB's policies, which wait while revisions or a conversion are on their way.

Between two revisions a database is in a state that nobody runs: a policy may be new whose
protection is the work of a later one. The scheduler starts a new job at once, so a rollup could
lose history in a second of a deploy. Their next start is put off by `_FAR`; a run that is killed
leaves them so, and the next one that comes to its end gives them their time back.
"""

from __future__ import annotations

from typing import Final

_FAR: Final = "interval '5000 years'"

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
      WHERE isfinite(j.next_start) AND j.next_start > now() + interval '1000 years'
        AND pg_has_role(j.owner::name, 'USAGE');
END $jobs$"""
"""Each starts when it would have started."""
