"""The state of a rollup, and the operation that creates, alters and drops it on each edition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from alembic.operations import Operations

from ddl import buckets, privileges, rollup_history, rollup_indexes, sql
from ddl.base import explicit, optional
from ddl.edition import APACHE
from ddl.revisable import revisable
from ddl.risk import BUILDS, Risk
from ddl.rollup_history import History
from ddl.time_series import TimeSeriesOperation, TimeSeriesState, forgotten, record, regclass


@dataclass(frozen=True)
class RollupState(TimeSeriesState):
    """One rollup; ``definition`` is its query, with ``time_bucket('1 hour', ts)`` in it."""

    kind: ClassVar[str] = "rollup"

    positional: ClassVar[tuple[str, ...]] = ("name", "definition")
    grantable: ClassVar[bool] = True

    definition: str = optional("")
    materialized_only: bool = explicit(False)
    indexes: tuple[str, ...] = explicit(())
    """Lists of columns; see :mod:`ddl.rollup_indexes`."""
    comment: str | None = None

    @property
    def granted_as(self) -> str:
        """Its name."""
        return self.name

    def recorded(self) -> dict[str, Any]:
        """The definition and the comment are the view's."""
        indexes = rollup_indexes.recorded(self.indexes)
        return {"materialized_only": self.materialized_only, "indexes": indexes}

    def text(self) -> str:
        """The query."""
        return self.definition


@revisable(RollupState)
class RollupOperation(TimeSeriesOperation[RollupState]):
    """A continuous aggregate, empty until refreshed; a plain view where there are none."""

    history: History | None = None
    """What goes on from the rollup that is dropped to the one of the same name after it."""
    uncovered: str = ""
    """Of a dropped one: how many buckets the raw data cannot compute again, in words."""
    leaves_indexes: bool = False
    """Of an altered one: it keeps those that it has."""

    @classmethod
    def create_rollup(
        cls,
        operations: Operations,
        name: str,
        definition: str = "",
        *,
        materialized_only: bool,
        indexes: Sequence[str] | str | None = None,
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
            indexes: exactly these, ``["device_id,bucket DESC"]``; without them, those that
                TimescaleDB chooses.
            keys: the columns by which both queries group, the bucket among them.
            copied: the columns that mean the same in both.
            filled: compute all buckets from the raw data but the last, which is not complete.
        """
        if indexes is None:
            indexes = rollup_indexes.by_timescaledb(definition)
        state = RollupState(
            name, definition, materialized_only, _listed(indexes), comment, schema=schema
        )
        operation = cls(None, state)
        operation.grants = privileges.parse(grants or {})
        if keys or filled:
            operation.history = History(tuple(keys), tuple(copied), kept=not filled)
        operations.invoke(operation)

    @classmethod
    def alter_rollup(
        cls,
        operations: Operations,
        name: str,
        *,
        materialized_only: bool,
        indexes: Sequence[str] | str | None = None,
        comment: str | None = None,
        schema: str = sql.DEFAULT_SCHEMA,
    ) -> None:
        """Change what needs no new rollup.

        Args:
            indexes: exactly these; it keeps those that it has where this is not given.
        """
        listed = _listed(() if indexes is None else indexes)
        state = RollupState(name, "", materialized_only, listed, comment, schema=schema)
        operation = cls(state, state)
        operation.leaves_indexes = indexes is None
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
        elif self.before is not None and set(self.after.indexes) - set(self.before.indexes):
            return Risk.BLOCKING, f"an index: {BUILDS}"
        return Risk.SAFE, ""

    def reverse(self) -> RollupOperation:
        """The other way round, what is common to both queries goes on, too."""
        found = super().reverse()
        found.history = self.history.reversed() if self.history is not None else None
        return found

    def create(self, state: RollupState, edition: str) -> list[str]:
        """Without data but its history; a refresh needs a transaction of its own."""
        only = str(state.materialized_only).lower()
        options = f"timescaledb.continuous, timescaledb.materialized_only = {only}"
        options += ", timescaledb.create_group_indexes = false"
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
        # After the rows: an index of all of them at once takes less than one by one.
        return [*found, rollup_indexes.exactly(state.key, state.indexes)]

    def alter(self, before: RollupState, after: RollupState, edition: str) -> list[str]:
        """Option, comment and indexes, in place: what the raw data no longer has stays."""
        only = str(after.materialized_only).lower()
        return [
            f"ALTER MATERIALIZED VIEW {_named(after)} SET (timescaledb.materialized_only = {only})",
            _comment_on(after),
            *([] if self.leaves_indexes else [rollup_indexes.exactly(after.key, after.indexes)]),
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
        values = self.state.recorded()
        if self.leaves_indexes:
            del values["indexes"]
        return record(self.state, values)


def _listed(indexes: Sequence[str] | str) -> tuple[str, ...]:
    return (indexes,) if isinstance(indexes, str) else tuple(indexes)


def _named(state: RollupState) -> str:
    return f"{sql.ident(state.schema)}.{sql.ident(state.name)}"


def _comment(state: RollupState) -> list[str]:
    return [] if state.comment is None else [_comment_on(state)]


def _comment_on(state: RollupState) -> str:
    return sql.comment_on(f"VIEW {_named(state)}", state.comment)
