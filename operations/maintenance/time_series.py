"""Hypertables and rollups on every edition: what is in them, and how rows are deleted.

Rows are deleted by plain equality on ``tenant_id``, a chunk and a transaction at a time.
``tenant_id`` comes first in ``segmentby``, so TimescaleDB removes whole compressed batches of that
tenant. Through a view or with a subquery it would decompress the batches of every tenant.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl.edition import POSTGRESQL, detect
from ddl.kinds import hypertable
from ddl.sql import DEFAULT_SCHEMA, escaped, ident, literal, qualified, send
from models.shared.base import TIMESERIES

BATCH = 10_000
"""Rows per transaction in a table without chunks."""


@dataclass(frozen=True)
class TimeSeries:
    """A hypertable or rollup in schema timeseries, or a plain table that takes the place of one."""

    table: str
    storage: str
    """The table that holds the rows, for statements: of a rollup its materialized hypertable."""
    time_column: str | None
    """None for a table that the models do not declare."""
    chunked: bool
    rollup: bool
    of_tenants: bool
    """Whether it has a column tenant_id."""

    @property
    def name(self) -> str:
        """For messages."""
        return qualified(TIMESERIES, self.table)

    @property
    def sql(self) -> str:
        """The storage within ``text()``."""
        return escaped(self.storage)

    @property
    def time(self) -> str:
        """The column of time within ``text()``."""
        return escaped(ident(self.time_column or ""))


@dataclass(frozen=True)
class Part:
    """Rows of one tenant in one chunk, or in a table without chunks."""

    rows: int
    chunk: str | None = None
    """Qualified name, for statements; None in a table without chunks."""
    begins: str | None = None
    """The range of the chunk as the server writes it: a device may send a year that Python's
    datetime does not have."""
    ends: str | None = None


_REAL = sa.text("""
    SELECT h.hypertable_name AS "table", false AS rollup, d.column_name AS time_column,
           format('%I.%I', h.hypertable_schema, h.hypertable_name) AS storage
      FROM timescaledb_information.hypertables h
      JOIN timescaledb_information.dimensions d USING (hypertable_schema, hypertable_name)
     WHERE h.hypertable_schema = :schema AND d.dimension_number = 1
    UNION ALL
    SELECT a.view_name, true, d.column_name,
           format('%I.%I', a.materialization_hypertable_schema, a.materialization_hypertable_name)
      FROM timescaledb_information.continuous_aggregates a
      JOIN timescaledb_information.dimensions d
        ON d.hypertable_schema = a.materialization_hypertable_schema
       AND d.hypertable_name = a.materialization_hypertable_name AND d.dimension_number = 1
     WHERE a.view_schema = :schema
""")
_TABLES = sa.text("""
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND NOT c.relispartition
""")
_OF_TENANTS = sa.text("""
    SELECT a.attrelid::regclass::oid FROM pg_attribute a
     WHERE a.attrelid = CAST(:storage AS regclass) AND a.attname = 'tenant_id'
       AND a.atttypid = 'uuid'::regtype AND NOT a.attisdropped
""")
_CHUNKS = sa.text("""
    SELECT format('%I.%I', chunk_schema, chunk_name) AS chunk,
           format('%I.%I', chunk_schema, chunk_name)::regclass::oid AS oid,
           range_start::text AS begins, range_end::text AS ends
      FROM timescaledb_information.chunks
     WHERE format('%I.%I', hypertable_schema, hypertable_name) = :storage
       AND (CAST(:before AS timestamptz) IS NULL OR range_end <= :before)
     ORDER BY range_start
