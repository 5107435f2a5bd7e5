"""Rollups: continuous aggregates of hypertables."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import ArgumentError

from ddl import privileges, sql
from ddl.base import Declared, State, explicit, optional
from ddl.changes import Changes
from ddl.kind import Kind
from ddl.kinds.columnstore import Columnstore, ColumnstoreState
from ddl.kinds.grant import GrantState
from ddl.kinds.refresh_policy import RefreshPolicy, RefreshPolicyState
from ddl.kinds.retention_policy import RetentionPolicyState
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

_BUCKET = re.compile(r"\btime_bucket\s*\(\s*('[^']*')\s*,\s*([\w.]+)\s*\)", re.I)
_ORIGIN = "TIMESTAMPTZ '2000-01-03 00:00:00+00'"  # where time_bucket starts to count

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class RollupState(TimeSeriesState):
    """One rollup; ``definition`` is its query, with ``time_bucket('1 hour', ts)`` in it."""

    kind: ClassVar[str] = "rollup"

    positional: ClassVar[tuple[str, ...]] = ("name", "definition")
    grantable: ClassVar[bool] = True

    definition: str = optional("")
    materialized_only: bool = explicit(False)
    comment: str | None = None

    @property
    def granted_as(self) -> str:
        """Its name."""
        return self.name

    def recorded(self) -> dict[str, Any]:
        """The definition and the comment are the view's."""
        return {"materialized_only": self.materialized_only}

    def text(self) -> str:
        """The query."""
        return self.definition


class Rollup:
    """A continuous aggregate with all its policies and grants.

    Args:
        definition: the query, grouped by ``time_bucket('1 hour', ts) AS bucket``; where there is
            no TimescaleDB a plain view computes the same with ``date_bin``.
        retention: the age at which its chunks are dropped.

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
        refresh: RefreshPolicy | None = None,
        columnstore: Columnstore | None = None,
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
            RollupState(name, definition, materialized_only, comment, schema=schema),
            GrantState(name, privileges.parse(grants or {}), schema),
        ]
        if refresh is not None:
            offsets = refresh.start_offset, refresh.end_offset
            self.states.append(RefreshPolicyState(name, *offsets, refresh.every, schema=schema))
        if columnstore is not None:
            self.states.append(
                ColumnstoreState(
                    name,
                    columnstore.segmentby,
                    columnstore.orderby,
                    columnstore.after,
                    rollup=True,
                    schema=schema,
                )
            )
        if retention is not None:
            self.states.append(RetentionPolicyState(name, retention, schema=schema))
        for state in self.states:
            Declared.on(metadata).add(state)


# --- operate ---------------------------------------------------------------------------------


@revisable(RollupState)
class RollupOperation(TimeSeriesOperation[RollupState]):
    """A continuous aggregate, empty until refreshed; a plain view where there are none."""

    def effect(self) -> tuple[Risk, str]:
        """A dropped rollup may hold what the raw data no longer has."""
        if self.after is None:
            return Risk.HISTORY_LOSING, "drops the rollup with all its buckets"
        return Risk.SAFE, ""

    def create(self, state: RollupState, edition: str) -> list[str]:
        """Without data: filling it would keep the transaction open too long."""
        options = "timescaledb.continuous, timescaledb.materialized_only = "
        options += str(state.materialized_only).lower()
        return [
            (
                f"CREATE MATERIALIZED VIEW {_named(state)}\nWITH ({options}) AS\n"
                f"{state.definition}\nWITH NO DATA"
            ),
            *_comment(state),
        ]

    def alter(self, before: RollupState, after: RollupState, edition: str) -> list[str]:
        """Option and comment, in place: what the raw data no longer has stays."""
        only = str(after.materialized_only).lower()
        return [
            f"ALTER MATERIALIZED VIEW {_named(after)} SET (timescaledb.materialized_only = {only})",
            _comment_on(after),
        ]

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """A change leaves the query alone, so a revision does not repeat it."""
        positional, keywords = super().arguments()
        altered = self.before is not None and self.after is not None
        return (positional[:1] if altered else positional), keywords

    def drop(self, state: RollupState, edition: str) -> list[str]:
        """Chunks first: compressed ones would be left behind."""
        return [
            f"SELECT drop_chunks({regclass(state)}, older_than => 'infinity'::timestamptz)",
            f"DROP MATERIALIZED VIEW {_named(state)}",
        ]

    def substitute(self) -> list[str]:
        """A view that computes what the rollup would hold."""
        state = self.state
        if self.after is None:
            return [f"DROP VIEW {_named(state)}"]
        if self.before is not None:
            return [_comment_on(state)]
        query = _BUCKET.sub(rf"date_bin(\1, \2, {_ORIGIN})", state.definition)
        return [f"CREATE VIEW {_named(state)} AS\n{query}", *_comment(state)]

    def recorded(self) -> list[str]:
        """What is pending for a relation is deleted with it."""
        if self.after is None:
            return forgotten(f"relation = {regclass(self.state)}")
        return super().recorded()


def _named(state: RollupState) -> str:
    return f"{sql.ident(state.schema)}.{sql.ident(state.name)}"


def _comment(state: RollupState) -> list[str]:
    return [] if state.comment is None else [_comment_on(state)]


def _comment_on(state: RollupState) -> str:
    return sql.comment_on(f"VIEW {_named(state)}", state.comment)


# --- reflect ---------------------------------------------------------------------------------

_ROLLUPS = """
SELECT a.view_name AS name, rtrim(a.view_definition, ';') AS definition, a.materialized_only,
       obj_description(format('%I.%I', a.view_schema, a.view_name)::regclass, 'pg_class')
           AS comment, a.view_schema AS schema
  FROM timescaledb_information.continuous_aggregates a
 WHERE a.view_schema = ANY (CAST(:schemas AS name[]))
