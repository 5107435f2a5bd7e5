"""Rollups (continuous aggregates) and their refresh policies.

A rollup's schedule is a kind of its own: changing it must not rebuild the rollup, whose history
may be older than the raw data.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Declared, State
from ddl.columnstore import ColumnstoreState, column_list
from ddl.grant import GrantState
from ddl.retention import RetentionState
from ddl.timeseries import (
    TimeSeriesOperation,
    TimeSeriesState,
    forgotten,
    noted,
    regclass,
    rows,
)

_BUCKET = re.compile(r"\btime_bucket\s*\(\s*('[^']*')\s*,\s*([\w.]+)\s*\)", re.I)
_ORIGIN = "TIMESTAMPTZ '2000-01-03 00:00:00+00'"  # where time_bucket starts to count

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class RollupState(TimeSeriesState):
    """One rollup; ``definition`` is its query, with ``time_bucket('1 hour', ts)`` in it."""

    kind: ClassVar[str] = "rollup"

    name: str
    definition: str = ""
    materialized_only: bool = False
    comment: str | None = None
    schema: str = sql.DEFAULT_SCHEMA

    def text(self) -> str:
        """The query."""
        return self.definition


@dataclass(frozen=True)
class RefreshState(TimeSeriesState):
    """When a rollup is refreshed, and which window: from ``start_offset`` to ``end_offset`` ago."""

    kind: ClassVar[str] = "refresh"
    intervals: ClassVar[tuple[str, ...]] = ("start_offset", "end_offset", "every")

    name: str
    start_offset: str | None = None
    end_offset: str | None = None
    every: str = "1 hour"
    scheduled: bool = True
    schema: str = sql.DEFAULT_SCHEMA


@dataclass(frozen=True)
class Refresh:
    """The refresh policy of a :class:`Rollup`."""

    start_offset: str | None
    end_offset: str | None
    every: str


@dataclass(frozen=True)
class Stored:
    """The columnstore of a :class:`Rollup`."""

    segmentby: str
    orderby: str
    after: str


class Rollup:
    """A continuous aggregate with all its policies and grants.

    Args:
        definition: the query, grouped by ``time_bucket('1 hour', ts) AS bucket``; where there is
            no TimescaleDB a plain view computes the same with ``date_bin``.
        retention: the age at which its chunks go.

    Raises:
        sqlalchemy.exc.ArgumentError: the query has no ``time_bucket('…', column)``.
    """

    def __init__(
        self,
        name: str,
        definition: str,
        *,
        metadata: MetaData,
        schema: str = sql.DEFAULT_SCHEMA,
        refresh: Refresh | None = None,
        columnstore: Stored | None = None,
        retention: str | None = None,
        materialized_only: bool = False,
        grants: Mapping[str, str] | None = None,
        comment: str | None = None,
    ) -> None:
        definition = textwrap.dedent(definition).strip().rstrip(";")
        if not _BUCKET.search(definition):
            raise ArgumentError(
                f"rollup {name}: its query groups by no time_bucket('interval', column); write "
                "time_bucket('1 hour', ts) AS bucket and group by it"
            )
        self.states: list[State] = [
            RollupState(name, definition, materialized_only, comment, schema),
            GrantState(name, GrantState.parse(dict(grants or {})), schema),
        ]
        if refresh is not None:
            offsets = refresh.start_offset, refresh.end_offset
            self.states.append(RefreshState(name, *offsets, refresh.every, schema=schema))
        if columnstore is not None:
            lists = column_list(columnstore.segmentby), column_list(columnstore.orderby)
            self.states.append(
                ColumnstoreState(name, *lists, columnstore.after, rollup=True, schema=schema)
            )
        if retention is not None:
            self.states.append(RetentionState(name, retention, schema=schema))
        for state in self.states:
            Declared.on(metadata).add(state)


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("create_rollup")
@Operations.register_operation("drop_rollup")
class RollupOperation(TimeSeriesOperation):
    """A continuous aggregate, empty until refreshed; a plain view where there are none."""

    noun = "rollup"

    @classmethod
    def create_rollup(
        cls,
        operations: Operations,
        name: str,
        definition: str,
        *,
        materialized_only: bool = False,
        comment: str | None = None,
        schema: str = "public",
    ) -> None:
        """Create a rollup over a hypertable."""
        state = RollupState(name, definition, materialized_only, comment, schema)
        operations.invoke(cls(None, state))

    @classmethod
    def drop_rollup(cls, operations: Operations, name: str, *, schema: str = "public") -> None:
        """Drop a rollup with its chunks; what it holds beyond the raw data is lost."""
        operations.invoke(cls(RollupState(name, schema=schema), None))

    def _named(self) -> str:
        return f"{sql.ident(self.state.schema)}.{sql.ident(self.state.name)}"

    def _comment(self) -> list[str]:
        comment = self.state.comment
        return [] if comment is None else [sql.comment_on(f"VIEW {self._named()}", comment)]

    def native(self) -> list[str]:
        """Dropping removes the chunks first: compressed ones would stay behind."""
        state: RollupState = self.state
        if self.after is None:
            return [
                f"SELECT drop_chunks({regclass(state)}, older_than => 'infinity'::timestamptz)",
                f"DROP MATERIALIZED VIEW {self._named()}",
            ]
        options = "timescaledb.continuous, timescaledb.materialized_only = "
        options += str(state.materialized_only).lower()
        return [
            (
                f"CREATE MATERIALIZED VIEW {self._named()}\nWITH ({options}) AS\n"
                f"{state.definition}\nWITH NO DATA"
            ),
            *self._comment(),
        ]

    def substitute(self) -> list[str]:
        """A view that computes what the rollup would hold."""
        if self.after is None:
            return [f"DROP VIEW {self._named()}"]
        query = _BUCKET.sub(rf"date_bin(\1, \2, {_ORIGIN})", self.state.definition)
        return [f"CREATE VIEW {self._named()} AS\n{query}", *self._comment()]

    def noted(self) -> list[str]:
        """The definition is the view's; the row only says that it stands for a rollup."""
        state: RollupState = self.state
        if self.after is None:
            return forgotten(f"relation = {regclass(state)}")
        return RollupOperation(
            None, RollupState(state.name, "", state.materialized_only, None, state.schema)
        )._note()

    def _note(self) -> list[str]:
        return super().noted()


