"""What docs/schema/isolation.md and functions.md allow: rows, operations, columns and calls."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from tests.support.commands import ROOT

LETTERS = {"S": "select", "I": "insert", "U": "update", "D": "delete"}

OWN, ALL, JUDGED, AS_TABLES, SOME = "own", "all", "judged", "as its tables", "some"


@dataclass(frozen=True)
class Privilege:
    """One letter of a cell: on which rows, and on which columns only (empty: on all)."""

    rows: str
    columns: str = ""


@dataclass(frozen=True)
class Page:
    """The page, by the names that it has: without a schema in public."""

    held: dict[tuple[str, str], dict[str, Privilege]]
    """Relation and role to letter."""
    needs: dict[str, str]
    """Operation to the letters that it takes."""
    scopes: dict[str, str] = field(default_factory=dict)
    callers: dict[str, set[str]] = field(default_factory=dict)
    """Function to the roles that may call it."""
    sequences: str = ""

    def columns(self, relation: str, role: str, letter: str, every: list[str]) -> list[str]:
        """Those that a privilege is on, of all columns of the relation."""
        held = self.held.get((relation, role), {}).get(letter)
        if held is None:
            return []
        named = re.findall(r"`(\w+)`", held.columns)
        if not held.columns:
            return every
        if held.columns.startswith("all but"):
            return [name for name in every if name not in named]
        return named


@cache
def read() -> Page:
    """Parse the pages of the project."""
    text = (ROOT / "docs" / "schema" / "isolation.md").read_text(encoding="utf-8")
    page = Page({}, {})
    columns: dict[tuple[str, str, str], str] = {}
    for head, rows in _tables(text):
        for row in rows:
            cells = dict(zip(head, row, strict=True))
            if head[:2] == ("Table", "Scope"):
                name = re.sub(r"^\[(.*?)\].*|^`(.*)`$", r"\1\2", cells["Table"])
                page.scopes[name] = cells["Scope"]
                for role, cell in cells.items():
                    if role.startswith("`"):
                        page.held[name, role.strip("`")] = _cell(cell)
            elif head == ("Table", "Role", "Columns"):
                for part in cells["Columns"].split("; "):
                    verb, _, listed = part.partition(" ")
                    columns[cells["Table"].strip("`"), cells["Role"].strip("`"), verb] = listed
            elif head == ("Operation", "Needs"):
                for operation in re.findall(r"`([^`]+)`", cells["Operation"]):
                    page.needs[operation] = cells["Needs"]
    for (name, role), letters in page.held.items():
        for letter, privilege in letters.items():
            if privilege.columns:
                spelled = columns.pop((name, role, LETTERS[letter]))
                letters[letter] = Privilege(privilege.rows, spelled)
    assert columns == {}, "columns without a star"
    called = (ROOT / "docs" / "schema" / "functions.md").read_text(encoding="utf-8")
    for section in called.split("\n### ")[1:]:
        said = re.search(r"^May be called by (.*)\.", section, re.MULTILINE)
        roles = set(re.findall(r"`(fleet_\w+)`", said[1])) if said else set()
        name = section.split("\n")[0]
        # Of overloads with one name, which no function of ours has, the page could not tell.
        page.callers[name] = page.callers.get(name, set()) | roles
    return page


def _tables(text: str) -> list[tuple[tuple[str, ...], list[list[str]]]]:
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        found.append((tuple(lines[0]), lines[2:]))
    return found


def _cell(text: str) -> dict[str, Privilege]:
    """``own S I\\* U, some D``; the columns of a letter with a star are read afterwards."""
    found = {}
    for part in text.split(", ") if text else ():
        match = re.fullmatch(r"(own|all|judged|as its tables|some|no rows) (.*)", part)
        assert match is not None, part
        for letter in match[2].split():
            found[letter[0]] = Privilege(match[1], "*" if letter.endswith("*") else "")
    return found