"""

_VIEW = sa.text(
    "SELECT rtrim(pg_get_viewdef(c.oid), ';') AS definition,"
    " obj_description(c.oid, 'pg_class') AS comment"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = :schema AND c.relname = :name AND c.relkind = 'v'"
)


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The rollups of ``schemas``, real and pending."""
    found: list[State] = []
    for row in rows(connection, _ROLLUPS, schemas):
        found.append(RollupState(**{**row, "definition": _dedented(row["definition"])}))
    for row in pending(connection, RollupState.kind, schemas):
        view = connection.execute(_VIEW, {"schema": row["schema"], "name": row["name"]}).first()
        if view is not None:
            definition = _dedented(view.definition)
            found.append(RollupState(**{**row, "definition": definition, "comment": view.comment}))
    return found


def _dedented(text: str) -> str:
    return textwrap.dedent(text).strip()


# --- compare ---------------------------------------------------------------------------------


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Recreated only when its own query changes: it may hold what the raw data no longer has.

    Raises:
        alembic.util.CommandError: a column that a rollup reads would be dropped or change its type.
    """
    own = changes.not_alterable(kind)
    for name, key in sorted(changes.recreated):
        if name == kind.name and key not in own:
            raise CommandError(
                f"rollup {'.'.join(key)} reads a column that would be dropped or change its "
                "type, and dropping the rollup loses what the raw data no longer has: add a "
                "new column and a new rollup over it, and drop the old ones later"
            )
    changes.compare(plan, kind)


def alterable(before: RollupState, after: RollupState) -> bool:
    """True where only the option or the comment changes: a query is made anew."""
    return before.definition == after.definition


KIND = Kind(
    RollupState,
    RollupOperation,
    read,
    create=Phase.ROLLUPS,
    drop=Phase.DROP_ROLLUPS,
    alterable=alterable,
    relation=True,
    every_edition=False,
    compare=compare,
    rename="ALTER {rollup} {named} RENAME TO {new}",
)
