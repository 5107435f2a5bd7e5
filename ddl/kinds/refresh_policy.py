"""Refresh policies of rollups.

A kind of its own: changing a schedule must not rebuild the rollup, whose history may be older
than the raw data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import Connection

from ddl import sql
from ddl.base import State, explicit
from ddl.kind import Kind, always
from ddl.plan import Phase
from ddl.revisable import revisable
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
class RefreshPolicyState(TimeSeriesState):
    """When a rollup is refreshed, and which window: from ``start_offset`` to ``end_offset`` ago."""

    kind: ClassVar[str] = "refresh policy"
    intervals: ClassVar[tuple[str, ...]] = ("start_offset", "end_offset", "every")

    start_offset: str | None = explicit(None)
    end_offset: str | None = explicit(None)
    every: str = explicit("1 hour")
    scheduled: bool = True


@dataclass(frozen=True)
class RefreshPolicy:
    """The refresh policy of a :class:`ddl.Rollup`: ``RefreshPolicy("3 days", "1 hour", "1 hour")``.

    Each run refreshes the buckets from ``start_offset`` to ``end_offset`` ago.
    """

    start_offset: str | None
    end_offset: str | None
    every: str


# --- operate ---------------------------------------------------------------------------------


@revisable(RefreshPolicyState)
class RefreshPolicyOperation(TimeSeriesOperation[RefreshPolicyState]):
    """Adds, changes or removes the refresh policy of a rollup."""

    def create(self, state: RefreshPolicyState, edition: str) -> list[str]:
        """The job that refreshes the rollup."""
        return [scheduled(_add(state), state.scheduled)]

    def alter(
        self, before: RefreshPolicyState, after: RefreshPolicyState, edition: str
    ) -> list[str]:
        """Removing and adding: an existing policy would keep its old window."""
        return [_remove(after), scheduled(_add(after), after.scheduled)]

    def drop(self, state: RefreshPolicyState, edition: str) -> list[str]:
        """No more refreshes, unless a person starts one."""
        return [_remove(state)]


def _add(state: RefreshPolicyState) -> str:
    return (
        f"add_continuous_aggregate_policy({regclass(state)},"
        f" start_offset => {_interval(state.start_offset)},"
        f" end_offset => {_interval(state.end_offset)},"
        f" schedule_interval => {_interval(state.every)})"
    )


def _remove(state: RefreshPolicyState) -> str:
    return f"SELECT remove_continuous_aggregate_policy({regclass(state)}, if_exists => true)"


def _interval(text: str | None) -> str:
    return "NULL" if text is None else f"INTERVAL {sql.literal(text)}"


# --- reflect ---------------------------------------------------------------------------------

_QUERY = """
SELECT a.view_name AS name, (j.config ->> 'start_offset')::interval::text AS start_offset,
       (j.config ->> 'end_offset')::interval::text AS end_offset,
       j.schedule_interval::text AS every, j.scheduled, a.view_schema AS schema
  FROM timescaledb_information.jobs j
  JOIN timescaledb_information.continuous_aggregates a
    ON (a.view_schema, a.view_name) = (j.hypertable_schema, j.hypertable_name)
    OR (a.materialization_hypertable_schema, a.materialization_hypertable_name)
     = (j.hypertable_schema, j.hypertable_name)
 WHERE j.proc_name = 'policy_refresh_continuous_aggregate'
   AND a.view_schema = ANY (CAST(:schemas AS name[]))
 ORDER BY j.job_id DESC
"""


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The refresh policies of ``schemas``, real and pending; a further one is unmanaged."""
    found = rows(connection, _QUERY, schemas)
    found += pending(connection, RefreshPolicyState.kind, schemas)
    return [RefreshPolicyState(**row) for row in found]


# --- compare: altered in place ------------------------------------------------------------------

KIND = Kind(
    RefreshPolicyState,
    RefreshPolicyOperation,
    read,
    create=Phase.REFRESH_POLICIES,
    drop=Phase.DROP_TIME_SERIES,
    alterable=always,
    every_edition=False,
)
