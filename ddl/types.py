"""Types that models may not use, and types by their SQL where a revision cannot import them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Column, MetaData
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.named_types import NamedType
from sqlalchemy.exc import ArgumentError, CompileError
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from ddl import source, sql


class SqlType(UserDefinedType[Any]):
    """A type that is nothing but its SQL: ``ltree``, ``ext.citext``."""

    cache_ok = True

    def __init__(self, text: str) -> None:
        self.text = text

    def get_col_spec(self, **_: Any) -> str:
        """The SQL."""
        return self.text


_SERIAL = {"smallint": "smallserial", "integer": "serial", "bigint": "bigserial"}


def serial(column: Column[Any], spelling: str) -> Column[Any]:
    """``column`` with a sequence of its own, as ADD COLUMN makes one; ``spelling`` is its type."""
    if spelling not in _SERIAL:  # no other has a name for that
        return column
    copy = column._copy()
    copy.type = SqlType(_SERIAL[spelling])
    return copy


def is_serial(column: Column[Any]) -> bool:
    """True where :func:`serial` made it."""
    return isinstance(column.type, SqlType) and column.type.text in _SERIAL.values()


@Operations.register_operation("sql_type")
class SqlTypeDirective:
    """``op.sql_type("ext.citext")``, so that revisions import no type of a project."""

    @classmethod
    def sql_type(cls, operations: Operations, text: str) -> SqlType:  # noqa: ARG003
        """A type for ``sa.Column`` and the like."""
        return SqlType(text)


def found_by_revisions(column: Column[Any], spelling: str) -> Column[Any]:
    """``column`` with a type that revisions find, whose search_path is public alone.

    Args:
        spelling: the server's, with the schema of the type.
    """
    match = re.match(rf"({sql.IDENT})\.", spelling)
    if match is None or sql.unquoted(match[1]) == sql.DEFAULT_SCHEMA:
        return column
    if sql.compiled(column.type).startswith((f"{match[1]}.", f'"{match[1]}".')):
        return column
    copy = column._copy()
    copy.type = SqlType(spelling)
    return copy


def is_told_by_sql(type_: TypeEngine[Any]) -> bool:
    """True for a type that a revision must not import, or whose ``repr`` leaves something out."""
    if not type(type_).__module__.startswith("sqlalchemy."):
        return True
    return isinstance(type_, sa.Interval) and type_.second_precision is not None


def check_types(metadata: MetaData) -> None:
    """Reject native enums and domains: PostgreSQL cannot change them as it changes tables.

    And what not every server has.

    Raises:
        sqlalchemy.exc.ArgumentError: a line for each column, with what to write.
    """
    found = [
        refusal
        for table in metadata.tables.values()
        for column in table.columns
        for refusal in _refusals(column)
    ]
    if found:
        raise ArgumentError("\n".join(found))


def _refusals(column: Column[Any]) -> Iterator[str]:
    name, optional = column.name, " | None" if column.nullable else ""
    where = f"column {column.table.fullname}.{name}"
    if column.computed is not None and not column.computed.persisted:
        yield (
            f"{where} is generated when it is read, which PostgreSQL has from version 18 on, and"
            " revisions run on all; write Computed(…, persisted=True)"
        )
    try:
        type_, is_array = _behind(column.type)
        sql.compiled(column.type)
    except CompileError:
        yield (
            f"{where}: expected a type of PostgreSQL, found {column.type!r}; write one of"
            " sqlalchemy or sqlalchemy.dialects.postgresql, such as Text"
        )
        return
    if not isinstance(type_, NamedType):
        return
    if isinstance(type_, postgresql.ENUM):
        values = ", ".join(source.string(value) for value in type_.enums)
        if is_array:
            listed = ", ".join(sql.literal(value) for value in type_.enums)
            annotation = f"list[str]{optional}"
            check = _check(f"{sql.ident(name)} <@ ARRAY[{listed}]", name)
        else:
            annotation = f"str{optional}"
            comma = "," if len(type_.enums) == 1 else ""
            check = f"one_of({source.string(name)}, ({values}{comma}))"
        yield (
            f"{where} is a native enum, {type_.name}: PostgreSQL can take no value from it, and its"
            f" comparison keeps row-level security from using an index; write"
            f" {column.key}: Mapped[{annotation}], and in __table_args__ {check}"
        )
    elif isinstance(type_, postgresql.DOMAIN):
        base = type_.data_type.compile(dialect=sql.DIALECT)
        check = "its CHECK"
        if type_.check is not None:
            text = sql.compiled(type_.check)
            check = _check(re.sub(r"\bvalue\b", sql.ident(name), text, flags=re.I), name)
        yield (
            f"{where} is of the domain {type_.name}, which revisions do not evolve; give the column"
            f" its type, {base}, and write in __table_args__ {check}"
        )


def _check(condition: str, name: str) -> str:
    return f"CheckConstraint({source.string(condition)}, name={source.string(name)})"


def _behind(type_: TypeEngine[Any]) -> tuple[TypeEngine[Any], bool]:
    """What PostgreSQL gets to see of a type: (the type of a value or element, is it an array)."""
    is_array = False
    while True:
        if isinstance(type_, TypeDecorator):
            type_ = type_.type_engine(sql.DIALECT)
        elif isinstance(type_, sa.ARRAY):
            type_, is_array = type_.item_type, True
        else:
            return type_.dialect_impl(sql.DIALECT), is_array
