"""Constraints of many tables, and foreign keys between tenant tables."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Table
from sqlalchemy.dialects.postgresql import JSONB

from ddl import sql


def tenant_reference(
    columns: str | Sequence[str],
    table: str,
    target: str | Sequence[str] | None = None,
    *,
    on_delete: str = "no action",
) -> ForeignKeyConstraint:
    """A foreign key between tenant tables, which always includes tenant_id.

    PostgreSQL checks foreign keys without row-level security, so without tenant_id a tenant could
    refer to the rows of another.

    Args:
        columns: the referring columns besides tenant_id.
        target: the referenced columns besides tenant_id, if their names differ.
        on_delete: ``no action``, ``cascade`` or ``set null`` (tenant_id is kept).
    """
    own = [columns] if isinstance(columns, str) else list(columns)
    other = [target] if isinstance(target, str) else list(target or own)
    action = (
        f"SET NULL ({', '.join(map(sql.ident, own))})"
        if on_delete == "set null"
        else on_delete.upper()
    )
    return ForeignKeyConstraint(
        ["tenant_id", *own],
        [f"{table}.tenant_id", *(f"{table}.{column}" for column in other)],
        ondelete=None if action == "NO ACTION" else action,
    )


def one_of(column: str, values: Sequence[str], name: str | None = None) -> CheckConstraint:
    """A CHECK that limits a text column to a list of values.

    Operators of native enums are not leakproof, so row-level security would prevent the use of an
    index.
    """
    listed = ", ".join(map(sql.literal, values))
    return _check(f"{sql.ident(column)} IN ({listed})", name or column)


def not_empty(column: str) -> CheckConstraint:
    """A CHECK that rejects the empty string."""
    return _check(f"{sql.ident(column)} <> ''", f"{column}_not_empty")


def short(column: str) -> CheckConstraint:
    """A CHECK that rejects names too long for an index of several, such as that of a rollup.

    One row with such a name would stop what builds the index, for all tenants. As of `not_ahead`,
    rows from before the CHECK stay.
    """
    return CheckConstraint(
        f"length({sql.ident(column)}) <= {MAX_NAME}",
        name=f"{column}_short",
        postgresql_not_valid=True,
    )


MAX_NAME = 255
"""Characters of the id of a device, for example; up to four bytes each."""


def json_object(column: str) -> CheckConstraint:
    """A CHECK that accepts JSON objects only."""
    return _check(f"jsonb_typeof({sql.ident(column)}) = 'object'", f"{column}_object")


def json_array(column: str) -> CheckConstraint:
    """A CHECK that accepts JSON arrays only."""
    return _check(f"jsonb_typeof({sql.ident(column)}) = 'array'", f"{column}_array")


def json_value(column: str) -> CheckConstraint:
    """A CHECK that rejects JSON null, for which SQL has NULL."""
    return _check(f"jsonb_typeof({sql.ident(column)}) <> 'null'", f"{column}_value")


def not_ahead(column: str) -> CheckConstraint:
    """A CHECK that rejects moments more than a day ahead, whoever writes.

    A clock further ahead is wrong, and each such day would cost a chunk of its own. What passes
    once passes for ever, so a dump can be restored; that is why there is no such CHECK of rows
    older than the retention, which tenant views refuse. Rows from before the CHECK stay.
    """
    return CheckConstraint(
        f"{sql.ident(column)} <= now() + interval '1 day'",
        name=f"{column}_not_ahead",
        postgresql_not_valid=True,
    )


def happened(column: str) -> CheckConstraint:
    """A CHECK of a column of a state, which rejects infinity and moments more than a day ahead.

    What never becomes old would never be told from what is new. As of `not_ahead`, rows from before
    the CHECK stay.
    """
    name = sql.ident(column)
    return CheckConstraint(
        f"isfinite({name}) AND {name} <= now() + interval '1 day'",
        name=f"{column}_happened",
        postgresql_not_valid=True,
    )


def seconds_each(column: str) -> CheckConstraint:
    """A CHECK of an object of moments, in seconds since 1970, each of which to_timestamp() takes.

    NULL is a moment that is not known. As of `not_ahead`, rows from before the CHECK stay.
    """
    odd = 'strict $.* ? (@ != null && @.type() != "number" || @ < -1e11 || @ > 1e11)'
    return CheckConstraint(
        f"NOT jsonb_path_exists({sql.ident(column)}, '{odd}')",
        name=f"{column}_seconds",
        postgresql_not_valid=True,
    )


READABLE = "{0} >= timestamptz '0001-01-02 00:00+00' AND {0} < '9999-12-31 00:00+00'"
"""The moments that every client reads in every time zone, and with which the server computes."""


def readable(column: str) -> CheckConstraint:
    """A CHECK that rejects infinity and moments too early or late for clients of the server.

    One such moment would make a worker fail that reads the rows of all tenants.
    """
    return CheckConstraint(
        READABLE.format(sql.ident(column)), name=f"{column}_readable", postgresql_not_valid=True
    )


DOUBLES = (
    "NOT jsonb_path_exists({0}, "
    "'strict $.** ? (@.type() == \"number\" && (exists(@.double())) is unknown)')"
)
"""That JSON has no number beyond double precision, of which the server writes up to 131,072 digits.

