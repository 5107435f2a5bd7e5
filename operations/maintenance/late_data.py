"""Late data: ranges whose rollups do not have all raw rows yet, and their refresh.

TimescaleDB notes for each rollup which ranges of its source changed since they were materialized,
whoever wrote the rows. The jobs of the refresh policies work through those in their windows; what
is older is refreshed here, a few chunks of the source at a time. A run that is interrupted leaves
the rest noted. What the raw data no longer covers stays (models.system.raw_data_horizons). A range
without a chunk has no rows to take in.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from database.errors import FleetSchemaError, server_message
from ddl.edition import COMMUNITY, detect
from ddl.kinds import kept_history
from ddl.sql import escaped, ident, literal, qualified
from models.shared.base import TIMESERIES
from operations.lock_waits import watched
from operations.maintenance.paused_jobs import paused

LOCK_TIMEOUT = "1min"
"""How long to wait for a refresh of the same rollup by another session."""

QUICK, SLOW = 2, 10
"""Seconds: after a step that took less, twice as many chunks are taken at once, after one that took
longer half as many."""

MOST_CHUNKS = 64
"""At once, which is what a run that is killed has to repeat."""


@dataclass(frozen=True)
class Rollup:
    """A continuous aggregate in schema timeseries and what it reads."""

    table: str
    storage: str
    """The hypertable of its rows, for statements."""
    bucket: str
    """The column of the buckets, for statements."""
    width: str
    """Of a bucket, as an interval."""
    of_tenants: bool
    source: str
    """The hypertable or rollup that it reads, without its schema."""
    source_storage: str
    id: int
    source_id: int
    """Their numbers in TimescaleDB's catalog."""
    until: datetime.datetime
    """Younger buckets are left to its policy, but for those that are stored already, which would
    be wrong until then; now, if it has none."""

    @property
    def name(self) -> str:
        """For messages."""
        return qualified(TIMESERIES, self.table)

    @property
    def sql(self) -> str:
        """For statements."""
        return f"{ident(TIMESERIES)}.{ident(self.table)}"


@dataclass(frozen=True)
class Step:
    """Chunks of the source of a rollup, one after the other; the range as the server writes it."""

    rollup: Rollup
    begins: str
    ends: str


@dataclass(frozen=True)
class Progress:
    """How far the refresh of a rollup is."""

    rollup: str
    done: int
    """Chunks of its source, of ``chunks``."""
    chunks: int


# The names of what a rollup reads are those of models: a rollup's storage stands for the rollup.
_ROLLUPS = sa.text("""
    SELECT a.view_name AS "table",
           format('%I.%I', a.materialization_hypertable_schema, a.materialization_hypertable_name)
               AS storage,
           quote_ident(d.column_name) AS bucket, f.bucket_width AS width,
           EXISTS (SELECT FROM pg_attribute t
                    WHERE t.attrelid = format('%I.%I', a.view_schema, a.view_name)::regclass
                      AND t.attname = 'tenant_id' AND t.atttypid = 'uuid'::regtype) AS of_tenants,
           coalesce(s.view_name, a.hypertable_name) AS source,
           format('%I.%I', a.hypertable_schema, a.hypertable_name) AS source_storage,
           c.mat_hypertable_id AS id, c.raw_hypertable_id AS source_id,
           greatest(
               now() - coalesce((SELECT min((j.config ->> 'end_offset')::interval)
                                   FROM timescaledb_information.jobs j
                                  WHERE j.proc_name = 'policy_refresh_continuous_aggregate'
                                    AND (j.config ->> 'mat_hypertable_id')::int
                                      = c.mat_hypertable_id), '0'),
               least(now(), coalesce(_timescaledb_functions.to_timestamp(w.watermark),
                                     '-infinity'))) AS until
      FROM timescaledb_information.continuous_aggregates a
      JOIN timescaledb_information.dimensions d ON d.dimension_number = 1
       AND (d.hypertable_schema, d.hypertable_name)
         = (a.materialization_hypertable_schema, a.materialization_hypertable_name)
      JOIN _timescaledb_catalog.continuous_agg c
        ON (c.user_view_schema, c.user_view_name) = (a.view_schema, a.view_name)
      JOIN _timescaledb_catalog.continuous_aggs_bucket_function f
        ON f.mat_hypertable_id = c.mat_hypertable_id
      LEFT JOIN _timescaledb_catalog.continuous_aggs_watermark w
        ON w.mat_hypertable_id = c.mat_hypertable_id
      LEFT JOIN timescaledb_information.continuous_aggregates s
        ON (s.materialization_hypertable_schema, s.materialization_hypertable_name)
         = (a.hypertable_schema, a.hypertable_name)
     WHERE a.view_schema = :schema
     ORDER BY c.mat_hypertable_id
""")

