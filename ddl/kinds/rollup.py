"""Rollups: continuous aggregates of hypertables; their state and operation: :mod:`ddl.rollups`."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any, cast

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import ArgumentError

from ddl import buckets, privileges, rollup_history, rollup_indexes, sql
from ddl.base import Declared, Identity, Key, State
from ddl.changes import Changes
from ddl.columns import ColumnState
from ddl.kind import Kind
from ddl.kinds import view
from ddl.kinds.columnstore import Columnstore, ColumnstoreState
from ddl.kinds.grant import GrantState
from ddl.kinds.kept_history import KeptHistory
from ddl.kinds.refresh_policy import RefreshPolicy, RefreshPolicyState
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.plan import Phase, Plan
from ddl.rollup_history import History
from ddl.rollups import RollupOperation, RollupState
from ddl.time_series import (
    pending,
    rows,
)

_BUCKET = re.compile(r"\btime_bucket\s*\(", re.I)

# --- declare ---------------------------------------------------------------------------------


class Rollup:
    """A continuous aggregate with all its policies and grants.

    Args:
        definition: the query, grouped by ``time_bucket('1 hour', ts) AS bucket``; where there is
            no TimescaleDB a plain view computes the same (see `ddl.buckets`).
        retention: the age at which its chunks are dropped.
        indexes: lists of columns, such as ``["device_id, bucket DESC"]``; it has these and no
            others. By default one of all that it groups by, the newest bucket first.
        history: keeps buckets that the raw data no longer covers from every refresh.

    Raises:
        sqlalchemy.exc.ArgumentError: the query has no ``time_bucket('…', column)``, or an index is
            no list of columns.
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
        indexes: Sequence[str] | None = None,
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
        if indexes is None:
            indexes = rollup_indexes.by_all_keys(definition)
        listed = rollup_indexes.index_lists(indexes, f"rollup {name}")
        self.states: list[State] = [
            RollupState(name, definition, materialized_only, listed, comment, schema=schema),
            GrantState(name, privileges.parse(grants or {}), schema),
        ]
        if refresh is not None:
            offsets = refresh.start_offset, refresh.end_offset
            self.states.append(RefreshPolicyState(name, *offsets, refresh.every, schema=schema))
        if columnstore is not None:
            if columnstore.sparse_index is not None:
                raise ArgumentError(
                    f"rollup {name}: TimescaleDB takes no sparse_index for a rollup; remove it from"
                    " its Columnstore"
                )
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


# --- reflect ---------------------------------------------------------------------------------

_ROLLUPS = f"""
SELECT a.view_name AS name, rtrim(a.view_definition, ';') AS definition, a.materialized_only,
       ARRAY(SELECT DISTINCT {rollup_indexes.COLUMNS} FROM pg_index i
              WHERE i.indisvalid AND {rollup_indexes.DECLARABLE} AND i.indrelid = to_regclass(
                    format('%I.%I', a.materialization_hypertable_schema,
                           a.materialization_hypertable_name))) AS indexes,
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
        row["definition"] = _neutral(row["definition"], extension)
        row["indexes"] = rollup_indexes.index_lists(row["indexes"], row["name"])
        found.append(RollupState(**row))
    for row in pending(connection, RollupState.kind, schemas):
        view = connection.execute(_VIEW, {"schema": row["schema"], "name": row["name"]}).first()
        if view is not None:
            row["definition"] = _neutral(view.definition, extension)
            row["indexes"] = rollup_indexes.from_record(row.get("indexes", ""))
            found.append(RollupState(**row, comment=view.comment))
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
            kept: Any = changes.current.get(("kept history", made.state.key))
            made.uncovered = rollup_history.uncovered(
                changes.connection, made.state.key, kept.gone() if kept else ()
            )
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
    """True where only option, comment or indexes change: a query is made anew."""
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
