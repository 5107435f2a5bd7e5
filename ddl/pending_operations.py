"""The pending operations of a database, and which of them a higher edition could now carry out."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql
from ddl.base import Key
from ddl.edition import APACHE, COMMUNITY, POSTGRESQL, suffices
from ddl.kinds import KINDS
from ddl.time_series import CREATE_PENDING, PENDING, TimeSeriesOperation, forgotten

FILL = "fill"
"""The kind of a row about a rollup that exists and still has to be filled with its history."""


def entries(connection: Connection) -> list[tuple[str, str]]:
    """(kind, relation) of every row, sorted; none where nothing is pending."""
    found = connection.scalar(sa.text(f"SELECT to_regclass('{sql.DEFAULT_SCHEMA}.{PENDING}')"))
    if found is None:
        return []
    query = f"SELECT kind, relation FROM {sql.DEFAULT_SCHEMA}.{PENDING} ORDER BY 1, 2"
    return [(row.kind, row.relation) for row in connection.execute(sa.text(query))]


_SKIPPED = {
    "hypertable": "hypertables are plain tables",
    "columnstore": "columnstores are pending",
    "retention policy": "retention policies are carried out by operations maintain",
    "rollup": "rollups are views",
    "refresh policy": "refresh policies are pending",
    "kept history": "histories are those of the raw data",
    FILL: "rollups have to be filled",
}


def skipped(connection: Connection) -> str:
    """What the database lacks, in one clause; empty where it lacks nothing."""
    counted = Counter(kind for kind, _ in entries(connection))
    return ", ".join(f"{counted[kind]} {what}" for kind, what in _SKIPPED.items() if counted[kind])


def convertible(connection: Connection, edition: str) -> list[tuple[str, str]]:
    """The pending operations that ``edition`` could carry out."""
    return [entry for entry in entries(connection) if suffices(edition, _needed(entry[0]))]


def lowered(connection: Connection, edition: str) -> str:
    """The edition that this database was built for: below ``edition`` where operations are pending.

    TimescaleDB may have been added later; until the conversion, revisions go on as before.
    """
    kinds = {kind for kind, _ in entries(connection)} - {FILL}
    if "hypertable" in kinds:
        return POSTGRESQL
    return APACHE if kinds and suffices(edition, COMMUNITY) else edition


def forget(connection: Connection, edition: str) -> None:
    """Delete the pending operations that ``edition`` can carry out; the table goes with the last.

    From then on a comparison reports what they stood for as missing.
    """
    kinds = {kind for kind, _ in convertible(connection, edition)}
    if kinds:
        listed = ", ".join(sql.literal(kind) for kind in sorted(kinds))
        for statement in forgotten(f"kind IN ({listed})"):
            sql.send(connection, statement)


def record_fill(connection: Connection, rollup: Key) -> None:
    """Record that a rollup has to be filled."""
    identity = f"{sql.literal(FILL)}, {sql.literal(_spelled(rollup))}"
    sql.send(connection, CREATE_PENDING)
    sql.send(
        connection, f"INSERT INTO {PENDING} (kind, relation, state) VALUES ({identity}, '{{}}')"
    )


def forget_fill(connection: Connection, relation: str) -> None:
    """Delete that record once the rollup is filled."""
    for statement in forgotten(f"kind = '{FILL}' AND relation = {sql.literal(relation)}"):
        sql.send(connection, statement)


def _needed(kind: str) -> str:
    """The smallest edition that carries out operations of ``kind``."""
    return _NEEDED.get(kind, COMMUNITY)


_NEEDED: dict[str, str] = {
    kind.name: cast("type[TimeSeriesOperation[Any]]", kind.operation).requires
    for kind in KINDS
    if not kind.every_edition
}


def _spelled(key: Key) -> str:
    return ".".join(sql.ident(part) for part in key)