# What the rollup itself no longer keeps is left alone.
# What was written since any rollup was last refreshed is noted per hypertable, before that per
# rollup; the ranges are those on which a refresh was interrupted. Rows are in a chunk that overlaps
# the range in which they changed, and a step goes beyond its chunk by a bucket: so a range that
# only touches a chunk, as what is before the first refresh touches the first chunk, is none of it.
_STEPS = sa.text("""
    WITH late AS (
        SELECT lowest_modified_value AS lowest, greatest_modified_value AS greatest
          FROM _timescaledb_catalog.continuous_aggs_materialization_invalidation_log
         WHERE materialization_id = :id
        UNION ALL
        SELECT lowest_modified_value, greatest_modified_value
          FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log
         WHERE hypertable_id = :source_id
        UNION ALL
        SELECT lowest_modified_value, greatest_modified_value
          FROM _timescaledb_catalog.continuous_aggs_materialization_ranges
         WHERE materialization_id = :id)
    SELECT range_start::text AS begins, range_end::text AS ends
      FROM timescaledb_information.chunks
     WHERE format('%I.%I', hypertable_schema, hypertable_name) = :source
       AND range_start < least(:until, coalesce(CAST(:before AS timestamptz), 'infinity'))
       AND range_end > coalesce(CAST(:after AS timestamptz), '-infinity')
       AND (:all OR EXISTS (
           SELECT FROM late
            WHERE lowest < _timescaledb_functions.to_unix_microseconds(range_end)
              AND greatest >= _timescaledb_functions.to_unix_microseconds(range_start)
              AND lowest <= _timescaledb_functions.to_unix_microseconds(
                                :until - CAST(:width AS interval))))
       AND range_end > coalesce((
           SELECT now() - (j.config ->> 'drop_after')::interval FROM timescaledb_information.jobs j
            WHERE j.proc_name = 'policy_retention'
              AND quote_ident(j.hypertable_schema) || '.' || quote_ident(j.hypertable_name)
                = :storage), '-infinity')
     ORDER BY chunks.range_start
""")


def rollups(connection: Connection) -> list[Rollup]:
    """The rollups that store rows, each after what it reads; none but on the Community edition."""
    if detect(connection) != COMMUNITY:
        return []
    return [
        Rollup(**row) for row in connection.execute(_ROLLUPS, {"schema": TIMESERIES}).mappings()
    ]


def steps(
    connection: Connection,
    rollup: Rollup,
    after: datetime.datetime | None = None,
    before: datetime.datetime | None = None,
    *,
    every: bool = False,
) -> list[Step]:
    """The chunks with rows that the rollup has not taken in yet, oldest first.

    Args:
        after: only chunks with a part in the range from here to ``before``.
        every: all chunks of the range, whether rows in them changed or not.
    """
    values = {
        "id": rollup.id,
        "source_id": rollup.source_id,
        "source": rollup.source_storage,
        "storage": rollup.storage,
        "width": rollup.width,
        "until": rollup.until,
        "after": after,
        "before": before,
        "all": every,
    }
    found = connection.execute(_STEPS, values)
    return [Step(rollup, row.begins, row.ends) for row in found]


def refresh(connection: Connection, step: Step, *, every: bool = False) -> None:
    """Materialize what changed in chunks, and in the buckets that reach beyond them.

    The connection is the owner's, outside a transaction: TimescaleDB commits in between.
    """
    rollup = step.rollup
    width = f"{literal(rollup.width)}::interval"
    begins = f"{literal(step.begins)}::timestamptz - 2 * {width}"
    ends = f"least({literal(step.ends)}::timestamptz + {width}, {literal(str(rollup.until))})"
    force = ", force => true" if every else ""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.autocommit = True
    try:
        with watched(connection), driver.cursor() as cursor:
            # Of the buckets in the columnstore all may have to be rewritten.
            for name, value in (
                ("lock_timeout", LOCK_TIMEOUT),
                ("statement_timeout", "0"),
                ("timescaledb.max_tuples_decompressed_per_dml_transaction", "0"),
            ):
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            row = cursor.execute(f"SELECT ({begins})::text, ({ends})::text").fetchone()
            cursor.execute(
                f"CALL refresh_continuous_aggregate({literal(rollup.sql)},"
                f" {literal(row[0])}::timestamptz, {literal(row[1])}::timestamptz{force})"
            )
    finally:
        if not driver.closed:
            driver.autocommit = False


class RefreshError(FleetSchemaError):
    """A rollup could not be refreshed; the text says which and why, and what was done before."""


@dataclass(frozen=True)
class Refreshed:
    """What was refreshed or, in a dry run, would be: chunks of the source, from when to when."""

    rollup: str
    source: str
    chunks: int
    begins: str
    ends: str