It stores them in a few bytes.
"""

MAX_TEXT = 16_777_216
"""Bytes of JSON that a column has, written out. A row with 1 GB cannot be dumped."""

MAX_ROW = 524_288
"""Bytes of text and JSON in a row of a series: the columnstore takes a thousand rows at once."""

SHORTEST = 308
"""Bytes of JSON without room for a number beyond double precision."""


def readable_json(column: str, most: int = 65_536) -> CheckConstraint:
    """A CHECK that rejects JSON at which a client or the server fails: see `readable`.

    Numbers beyond double precision (Python reads integers of up to 4,300 digits), more than 100
    levels, or more than ``most`` characters.
    """
    name = sql.ident(column)
    return _check(
        f"{DOUBLES.format(name)}"
        f" AND NOT jsonb_path_exists({name}, 'strict $.**{{101 to last}}')"
        f" AND length(CAST({name} AS text)) <= {most}",
        f"{column}_readable",
        later=True,
        bounds=column,
    )


def written_out(column: str) -> CheckConstraint:
    """A CHECK that rejects JSON which the server can store, but not write out: no dump has its row.

    Every column of JSON has it, unless the model gives it `readable_json`.
    """
    name = sql.ident(column)
    return _check(
        f"{DOUBLES.format(name)} AND octet_length(CAST({name} AS text)) <= {MAX_TEXT}",
        f"{column}_written_out",
        later=True,
    )


def written_in_series(column: str) -> CheckConstraint:
    """The same for a hypertable, each row of which it may cost little.

    What judges rows before has the numbers; less than `MAX_ROW` bytes are dumped whatever they are.
    """
    size = f"octet_length(CAST({sql.ident(column)} AS text))"
    return _check(f"{size} <= {MAX_ROW}", f"{column}_written_out", later=True)


def of_json(table: Table, *, series: bool) -> list[CheckConstraint]:
    """The CHECKs of the columns of JSON that have none yet which bounds what is written out."""
    bound = {one.info.get("bounds") for one in table.constraints}
    check = written_in_series if series else written_out
    return [
        check(column.name)
        for column in table.columns
        if isinstance(column.type, JSONB) and column.name not in bound
    ]


def bounded(column: str, most: int = 65_536) -> CheckConstraint:
    """A CHECK that rejects text of more characters, of which workers of all tenants read many."""
    return _check(f"length({sql.ident(column)}) <= {most}", f"{column}_bounded", later=True)


def _check(
    condition: str, name: str, *, later: bool = False, bounds: str | None = None
) -> CheckConstraint:
    info = {} if bounds is None else {"bounds": bounds}
    return CheckConstraint(sql.escaped(condition), name=name, postgresql_not_valid=later, info=info)
