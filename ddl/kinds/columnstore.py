"""Columnstore of hypertables and rollups: its layout, and the policy that fills it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import Connection, Table

from ddl import sql
from ddl.base import Declaration, State, explicit
from ddl.kind import Kind, always
from ddl.plan import Phase
from ddl.revisable import revisable
from ddl.risk import Risk
from ddl.time_series import TimeSeriesOperation, TimeSeriesState, pending, regclass, rows

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ColumnstoreState(TimeSeriesState):
    """How chunks are stored by column, and after what age; ``after`` None: only by hand."""

    kind: ClassVar[str] = "columnstore"
    intervals: ClassVar[tuple[str, ...]] = ("after",)

    dropped_with: ClassVar[tuple[str, ...]] = ("rollup",)

    segmentby: str = explicit("")
    orderby: str = explicit("")
    after: str | None = explicit(None)
    rollup: bool = False
    scheduled: bool = True


def column_list(text: str) -> str:
    """``"a,b DESC"`` as the server spells lists: single spaces, no blank after a comma."""
    return ",".join(sql.split_list(text))


class Columnstore(Declaration):
    """How chunks are stored by column, in ``__table_args__`` or in a ``Rollup``.

    ``Columnstore(segmentby="tenant_id, device_id", orderby="ts DESC", after="7 days")``; the
    columnstore policy converts a chunk at the age ``after``, with None, only a person does.
    """

    def __init__(self, segmentby: str, orderby: str, after: str | None) -> None:
        self.segmentby = column_list(segmentby)
        self.orderby = column_list(orderby)
        self.after = after

    def states(self, table: Table) -> Iterator[State]:
        """The columnstore of the table."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        yield ColumnstoreState(table.name, self.segmentby, self.orderby, self.after, schema=schema)


# --- operate ---------------------------------------------------------------------------------


@revisable(ColumnstoreState)
class ColumnstoreOperation(TimeSeriesOperation[ColumnstoreState]):
    """Enables, changes or disables the columnstore; disabling moves the rows back first."""

    def effect(self) -> tuple[Risk, str]:
        """Only disabling it rewrites what is there."""
        if self.after is None:
            return Risk.BLOCKING, "chunks are locked while their rows are stored by row again"
        return Risk.SAFE, ""

    def create(self, state: ColumnstoreState, edition: str) -> list[str]:
        """The layout of future conversions in one statement, the columnstore policy in another."""
        settings = (
            f"{_alter(state)} SET (timescaledb.enable_columnstore = true,"
            f" timescaledb.segmentby = {sql.literal(state.segmentby)},"
            f" timescaledb.orderby = {sql.literal(state.orderby)})"
        )
        add = (
            f"CALL add_columnstore_policy({regclass(state)},"
            f" after => INTERVAL {sql.literal(state.after or '')})"
        )
        return [settings, _remove(state), *([add] if state.after is not None else [])]

    def alter(self, before: ColumnstoreState, after: ColumnstoreState, edition: str) -> list[str]:
        """The same: the settings replace what was, and so does the policy."""
        return self.create(after, edition)

    def drop(self, state: ColumnstoreState, edition: str) -> list[str]:
        """Store everything by row again and disable the columnstore."""
        return [
            _remove(state),
            f"SELECT decompress_chunk(c, true) FROM show_chunks({regclass(state)}) c",
            f"{_alter(state)} SET (timescaledb.enable_columnstore = false)",
        ]


def _alter(state: ColumnstoreState) -> str:
    noun = "MATERIALIZED VIEW" if state.rollup else "TABLE"
    return f"ALTER {noun} {sql.ident(state.schema)}.{sql.ident(state.name)}"


def _remove(state: ColumnstoreState) -> str:
    return f"CALL remove_columnstore_policy({regclass(state)}, if_exists => true)"


# --- reflect ---------------------------------------------------------------------------------

_QUERY = """
SELECT coalesce(a.view_name, c.relname) AS name, coalesce(s.segmentby, '') AS segmentby,
       coalesce(s.orderby, '') AS orderby, a.view_name IS NOT NULL AS rollup,
       (j.config ->> 'compress_after')::interval::text AS after,
       coalesce(j.scheduled, true) AS scheduled, coalesce(a.view_schema, n.nspname) AS schema
  FROM timescaledb_information.hypertable_columnstore_settings s
  JOIN pg_class c ON c.oid = s.hypertable
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN timescaledb_information.continuous_aggregates a
    ON a.materialization_hypertable_schema = n.nspname
   AND a.materialization_hypertable_name = c.relname
  LEFT JOIN timescaledb_information.hypertables h
    ON (h.hypertable_schema, h.hypertable_name) = (n.nspname, c.relname)
  LEFT JOIN timescaledb_information.jobs j
    ON j.proc_name = 'policy_compression'
   AND j.hypertable_schema IN (n.nspname, a.view_schema)
   AND j.hypertable_name IN (c.relname, a.view_name)
 WHERE coalesce(a.view_schema, n.nspname) = ANY (CAST(:schemas AS name[]))
   AND coalesce(a.compression_enabled, h.compression_enabled)
"""


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The columnstores of ``schemas``, real and pending."""
    found = rows(connection, _QUERY, schemas) + pending(connection, ColumnstoreState.kind, schemas)
    return [ColumnstoreState(**row) for row in found]


# --- compare: altered in place ------------------------------------------------------------------

KIND = Kind(
    ColumnstoreState,
    ColumnstoreOperation,
    read,
    create=Phase.COLUMNSTORES,
    drop=Phase.DROP_TIME_SERIES,
    alterable=always,
    every_edition=False,
)
