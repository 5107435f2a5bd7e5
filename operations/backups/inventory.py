"""What is in a database, in a form that can be compared with what is in its copy.

Rows by number and checksum, definitions as the server spells them, privileges, and what TimescaleDB
keeps: hypertables, columnstore, rollups, chunks, jobs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl.edition import POSTGRESQL, detect
from ddl.sql import escaped, ident, send
from operations.backups.inventory_sql import DEFINITIONS, RELATIONS, SEQUENCES, TIMESCALEDB

Inventory = dict[str, dict[str, str]]
"""Section to name to what is compared; a section for each kind of object."""

ROWS = "rows"
SEQUENCE_VALUES = "sequence values"
DATA = (ROWS, SEQUENCE_VALUES, "extension", *TIMESCALEDB)
"""Sections that are the same on a server of another major version, which spells definitions its own
way."""

# Text of rows depends on these; workers that divide chunks lose rows; and of a role from which a
# policy hides rows, an error is better than a part of them.
_SESSION = """
SET LOCAL search_path = pg_catalog; SET LOCAL "TimeZone" = 'UTC';
SET LOCAL "DateStyle" = 'ISO, YMD'; SET LOCAL "IntervalStyle" = 'postgres';
SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1;
SET LOCAL statement_timeout = 0; SET LOCAL max_parallel_workers_per_gather = 0
"""


@dataclass(frozen=True)
class Relation:
    """A relation with rows: a table, a hypertable, a rollup, a materialized view."""

    name: str
    """As statements have it."""
    stored_in: str
    """What is read: of a rollup, what is materialized."""


def prepare(connection: Connection) -> None:
    """Settings of a transaction in which an inventory is read."""
    send(connection, _SESSION)


def relations(connection: Connection) -> list[Relation]:
    """All relations with rows of their own but chunks and what belongs to an extension."""
    rollups = detect(connection) != POSTGRESQL
    query = sa.text(RELATIONS[rollups])
    return [
        Relation(_full(row.schema, row.name), _full(row.stored_schema, row.stored_name))
        for row in connection.execute(query)
    ]


def _full(schema: str, name: str) -> str:
    return f"{ident(schema)}.{ident(name)}"


def read(
    connection: Connection,
    sequences: dict[str, str],
    *,
    checksums: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Inventory:
    """The whole inventory, in the transaction of the connection, after `prepare`.

    Args:
        sequences: from `sequence_values`.
        checksums: of rows, beside their number.
        progress: gets each relation when its rows have been read.
    """
    found: Inventory = {SEQUENCE_VALUES: sequences, ROWS: {}}
    sections = dict(DEFINITIONS)
    if detect(connection) != POSTGRESQL:
        sections |= TIMESCALEDB
    for section, query in sections.items():
        found[section] = {
            name: _plain(text) for name, text in connection.execute(sa.text(escaped(query)))
        }
    for one in relations(connection):
        found[ROWS][one.name] = _rows(connection, one, checksums=checksums)
        progress(one.name)
    return found


def sequence_values(connection: Connection) -> dict[str, str]:
    """Values are of no snapshot, so they are read before a dump: it has these or later ones."""
    found = {}
    for schema, name in connection.execute(sa.text(SEQUENCES)):
        sequence = _full(schema, name)
        value = "last_value::text || CASE WHEN is_called THEN '' ELSE '?' END"
        query = f"SELECT {value} FROM {sequence}"
        found[sequence] = str(connection.scalar(sa.text(escaped(query))))
    return found


_ROW = ident("row of the inventory")
"""Not the name of a column, which would come first."""


def _rows(connection: Connection, one: Relation, *, checksums: bool) -> str:
    checksum = f", sum(pg_catalog.hashtextextended({_ROW}::text, 0))" if checksums else ""
    query = f"SELECT count(*){checksum} FROM {one.stored_in} AS {_ROW}"
    number, *sums = connection.execute(sa.text(escaped(query))).one()
    return " ".join([f"{number} rows", *(f"checksum {total or 0}" for total in sums)])


def _plain(text: str | None) -> str:
    """Without brackets and spaces, which a server that reads a dump sets anew.

    `(a AND b) AND c` comes back as `a AND b AND c`. What the brackets meant is for `alembic check`.
    """
    return re.sub(r"[()\s]+", " ", text or "").strip()


@dataclass(frozen=True)
class Deviation:
    """Something of an inventory that another does not have the same."""

    section: str
    name: str
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        expected = self.expected if self.expected is not None else "none"
        found = self.found if self.found is not None else "none"
        return f"{self.section}: {self.name}: expected {expected}, found {found}"


def compare(expected: Inventory, found: Inventory, *, same_version: bool) -> list[Deviation]:
    """What differs.

    Args:
        same_version: whether both servers spell definitions alike; else `DATA` alone is compared.
    """
    deviations = []
    for section in sorted(expected.keys() | found.keys()):
        if not same_version and section not in DATA:
            continue
        left, right = expected.get(section, {}), found.get(section, {})
        for name in sorted(left.keys() | right.keys()):
            one, other = left.get(name), right.get(name)
            if section == SEQUENCE_VALUES and one and other and _later(one, other):
                continue
            if section == ROWS and one and other and "checksum" not in one:
                other = other.split(" checksum ")[0]
            if one != other:
                deviations.append(Deviation(section, name, one, other))
    return deviations


def _later(one: str, other: str) -> bool:
    """Whether a sequence has gone on; `5?` has not given 5 yet."""

    def value(text: str) -> tuple[int, bool]:
        return int(text.removesuffix("?")), not text.endswith("?")

    return value(other) >= value(one)
