"""Hypertables and rollups: chunks, policies, sources, and the views of tenants.

The text is the same on every edition: operations that are pending are read as if done.
"""

from __future__ import annotations

import re

from ddl.base import Key
from ddl.kinds.columnstore import ColumnstoreState
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.refresh_policy import RefreshPolicyState
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.rollups import RollupState
from operations.documentation.facts import Facts
from operations.documentation.markdown import code, link
from operations.documentation.readable_sql import interval, type_name
from operations.text import enumeration

_BUCKET = re.compile(r"\b(?:time_bucket|date_bin)\('([^']*)'::interval, (?:\w+\.)*(\w+)")


def of_hypertable(facts: Facts, key: Key) -> str:
    """A list of facts about a hypertable; empty for an ordinary table."""
    state = facts.catalog.of(HypertableState).get(key)
    if state is None:
        return ""
    chunks = f"in chunks of {interval(state.chunk_interval)}"
    lines = [
        f"**Hypertable** {code('.'.join(key))} by {code(state.time_column)}, {chunks}.",
        *_stored(facts, key),
    ]
    if rollups := facts.rollups_of(key):
        lines.append(f"**Rollups** {', '.join(link(name, '', name) for _, name in rollups)}.")
    return _bullets([*lines, *_reached(facts, key)])


def of_rollup(facts: Facts, key: Key) -> str:
    """A list of facts about a rollup."""
    state = facts.catalog.of(RollupState)[key]
    match = _BUCKET.search(state.definition)
    source = facts.sources(key)[0][1]
    size = f" by {interval(match[1])} of {code(match[2])}" if match else ""
    columns = ", ".join(
        f"{code(column.name)} {type_name(column.type)}" for column in facts.view_columns[key]
    )
    lines = [f"**Rollup** {code('.'.join(key))} of {link(source, '', source)}{size}."]
    refresh = facts.catalog.of(RefreshPolicyState).get(key)
    if refresh is not None:
        start = f"from {interval(refresh.start_offset)}" if refresh.start_offset else "from ever"
        end = f"to {interval(refresh.end_offset)}" if refresh.end_offset else "to now"
        paused = "" if refresh.scheduled else " (paused)"
        lines.append(f"**Refreshed** every {interval(refresh.every)}: {start} {end} ago{paused}.")
    indexes = enumeration([code(_spaced(one)) for one in state.indexes])
    lines += [f"**Indexes** {indexes or 'none'}."]
    lines += [*_stored(facts, key), *_reached(facts, key), f"**Columns** {columns}."]
    return _bullets(lines)


def _stored(facts: Facts, key: Key) -> list[str]:
    lines = []
    store = facts.catalog.of(ColumnstoreState).get(key)
    if store is not None:
        by = f"segmented by {code(_spaced(store.segmentby))}, ordered by "
        skipped = f", with {code(_spaced(store.sparse_index))}" if store.sparse_index else ""
        lines.append(
            f"**Columnstore** {_after(store.after)}, {by}{code(_spaced(store.orderby))}{skipped}."
        )
    retention = facts.catalog.of(RetentionPolicyState).get(key)
    if retention is not None:
        lines.append(f"**Kept** for {interval(retention.drop_after)}.")
    return lines


def _after(after: str | None) -> str:
    return f"after {interval(after)}" if after else "by hand"


def _spaced(text: str) -> str:
    return re.sub(r",\s*", ", ", text)


def _reached(facts: Facts, key: Key) -> list[str]:
    """The tenant view, and what tenants may do through it; the view of the ingest."""
    ingest = facts.ingest_view(key)
    written = (
        [f"**fleet_ingest** writes through the view {code('.'.join(ingest))}."] if ingest else []
    )
    view = facts.tenant_view(key)
    if view is None:
        return ["**Tenants** do not reach it.", *written]
    held = facts.grants(view).get("fleet_app", {})
    verbs = {"select": "read", "insert": "append", "update": "change", "delete": "delete"}
    allowed = enumeration([verb for name, verb in verbs.items() if name in held])
    reached = f"**Tenants** {allowed} their own rows through the view {code('.'.join(view))}."
    return [reached, *written]


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
