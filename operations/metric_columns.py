"""Move values between the JSON of messages and the columns of declared metrics.

A chunk and a transaction at a time, compressed ones as well: what is done stays done, and a run
that was interrupted goes on where it ended. Nothing that is read changes by it, so rollups are not
told: they have the same values before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from database.errors import FleetSchemaError
from ddl.edition import COMMUNITY, POSTGRESQL, detect
from ddl.json_values import moving
from ddl.sql import escaped, ident, literal
from models.shared.base import TIMESERIES, Base
from models.shared.metrics import Metric, fitting
from operations.lock import exclusive_run

TABLE = f"{TIMESERIES}.telemetry"
BATCH = 10_000
"""Rows per transaction in a table without chunks."""
LOCK_TIMEOUT = "5s"

Report = Callable[[str, int], None]
"""Takes a chunk, or the table, and the number of rows that were changed in it."""


class MetricsError(FleetSchemaError):
    """Values cannot be moved; the text says why and what to do."""


@dataclass(frozen=True)
class Move:
    """An UPDATE of messages, as its SET and WHERE."""

    assignments: str
    condition: str


def filling(metrics: Sequence[Metric]) -> Move:
    """From the JSON to the columns, as far as these hold the values exactly."""
    values = {
        metric.name: f"coalesce({ident(metric.name)}, {fitting(metric, 'metrics', 'msg_type')})"
        for metric in metrics
    }
    moved = {
        name: f"metrics ? {literal(name)} AND {value} IS NOT NULL" for name, value in values.items()
    }
    parts = [f"{ident(name)} = {value}" for name, value in values.items()]
    taken = ", ".join(
        f"CASE WHEN {condition} THEN {literal(name)} END" for name, condition in moved.items()
    )
    parts.append(f"metrics = metrics - ARRAY[{taken}]::text[]")
    return Move(", ".join(parts), " OR ".join(f"({one})" for one in moved.values()))


def emptying(names: Sequence[str]) -> Move:
    """From the columns back to the JSON, before they are dropped."""
    return Move(*moving(names, "metrics"))


def fill(engine: Engine, metrics: Sequence[Metric], report: Report) -> int:
    """Move values of declared metrics into their columns; returns the number of rows.

    Raises:
        MetricsError: none is declared, a column is missing, or another run is at it.
    """
    if not metrics:
        raise MetricsError("models/telemetry/metrics.py declares no metric, so no column is filled")
    with engine.connect() as connection:
        missing = {metric.name for metric in metrics} - _columns(connection)
    if missing:
        raise MetricsError(
            f"{TABLE} has no column {', '.join(sorted(missing))}: run alembic upgrade head first"
        )
    return _moved(engine, filling(metrics), report)


def empty(engine: Engine, names: Sequence[str], report: Report) -> int:
    """Move values back into the JSON, so that their columns can be dropped.

    Raises:
        MetricsError: a column does not exist, the models still have it, or another run is at it.
    """
    with engine.connect() as connection:
        missing = set(names) - _columns(connection)
    if missing:
        raise MetricsError(f"{TABLE} has no column {', '.join(sorted(missing))}")
    if kept := set(names) & set(Base.metadata.tables[TABLE].columns.keys()):
        raise MetricsError(
            f"the models still have the column {', '.join(sorted(kept))}, and the ingest would "
            "fill it again: remove it from models/telemetry/metrics.py, deploy the ingest, run "
            "this, and let the next revision drop the column"
        )
    return _moved(engine, emptying(names), report)


def _columns(connection: Connection) -> set[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:t AS regclass) AND attnum > 0"
    return set(connection.scalars(sa.text(query), {"t": TABLE}))


def _moved(engine: Engine, move: Move, report: Report) -> int:
    busy = MetricsError("another session moves metrics; wait for its end")
    with engine.connect() as connection, exclusive_run(connection, "metrics", busy):
        with connection.begin():
            edition = detect(connection)
        total = 0
        for where, rows in (
            _by_batches(connection, move)
            if edition == POSTGRESQL
            else _by_chunks(connection, move, compressed=edition == COMMUNITY)
        ):
            total += rows
            if rows:
                report(where, rows)
        return total


def _update(move: Move, condition: str) -> sa.TextClause:
    return sa.text(escaped(f"UPDATE {TABLE} SET {move.assignments} WHERE ") + condition)


def _by_batches(connection: Connection, move: Move) -> Iterator[tuple[str, int]]:
    chosen = escaped(f"SELECT ctid FROM {TABLE} WHERE {move.condition}")
    statement = _update(move, f"ctid = ANY (ARRAY({chosen} LIMIT :batch))")
    while True:
        with connection.begin():
            rows = connection.execute(statement, {"batch": BATCH}).rowcount
        yield TABLE, rows
        if rows == 0:
            return


_CHUNKS = sa.text("""
    SELECT format('%I.%I', chunk_schema, chunk_name) AS chunk, range_start, range_end
      FROM timescaledb_information.chunks
     WHERE (hypertable_schema, hypertable_name) = (:schema, 'telemetry') ORDER BY range_start
""")
_IS_COMPRESSED = sa.text("""
    SELECT is_compressed FROM timescaledb_information.chunks
     WHERE format('%I.%I', chunk_schema, chunk_name) = :chunk
""")
_SETTINGS = sa.text("""
    SELECT set_config('lock_timeout', :timeout, true),
           set_config('timescaledb.skip_cagg_invalidation', 'on', true)
""")


def _by_chunks(
    connection: Connection, move: Move, *, compressed: bool
) -> Iterator[tuple[str, int]]:
    within = f"ts >= :begins AND ts < :ends AND ({escaped(move.condition)})"
    present = sa.text(f"SELECT EXISTS (SELECT FROM {TABLE} WHERE {within})")
    update = _update(move, within)
    with connection.begin():
        chunks = connection.execute(_CHUNKS, {"schema": TIMESERIES}).all()
    for chunk, begins, ends in chunks:
        values = {"begins": begins, "ends": ends}
        with connection.begin():
            connection.execute(_SETTINGS, {"timeout": LOCK_TIMEOUT})
            if not connection.scalar(present, values):
                continue
            # Under the lock of the conversion: a job may have converted it since it was listed.
            again = compressed and connection.scalar(_IS_COMPRESSED, {"chunk": chunk})
            if again:
                _convert(connection, "decompress_chunk", chunk)
            rows = connection.execute(update, values).rowcount
            if again:
                _convert(connection, "compress_chunk", chunk)
        yield chunk, rows


def _convert(connection: Connection, function: str, chunk: str) -> None:
    call = sa.text(f"SELECT {function}(CAST(:chunk AS regclass))")
    connection.execute(call, {"chunk": chunk})
