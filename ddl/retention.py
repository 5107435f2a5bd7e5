"""Retention of hypertables and rollups: after what age a chunk is dropped."""

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
class RetentionState(TimeSeriesState):
    """The age at which a chunk goes; a paused job is not ``scheduled``."""

    kind: ClassVar[str] = "retention"
    intervals: ClassVar[tuple[str, ...]] = ("drop_after",)

    name: str
    drop_after: str = ""
    scheduled: bool = True
    schema: str = sql.DEFAULT_SCHEMA


class Retention(Declaration):
    """``Retention("400 days")``."""

    def __init__(self, drop_after: str) -> None:
        self.drop_after = drop_after

    def states(self, table: Table) -> Iterator[State]:
        """The retention of the table."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        yield RetentionState(table.name, self.drop_after, schema=schema)


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("create_retention")
@Operations.register_operation("alter_retention")
@Operations.register_operation("drop_retention")
class RetentionOperation(TimeSeriesOperation):
    """Adds, changes or removes the retention policy; no chunk is dropped by it here."""

    noun = "retention"

    @classmethod
    def create_retention(
        cls,
        operations: Operations,
        name: str,
        *,
        drop_after: str = "",
        scheduled: bool = True,
        schema: str = "public",
    ) -> None:
        """Drop chunks of a hypertable or rollup that are older than ``drop_after``."""
        operations.invoke(cls(None, RetentionState(name, drop_after, scheduled, schema)))

    @classmethod
    def alter_retention(
        cls,
        operations: Operations,
        name: str,
        *,
        drop_after: str = "",
        scheduled: bool = True,
        schema: str = "public",
    ) -> None:
        """Change the age, or pause and resume the job."""
        state = RetentionState(name, drop_after, scheduled, schema)
        operations.invoke(cls(state, state))

    @classmethod
    def drop_retention(cls, operations: Operations, name: str, *, schema: str = "public") -> None:
        """Keep everything from now on."""
        operations.invoke(cls(RetentionState(name, schema=schema), None))

    def native(self) -> list[str]:
        """Removing and adding: an existing policy would keep its old age with a mere warning."""
        state: RetentionState = self.state
        remove = f"SELECT remove_retention_policy({regclass(state)}, if_exists => true)"
        if self.after is None:
            return [remove]
        add = (
            f"add_retention_policy({regclass(state)},"
            f" drop_after => INTERVAL {sql.literal(state.drop_after)})"
        )
        found = [remove] if self.before is not None else []
        if state.scheduled:
            return [*found, f"SELECT {add}"]
        return [*found, f"SELECT alter_job({add}, scheduled => false)"]


# --- reflect ---------------------------------------------------------------------------------

_QUERY = """
SELECT coalesce(a.view_name, j.hypertable_name) AS name,
       (j.config ->> 'drop_after')::interval::text AS drop_after, j.scheduled,
       coalesce(a.view_schema, j.hypertable_schema) AS schema
  FROM timescaledb_information.jobs j
  LEFT JOIN timescaledb_information.continuous_aggregates a
    ON a.materialization_hypertable_schema = j.hypertable_schema
   AND a.materialization_hypertable_name = j.hypertable_name
 WHERE j.proc_name = 'policy_retention'
   AND coalesce(a.view_schema, j.hypertable_schema) = ANY (CAST(:schemas AS name[]))
"""


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The retention policies of ``schemas``, real and noted."""
    found = rows(connection, _QUERY, schemas) + noted(connection, "retention", schemas)
    return [RetentionState(**row) for row in found]
