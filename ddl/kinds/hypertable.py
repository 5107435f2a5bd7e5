"""Hypertables: tables partitioned by time into chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from alembic.util import CommandError
from sqlalchemy import Connection, Table
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Declaration, State, explicit
from ddl.changes import Changes
from ddl.edition import APACHE, COMMUNITY
from ddl.kind import Kind, always
from ddl.plan import Phase, Plan
from ddl.revisable import revisable
from ddl.risk import Risk
from ddl.time_series import (
    TimeSeriesOperation,
    TimeSeriesState,
    forgotten,
    pending,
    regclass,
    rows,
)

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class HypertableState(TimeSeriesState):
    """One hypertable: the column of time, and the time that a chunk spans."""

    kind: ClassVar[str] = "hypertable"
    intervals: ClassVar[tuple[str, ...]] = ("chunk_interval",)

    time_column: str = explicit("ts")
    chunk_interval: str = explicit("7 days")


class Hypertable(Declaration):
    """Makes the table a hypertable: ``Hypertable("ts", chunk_interval="1 day")``.

    Raises:
        sqlalchemy.exc.ArgumentError: the primary key or a unique key lacks the time column.
    """

    def __init__(self, time_column: str, *, chunk_interval: str) -> None:
        self.time_column = time_column
        self.chunk_interval = chunk_interval

    def states(self, table: Table) -> Iterator[State]:
        """The hypertable."""
        if self.time_column not in table.primary_key.columns:
            key = ", ".join([*table.primary_key.columns.keys(), self.time_column])
            raise ArgumentError(
                f"hypertable {table.name}: its primary key lacks the time column "
                f"{self.time_column}; every key of a hypertable contains it: write a primary key "
                f"over ({key})"
            )
        schema = table.schema or sql.DEFAULT_SCHEMA
        yield HypertableState(table.name, self.time_column, self.chunk_interval, schema=schema)


# --- operate ---------------------------------------------------------------------------------


@revisable(HypertableState)
class HypertableOperation(TimeSeriesOperation[HypertableState]):
    """create_hypertable(), set_chunk_time_interval(), or drop_chunks() before DROP TABLE."""

    requires = APACHE

    @property
    def is_removal(self) -> bool:
        """Never superfluous: DROP TABLE does not drop all chunks."""
        return False

    @property
    def rule(self) -> str:
        """Its removal is a part of dropping the table, and accepted with it."""
        return "drop-table" if self.after is None else super().rule

    def effect(self) -> tuple[Risk, str]:
        """Rows move into chunks; a hypertable that goes takes its chunks along."""
        if self.after is None:
            return Risk.DESTRUCTIVE, "drops the table"
        if self.before is None:
            return Risk.BLOCKING, "the table is locked while its rows move into chunks"
        return Risk.SAFE, ""

    def recorded(self) -> list[str]:
        """What is pending for a relation is deleted with it."""
        found = super().recorded()
        if self.after is None:
            found += forgotten(f"relation = {regclass(self.state)}")
        return found

    def statements(self, edition: str = COMMUNITY) -> list[str]:
        """On the Apache edition also delete the pending columnstore and retention policy."""
        found = super().statements(edition)
        if self.after is None and edition == APACHE:
            found += forgotten(f"relation = {regclass(self.state)}")
        return found

    def create(self, state: HypertableState, edition: str) -> list[str]:
        """One call; existing rows move into chunks."""
        return [
            (
                f"SELECT create_hypertable({regclass(state)},"
                f" by_range({sql.literal(state.time_column)}, {_interval(state)}),"
                " create_default_indexes => false, migrate_data => true)"
            )
        ]

    def alter(self, before: HypertableState, after: HypertableState, edition: str) -> list[str]:
        """The time that a new chunk spans; existing ones stay as they are.

        The columnstore policy took its schedule from it when it was created, and only then.
        """
        interval, name = _interval(after), regclass(after)
        return [
            f"SELECT set_chunk_time_interval({name}, {interval})",
            f"""SELECT alter_job(job_id, schedule_interval => least({interval} / 2, '12 hours'))
  FROM timescaledb_information.jobs
 WHERE proc_name = 'policy_compression'
   AND format('%I.%I', hypertable_schema, hypertable_name)::regclass = {name}::regclass""",
        ]

    def drop(self, state: HypertableState, edition: str) -> list[str]:
        """Remove all chunks, right before the table is dropped.

        DROP TABLE alone would leave compressed chunks behind, with the tenants' data in them. By
        their creation, since the column of time may hold dates or numbers.
        """
        always = "created_before => 'infinity'::timestamptz"
        return [f"SELECT drop_chunks({regclass(state)}, {always})"]


def _interval(state: HypertableState) -> str:
    return f"INTERVAL {sql.literal(state.chunk_interval)}"


# --- reflect ---------------------------------------------------------------------------------

_QUERY = """
SELECT h.hypertable_name AS name, d.column_name AS time_column,
       d.time_interval::text AS chunk_interval, h.hypertable_schema AS schema
  FROM timescaledb_information.hypertables h
  JOIN timescaledb_information.dimensions d USING (hypertable_schema, hypertable_name)
 WHERE h.hypertable_schema = ANY (CAST(:schemas AS name[])) AND d.dimension_number = 1
"""


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The hypertables of ``schemas``, real and pending."""
    found = rows(connection, _QUERY, schemas) + pending(connection, HypertableState.kind, schemas)
    return [HypertableState(**row) for row in found]


# --- compare ---------------------------------------------------------------------------------


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Only the chunk interval can change; a hypertable is dropped only with its table."""
    before, after = changes.sides(HypertableState)
    for key in sorted(before.keys() - after.keys()):
        if changes.target.get(("table", key)) is not None:
            raise CommandError(
                f"table {'.'.join(key)} is a hypertable, and the models declare a plain "
                "table: TimescaleDB cannot undo that; declare Hypertable(…), or make a new "
                "table and copy the rows"
            )
    for key in changes.changed(HypertableState):
        if before[key].time_column != after[key].time_column:
            raise CommandError(
                f"hypertable {'.'.join(key)}: expected time column {after[key].time_column}, "
                f"found {before[key].time_column}, which cannot change: make a new table"
            )
    changes.compare(plan, kind)


KIND = Kind(
    HypertableState,
    HypertableOperation,
    read,
    create=Phase.HYPERTABLES,
    drop=Phase.DROP_HYPERTABLES,
    alterable=always,
    every_edition=False,
    compare=compare,
)
