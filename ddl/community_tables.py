"""What TimescaleDB Community refuses of tables, refused on every edition at import.

Elsewhere a hypertable is a plain table, so the server there would accept what cannot be deployed.
The list is that of TimescaleDB 2.28 (``tsl/src/compression/create.c``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from sqlalchemy import Index, MetaData, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Declared, Key
from ddl.columnstore_layout import ORDERED, sparse_indexes
from ddl.kinds.columnstore import ColumnstoreState
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.kinds.row_level_security import RowLevelSecurityState
from ddl.kinds.trigger import TriggerState

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def check_hypertables(metadata: MetaData) -> None:
    """Reject a hypertable, or a property of one, that TimescaleDB would not take.

    Raises:
        sqlalchemy.exc.ArgumentError: says what was expected, what was found and what to write.
    """
    declared = Declared.on(metadata)
    tables: dict[Key, Table] = {
        (one.schema or sql.DEFAULT_SCHEMA, one.name): one for one in metadata.tables.values()
    }
    hypertables = declared.of(HypertableState)
    for state_type in (ColumnstoreState, RetentionPolicyState):
        for key in declared.of(state_type):
            if key in tables and key not in hypertables:
                raise ArgumentError(
                    f"{state_type.kind} of {'.'.join(key)}: expected a hypertable, found a plain "
                    'table; write Hypertable("ts", chunk_interval="1 day") beside it, or remove it'
                )
    for key, state in hypertables.items():
        table, title = tables[key], f"hypertable {'.'.join(key)}"
        _check_time(table, title, state.time_column)
        _check_references(table, title, hypertables)
        for trigger in declared.of(TriggerState).values():
            if trigger.relation == key and trigger.level == "row" and _transition(trigger):
                raise ArgumentError(
                    f"{trigger.title()}: a hypertable has no transition tables for a trigger of "
                    'rows; write level="statement", or read NEW and OLD'
                )
        store = declared.of(ColumnstoreState).get(key)
        if store is not None:
            _check_columnstore(table, store, state.time_column, declared)


def _check_time(table: Table, title: str, time_column: str) -> None:
    """Its type, and every key."""
    column = next(one for one in table.columns if one.name == time_column)
    if not column.type.compile(_DIALECT).upper().startswith(("TIMESTAMP", "DATE")):
        raise ArgumentError(
            f"{title}: expected a time column of timestamptz, timestamp or date, found "
            f"{time_column} {column.type}; write TIMESTAMP(timezone=True), and keep a number in a "
            "column beside it"
        )
    keys: list[UniqueConstraint | Index] = [
        one for one in table.constraints if isinstance(one, UniqueConstraint)
    ]
    keys += [one for one in table.indexes if one.unique]
    for one in keys:
        names = [getattr(part, "name", None) for part in one.columns]
        if isinstance(one, Index):
            names = [getattr(part, "name", None) for part in one.expressions]
        if time_column not in names:
            spelled = one.name or f"({', '.join(filter(None, names))})"
            raise ArgumentError(
                f"{title}: unique key {spelled} lacks the time column "
                f"{time_column}; every key of a hypertable contains it: add it to the key"
            )


def _check_references(table: Table, title: str, hypertables: Mapping[Key, object]) -> None:
    for constraint in table.foreign_key_constraints:
        target = constraint.elements[0].target_fullname.rpartition(".")[0]
        schema, _, name = target.rpartition(".")
        if (schema or sql.DEFAULT_SCHEMA, name) in hypertables:
            raise ArgumentError(
                f"{title}: its foreign key refers to hypertable {target}, which a hypertable "
                "cannot do; remove it and check the reference where the rows are written"
            )


def _transition(trigger: TriggerState) -> bool:
    return trigger.old_table is not None or trigger.new_table is not None


def _check_columnstore(
    table: Table, store: ColumnstoreState, time_column: str, declared: Declared
) -> None:
    title = store.title()
    check_layout(title, store, [column.name for column in table.columns], time_column)
    for column in table.columns:
        if column.name.startswith("_ts_meta_"):
            raise ArgumentError(f"{title}: the name {column.name} is TimescaleDB's; write another")
    for constraint in table.constraints:
        if isinstance(constraint, ExcludeConstraint):
            raise ArgumentError(
                f"{title}: its table has the exclusion constraint "
                f"{sql.constraint_name(constraint)}, which the columnstore does not support; "
                "remove one of them"
            )
    security = declared.of(RowLevelSecurityState).get(store.key)
    if security is not None and (security.enable or security.force):
        raise ArgumentError(
            f"{title}: its table has row-level security, which the columnstore excludes; remove "
            "one of them, and let a view isolate the rows"
        )
    for trigger in declared.of(TriggerState).values():
        if (
            trigger.relation == store.key
            and trigger.old_table is not None
            and re.search(r"\bdelete\b", trigger.events, re.I)
        ):
            raise ArgumentError(
                f"{trigger.title()}: on a columnstore DELETE has no transition table; remove "
                "old_table or the event"
            )


def check_layout(title: str, store: ColumnstoreState, columns: list[str], time_column: str) -> None:
    """Require the columns by which chunks are laid out, each in one place, the time among them.

    Args:
        title: the columnstore, for messages.
        columns: all that its table or rollup has.

    Raises:
        sqlalchemy.exc.ArgumentError: says what was expected, what was found and what to write.
    """
    used: dict[str, str] = {}
    for argument in ("segmentby", "orderby"):
        for item in sql.split_list(getattr(store, argument)):
            match = ORDERED.fullmatch(item)
            name = sql.unquoted(match["name"]) if match is not None else item
            if name not in columns:
                near = difflib.get_close_matches(name, columns, 1)
                raise ArgumentError(
                    f"{title}: {argument} expected columns, found {name}; write "
                    + (near[0] if near else f"some of {', '.join(columns)}")
                )
            if name in used:
                raise ArgumentError(
                    f"{title}: {argument} expected each column once, found {name}, which "
                    f"{used[name]} has already; remove one of them"
                )
            used[name] = argument
    if time_column not in used:
        raise ArgumentError(
            f"{title}: expected the time column {time_column} in orderby, found "
            f'"{store.orderby}"; write orderby="'
            + ", ".join([*sql.split_list(store.orderby), f'{time_column} DESC"'])
        )
    if not store.orderby:
        raise ArgumentError(f"{title}: expected a column in orderby, found none; move one there")
    _check_sparse_indexes(title, store, columns, used)


def _check_sparse_indexes(
    title: str, store: ColumnstoreState, columns: list[str], used: dict[str, str]
) -> None:
    """The rules that TimescaleDB tells only when it carries them out."""
    seen: set[str] = set()
    for kind, listed in sparse_indexes(store.sparse_index or ""):
        names, found = [sql.unquoted(name) for name in listed], f"{kind}({', '.join(listed)})"
        if missing := [name for name in names if name not in columns]:
            near = difflib.get_close_matches(missing[0], columns, 1)
            raise ArgumentError(
                f"{title}: sparse_index expected columns, found {found}; write "
                + (near[0] if near else f"some of {', '.join(columns)}")
            )
        laid_out = [name for name in names if used.get(name) == "segmentby"] or [
            name for name in names if len(names) == 1 and name in used
        ]
        if laid_out:
            raise ArgumentError(
                f"{title}: sparse_index expected columns that the layout does not order already,"
                f" found {found}, and {laid_out[0]} in {used[laid_out[0]]}; remove one of them"
            )
        if len(names) > (8 if kind == "bloom" else 1):
            most = "at most 8 columns in a bloom" if kind == "bloom" else "one column in a minmax"
            raise ArgumentError(f"{title}: sparse_index expected {most}, found {found}; split it")
        if (subject := ",".join(names)) in seen:
            raise ArgumentError(
                f"{title}: sparse_index expected one of each column, found {found} as another of"
                f" {subject}; remove one of them"
            )
        seen.add(subject)
