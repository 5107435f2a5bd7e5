"""docs/decisions: the index lists every page, and the tests that hold a decision exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
LINES = 45


def functions_of(path: Path) -> set[str]:
    """The names of the test functions of a file, those in classes included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def named_tests(text: str) -> list[tuple[str, str]]:
    """(file, function) of every ``path::function`` of a page, in order."""
    return re.findall(r"`([\w/.-]+\.py)::(\w+)`", text)


def missing_tests(text: str, root: Path = ROOT) -> list[str]:
    """A line for each test that a page names and that does not exist, with where it may be."""
    missing = []
    for file, function in named_tests(text):
        path = root / file
        if path.exists() and function in functions_of(path):
            continue
        why = f"{file} has no such function" if path.exists() else f"there is no file {file}"
        elsewhere = [
            str(other.relative_to(root))
            for other in sorted((root / "tests").rglob("test_*.py"))
            if function in functions_of(other)
        ]
        hint = f"; it is in {', '.join(elsewhere)}" if elsewhere else ""
        missing.append(f"{file}::{function}: {why}{hint}")
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_decision_names_tests_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    where = page.relative_to(ROOT)
    assert named_tests(text), f"{where} names no test as `path::function`"
    missing = missing_tests(text)
    assert not missing, "\n".join(f"{where} names {line}" for line in missing)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_decision_fits_a_page(page: Path) -> None:
    count = len(page.read_text(encoding="utf-8").splitlines())
    assert count <= LINES, (
        f"{page.relative_to(ROOT)}: expected at most {LINES} lines, found {count}"
    )


def test_the_index_lists_every_decision_once() -> None:
    text = (DECISIONS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[[^\]]+\]\(([\w.-]+\.md)\) \|", text, flags=re.MULTILINE)
    pages = [page.name for page in PAGES]
    assert sorted(set(listed)) == sorted(listed)
    assert set(pages) - set(listed) == set()


# --- that a missing test is noticed ---


def test_a_test_that_moved_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_a.py").write_text(
        "def test_one(): ...\nclass T:\n    def test_two(): ...\n"
    )
    page = "`tests/test_a.py::test_one`, `tests/test_a.py::test_two`"
    assert missing_tests(page, tmp_path) == []
    assert missing_tests("`tests/test_b.py::test_one`", tmp_path) == [
        "tests/test_b.py::test_one: there is no file tests/test_b.py; it is in tests/test_a.py"
    ]
    assert missing_tests("`tests/test_a.py::test_three`", tmp_path) == [
        "tests/test_a.py::test_three: tests/test_a.py has no such function"
    ]
