"""Retention policies of hypertables and rollups: after what age a chunk is dropped."""

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
from ddl.time_series import (
    TimeSeriesOperation,
    TimeSeriesState,
    pending,
    regclass,
    rows,
    scheduled,
)

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class RetentionPolicyState(TimeSeriesState):
    """The age at which a chunk is dropped; a paused job is not ``scheduled``."""

    kind: ClassVar[str] = "retention policy"
    intervals: ClassVar[tuple[str, ...]] = ("drop_after",)

    drop_after: str = explicit("")
    scheduled: bool = True


class RetentionPolicy(Declaration):
    """``RetentionPolicy("400 days")``: the age at which a chunk is dropped."""

    def __init__(self, drop_after: str) -> None:
        self.drop_after = drop_after

    def states(self, table: Table) -> Iterator[State]:
        """The retention policy of the table."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        yield RetentionPolicyState(table.name, self.drop_after, schema=schema)


# --- operate ---------------------------------------------------------------------------------


@revisable(RetentionPolicyState)
class RetentionPolicyOperation(TimeSeriesOperation[RetentionPolicyState]):
    """Adds, changes or removes the retention policy; the revision itself drops no chunk."""

    loses_at_once = False

    def effect(self) -> tuple[Risk, str]:
        """The job deletes, soon after the revision; no downgrade brings that back."""
        if self.after is None:
            return Risk.SAFE, ""
        return Risk.DESTRUCTIVE, f"its next run drops chunks older than {self.after.drop_after}"

    def create(self, state: RetentionPolicyState, edition: str) -> list[str]:
        """The job that drops chunks older than ``drop_after``."""
        return [scheduled(_add(state), state.scheduled)]

    def alter(
        self, before: RetentionPolicyState, after: RetentionPolicyState, edition: str
    ) -> list[str]:
        """Removing and adding: an existing policy would keep its old age with a mere warning."""
        return [_remove(after), scheduled(_add(after), after.scheduled)]

    def drop(self, state: RetentionPolicyState, edition: str) -> list[str]:
        """Keep everything from now on."""
        return [_remove(state)]


def _add(state: RetentionPolicyState) -> str:
    return (
        f"add_retention_policy({regclass(state)},"
        f" drop_after => INTERVAL {sql.literal(state.drop_after)})"
    )


def _remove(state: RetentionPolicyState) -> str:
    return f"SELECT remove_retention_policy({regclass(state)}, if_exists => true)"


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


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The retention policies of ``schemas``, real and pending."""
    found = rows(connection, _QUERY, schemas)
    found += pending(connection, RetentionPolicyState.kind, schemas)
    return [RetentionPolicyState(**row) for row in found]


# --- compare: altered in place ------------------------------------------------------------------

KIND = Kind(
    RetentionPolicyState,
    RetentionPolicyOperation,
    read,
    create=Phase.RETENTION_POLICIES,
    drop=Phase.DROP_TIME_SERIES,
    alterable=always,
    every_edition=False,
)
