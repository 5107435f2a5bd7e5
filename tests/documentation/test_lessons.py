"""docs/lessons.md and docs/mapping.md are complete, and what they name exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import models
from ddl import Declared
from ddl.kinds.view import ViewState
from ddl.rollups import RollupState
from tests.support.commands import ROOT

# How many mistakes were collected of each of the three systems.
LESSONS = {"O": 59, "D": 27, "P": 13}


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_lesson_says_what_prevents_it() -> None:
    entries = dict(
        re.findall(
            r"^- \*\*([ODP]-\d+)\*\*(.*?)(?=^- \*\*|^#|\Z)",
            text("lessons.md"),
            flags=re.MULTILINE | re.DOTALL,
        )
    )
    expected = {f"{system}-{n}" for system, last in LESSONS.items() for n in range(1, last + 1)}
    assert expected - entries.keys() == set()
    assert {name for name, entry in entries.items() if "*Prevented by*" not in entry} == set()


def test_tests_that_lessons_name_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", text("lessons.md")))
    written = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"\b(test_\w+)", path.read_text(encoding="utf-8") + path.name)
    }
    assert named
    assert named - written == set()


def rows() -> list[list[str]]:
    """Cells of the mapping: system, theirs, ours."""
    lines = [line for line in text("mapping.md").splitlines() if line.startswith("| S")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_what_replaced_a_table_or_column_exists() -> None:
    """`table` and `table.column` in the last cell of docs/mapping.md are names of ours."""
    known = {table.name: set(table.columns.keys()) for table in models.metadata.tables.values()}
    for state in (RollupState, ViewState):
        for _, name in Declared.on(models.metadata).of(state):
            known.setdefault(name, set())
    wrong = []
    assert len(rows()) > 40
    for cells in rows():
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)`", cells[2]):
            table, _, column = name.partition(".")
            # Behind the name of its table, a column may stand alone.
            alone = not column and any(table in columns for columns in known.values())
            if not alone and (table not in known or (column and column not in known[table])):
                wrong.append(name)
    assert wrong == []


def test_nothing_of_the_three_systems_is_lost() -> None:
    """Each of their columns has its name in the table of the same name here, or a line there."""
    systems = json.loads((Path(__file__).parent / "systems.json").read_text(encoding="utf-8"))
    known: dict[str, set[str]] = {"organizations": {"id", "name"}}
    for table in models.metadata.tables.values():
        known.setdefault(table.name, set()).update(table.columns.keys())
    mapped = {(cells[0], cells[1]) for cells in rows()}
    lost = [
        f"{system} {table}.{column}"
        for system, tables in systems.items()
        for table, columns in tables.items()
        for column in columns.split()
        if (system, f"{table}.*") not in mapped
        and (system, f"{table}.{column}") not in mapped
        and column not in known.get(table, set())
    ]
    assert lost == []
