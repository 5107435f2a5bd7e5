"""Checks of hypertables and rollups, when the models are imported."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import PrimaryKeyConstraint, Table
from sqlalchemy.exc import ArgumentError

from ddl import Columnstore, Declared, RefreshPolicy, sql
from ddl.kinds.columnstore import ColumnstoreState
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.kinds.row_level_security import RowLevelSecurityState

TIMESERIES = "timeseries"
"""The schema of hypertables and rollups, in which tenants have no grant."""

_DAYS = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1, "week": 7, "month": 30, "year": 365}


def days(interval: str) -> float:
    """The length of an interval in days; a month has 30, a year 365.

    Raises:
        sqlalchemy.exc.ArgumentError: it is not a number and a unit.
    """
    match = re.fullmatch(r"(\d+) (minute|hour|day|week|month|year)s?", interval)
    if match is None:
        units = ", ".join(f"{unit}s" for unit in _DAYS)
        raise ArgumentError(
            f'interval "{interval}": write a number and one of {units}, as in "30 days"'
        )
    return int(match[1]) * _DAYS[match[2]]


def require_key(name: str, table_args: object, time_column: str) -> None:
    """Reject a hypertable without a primary key, before the mapper does with a less helpful error.

    Raises:
        sqlalchemy.exc.ArgumentError: the message says what to write.
    """
    items = table_args if isinstance(table_args, tuple) else ()
    if not any(isinstance(item, PrimaryKeyConstraint) for item in items):
        raise ArgumentError(
            f"hypertable {name} has no primary key, so redelivered rows would be stored twice; "
            f'write PrimaryKeyConstraint("tenant_id", …, "{time_column}") in its __table_args__'
        )


def check_hypertable(table: Table, time_column: str, *, tenants: bool = True) -> None:
    """Reject a hypertable whose declaration breaks isolation, compression or retention.

    Args:
        tenants: False for measurements of the platform itself, which have no tenant.

    Raises:
        sqlalchemy.exc.ArgumentError: the message says what to write instead.
    """
    if table.schema != TIMESERIES:
        raise ArgumentError(
            f"hypertable {table.name} is in schema {table.schema or 'public'}, where tenants "
            f'have grants; write {{"schema": TIMESERIES}} in its __table_args__'
        )
    if tenants:
        _check_tenant_columns(table, time_column)
    if table.foreign_keys:
        raise ArgumentError(
            f"hypertable {table.name} has a foreign key, which locks the referenced table "
            "whenever a chunk is dropped; remove it and check the reference in the ingest"
        )
    _check_storage(table, time_column, tenants=tenants)


def _check_tenant_columns(table: Table, time_column: str) -> None:
    names = [column.name for column in table.columns]
    if names[:2] != ["tenant_id", time_column]:
        raise ArgumentError(
            f"hypertable {table.name}: expected tenant_id and {time_column} as first columns, "
            f"found {', '.join(names[:2])}; write {time_column} with sort_order=-19"
        )
    primary = [column.name for column in table.primary_key.columns]
    if primary[:1] != ["tenant_id"] or time_column not in primary:
        raise ArgumentError(
            f"hypertable {table.name}: expected a primary key that starts with tenant_id and "
            f"contains {time_column}, found ({', '.join(primary)}); write "
            f'PrimaryKeyConstraint("tenant_id", …, "{time_column}")'
        )


def _check_storage(table: Table, time_column: str, *, tenants: bool) -> None:
    declared = Declared.on(table.metadata)
    key = (TIMESERIES, table.name)
    if key in declared.of(RowLevelSecurityState):
        raise ArgumentError(
            f"hypertable {table.name}: row-level security excludes columnstore and rollups on the "
            "same table; remove RowLevelSecurity(), its tenant view isolates it"
        )
    for state, example in (
        (HypertableState, f'Hypertable("{time_column}", chunk_interval="1 day")'),
        (ColumnstoreState, 'Columnstore(segmentby="tenant_id, …", orderby="…", after="7 days")'),
        (RetentionPolicyState, 'RetentionPolicy("90 days")'),
    ):
        if key not in declared.of(state):
            raise ArgumentError(
                f"hypertable {table.name} declares no {state.kind}; write {example} in its "
                "__table_args__"
            )
    store, retention = declared.of(ColumnstoreState)[key], declared.of(RetentionPolicyState)[key]
    if tenants:
        _check_segments(f"hypertable {table.name}", store.segmentby)
    _check_ages(f"hypertable {table.name}", store.after, retention.drop_after)


def check_rollup(
    name: str,
    *,
    refresh: RefreshPolicy,
    columnstore: Columnstore | None,
    retention: str | None,
    indexes: Sequence[str] = (),
    tenants: bool = True,
) -> None:
    """Reject a rollup that would lose history or mix tenants.

    Raises:
        sqlalchemy.exc.ArgumentError: the message says what to write instead.
    """
    title = f"rollup {name}"
    if refresh.start_offset is None:
        raise ArgumentError(
            f"{title}: without start_offset a refresh reaches back beyond the retained raw data "
            'and computes anew what retention deletes; write RefreshPolicy("1 year", …), as far '
            "back as the raw data or the rollup"
        )
    for one in indexes if tenants else ():
        if sql.split_list(one)[:1] != ["tenant_id"]:
            raise ArgumentError(
                f'{title}: index "{one}" does not start with tenant_id, so a tenant\'s query would '
                f'read rows of all tenants, and EXPLAIN count them; write "tenant_id, {one}"'
            )
    if columnstore is not None:
        if tenants:
            _check_segments(title, columnstore.segmentby)
        if retention is not None:
            _check_ages(title, columnstore.after, retention)
    if retention is not None:
        _check_window(title, retention, refresh.start_offset)


def _check_segments(title: str, segmentby: str) -> None:
    segments = [part.strip() for part in segmentby.split(",") if part.strip()]
    if segments[:1] != ["tenant_id"]:
        target = ", ".join(["tenant_id", *(part for part in segments if part != "tenant_id")])
        raise ArgumentError(
            f'{title}: segmentby="{segmentby}" does not start with tenant_id, so a tenant\'s '
            f'query would decompress the batches of all tenants; write segmentby="{target}"'
        )


def _check_ages(title: str, after: str | None, drop_after: str) -> None:
    if after is not None and days(after) >= days(drop_after):
        raise ArgumentError(
            f"{title}: columnstore after {after}, but its chunks are dropped after {drop_after} "
            f'and would never be compressed; write after="7 days", or any age below {drop_after}'
        )


def _check_window(title: str, drop_after: str, start_offset: str) -> None:
    """Reject a retention within the refresh window: the refresh would compute it again."""
    if days(drop_after) < days(start_offset):
        raise ArgumentError(
            f"{title}: a refresh starts {start_offset} ago, but the rollup keeps only "
            f"{drop_after}; write a retention of at least {start_offset}, or a shorter "
            "start_offset in RefreshPolicy(…)"
        )
