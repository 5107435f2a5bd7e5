"""Rollups: continuous aggregates of hypertables."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, ClassVar, cast

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import ArgumentError

from ddl import buckets, privileges, rollup_history, sql
from ddl.base import Declared, Identity, Key, State, explicit, optional
from ddl.changes import Changes
from ddl.edition import APACHE
from ddl.kind import Kind
from ddl.kinds import view
from ddl.kinds.column import ColumnState
from ddl.kinds.columnstore import Columnstore, ColumnstoreState
from ddl.kinds.grant import GrantState
from ddl.kinds.kept_history import KeptHistory
from ddl.kinds.refresh_policy import RefreshPolicy, RefreshPolicyState
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.plan import Phase, Plan
from ddl.revisable import revisable
from ddl.risk import Risk
from ddl.rollup_history import History
from ddl.time_series import (
    TimeSeriesOperation,
    TimeSeriesState,
    forgotten,
    pending,
    regclass,
    rows,
)

_BUCKET = re.compile(r"\btime_bucket\s*\(", re.I)

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
            no TimescaleDB a plain view computes the same (see `ddl.buckets`).
        retention: the age at which its chunks are dropped.
        history: keeps buckets that the raw data no longer covers from every refresh.

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
        history: KeptHistory | None = None,
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
        if history is not None:
            self.states.append(history.state(name, schema))
        for state in self.states:
            Declared.on(metadata).add(state)


# --- operate ---------------------------------------------------------------------------------


@revisable(RollupState)
class RollupOperation(TimeSeriesOperation[RollupState]):
    """A continuous aggregate, empty until refreshed; a plain view where there are none."""

    history: History | None = None
    """What goes on from the rollup that is dropped to the one of the same name after it."""
    uncovered: str = ""
    """Of a dropped one: how many buckets the raw data cannot compute again, in words."""

    @classmethod
    def create_rollup(
        cls,
        operations: Operations,
        name: str,
        definition: str = "",
        *,
        materialized_only: bool,
        comment: str | None = None,
        schema: str = sql.DEFAULT_SCHEMA,
        keys: Sequence[str] = (),
        copied: Sequence[str] = (),
        filled: bool = False,
        grants: Mapping[str, str] | None = None,
    ) -> None:
        """Create a rollup, empty until it is refreshed unless this says otherwise.

        With ``keys`` it has the buckets of the one that was set aside: in ``keys`` and ``copied``
        as they were, in other columns as the raw data gives them, NULL where there is none any
        more.

        Args:
            keys: the columns by which both queries group, the bucket among them.
            copied: the columns that mean the same in both.
            filled: compute all buckets from the raw data but the last, which is not complete.
        """
        state = RollupState(name, definition, materialized_only, comment, schema=schema)
        operation = cls(None, state)
        operation.grants = privileges.parse(grants or {})
        if keys or filled:
            operation.history = History(tuple(keys), tuple(copied), kept=not filled)
        operations.invoke(operation)

    @classmethod
    def drop_rollup(
        cls,
        operations: Operations,
        name: str,
        *,
        set_aside: bool = False,
        lost: Sequence[str] = (),
        schema: str = sql.DEFAULT_SCHEMA,
    ) -> None:
        """Drop a rollup with all its buckets.

        Args:
            set_aside: keep them for ``op.create_rollup(…, keys=…, copied=…)`` in this transaction.
            lost: the columns that are not taken over; for the reader, and the class of this.
        """
        operation = cls(RollupState(name, schema=schema), None)
        if set_aside:
            operation.history = History(lost=tuple(lost))
        operations.invoke(operation)

    def effect(self) -> tuple[Risk, str]:
        """A dropped rollup may hold what the raw data no longer has."""
        history = self.history
        if self.after is None:
            told = f": {self.uncovered}" if self.uncovered else ""
            if history is not None and history.narrowed:
                told += (
                    "; its WHERE or HAVING changes: to keep them as they are, write set_aside=True"
                    f" here, and keys={list(history.keys)}, copied={list(history.copied)} in place"
                    " of filled=True"
                )
            elif history is not None and not history.kept:
                told += "; to keep them, give the new one another name, and drop this one later"
            if history is None or not history.kept:
                return Risk.HISTORY_LOSING, f"drops the rollup with all its buckets{told}"
            if history.lost:
                columns = "column" if len(history.lost) == 1 else "columns"
                named = ", ".join(history.lost)
                return Risk.HISTORY_LOSING, f"drops its {columns} {named}{told}"
        elif self.before is None and history is not None:
            what = "copied" if history.kept else "computed"
            if history.kept and history.added:
                what = "copied and computed"
            waiting = "its readers, and readers and writers of its source, wait"
            return Risk.BLOCKING, f"{waiting} while its buckets are {what}"
        return Risk.SAFE, ""

    def reverse(self) -> RollupOperation:
        """The other way round, what is common to both queries goes on, too."""
        found = super().reverse()
        found.history = self.history.reversed() if self.history is not None else None
        return found

    def create(self, state: RollupState, edition: str) -> list[str]:
        """Without data but its history; a refresh needs a transaction of its own."""
        options = "timescaledb.continuous, timescaledb.materialized_only = "
        options += str(state.materialized_only).lower()
        found = [
            (
                f"CREATE MATERIALIZED VIEW {_named(state)}\nWITH ({options}) AS\n"
                f"{state.definition}\nWITH NO DATA"
            ),
            *_comment(state),
        ]
        history = self.history
        if history is not None and history.kept:
            found.append(rollup_history.restored(state.key, state.definition, history))
        elif history is not None:
            found.append(rollup_history.filled(state.key, state.definition))
        return found

    def alter(self, before: RollupState, after: RollupState, edition: str) -> list[str]:
        """Option and comment, in place: what the raw data no longer has stays."""
        only = str(after.materialized_only).lower()
        return [
            f"ALTER MATERIALIZED VIEW {_named(after)} SET (timescaledb.materialized_only = {only})",
            _comment_on(after),
        ]

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """An alteration leaves the query alone, so a revision does not repeat it."""
        positional, keywords = super().arguments()
        if self.before is not None and self.after is not None:
            return positional[:1], keywords
        history = self.history
        if history is None:
            return positional, keywords
        if not history.kept:
            return positional, keywords | ({"filled": True} if self.after is not None else {})
        if self.after is not None:
            return positional, keywords | {"keys": history.keys, "copied": history.copied}
        lost = {"lost": history.lost} if history.lost else {}
        return positional, {"set_aside": True} | lost | keywords

    def drop(self, state: RollupState, edition: str) -> list[str]:
        """Chunks first: compressed ones would be left behind."""
        kept = self.history is not None and self.history.kept
        return [
            *([rollup_history.set_aside(state.key)] if kept else []),
            f"SELECT drop_chunks({regclass(state)}, created_before => 'infinity'::timestamptz)",
            f"DROP MATERIALIZED VIEW {_named(state)}",
        ]

    def substitute(self, edition: str) -> list[str]:
        """A view that computes what the rollup would hold."""
        state = self.state
        if self.after is None:
            return [f"DROP VIEW {_named(state)}"]
        if self.before is not None:
            return [_comment_on(state)]
        query = state.definition if edition == APACHE else buckets.qualified(state.definition)
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

_EXTENSION_SCHEMA = sa.text(
    "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
    " WHERE e.extname = 'timescaledb'"
)

_VIEW = sa.text(
    "SELECT rtrim(pg_get_viewdef(c.oid), ';') AS definition,"
    " obj_description(c.oid, 'pg_class') AS comment"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = :schema AND c.relname = :name AND c.relkind = 'v'"
)


# The rule of a rollup itself names what it reads only while it shows rows that are not stored yet.
# TimescaleDB keeps its query as a view beside the hypertable of its rows; both end in its number.
_DEPENDENT_OBJECTS = """
    SELECT DISTINCT 'pg_rewrite'::regclass, q.oid, 'view', r.key
      FROM relations r
      JOIN pg_rewrite w ON w.ev_class = r.oid
      JOIN pg_depend d ON (d.classid, d.objid) = ('pg_rewrite'::regclass, w.oid)
       AND d.refclassid = 'pg_class'::regclass
      JOIN pg_class h ON h.oid = d.refobjid AND h.relname ~ '^_materialized_hypertable_[0-9]+$'
       AND h.relnamespace = to_regnamespace('_timescaledb_internal')
      JOIN pg_class v ON v.relnamespace = h.relnamespace
       AND v.relname = '_direct_view_' || substring(h.relname FROM '[0-9]+$')
      JOIN pg_rewrite q ON q.ev_class = v.oid
