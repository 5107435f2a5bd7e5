"""Rows that satisfy a schema, whatever it is: types, checks, keys and triggers, from the catalog.

A row is drawn, and inserted; the constraint that refuses it says which columns to draw anew. So a
new table has rows the day it appears, and nobody writes them.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import string
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ddl.sql import ident, literal
from tests.support.described_tables import Column, Described, Reference, named_references

ATTEMPTS = 1000
PARENTS_AT = (30, 90)
"""Draws after which each table that is referred to gets another row: one may not do for two."""

"""Draws for one row; a table that needs more has rules that no value here satisfies."""

Row = dict[str, str]
"""Column to an SQL expression without parameters; what is missing has its default."""


class NoRowError(Exception):
    """No row of a table was found that the server takes; the text says the table and why."""


@dataclass(frozen=True)
class Owner:
    """Whose rows: the tenant, and a mark that is in each text of them."""

    tenant: uuid.UUID
    mark: str


@dataclass
class Generator:
    """Draws rows of one owner after the other; keeps what the server took."""

    driver: psycopg.Connection[Any]
    """In autocommit mode."""
    tables: Sequence[Described]
    marked: Callable[[Described, Owner], Owner] = lambda _, owner: owner
    """Whose mark the rows of a table get that are made for an owner."""
    draws: random.Random = field(default_factory=lambda: random.Random(1))
    rows: dict[tuple[str, uuid.UUID], list[dict[str, Any]]] = field(default_factory=dict)
    """By table and tenant: the rows as they are stored, as text."""
    attempts: int = 0
    _deep: bool = False

    def store(self, table: Described, owner: Owner, number: int = 0) -> Row:
        """Insert a row that the server takes; returns what to insert it anew with.

        Raises NoRowError.
        """
        row, stored = self._taken(table, owner, number)
        self.rows.setdefault((table.name, owner.tenant), []).append(stored)
        return row

    def spare(self, table: Described, owner: Owner, number: int) -> Row:
        """A row that the server would take, if its key is not there already."""
        self.driver.execute("BEGIN; SAVEPOINT spare")
        try:
            row, _ = self._taken(table, owner, number, keep=False)
        finally:
            self.driver.execute("ROLLBACK")
        return row

    def _taken(
        self, table: Described, owner: Owner, number: int, *, keep: bool = True
    ) -> tuple[Row, dict[str, Any]]:
        there = None if number else self._made_by_triggers(table, owner)
        if there is not None and keep:
            return {}, there
        drawing = _Drawing(self, table, self.marked(table, owner), number, rich=keep)
        refused = ""
        for attempt in range(ATTEMPTS):
            self.attempts += 1
            if attempt in PARENTS_AT and not self._deep:
                self._more_parents(table, owner, keep=keep)
            row = dict(drawing.values)
            query = f"{insertion(table.name, row)} RETURNING {_as_text(table)}"
            try:
                [stored] = self.driver.execute(query.encode()).fetchone() or ({},)
            except psycopg.Error as error:
                refused = str(error).splitlines()[0]
                if not keep:
                    self.driver.execute("ROLLBACK TO SAVEPOINT spare")
                    repeated = isinstance(error, psycopg.errors.UniqueViolation)
                    if repeated and attempt > PARENTS_AT[-1]:
                        return row, {}
                drawing.again(error)
            else:
                return row, stored
        raise NoRowError(f"{table.name}: no row after {ATTEMPTS} draws; the last: {refused}")

    def _more_parents(self, table: Described, owner: Owner, *, keep: bool) -> None:
        """Store another row in each table that one refers to, outside of what is undone."""
        if not keep:
            self.driver.execute("ROLLBACK")
        self._deep = True
        for target in {one.target for one in table.references.values()} - {table.name}:
            there = self.rows.get((target, owner.tenant))
            parent = next(one for one in self.tables if one.name == target)
            if parent.key != ("tenant_id",) and there:
                with contextlib.suppress(NoRowError):
                    self.store(parent, owner, len(there) + 1)
        self._deep = False
        if not keep:
            self.driver.execute("BEGIN; SAVEPOINT spare")

    def _made_by_triggers(self, table: Described, owner: Owner) -> dict[str, Any] | None:
        """The row that storing another one has left in a table, such as an event of an alert."""
        if "tenant_id" not in table.names:
            return None
        query = (
            f"SELECT {_as_text(table)} FROM {table.name}"
            f" WHERE tenant_id::text = '{owner.tenant}' LIMIT 1"
        )
        found = self.driver.execute(query.encode()).fetchone()
        return found[0] if found else None


def _as_text(table: Described) -> str:
    """All values as text, in one column; a function takes a hundred arguments."""
    pairs = [f"{literal(one.name)}, {ident(one.name)}::text" for one in table.columns]
    parts = [pairs[first : first + 40] for first in range(0, len(pairs), 40)]
    return " || ".join(f"jsonb_build_object({', '.join(part)})" for part in parts)


def insertion(relation: str, row: Row) -> str:
    """The INSERT of a row, into its table or a view of it."""
    if not row:
        return f"INSERT INTO {relation} DEFAULT VALUES"
    names = ", ".join(map(ident, row))
    return f"INSERT INTO {relation} ({names}) VALUES ({', '.join(row.values())})"


class _Drawing:
    """The values of one row, drawn anew where the server refused them."""

    def __init__(
        self, to: Generator, table: Described, owner: Owner, number: int, *, rich: bool
    ) -> None:
        self.to, self.table, self.owner, self.number = to, table, owner, number
        self.by_name = {one.name: one for one in table.columns if not one.computed}
        self.values: Row = {}
        self.refusals: dict[str, int] = {}
        # A row that refers to one of its own table comes later; and a generated column follows.
        self.references = [
            one
            for one in table.references.values()
            if one.target != table.name and set(one.columns) <= self.by_name.keys()
        ]
        self.absent = {
            name
            for one in table.references.values()
            if one.target == table.name
            for name in one.columns
            if name in self.by_name and not self.by_name[name].not_null
        }
        for column in self.by_name.values():
            self._draw(column, rich=rich or column.not_null, without=not rich)
        if not table.references:
            self.references = list(named_references(table, to.tables))
        for reference in self.references:
            self._refer(reference, keep_null=not rich)

    def again(self, error: psycopg.Error) -> None:
        """Draw what an error names; where it names nothing, some of all."""
        named = error.diag.constraint_name or ""
        if self.table.references.get(named) in self.references:
            self._refer(self.table.references[named])
            return
        if named in self.table.rules and self.table.rules[named][0]:
            chosen = list(self.table.rules[named][0])
        elif error.diag.column_name in self.by_name:
            chosen = [str(error.diag.column_name)]
        else:
            chosen = [name for name in self.by_name if self.to.draws.random() < 0.2]
        if self._keep_one(named):
            return
        without = self.to.draws.random() < 0.25
        for name in chosen:
            if name in self.by_name:
                self._draw(self.by_name[name], without=without)
        for reference in self.references:
            if set(reference.columns) & set(chosen):
                self._refer(reference, keep_null=True)

    def _keep_one(self, rule: str) -> bool:
        """Of the columns of a CHECK that may be without a value, let one after the other have one.

        Which is first depends on the number of the row.
        """
        columns = self.table.rules.get(rule, ((), ""))[0]
        free = [name for name in columns if name in self.by_name and self._optional(name)]
        time = self.refusals[rule] = self.refusals.get(rule, -1) + 1
        if len(free) < 2 or time >= len(free):
            return False
        kept = free[(self.number + time) % len(free)]
        for name in free:
            if name != kept:
                self.values.pop(name, None)
            elif name not in self.values:
                self._draw(self.by_name[name], rich=True)
                for reference in self.references:
                    if name in reference.columns:
                        self._refer(reference)
        return True

    def _optional(self, name: str) -> bool:
        return not self.by_name[name].not_null and not self.by_name[name].has_default

    def _draw(self, column: Column, *, rich: bool = False, without: bool = False) -> None:
        """Draw a value: the first candidate if ``rich``, none ``without`` if that is allowed."""
        if column.name == "tenant_id" and column.type == "uuid":
            self.values["tenant_id"] = f"'{self.owner.tenant}'"
            return
        self.values.pop(column.name, None)
        if column.name in self.absent:
            return
        candidates = list(self._candidates(column))
        optional = not column.not_null or column.has_default
        if without and optional:
            return
        if rich and (column.type != "boolean" or not optional):
            self.values[column.name] = candidates[0]
        elif not optional or (not rich and self.to.draws.random() < 0.5):
            self.values[column.name] = self.to.draws.choice(candidates)

    def _refer(self, reference: Reference, *, keep_null: bool = False) -> None:
        """Refer to a row of the same owner, if there is one that agrees with the other values."""
        free = [name for name in reference.columns if name != "tenant_id"]
        absent = [name for name in free if name not in self.values]
        optional = any(not self.by_name[name].not_null for name in free)
        there = self.to.rows.get((reference.target, self.owner.tenant), [])
        if not free or (keep_null and absent and optional):
            return
        if not there or (optional and self.to.draws.random() < 0.1):
            for name in free:
                if not self.by_name[name].not_null:
                    self.values.pop(name, None)
            return
        target = self.to.draws.choice(there)
        for name, other in zip(reference.columns, reference.target_columns, strict=True):
            if name == "tenant_id" and self.by_name[name].type == "uuid":
                continue
            value = target[other]
            if value is None:
                self.values.pop(name, None)
            else:
                self.values[name] = f"{literal(value)}::{self.by_name[name].type}"

    def _candidates(self, column: Column) -> Iterator[str]:
        """Values of the type, the first of them with the owner's mark; then what CHECKs name."""
        kind, unit = column.type, self.to.draws.randrange(1, 1000)
        mark = f"{self.owner.mark}{self.number or ''}"
        checks = [text for on, text in self.table.rules.values() if column.name in on]
        if kind.endswith("[]"):
            yield f"ARRAY[{literal(mark)}]::text[]" if kind == "text[]" else f"'{{}}'::{kind}"
            for text in checks:
                for inner in re.findall(r"ARRAY\[([^\]]*)\]", text):
                    yield f"ARRAY[{inner.split(', ')[0]}]::{kind}"
            yield f"'{{}}'::{kind}"
        elif kind in _TEXTS:
            named = [
                value for text in checks for value in re.findall(r"'((?:[^']|'')*)'::text", text)
            ]
            patterns = [
                v for text in checks for v in re.findall(r"\s~ '((?:[^']|'')*)'::text", text)
            ]
            # A word of a list before any text; the text that a CHECK denies is '' in general.
            listed = [value for value in named if value and value not in patterns]
            yield literal(mark)
            yield literal(f"{mark}-{unit}")
            yield literal(self.owner.mark)
            yield from (literal(value) for value in listed)
            for pattern in patterns:
                yield from (literal(v) for v in matching(pattern, self.owner.mark, self.number))
            yield literal(f"{mark}@example.com")
            yield from (literal(value) for value in ("UTC", "GB", f"https://{mark}.example.com"))
        elif kind in ("jsonb", "json"):
            yield f"{literal(json.dumps({mark: 1, 'x': 1}))}::{kind}"
            yield f"{literal(json.dumps([mark]))}::{kind}"
            yield f"'{{}}'::{kind}"
        else:
            yield from self._plain(column, mark, unit, checks)

    def _plain(self, column: Column, mark: str, unit: int, checks: Sequence[str]) -> Iterator[str]:
        kind = column.type
        if kind in ("integer", "bigint", "smallint", "numeric", "double precision", "real"):
            yield str(self.owner.tenant.int % 0x100 if self.number == 0 else self.number + 1)
            yield from ("1", "0", "2", "10", "60", "3600", str(unit))
            for text in checks:
                yield from re.findall(r"(?<![\w.'])\d+(?![\w.])", text)
        elif kind == "uuid":
            for number in (self.number, unit):
                named = f"{self.table.name} {column.name} {number}"
                yield f"'{uuid.uuid5(self.owner.tenant, named)}'"
        elif kind == "boolean":
            yield from ("true", "false")
        elif kind.startswith("timestamp"):
            # Of one day, at any time of day: so a chunk has rows of each tenant.
            day = "date_trunc('day', now(), 'UTC') - interval '2 days'"
            for ago in (0, -1, 1, unit % 20, -unit % 20):
                yield f"{day} + interval '{(12 - ago) % 24} h'"
        elif kind == "date":
            yield from (
                "current_date",
                "date_trunc('month', now())::date",
                f"current_date - {unit}",
            )
        elif kind.startswith("time"):
            yield from ("'12:00'", "'08:00'")
        elif kind == "interval":
            yield from ("interval '1 day'", "interval '1 hour'")
        elif kind == "bytea":
            yield f"convert_to({literal(f'{mark} {unit}')}, 'utf8')"
            for text in checks:
                for size in re.findall(r"(?<![\w.'])\d+(?![\w.])", text):
                    yield f"convert_to(rpad({literal(mark)}, {size}, '.'), 'utf8')"
        elif kind in ("inet", "cidr"):
            yield f"'10.0.{unit % 250}.1'"
        elif kind == "tsvector":
            yield f"to_tsvector('simple', {literal(mark)})"
        else:
            raise NoRowError(f"{self.table.name}.{column.name}: no values of type {kind}")


_TEXTS = ("text", "character varying", "character", "name", "citext")


@cache
def matching(pattern: str, mark: str, number: int) -> tuple[str, ...]:
    """Texts that a regular expression of a CHECK takes; others for each mark and number."""
    found: list[str] = []

    @seed(zlib.crc32(f"{pattern} {mark} {number}".encode()))
    @settings(
        max_examples=8,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True, alphabet=_PRINTABLE))
    def draw(value: str) -> None:
        if value and len(value) < 100:
            found.append(value)

    draw()
    return tuple(dict.fromkeys(found))


_PRINTABLE = st.sampled_from(string.ascii_letters + string.digits + "-_.:/#+@ ")