def silent(_: Progress) -> None:
    """Report no progress."""


def take_in(
    connection: Connection,
    rollup: Rollup,
    after: datetime.datetime | None = None,
    before: datetime.datetime | None = None,
    *,
    dry_run: bool = False,
    on_progress: Callable[[Progress], None] = silent,
) -> Refreshed | None:
    """Refresh a rollup wherever its source changed; None if that is nowhere.

    Jobs of the rollup and its source wait meanwhile.

    Args:
        connection: of the owner, outside a transaction.
        after: as for :func:`steps`; likewise ``before``.
        on_progress: called before the first step and after each.

    Raises:
        RefreshError: the server rejected a refresh; what remains is noted for the next run.
    """
    try:
        with connection.begin():
            found = steps(connection, rollup, after, before)
            if not dry_run:
                note_dropped(connection, rollup)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        raise RefreshError(
            f"{rollup.name} could not be refreshed: {server_message(error)}"
        ) from error
    if not found:
        return None
    if not dry_run:
        with paused(connection, (rollup.sql, rollup.storage, rollup.source_storage)) as jobs:
            done, most = 0, 1
            on_progress(Progress(rollup.name, done, len(found)))
            while done < len(found):
                number, step = _joined(found[done : done + most])
                began = time.monotonic()
                try:
                    refresh(connection, step)
                except psycopg.Error as error:
                    raise RefreshError(
                        f"{rollup.name} could not be refreshed from {step.begins} on, after "
                        f"{done} of {len(found)} chunks: {server_message(error)}"
                    ) from error
                took = time.monotonic() - began
                if took < QUICK:
                    most = min(2 * most, MOST_CHUNKS)
                elif took > SLOW:
                    most = max(most // 2, 1)
                done += number
                on_progress(Progress(rollup.name, done, len(found)))
                jobs.renew()
    return Refreshed(
        rollup.name,
        qualified(TIMESERIES, rollup.source),
        len(found),
        found[0].begins,
        found[-1].ends,
    )


def _joined(steps: list[Step]) -> tuple[int, Step]:
    """As many of the first as follow each other without a gap, and one step for all of them."""
    number = 1
    while number < len(steps) and steps[number].begins == steps[number - 1].ends:
        number += 1
    return number, replace(steps[0], ends=steps[number - 1].ends)


# --- what the raw data no longer covers -----------------------------------------------------------


@dataclass(frozen=True)
class Extent:
    """What a rollup holds in a range."""

    rows: int
    stay: int
    """Those that a refresh leaves as they are, since the raw data no longer covers them."""


def extent(
    connection: Connection, rollup: Rollup, begins: str, ends: str, **only: str | int
) -> Extent:
    """Count the rows of a rollup in a range as :class:`Step` has it.

    Args:
        only: values of columns; rows that have others do not count.
    """
    condition = connection.scalar(_KEPT_IF, {"storage": rollup.storage}) or "false"
    histories = kept_history.read(connection, [TIMESERIES])
    keys = next((one.keys for one in histories if one.name == rollup.table), "")
    bucket = escaped(rollup.bucket)
    row = connection.execute(
        sa.text(
            f"SELECT count(*) AS rows, count(*) FILTER (WHERE {escaped(condition)} AND NOT EXISTS ("
            " SELECT FROM public.late_buckets l WHERE l.relation = :relation"
            " AND l.row_key = public.history_key(to_jsonb(old), :keys))) AS stay"
            f" FROM {escaped(rollup.storage)} AS old"
            f" WHERE {bucket} >= CAST(CAST(:begins AS text) AS timestamptz)"
            f" AND {bucket} < CAST(CAST(:ends AS text) AS timestamptz)"
            + "".join(f" AND CAST({escaped(ident(name))} AS text) = :only_{name}" for name in only)
        ),
        {
            "begins": begins,
            "ends": ends,
            "relation": rollup.table,
            "keys": keys,
            **{f"only_{name}": str(value) for name, value in only.items()},
        },
    ).one()
    return Extent(row.rows, row.stay)


_KEPT_IF = sa.text(f"""
    SELECT substring(pg_get_triggerdef(oid) FROM ' WHEN [(](.*)[)] EXECUTE FUNCTION ')
      FROM pg_trigger
     WHERE tgrelid = CAST(:storage AS regclass) AND tgname = '{kept_history.DELETED}'
""")


def note_dropped(connection: Connection, rollup: Rollup) -> None:
    """Let the rollup note which chunks of its source were dropped, as before each refresh."""
    connection.execute(sa.text(f"DELETE FROM {escaped(rollup.storage)} WHERE false"))