"""


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The rollups of ``schemas``, real and pending."""
    found: list[State] = []
    extension = connection.scalar(_EXTENSION_SCHEMA)
    for row in rows(connection, _ROLLUPS, schemas):
        definition = _neutral(row["definition"], extension)
        found.append(RollupState(**{**row, "definition": definition}))
    for row in pending(connection, RollupState.kind, schemas):
        view = connection.execute(_VIEW, {"schema": row["schema"], "name": row["name"]}).first()
        if view is not None:
            definition = _neutral(view.definition, extension)
            found.append(RollupState(**{**row, "definition": definition, "comment": view.comment}))
    return found


def _neutral(text: str, extension: str | None) -> str:
    return buckets.neutral(textwrap.dedent(text).strip(), extension)


def neutral(connection: Connection, text: str) -> str:
    """A query that the server printed, in the words of models."""
    return _neutral(text, connection.scalar(_EXTENSION_SCHEMA))


# --- compare ---------------------------------------------------------------------------------


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """A rollup that has to be made anew takes its history along as far as that is possible.

    Raises:
        alembic.util.CommandError: a column that a rollup reads would change its type.
    """
    _reject_retyped(changes, kind)
    histories = _histories(changes, kind)

    def operation(before: RollupState | None, after: RollupState | None) -> RollupOperation:
        made = RollupOperation(before, after)
        made.history = histories.get(made.state.key)
        if after is None and made.effect()[0].loses:
            made.uncovered = rollup_history.uncovered(changes.connection, made.state.key)
        return made

    changes.compare(plan, dataclasses.replace(kind, operation=cast("Any", operation)))


