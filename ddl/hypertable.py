"""Hypertables: tables partitioned by time into chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from alembic.operations import Operations
from sqlalchemy import Connection, Table
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Declaration, State
from ddl.edition import APACHE, COMMUNITY, suffices
from ddl.timeseries import (
    TimeSeriesOperation,
    TimeSeriesState,
    forgotten,
    noted,
    regclass,
    rows,
)

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class HypertableState(TimeSeriesState):
    """One hypertable: the column of time, and how much of it a chunk holds."""

    kind: ClassVar[str] = "hypertable"
    intervals: ClassVar[tuple[str, ...]] = ("chunk_interval",)

    name: str
    time_column: str = "ts"
    chunk_interval: str = "7 days"
    schema: str = sql.DEFAULT_SCHEMA


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
        yield HypertableState(
            table.name, self.time_column, self.chunk_interval, table.schema or sql.DEFAULT_SCHEMA
        )


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("create_hypertable")
@Operations.register_operation("alter_hypertable")
@Operations.register_operation("drop_hypertable")
class HypertableOperation(TimeSeriesOperation):
    """create_hypertable(), set_chunk_time_interval(), or drop_chunks() before the table goes."""

    noun = "hypertable"
    needs = APACHE

    @classmethod
    def create_hypertable(
        cls,
        operations: Operations,
        name: str,
        *,
        time_column: str = "ts",
        chunk_interval: str = "7 days",
        schema: str = "public",
    ) -> None:
        """Make a table a hypertable; its rows move into chunks."""
        state = HypertableState(name, time_column, chunk_interval, schema)
        operations.invoke(cls(None, state))

    @classmethod
    def alter_hypertable(
        cls,
        operations: Operations,
        name: str,
        *,
        time_column: str = "ts",
        chunk_interval: str = "7 days",
        schema: str = "public",
    ) -> None:
        """Change how much time a new chunk holds; those that exist stay as they are."""
        state = HypertableState(name, time_column, chunk_interval, schema)
        operations.invoke(cls(state, state))

    @classmethod
    def drop_hypertable(cls, operations: Operations, name: str, *, schema: str = "public") -> None:
        """Remove all chunks, right before the table is dropped.

        DROP TABLE alone would leave compressed chunks behind, with the tenants' data in them.
        """
        operations.invoke(cls(HypertableState(name, schema=schema), None))

    @property
    def is_removal(self) -> bool:
        """Never left out: the chunks do not go with the table."""
        return False

    def statements_on(self, edition: str) -> list[str]:
        """What was noted of a relation is forgotten with it."""
        found = super().statements_on(edition)
        if self.after is None and not suffices(edition, COMMUNITY):
            found += forgotten(f"relation = {regclass(self.state)}")
        return found

    def native(self) -> list[str]:
        """One call."""
        state: HypertableState = self.state
        interval = f"INTERVAL {sql.literal(state.chunk_interval)}"
        if self.after is None:
            return [f"SELECT drop_chunks({regclass(state)}, older_than => 'infinity'::timestamptz)"]
        if self.before is not None:
            return [f"SELECT set_chunk_time_interval({regclass(state)}, {interval})"]
        return [
            (
                f"SELECT create_hypertable({regclass(state)},"
                f" by_range({sql.literal(state.time_column)}, {interval}),"
                " create_default_indexes => false, migrate_data => true)"
            )
        ]


# --- reflect ---------------------------------------------------------------------------------

_QUERY = """
SELECT h.hypertable_name AS name, d.column_name AS time_column,
       d.time_interval::text AS chunk_interval, h.hypertable_schema AS schema
  FROM timescaledb_information.hypertables h
  JOIN timescaledb_information.dimensions d USING (hypertable_schema, hypertable_name)
 WHERE h.hypertable_schema = ANY (CAST(:schemas AS name[])) AND d.dimension_number = 1
"""


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The hypertables of ``schemas``, real and noted."""
    found = rows(connection, _QUERY, schemas) + noted(connection, "hypertable", schemas)
    return [HypertableState(**row) for row in found]
