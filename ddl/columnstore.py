"""Columnstore of hypertables and rollups: its layout, and the policy that fills it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from alembic.operations import Operations
from sqlalchemy import Connection, Table

from ddl import sql
from ddl.base import Declaration, State
from ddl.timeseries import TimeSeriesOperation, TimeSeriesState, noted, regclass, rows

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ColumnstoreState(TimeSeriesState):
    """How chunks are stored by column, and after what age; ``after`` None is by hand only."""

    kind: ClassVar[str] = "columnstore"
    intervals: ClassVar[tuple[str, ...]] = ("after",)

    name: str
    segmentby: str = ""
    orderby: str = ""
    after: str | None = None
    rollup: bool = False
    scheduled: bool = True
    schema: str = sql.DEFAULT_SCHEMA


def column_list(text: str) -> str:
    """``"a,b DESC"`` as the server spells lists: single spaces, no blank after a comma."""
    return ",".join(sql.split_list(text))


class Columnstore(Declaration):
    """``Columnstore(segmentby="tenant_id, device_id", orderby="ts DESC", after="7 days")``."""

    def __init__(self, *, segmentby: str, orderby: str, after: str | None) -> None:
        self.segmentby = column_list(segmentby)
        self.orderby = column_list(orderby)
        self.after = after

    def states(self, table: Table) -> Iterator[State]:
        """The columnstore of the table."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        yield ColumnstoreState(table.name, self.segmentby, self.orderby, self.after, schema=schema)


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("create_columnstore")
@Operations.register_operation("alter_columnstore")
@Operations.register_operation("drop_columnstore")
class ColumnstoreOperation(TimeSeriesOperation):
    """Enables, changes or disables the columnstore; disabling brings the rows back first."""

    noun = "columnstore"

    @classmethod
    def create_columnstore(
        cls,
        operations: Operations,
        name: str,
        *,
        segmentby: str = "",
        orderby: str = "",
        after: str | None = None,
        rollup: bool = False,
        scheduled: bool = True,
        schema: str = "public",
    ) -> None:
        """Enable the columnstore of a hypertable or rollup, with its policy."""
        state = ColumnstoreState(name, segmentby, orderby, after, rollup, scheduled, schema)
        operations.invoke(cls(None, state))

    @classmethod
    def alter_columnstore(
        cls,
        operations: Operations,
        name: str,
        *,
        segmentby: str = "",
        orderby: str = "",
        after: str | None = None,
        rollup: bool = False,
        scheduled: bool = True,
        schema: str = "public",
    ) -> None:
        """Change the layout of future conversions, and the policy."""
        state = ColumnstoreState(name, segmentby, orderby, after, rollup, scheduled, schema)
        operations.invoke(cls(state, state))

    @classmethod
    def drop_columnstore(
        cls, operations: Operations, name: str, *, rollup: bool = False, schema: str = "public"
    ) -> None:
        """Store everything by row again and disable the columnstore."""
        operations.invoke(cls(ColumnstoreState(name, rollup=rollup, schema=schema), None))

    def native(self) -> list[str]:
        """Settings in one statement, the policy in another."""
        state: ColumnstoreState = self.state
        name = f"{sql.ident(state.schema)}.{sql.ident(state.name)}"
        alter = f"ALTER {'MATERIALIZED VIEW' if state.rollup else 'TABLE'} {name}"
        remove = f"CALL remove_columnstore_policy({regclass(state)}, if_exists => true)"
        if self.after is None:
            return [
                remove,
                f"SELECT decompress_chunk(c, true) FROM show_chunks({regclass(state)}) c",
                f"{alter} SET (timescaledb.enable_columnstore = false)",
            ]
        settings = (
            f"{alter} SET (timescaledb.enable_columnstore = true,"
            f" timescaledb.segmentby = {sql.literal(state.segmentby)},"
            f" timescaledb.orderby = {sql.literal(state.orderby)})"
        )
        add = (
            f"CALL add_columnstore_policy({regclass(state)},"
            f" after => INTERVAL {sql.literal(state.after or '')})"
        )
        return [settings, remove, *([add] if state.after is not None else [])]

    def arguments(self) -> tuple[list[object], dict[str, object]]:
        """Dropping needs to know a rollup from a table, too."""
        positional, keywords = super().arguments()
        if self.after is None and self.state.rollup:
            keywords["rollup"] = True
        return positional, keywords


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


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The columnstores of ``schemas``, real and noted."""
    found = rows(connection, _QUERY, schemas) + noted(connection, "columnstore", schemas)
    return [ColumnstoreState(**row) for row in found]