@Operations.register_operation("create_refresh")
@Operations.register_operation("alter_refresh")
@Operations.register_operation("drop_refresh")
class RefreshOperation(TimeSeriesOperation):
    """Adds, changes or removes the refresh policy of a rollup."""

    noun = "refresh"

    @classmethod
    def create_refresh(
        cls,
        operations: Operations,
        name: str,
        *,
        start_offset: str | None = None,
        end_offset: str | None = None,
        every: str = "1 hour",
        scheduled: bool = True,
        schema: str = "public",
    ) -> None:
        """Refresh a rollup regularly."""
        state = RefreshState(name, start_offset, end_offset, every, scheduled, schema)
        operations.invoke(cls(None, state))

    @classmethod
    def alter_refresh(
        cls,
        operations: Operations,
        name: str,
        *,
        start_offset: str | None = None,
        end_offset: str | None = None,
        every: str = "1 hour",
        scheduled: bool = True,
        schema: str = "public",
    ) -> None:
        """Change window or schedule, or pause and resume the job."""
        state = RefreshState(name, start_offset, end_offset, every, scheduled, schema)
        operations.invoke(cls(state, state))

    @classmethod
    def drop_refresh(cls, operations: Operations, name: str, *, schema: str = "public") -> None:
        """Leave refreshing to people."""
        operations.invoke(cls(RefreshState(name, schema=schema), None))

    def native(self) -> list[str]:
        """Removing and adding: an existing policy would keep its old window."""
        state: RefreshState = self.state
        remove = f"SELECT remove_continuous_aggregate_policy({regclass(state)}, if_exists => true)"
        if self.after is None:
            return [remove]
        add = (
            f"add_continuous_aggregate_policy({regclass(state)},"
            f" start_offset => {_interval(state.start_offset)},"
            f" end_offset => {_interval(state.end_offset)},"
            f" schedule_interval => {_interval(state.every)})"
        )
        found = [remove] if self.before is not None else []
        if state.scheduled:
            return [*found, f"SELECT {add}"]
        return [*found, f"SELECT alter_job({add}, scheduled => false)"]


def _interval(text: str | None) -> str:
    return "NULL" if text is None else f"INTERVAL {sql.literal(text)}"


# --- reflect ---------------------------------------------------------------------------------

_ROLLUPS = """
SELECT a.view_name AS name, rtrim(a.view_definition, ';') AS definition, a.materialized_only,
       obj_description(format('%I.%I', a.view_schema, a.view_name)::regclass, 'pg_class')
           AS comment, a.view_schema AS schema
  FROM timescaledb_information.continuous_aggregates a
 WHERE a.view_schema = ANY (CAST(:schemas AS name[]))
"""

_REFRESHES = """
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
"""

_VIEW = sa.text(
    "SELECT rtrim(pg_get_viewdef(c.oid), ';') AS definition,"
    " obj_description(c.oid, 'pg_class') AS comment"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = :schema AND c.relname = :name AND c.relkind = 'v'"
)


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Rollups and refresh policies of ``schemas``, real and noted."""
    found: list[State] = []
    for row in rows(connection, _ROLLUPS, schemas):
        found.append(RollupState(**{**row, "definition": _dedented(row["definition"])}))
    for row in noted(connection, "rollup", schemas):
        view = connection.execute(_VIEW, {"schema": row["schema"], "name": row["name"]}).first()
        if view is not None:
            definition = _dedented(view.definition)
            found.append(RollupState(**{**row, "definition": definition, "comment": view.comment}))
    listed = rows(connection, _REFRESHES, schemas) + noted(connection, "refresh", schemas)
    return found + [RefreshState(**row) for row in listed]


def _dedented(text: str) -> str:
    return textwrap.dedent(text).strip()
