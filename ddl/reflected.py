"""Tables and columns of the database as SQLAlchemy objects, for downgrades."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, MetaData, Table

from ddl import sql
from ddl.base import Key
from ddl.types import SqlType, serial

if TYPE_CHECKING:
    from ddl.catalog import Catalog

PLAIN_KEY = re.compile(r"PRIMARY KEY \((?:\"[^\"]*\"|[^()\"])*\)")
"""The definition of a primary key that has nothing but columns."""

_SERIAL = sa.text("""
SELECT quote_literal(pg_get_serial_sequence(format('%I.%I', VARIADIC CAST(:table AS text[])),
                                            :column))
""")


class Reflected:
    """Describes what is dropped so that it can be created again; looks up each table once."""

    def __init__(self, connection: Connection, current: Catalog) -> None:
        self._connection = connection
        self._inspector = sa.inspect(connection)
        self._current = current
        self._columns: dict[Key, dict[str, Column[Any]]] = {}

    def _state(self, kind: str, key: Key) -> Any:
        return self._current.get((kind, key))

    def _column(self, table: Key, name: str) -> Any:
        return self._state("column", (*table, name))

    def columns(self, table: Key) -> dict[str, Column[Any]]:
        """The columns of a table by name, in their order."""
        if table not in self._columns:
            with warnings.catch_warnings():
                # A type that SQLAlchemy does not recognize (two pass for varchar) is created again
                # by its SQL.
                warnings.simplefilter("ignore", sa.exc.SAWarning)
                listed = self._inspector.get_columns(table[1], schema=table[0])
            for info in listed:
                spelling = self._column(table, info["name"]).type
                unrecognized = isinstance(info["type"], sa.types.NullType)
                if unrecognized or spelling.rstrip("[]") in ('"char"', "name"):
                    info["type"] = SqlType(spelling)
            self._columns[table] = {info["name"]: _column(info) for info in listed}
        return self._columns[table]

    def dropped_column(self, table: Key, name: str, *, is_key: bool = False) -> Column[Any]:
        """One column, for adding it again; the sequence of a serial column is dropped with it.

        Args:
            is_key: it is all of the primary key in CREATE TABLE, where SQLAlchemy says SERIAL.
        """
        column = self.columns(table)[name]
        default = self._column(table, name).default
        if default is not None and default.startswith("nextval("):
            own = self._connection.scalar(_SERIAL, {"table": list(table), "column": name})
            if default == f"nextval({own}::regclass)":
                column.server_default = None
                column = column if is_key else serial(column, self._column(table, name).type)
        return column

    def table(self, key: Key) -> Table:
        """Columns, plain primary key, options; the rest is created again by its definition."""
        state = self._state("table", key)
        primary = self._inspector.get_pk_constraint(key[1], schema=key[0])
        found = self._state("constraint", (*key, primary["name"] or ""))
        is_plain = found is not None and PLAIN_KEY.fullmatch(found.definition)
        names = primary["constrained_columns"] if is_plain else []
        items: list[Any] = [
            self.dropped_column(key, name, is_key=names == [name]) for name in self.columns(key)
        ]
        if is_plain:
            items.append(sa.PrimaryKeyConstraint(*names, name=primary["name"]))
        options: dict[str, Any] = dict(option.split("=", 1) for option in state.options)
        keywords: dict[str, Any] = {"postgresql_with": options} if options else {}
        if state.partition_by is not None:
            keywords["postgresql_partition_by"] = state.partition_by
        table = Table(
            key[1],
            MetaData(),
            *items,
            schema=None if key[0] == sql.DEFAULT_SCHEMA else key[0],
            comment=state.comment,
            prefixes=["UNLOGGED"] if state.unlogged else [],
            **keywords,
        )
        numbered = table.autoincrement_column
        if numbered is not None:
            column = self._column(key, numbered.name)
            # SQLAlchemy makes such a column serial unless this says otherwise.
            numbered.autoincrement = "auto" if column.default or column.identity else False
        return table


def _column(info: Any) -> Column[Any]:
    """A column as SQLAlchemy's inspector describes it."""
    arguments: list[Any] = []
    if "computed" in info:
        computed = info["computed"]
        arguments.append(
            sa.Computed(sql.escaped(computed["sqltext"]), persisted=computed["persisted"])
        )
    elif info.get("identity"):
        arguments.append(sa.Identity(**info["identity"]))
    default = info["default"]
    if arguments:
        default = None
    return Column(
        info["name"],
        info["type"],
        *arguments,
        nullable=info["nullable"],
        server_default=sa.text(sql.escaped(default)) if default is not None else None,
        comment=info["comment"],
    )
