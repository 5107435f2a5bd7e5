"""The parts of a SELECT in the server's own spelling: what it groups by, and what else it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ddl import sql

_PIECE = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()\[\]]|\bgroup\s+by\b|\border\s+by\b|\w+|\s+|.",
    re.I | re.S,
)
_CLAUSES = ("select", "from", "where", "group by", "having", "order by")
_ALIAS = re.compile(rf"(?P<expression>.*)\sAS\s(?P<name>{sql.IDENT})", re.S)
_COLUMN = re.compile(rf"(?:.*\.)?(?P<name>{sql.IDENT})", re.S)


@dataclass(frozen=True)
class Select:
    """One SELECT with GROUP BY and without a set operation, as ``pg_get_viewdef`` writes it."""

    columns: Mapping[str, str]
    """The expression of each output column."""
    keys: Mapping[str, str]
    """Those of them by which it groups."""
    is_keyed: bool
    """Whether all that it groups by is an output column, so that the keys tell rows apart."""
    source: str
    condition: str
    """WHERE and HAVING."""


def parsed(definition: str) -> Select:
    """Split a query at its clauses; what stands in parentheses or quotes is left whole."""
    clauses = _clauses(definition)
    columns: dict[str, str] = {}
    for item in sql.split_list(clauses["select"]):
        match = _ALIAS.fullmatch(item) or _COLUMN.fullmatch(item)
        if match is not None:
            columns[sql.unquoted(match["name"])] = match.groupdict().get("expression") or item
    outputs = list(columns.values())
    grouped = {
        _bare(outputs[int(item) - 1] if item.strip().isdigit() else item)
        for item in sql.split_list(clauses["group by"])
    }
    keys = {name: text for name, text in columns.items() if _bare(text) in grouped}
    return Select(
        columns,
        keys,
        {_bare(text) for text in keys.values()} == grouped,
        _spaced(clauses["from"]),
        " ".join(f"{word} {_spaced(clauses[word])}" for word in ("where", "having")),
    )


def _clauses(text: str) -> dict[str, str]:
    found = dict.fromkeys(_CLAUSES, "")
    current, depth = "", 0
    for match in _PIECE.finditer(text):
        piece = match[0]
        depth += (piece in "([") - (piece in ")]")
        word = " ".join(piece.lower().split())
        if depth == 0 and word in found:
            current = word
        elif current:
            found[current] += piece
    return found


def _bare(text: str) -> str:
    """Without white space around it and without one pair of parentheses."""
    text = text.strip()
    return text[1:-1] if text.startswith("(") and _closes_last(text) else text


def _closes_last(text: str) -> bool:
    """True where the parenthesis that the text begins with is closed by its last character."""
    depth = 0
    for match in _PIECE.finditer(text):
        depth += (match[0] == "(") - (match[0] == ")")
        if depth == 0:
            return match.end() == len(text)
    return False


def _spaced(text: str) -> str:
    return " ".join(text.split())
