"""Columnstore of hypertables and rollups: its layout, and the policy that fills it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, Table
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Declaration, Key, State, explicit
from ddl.changes import Changes
from ddl.columnstore_layout import column_list, sparse_index_list, sparse_indexes
from ddl.edition import COMMUNITY, detect
from ddl.kind import Kind, always
from ddl.plan import Phase, Plan
from ddl.revisable import revisable
from ddl.risk import Risk
from ddl.source import NOTES
from ddl.time_series import TimeSeriesOperation, TimeSeriesState, pending, regclass, rows

if TYPE_CHECKING:
    from ddl.catalog import Catalog

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
    sparse_index: str | None = None

    def columns(self) -> list[str]:
        """The columns of the layout and of its sparse indexes, by name."""
        indexed = [item for _, items in sparse_indexes(self.sparse_index or "") for item in items]
        listed = [*sql.split_list(f"{self.segmentby},{self.orderby}"), *indexed]
        return [sql.unquoted(found[0]) for one in listed if (found := re.match(sql.IDENT, one))]


class Columnstore(Declaration):
    """How chunks are stored by column, in ``__table_args__`` or in a ``Rollup``.

    ``Columnstore(segmentby="tenant_id, device_id", orderby="ts DESC", after="7 days")``; the
    columnstore policy converts a chunk at the age ``after``, with None, only a person does.

    Args:
        sparse_index: what each batch of rows keeps to be skipped by, besides the ranges of
            ``orderby``: ``"bloom(serial), minmax(temperature)"``. With None, TimescaleDB chooses,
            from the indexes of the table, when it converts a chunk. Not for rollups; TimescaleDB
            2.22 or newer.

    Raises:
        sqlalchemy.exc.ArgumentError: ``sparse_index`` is something else, or empty: 2.27 to 2.29.1
            crash on chunks that were converted so (TimescaleDB's issue 10414).
    """

    def __init__(
        self, segmentby: str, orderby: str, after: str | None, *, sparse_index: str | None = None
    ) -> None:
        self.segmentby = column_list(segmentby)
        self.orderby = column_list(orderby)
        self.after = after
        if sparse_index is not None and not sparse_index.strip():
            raise ArgumentError(
                "Columnstore: sparse_index expected bloom(column) or minmax(column), found nothing:"
                " TimescaleDB 2.27 to 2.29.1 crashes on chunks without any (its issue 10414); write"
                " minmax of some column, or None for those that TimescaleDB chooses"
            )
        self.sparse_index = sparse_index_list(sparse_index)

    def states(self, table: Table) -> Iterator[State]:
        """The columnstore of the table."""
        yield ColumnstoreState(
            table.name,
            self.segmentby,
            self.orderby,
            self.after,
            sparse_index=self.sparse_index,
            schema=table.schema or sql.DEFAULT_SCHEMA,
        )


# --- operate ---------------------------------------------------------------------------------


@revisable(ColumnstoreState)
class ColumnstoreOperation(TimeSeriesOperation[ColumnstoreState]):
    """Enables, changes or disables the columnstore; disabling moves the rows back first."""

    def __init__(self, before: ColumnstoreState | None, after: ColumnstoreState | None) -> None:
        super().__init__(before, after)
        self.for_columns = False
        """Whether it is only disabled for a change of columns."""
        self.size = ""
        """What is stored by column in the database at hand, in words."""
        self.recompresses = (False, False)
        """Whether chunks get a changed layout at once, and in the downgrade."""

    @classmethod
    def alter_columnstore(
        cls,
        operations: Operations,
        name: str,
        *,
        segmentby: str,
        orderby: str,
        after: str | None,
        rollup: bool = False,
        scheduled: bool = True,
        sparse_index: str | None = None,
        recompress: bool = False,
        schema: str = "public",
    ) -> None:
        """Change the layout of future conversions, and the age at which they happen.

        Args:
            recompress: give chunks of another layout this one at once. TimescaleDB drops no column
                that the layout of a chunk names.
        """
        state = ColumnstoreState(
            name, segmentby, orderby, after, rollup, scheduled, sparse_index, schema=schema
        )
        operation = cls(state, state)
        operation.recompresses = (recompress, False)
        operations.invoke(operation)

    def reverse(self) -> Self:
        """The layout before."""
        operation = super().reverse()
        if self.for_columns:
            operation.explain()
        operation.recompresses = self.recompresses[::-1]
        return operation

    def explain(self) -> None:
        """Note why it is disabled for a change of columns, and what stores the rows so again."""
        self.for_columns = True
        again = "the columnstore policy then stores them by column again, chunk by chunk"
        if self.state.after is None:
            again = f"then: SELECT compress_chunk(c) FROM show_chunks({regclass(self.state)}) c"
        here = f", here {self.size}, once more while they are rewritten" if self.size else ""
        note = (
            f"# TimescaleDB changes columns so only while all rows are stored by row{here}; {again}"
        )
        self.info[NOTES] = [note] if self.after is None else []

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Those of the state, and ``recompress`` where it is needed."""
        positional, keywords = super().arguments()
        return positional, keywords | ({"recompress": True} if self.recompresses[0] else {})

    def effect(self) -> tuple[Risk, str]:
        """Only disabling it rewrites what is there."""
        if self.after is None:
            size = f": {self.size}" if self.size else ""
            return (
                Risk.BLOCKING,
                f"chunks are locked while their rows are stored by row again{size}",
            )
        if self.recompresses[0]:
            return Risk.BLOCKING, "chunks are locked while they are recompressed"
        return Risk.SAFE, ""

    def create(self, state: ColumnstoreState, edition: str) -> list[str]:
        """The layout of future conversions in one statement, the columnstore policy in another."""
        sparse = ""
        if state.sparse_index is not None:
            sparse = f", timescaledb.sparse_index = {sql.literal(state.sparse_index)}"
        settings = (
            f"{_alter(state)} SET (timescaledb.enable_columnstore = true,"
            f" timescaledb.segmentby = {sql.literal(state.segmentby)},"
            f" timescaledb.orderby = {sql.literal(state.orderby)}{sparse})"
        )
        add = (
            f"CALL add_columnstore_policy({regclass(state)},"
            f" after => INTERVAL {sql.literal(state.after or '')})"
        )
        return [settings, _remove(state), *([add] if state.after is not None else [])]

    def alter(self, before: ColumnstoreState, after: ColumnstoreState, edition: str) -> list[str]:
        """The same: the settings replace what was, and so does the policy."""
        again = f"""SELECT compress_chunk(c.chunk, recompress => true)
  FROM timescaledb_information.chunk_columnstore_settings c
  JOIN timescaledb_information.hypertable_columnstore_settings h USING (hypertable)
 WHERE c.hypertable = {regclass(after)}::regclass
   AND (c.segmentby, c.orderby) IS DISTINCT FROM (h.segmentby, h.orderby)"""
        reset = f"""DO $$ BEGIN
IF EXISTS (SELECT FROM timescaledb_information.hypertable_columnstore_settings s
            WHERE s.hypertable = {regclass(after)}::regclass
              AND to_jsonb(s) -> 'index' @> '[{{"source": "config"}}]') THEN
  {_alter(after)} RESET (timescaledb.sparse_index);
END IF; END $$"""
        return [
            *([reset] if after.sparse_index is None and not after.rollup else []),
            *self.create(after, edition),
            *([again] if self.recompresses[0] else []),
        ]

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
       coalesce(j.scheduled, true) AS scheduled, coalesce(a.view_schema, n.nspname) AS schema,
       i.sparse_index
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
  -- Releases before 2.22 have no column of this name.
  LEFT JOIN LATERAL (
    SELECT coalesce(string_agg(format('%s(%s)', e ->> 'type', m.columns), ','), '') AS sparse_index
      FROM jsonb_array_elements(to_jsonb(s) -> 'index') e,
           LATERAL (SELECT string_agg(quote_ident(m), ',') AS columns
                      FROM jsonb_array_elements_text(
                             CASE jsonb_typeof(e -> 'column') WHEN 'array' THEN e -> 'column'
                             ELSE jsonb_build_array(e -> 'column') END) m) m
     WHERE e ->> 'source' = 'config' AND e ? 'type'
  ) i ON to_jsonb(s) -> 'index' @> '[{"source": "config"}]'
 WHERE coalesce(a.view_schema, n.nspname) = ANY (CAST(:schemas AS name[]))
   AND coalesce(a.compression_enabled, h.compression_enabled)
"""


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The columnstores of ``schemas``, real and pending."""
    found = rows(connection, _QUERY, schemas) + pending(connection, ColumnstoreState.kind, schemas)
    return [
        ColumnstoreState(**row | {"sparse_index": sparse_index_list(row.get("sparse_index"))})
        for row in found
    ]


# --- compare ---------------------------------------------------------------------------------


def is_stored_by_column(changes: Changes, table: Key) -> bool:
    """True where the columnstore is there all the time, and so when columns change."""
    return all(side.get(("columnstore", table)) for side in (changes.current, changes.target))


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Altered in place, unless columns change in a way that only rows stored by row allow.

    TimescaleDB refuses that where chunks are, or may be, stored by column. The columnstore is
    disabled for the change; its policy converts the chunks again.
    """
    before, after = changes.sides(ColumnstoreState)
    for key in sorted(before.keys() & after.keys()):
        if any(
            _is_refused(changes, column)
            for side in (changes.current, changes.target)
            for column in changes.parts("column", key, side)
        ):
            changes.recreated.add((kind.name, key))
    changes.compare(plan, kind)
    for operation in plan.of(ColumnstoreOperation):
        if operation.after is None:
            operation.size = _size(changes.connection, operation.state)
        if changes.is_recreated(kind.name, operation.state.key):
            operation.explain()
        if operation.before is not None and operation.after is not None:
            operation.recompresses = (
                _loses_column(operation.before, operation.after, changes.target),
                _loses_column(operation.after, operation.before, changes.current),
            )


def _size(connection: Connection, state: ColumnstoreState) -> str:
    """How much has to be stored by row again, in words; empty where it is nothing, or not known."""
    if state.rollup or detect(connection) != COMMUNITY:
        return ""
    function = connection.scalar(_STATISTICS)
    found = connection.exec_driver_sql(
        "SELECT s.number_compressed_chunks AS chunks,"
        " pg_size_pretty(s.after_compression_total_bytes) AS by_column,"
        " pg_size_pretty(s.before_compression_total_bytes) AS by_row"
        f" FROM {function}({regclass(state)}::regclass) s WHERE s.number_compressed_chunks > 0",
        execution_options={"no_parameters": True},
    ).one_or_none()
    if found is None:
        return ""
    chunks = "1 chunk" if found.chunks == 1 else f"{found.chunks} chunks"
    return f"{chunks} of {found.by_column} that become {found.by_row}"


_STATISTICS = sa.text("""
SELECT format('%I.hypertable_columnstore_stats', n.nspname) FROM pg_extension e
  JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb'
""")


def _is_refused(changes: Changes, column: Any) -> bool:
    """True where the server would refuse what becomes of ``column``, in one of the directions."""
    before: Any = changes.current.get(("column", column.key))
    after: Any = changes.target.get(("column", column.key))
    if before is None or after is None or changes.is_recreated("column", column.key):
        # What is dropped is added again by the downgrade, whose rows need no value.
        default = column.default or ""
        computed = column.generated or column.identity or default.startswith("nextval(")
        return bool(computed) or (column is after and not column.has_constant_default)
    return bool(before.is_retyped_as(after) or before.identity != after.identity)


def _loses_column(before: ColumnstoreState, after: ColumnstoreState, side: Catalog) -> bool:
    """True where a column of the layout before goes."""
    return any(
        side.get(("column", (*before.key, name))) is None
        for name in set(before.columns()) - set(after.columns())
        if not before.rollup
    )


KIND = Kind(
    ColumnstoreState,
    ColumnstoreOperation,
    read,
    create=Phase.COLUMNSTORES,
    drop=Phase.DROP_TIME_SERIES,
    alterable=always,
    columns=ColumnstoreState.columns,
    every_edition=False,
    compare=compare,
)
