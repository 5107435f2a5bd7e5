"""How the layout of a columnstore is written: its lists of columns, and its sparse indexes."""

from __future__ import annotations

import re

from sqlalchemy.exc import ArgumentError

from ddl import sql

ORDERED = re.compile(
    rf"(?P<name>{sql.IDENT})(?P<order>(?: (?:asc|desc))?(?: nulls (?:first|last))?)", re.I
)
"""A column of a layout, with the words of ORDER BY."""


def column_list(text: str) -> str:
    """``"a,b DESC"`` as the server spells lists: single spaces, no blank after a comma."""
    return ",".join(map(_spelled, sql.split_list(text)))


def _spelled(column: str) -> str:
    match = ORDERED.fullmatch(column)
    if match is None:
        return column
    return sql.ident(sql.unquoted(match["name"])) + match["order"].upper().replace(" ASC", "")


SPARSE = re.compile(r"(?P<type>bloom|minmax) ?\((?P<columns>[^()]+)\)", re.I)
"""A sparse index: its type and its columns."""


def sparse_indexes(text: str) -> list[tuple[str, list[str]]]:
    """Type and columns of each sparse index of ``"bloom(a), minmax(b)"``; none where it is empty.

    Raises:
        sqlalchemy.exc.ArgumentError: an entry is something else.
    """
    found = []
    for one in sql.split_list(text) if text.strip() else []:
        if (match := SPARSE.fullmatch(one)) is None:
            raise ArgumentError(
                f"Columnstore: sparse_index expected bloom(column) or minmax(column), found {one};"
                " write None for those that TimescaleDB chooses"
            )
        found.append((match["type"].lower(), sql.split_list(match["columns"])))
    return found


def sparse_index_list(text: str | None) -> str | None:
    """The same in one spelling, in which neither the order of indexes nor of columns counts."""
    if text is None:
        return None
    return ",".join(
        sorted(
            f"{type_}({','.join(sorted(sql.ident(sql.unquoted(column)) for column in columns))})"
            for type_, columns in sparse_indexes(text)
        )
    )