""")


def all_time_series(connection: Connection) -> list[TimeSeries]:
    """Every hypertable, then every rollup, by name: raw data is deleted before its rollups.

    Where a rollup is a plain view (without TimescaleDB Community) it is left out.
    """
    found = []
    if detect(connection) != POSTGRESQL:
        found = list(connection.execute(_REAL, {"schema": TIMESERIES}).mappings())
    series = {
        row["table"]: TimeSeries(
            **row, chunked=True, of_tenants=_of_tenants(connection, row["storage"])
        )
        for row in found
    }
    states = hypertable.read(connection, [DEFAULT_SCHEMA, TIMESERIES])
    times = {state.key: state.time_column for state in states}  # type: ignore[attr-defined]
    for name in connection.scalars(_TABLES, {"schema": TIMESERIES}):
        if name not in series:
            storage = f"{ident(TIMESERIES)}.{ident(name)}"
            of_tenants = _of_tenants(connection, storage)
            time_column = times.get((TIMESERIES, name))
            series[name] = TimeSeries(name, storage, time_column, False, False, of_tenants)
    return sorted(series.values(), key=lambda one: (one.rollup, one.table))


def parts(
    connection: Connection,
    series: TimeSeries,
    tenant_id: uuid.UUID,
    before: datetime.datetime | None = None,
) -> list[Part]:
    """The rows of a tenant by chunk, oldest first.

    Args:
        before: only chunks that end by then; in a plain table, only rows older than that.
    """
    values = {"tenant": tenant_id, "before": before}
    condition = "tenant_id = :tenant"
    if before is not None:
        condition += f" AND {series.time} < :before"
    counted = f"FROM {series.sql} WHERE {condition}"
    if not series.chunked:
        rows = connection.execute(sa.text(f"SELECT count(*) {counted}"), values).scalar_one()
        return [Part(rows)] if rows else []
    query = sa.text(f"SELECT tableoid::oid AS oid, count(*) AS rows {counted} GROUP BY 1")
    rows_of = {row.oid: row.rows for row in connection.execute(query, values)}
    if not rows_of:
        return []
    chunks = connection.execute(_CHUNKS, {"storage": series.storage, "before": before})
    return [
        Part(rows_of[row.oid], row.chunk, row.begins, row.ends)
        for row in chunks
        if row.oid in rows_of
    ]


def silent(_: str) -> None:
    """Note nothing."""


def empty(
    connection: Connection,
    series: TimeSeries,
    tenant_id: uuid.UUID,
    *,
    lock_timeout: str,
    before: datetime.datetime | None = None,
    before_each: Callable[[str], None] = silent,
    skip_locked: bool = False,
) -> Iterator[int]:
    """Delete what :func:`parts` lists; yields the number of rows after each commit.

    The connection is the owner's, outside a transaction. The rows of a chunk are counted before
    they are deleted: the server does not count those of batches that it removes whole.

    Args:
        before_each: called within each transaction with the moment before which rows go.
        skip_locked: leave rows of a table without chunks that another session holds.
    """
    with connection.begin():
        found = parts(connection, series, tenant_id, before)
    for part in found:
        if part.chunk is not None:
            with connection.begin():
                _set_limits(connection, lock_timeout, decompress=True)
                before_each(part.ends or "")
                rows = _delete_chunk(connection, series, tenant_id, part)
            yield rows
            continue
        while True:
            with connection.begin():
                _set_limits(connection, lock_timeout)
                before_each("infinity" if before is None else str(before))
                rows = _delete_batch(connection, series, tenant_id, before, skip_locked)
            yield rows
            if rows < BATCH:
                break


def delete_older(
    connection: Connection, series: TimeSeries, before: datetime.datetime, lock_timeout: str
) -> Iterator[int]:
    """Delete rows of a plain table without tenants; yields the number after each commit.

    Those that another session holds are left for the next run.
    """
    old = (
        f"SELECT ctid FROM {series.sql} WHERE {series.time} < :before LIMIT {BATCH}"
        " FOR UPDATE SKIP LOCKED"
    )
    statement = f"DELETE FROM {series.sql} WHERE ctid = ANY (ARRAY({old}))"
    rows = BATCH
    while rows == BATCH:
        with connection.begin():
            _set_limits(connection, lock_timeout)
            rows = connection.execute(sa.text(statement), {"before": before}).rowcount
        yield rows


def count_older(connection: Connection, series: TimeSeries, before: datetime.datetime) -> int:
    """How many rows of a plain table are older than ``before``."""
    query = sa.text(f"SELECT count(*) FROM {series.sql} WHERE {series.time} < :before")
    rows: int = connection.execute(query, {"before": before}).scalar_one()
    return rows


def tenants_in(connection: Connection, series: TimeSeries) -> list[uuid.UUID]:
    """The tenants, existing or not, with rows in a plain table, by skipping through its key."""
    query = f"""
        WITH RECURSIVE hop AS (
            (SELECT tenant_id FROM {series.sql} ORDER BY tenant_id LIMIT 1)
            UNION ALL
            SELECT (SELECT s.tenant_id FROM {series.sql} s
                     WHERE s.tenant_id > hop.tenant_id ORDER BY s.tenant_id LIMIT 1)
              FROM hop WHERE hop.tenant_id IS NOT NULL)
        SELECT tenant_id FROM hop WHERE tenant_id IS NOT NULL
    """
    return list(connection.scalars(sa.text(query)))


def old_chunks(connection: Connection, series: TimeSeries, before: datetime.datetime) -> list[Part]:
    """The chunks of a hypertable that end by ``before``, oldest first; rows are not counted."""
    chunks = connection.execute(_CHUNKS, {"storage": series.storage, "before": before})
    return [Part(0, row.chunk, row.begins, row.ends) for row in chunks]


def count_chunk(
    connection: Connection, series: TimeSeries, chunk: Part
) -> dict[uuid.UUID | None, int]:
    """Tenant to the number of rows in one chunk; None stands for a table without tenants."""
    column = "tenant_id" if series.of_tenants else "NULL::uuid"
    found = connection.exec_driver_sql(
        f"SELECT {column} AS tenant, count(*) AS rows FROM {chunk.chunk} GROUP BY 1"
    )
    return {row.tenant: row.rows for row in found}


def drop_chunk(connection: Connection, series: TimeSeries, chunk: Part, lock_timeout: str) -> None:
    """Drop one chunk with the rows of all tenants."""
    _set_limits(connection, lock_timeout)
    begins, ends = literal(chunk.begins or ""), literal(chunk.ends or "")
    send(
        connection,
        f"SELECT drop_chunks({literal(series.storage)}, older_than => {ends}::timestamptz,"
        f" newer_than => {begins}::timestamptz)",
    )


def _of_tenants(connection: Connection, storage: str) -> bool:
    return connection.scalar(_OF_TENANTS, {"storage": storage}) is not None


def _set_limits(connection: Connection, lock_timeout: str, *, decompress: bool = False) -> None:
    settings = {"lock_timeout": lock_timeout, "statement_timeout": "0"}
    if decompress:
        # Batches are removed whole unless something depends on single rows, such as a trigger;
        # then the rows of this tenant are decompressed, which this setting would prevent.
        settings["timescaledb.max_tuples_decompressed_per_dml_transaction"] = "0"
    for name, value in settings.items():
        connection.execute(
            sa.text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value}
        )


def _delete_chunk(
    connection: Connection, series: TimeSeries, tenant_id: uuid.UUID, part: Part
) -> int:
    """Delete from the chunk itself: through the hypertable, DELETE would lock every chunk.

    The range is given as well, in case the chunk has been merged with another.
    """
    found = connection.scalar(sa.text("SELECT to_regclass(:chunk)"), {"chunk": part.chunk})
    if found is None:  # dropped meanwhile by the retention policy
        return 0
    which = f"tenant_id = %(tenant)s AND {_within(series, part)}"
    values = {"tenant": tenant_id}
    counted = f"SELECT count(*) FROM {part.chunk} WHERE {which}"
    rows: int = connection.exec_driver_sql(counted, values).scalar_one()
    connection.exec_driver_sql(f"DELETE FROM {part.chunk} WHERE {which}", values)
    return rows


def _within(series: TimeSeries, chunk: Part) -> str:
    """With literals, so that the server sees that whole compressed batches are within."""
    time = ident(series.time_column or "").replace("%", "%%")
    begins, ends = literal(chunk.begins or ""), literal(chunk.ends or "")
    return f"{time} >= {begins} AND {time} < {ends}"


def _delete_batch(
    connection: Connection,
    series: TimeSeries,
    tenant_id: uuid.UUID,
    before: datetime.datetime | None,
    skip_locked: bool,
) -> int:
    old = f"SELECT ctid FROM {series.sql} WHERE tenant_id = :tenant"
    if before is not None:
        old += f" AND {series.time} < :before"
    lock = " FOR UPDATE SKIP LOCKED" if skip_locked else ""
    statement = sa.text(
        f"DELETE FROM {series.sql} WHERE tenant_id = :tenant"
        f" AND ctid = ANY (ARRAY({old} LIMIT {BATCH}{lock}))"
    )
    return connection.execute(statement, {"tenant": tenant_id, "before": before}).rowcount
