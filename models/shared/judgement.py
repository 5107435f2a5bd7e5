"""Which rows of a series are stored, and the reasons against those that are not.

One declaration for both ways in: ``ingest()`` judges by it before it sends, the views of schema
``ingest`` in the database. What follows from columns, keys and CHECK constraints is not declared
again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import CheckConstraint, Column, Table
from sqlalchemy.dialects import postgresql

from ddl import Declared, sql
from ddl.kinds.function import FunctionState
from models.shared.constraints import (
    DOUBLES,
    MAX_NAME,
    json_object,
    not_ahead,
    not_empty,
    written_in_series,
)

UNKNOWN_TENANT = "unknown_tenant"
BAD_TIME = "bad_ts"
"""Whatever the column is called."""
FUTURE = "future_ts"
EXPIRED = "expired_ts"
REFUSED = "rejected_by_database"
"""The reason where a constraint concerns several fields, or no model knows it."""
KEY_HELD = "key_held"
"""The reason where an open transaction has written the key; the views wait instead."""

MAX_AHEAD_DAYS = 1
"""How far in the future a moment may lie; the CHECK of `not_ahead` says the same."""

TAKEN_TENANT = "t.status <> 'deleted'"
"""Of which tenants rows are taken."""

MAX_DOCUMENT = 65_536
"""Characters of other text, and of JSON, written without spaces."""

READABLE = "(at >= timestamptz '0001-01-01 00:00+00' and at < '10000-01-01 00:00+00')"
"""The moments that every client can read: neither infinity nor years before 1 or after 9999."""


def bad(field: str) -> str:
    """The reason against a row whose field has no such value."""
    return f"bad_{field}"


@dataclass(frozen=True)
class Expected:
    """What a field of a series takes, as far as its column does not say it.

    Attributes:
        field: as records name it.
        columns: which of them it fills; that of its name unless given.
        longest: characters of its text.
        required: of JSON: whether there must be an object; otherwise none is an empty one.
        named: of JSON: whether no value in it may have the name "".
        too_large: the reason against what is too long, if it has one of its own.
    """

    field: str
    columns: tuple[str, ...] = ()
    longest: int | None = None
    required: bool = False
    named: bool = False
    too_large: str | None = None


@dataclass(frozen=True)
class Registered:
    """What a column of a series names must be there in a table of the same tenant.

    Attributes:
        column: of the series.
        table: in schema ``public``.
        key: the column of the table; the same name unless given.
        only: which rows of the table, called ``r``, count.
        brings: a column of the table; what it holds stands for a column of that name in the
            series, where a row has none.
    """

    column: str
    table: str
    key: str = ""
    only: str = ""
    brings: str | None = None

    @property
    def found_by(self) -> str:
        """The column of the table."""
        return self.key or self.column

    @property
    def unknown(self) -> str:
        """The reason why a row is rejected that names what is not there."""
        return f"unknown_{self.column.removesuffix('_id')}"

    def rows(self, shown: str = "") -> str:
        """A query for what the row ``new`` names."""
        only = f" and {self.only}" if self.only else ""
        return (
            f"select {shown}{' ' if shown else ''}from public.{sql.ident(self.table)} r\n{'':20}"
            f"where r.tenant_id = new.tenant_id and r.{sql.ident(self.found_by)} = "
            f"new.{sql.quoted(self.column)}{only}"
        )


def fields(
    table: Table, time_column: str, expected: Sequence[Expected], leave: Sequence[str] = ()
) -> dict[str, Expected]:
    """Field to what it takes, in the order in which both ways in judge them.

    Args:
        leave: columns that are judged otherwise, or not at all.
    """
    of_column = {name: one for one in expected for name in one.columns or (one.field,)}
    found: dict[str, Expected] = {}
    for column in table.columns:
        if column.name not in ("tenant_id", time_column, *leave) and not column.computed:
            one = of_column.get(column.name, Expected(column.name))
            found.setdefault(one.field, one)
    return found


def checks(table: Table, expected: Sequence[Expected]) -> dict[str, tuple[str, str]]:
    """Name of a CHECK constraint to its condition, and to the field that it is about, or ``""``.

    Without those that call functions of ours, which are only found by a search_path.
    """
    field_of = {name: one.field for one in expected for name in one.columns or (one.field,)}
    ours = {one.name for one in Declared.on(table.metadata).of(FunctionState).values()}
    found = {}
    for constraint in sorted(table.constraints, key=lambda one: str(one.name)):
        if isinstance(constraint, CheckConstraint):
            condition = str(constraint.sqltext)
            if sql.calls(condition) & ours:
                continue
            named = {
                field_of.get(one, one) for one in sql.words(condition) & {*table.columns.keys()}
            }
            found[str(constraint.name)] = condition, named.pop() if len(named) == 1 else ""
    return found


def refusals(table: Table, time_column: str, expected: Sequence[Expected]) -> Mapping[str, str]:
    """Name of a CHECK constraint to the reason against rows that it refuses."""
    return {
        name: _against(field, time_column) for name, (_, field) in checks(table, expected).items()
    }


def _beyond(
    table: Table, time_column: str, registered: Sequence[Registered], expected: Sequence[Expected]
) -> dict[str, tuple[str, str]]:
    """Those `checks` that say more than what is judged of all fields anyway."""
    known = [not_ahead(time_column), *(not_empty(one.column) for one in registered)]
    known += [json_object(name) for name in _objects(table, time_column, expected)]
    known += [written_in_series(one.name) for one in table.columns if _is_json(one)]
    implied = {str(one.sqltext) for one in known}
    return {
        name: check for name, check in checks(table, expected).items() if check[0] not in implied
    }


def reason(
    table: Table,
    names: Sequence[str],
    time_column: str,
    kept: str,
    registered: Sequence[Registered],
    expected: Sequence[Expected],
    leave: Sequence[str],
) -> str:
    """A query, in a trigger, for the reason against the row ``new``; NULL if there is none.

    Args:
        names: the columns of the row.
        kept: how long the series keeps rows.
        leave: columns that are not judged.
    """
    conditions = _beyond(table, time_column, registered, expected)
    cases: list[tuple[str, str]] = []
    tenant = "NULL"
    if "tenant_id" in table.columns:
        tenant = "new.tenant_id"
        cases.append(("new.tenant_id is null", bad("tenant_id")))
        known = f"select from public.tenants t where t.tenant_id = new.tenant_id and {TAKEN_TENANT}"
        cases.append((f"not exists ({known})", UNKNOWN_TENANT))
    for one in registered:
        cases.append((_no_name(table.columns[one.column]), bad(one.column)))
        cases += _checked(conditions, one.column, bad(one.column))
        cases.append((f"not exists ({one.rows()})", one.unknown))
    time = (
        f"public.reason_against({sql.literal(table.name)}, '{kept}', {tenant}, {_new(time_column)})"
    )
    misplaced = f"{time} is not null"
    cases.append((misplaced, time))
    cases += _checked(conditions, time_column, BAD_TIME)
    apart = [*leave, *(one.column for one in registered)]
    apart += [one.name for one in table.columns if one.name not in names]
    for field, what in fields(table, time_column, expected, apart).items():
        for column in (table.columns[name] for name in what.columns or (field,)):
            cases += _unfit(column, what)
        cases += _checked(conditions, field, bad(field))
    cases += _checked(conditions, "", REFUSED)
    listed = f"\n{'':17}".join(
        f"when {condition} then {then if then is time else sql.literal(then)}"
        for condition, then in cases
    )
    # Under the names that the constraints have.
    named = frozenset[str]().union(*(sql.words(text) for text, _ in conditions.values()))
    row = ", ".join(f"{_new(name)} as {sql.ident(name)}" for name in names if name in named)
    source = f" from (select {row}) as r" if row else ""
    return f"select case {listed} end\n{'':12}into reason{source}"


def completed(table: Table, time_column: str, expected: Sequence[Expected]) -> Iterator[str]:
    """Assignments in a trigger that give ``new`` an empty object where JSON is left out."""
    for name, what in _objects(table, time_column, expected).items():
        if not table.columns[name].nullable and not what.required:
            yield f"{_new(name)} := coalesce({_new(name)}, '{{}}');"


def _objects(table: Table, time_column: str, expected: Sequence[Expected]) -> dict[str, Expected]:
    """The columns of JSON that each are a field, which takes objects only."""
    return {
        name: one
        for name, one in fields(table, time_column, expected).items()
        if not one.columns and _is_json(table.columns[name])
    }


def longest(column: Column[object], what: Expected) -> int:
    """How many characters the text in a column may have."""
    return what.longest or (MAX_NAME if column.primary_key else MAX_DOCUMENT)


def _against(field: str, time_column: str) -> str:
    if not field:
        return REFUSED
    return BAD_TIME if field == time_column else bad(field)


def _checked(
    conditions: Mapping[str, tuple[str, str]], field: str, against: str
) -> list[tuple[str, str]]:
    return [(f"not ({text})", against) for text, of in conditions.values() if of == field]


def _no_name(column: Column[object]) -> str:
    """Whether what names something registered cannot be a name."""
    name = _new(column.name)
    if not _is_text(column):
        return f"{name} is null"
    return f"{name} is null or length({name}) not between 1 and {MAX_NAME}"


def _unfit(column: Column[object], what: Expected) -> Iterator[tuple[str, str]]:
    """Conditions of a column against its value, each with the reason."""
    name, against = _new(column.name), bad(what.field)
    if not column.nullable:
        yield f"{name} is null", against
    if _is_text(column):
        yield f"length({name}) > {longest(column, what)}", what.too_large or against
    if _is_json(column):
        yield f"not ({DOUBLES.format(name)})", against
        if not what.columns:
            yield f"jsonb_typeof({name}) <> 'object'", against
        if what.named:
            yield f"{name} ? ''", against
        # Texts as they are, separators without the space that the server writes after them.
        bare = rf"""regexp_replace({name}::text, '("(?:[^"\\]|\\.)*")|([:,]) ', '\1\2', 'g')"""
        too_long = f"length({name}::text) > {MAX_DOCUMENT} and length({bare}) > {MAX_DOCUMENT}"
        yield too_long, what.too_large or against


def _is_text(column: Column[object]) -> bool:
    return column.type.compile(postgresql.dialect()) == "TEXT"  # type: ignore[no-untyped-call]


def _is_json(column: Column[object]) -> bool:
    return isinstance(column.type, postgresql.JSONB)


def _new(column: str) -> str:
    return f"new.{sql.quoted(column)}"