def _histories(changes: Changes, kind: Kind[Any]) -> dict[Key, History]:
    """What each recreated rollup keeps, the sources of a rollup before itself."""
    before, after = changes.sides(RollupState)
    again = {key for name, key in changes.recreated if name == kind.name}
    sources: dict[Key, set[Identity]] = {
        key: {one for one, others in changes.dependents.items() if (kind.name, key) in others}
        for key in again
    }
    ordered = TopologicalSorter(
        {key: {one for name, one in sources[key] if name == kind.name} & again for key in again}
    ).static_order()
    altered: dict[Key, set[str]] = {}
    found: dict[Key, History] = {}
    for key in ordered:
        of_source = {name for _, one in sources[key] for name in altered.get(one, ())}
        of_source |= {one[1][-1] for one in sources[key] if _is_retyped(changes, one)}
        queries = before[key].definition, after[key].definition
        found[key] = rollup_history.common(*queries, of_source)
        altered[key] = rollup_history.altered(*queries, of_source)
    return found


def _reject_retyped(changes: Changes, kind: Kind[Any]) -> None:
    """A rollup whose query stays would silently have another type in all of its history."""
    own = changes.not_alterable(kind)
    for column, dependents in sorted(changes.dependents.items()):
        for name, key in sorted(dependents):
            if name == kind.name and key not in own and _is_retyped(changes, column):
                before: Any = changes.current.get(column)
                after: Any = changes.target.get(column)
                raise CommandError(
                    f"rollup {'.'.join(key)} reads column {'.'.join(column[1])}, whose type would "
                    f"change from {before.type} to {after.type}, and its history has been computed "
                    "from the former: add a column of the new type and let the rollup read that "
                    "(a changed query keeps its history), and drop the old column later"
                )


def _is_retyped(changes: Changes, identity: Identity) -> bool:
    before, after = changes.current.get(identity), changes.target.get(identity)
    if not isinstance(before, ColumnState) or not isinstance(after, ColumnState):
        return False
    return before.is_retyped_as(after) or before.is_remade_as(after)


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
    reads=True,
    dependent_objects=_DEPENDENT_OBJECTS,
    every_edition=False,
    compare=compare,
    rename="ALTER {rollup} {named} RENAME TO {new}",
    neutral=neutral,
    expressions=("definition",),
    copy=view.copy,
)
