"""Names that PostgreSQL would cut, that are its own, or that it would take for another's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import MetaData, PrimaryKeyConstraint, Table
from sqlalchemy.exc import ArgumentError, IdentifierError

from ddl import sql
from ddl.base import Declared, Key, State
from ddl.kinds.function import FunctionState
from ddl.kinds.grant import GrantState
from ddl.kinds.policy import PolicyState
from ddl.kinds.setting import SettingState
from ddl.kinds.trigger import TriggerState
from ddl.privileges import NOUNS

LIMIT = 63

SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
"""PostgreSQL has a column of each of these names in every table."""


def check_names(metadata: MetaData) -> None:
    """Reject a name that the server would cut, has itself, or would take for something else.

    Raises:
        sqlalchemy.exc.ArgumentError: names the object, and what is wrong with its name.
    """
    # SQLAlchemy has no public list of sequences.
    for sequence in metadata._sequences.values():
        _check(f"sequence {sequence.name}", sequence.schema, sequence.name)
    for table in metadata.tables.values():
        for title, name in _of_table(table):
            _check(title, name)
        _check_named(table)
        noun, _, rest = table.name.partition(" ")
        if noun in NOUNS and rest:
            raise ArgumentError(
                f"table {table.name}: GRANT would take this for a {noun}; give it another name"
            )
    for states in Declared.on(metadata).states.values():
        for state in states.values():
            _check(state.title(), *_of_state(state))
    _check_columns(metadata)


def _check_columns(metadata: MetaData) -> None:
    """A function of a row, ``area(sites)``, may be written ``sites.area``, unless that is a column.

    Whoever wrote it that way would read the column from then on, without an error.
    """
    functions: dict[tuple[Key, str], FunctionState] = {}
    for state in Declared.on(metadata).of(FunctionState).values():
        parts = [sql.unquoted(part) for part in re.findall(sql.IDENT, state.declared_as[2])]
        schema = parts[0] if len(parts) > 1 else sql.DEFAULT_SCHEMA
        if parts:
            functions[(schema, parts[-1]), state.name] = state
    for table in metadata.tables.values():
        for column in table.columns:
            title = f"column {table.fullname}.{column.name}"
            if column.name in SYSTEM_COLUMNS:
                raise ArgumentError(
                    f"{title}: PostgreSQL has a column {column.name} in every table; write another"
                    " name"
                )
            key = (table.schema or sql.DEFAULT_SCHEMA, table.name)
            function = functions.get((key, column.name))
            if function is not None:
                raise ArgumentError(
                    f"{title}: {table.name}.{column.name} is also how the function"
                    f" {function.name}({function.arguments}) is called for a row, which the column"
                    " would hide; give one of them another name"
                )


def _check_named(table: Table) -> None:
    """What no naming convention gives a name has none by which it could be compared."""
    for constraint in table.constraints:
        if constraint.name is None and not isinstance(constraint, PrimaryKeyConstraint):
            raise ArgumentError(
                f"{type(constraint).__name__} of table {table.fullname}: it has no name, and no"
                " naming convention gives it one; write name=…"
            )


def _of_table(table: Table) -> Iterator[tuple[str, str | None]]:
    title = f"table {table.fullname}"
    yield title, table.schema
    yield title, table.name
    for column in table.columns:
        yield f"column {table.fullname}.{column.name}", column.name
    listed: list[Any] = [*table.constraints, *table.indexes]
    listed += [constraint for column in table.columns for constraint in column.constraints]
    for one in (one for one in listed if one.name is not None):
        try:
            name = sql.constraint_name(one)
        except IdentifierError:  # SQLAlchemy refuses it, too, but counts characters
            name = str(one.name)
        yield f"{type(one).__name__} {name} of {title}", name


def _of_state(state: State) -> Iterator[str | None]:
    if isinstance(state, GrantState):
        for held in state.privileges:
            yield from (held.role, held.column)
        return
    if isinstance(state, SettingState):
        # Its own key has them in one text.
        yield from state.part
        return
    for field in state.identified_by:
        if field != "arguments":
            yield getattr(state, field)
    if isinstance(state, PolicyState):
        yield from state.to
    if isinstance(state, TriggerState):
        yield from (state.old_table, state.new_table)


def _check(title: str, *names: str | None) -> None:
    for name in names:
        length = len((name or "").encode())
        if name is not None and length > LIMIT:
            raise ArgumentError(
                f"{title}: the name {name} has {length} bytes, of which PostgreSQL would keep"
                f" {LIMIT}; write a shorter one"
            )
