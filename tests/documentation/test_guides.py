"""Links, targets of make and commands in the pages written by hand exist; examples parse."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from operations.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs/decisions").glob("*.md"),
        *(ROOT / ".github").glob("*.md"),
    ]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def prose(text: str) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", text)


def code(text: str) -> Iterator[str]:
    """Every line of a block for a shell, and every span of code in the prose."""
    for language, block in FENCE.findall(text):
        if language in ("sh", "console"):
            yield from (line.removeprefix("$ ") for line in block.splitlines())
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text)))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(text), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def names_only_todays(page: Path) -> str:
    """The text of a page; of the changelog without what it says of commands that are gone."""
    text = page.read_text(encoding="utf-8")
    if page.name != "CHANGELOG.md":
        return text
    return re.sub(r"^### (?:Changed|Removed)\n.*?(?=^##|\Z)", "", text, flags=re.M | re.DOTALL)


def make_targets(line: str) -> list[str]:
    """The targets of a command line; what follows the first variable or comment is none."""
    words = line.split()
    if words[:1] != ["make"]:
        return []
    return list(itertools.takewhile(re.compile(r"[a-z]+").fullmatch, words[1:]))


def unknown_command(line: str) -> str | None:
    """The first word after ``python -m operations`` that is no command; None where all are."""
    match = re.match(r"(?:python -m )?operations ((?:[a-z]+ ?)+)", line)
    group = typer.main.get_command(app)
    for word in match[1].split() if match else ():
        commands = getattr(group, "commands", None)
        if commands is None:
            break
        if word not in commands:
            return word
        group = commands[word]
    return None


@pages
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert broken == []


@pages
def test_commands_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    lines = list(code(names_only_todays(page)))
    missing = [
        f"make {name}" for line in lines for name in make_targets(line) if name not in targets
    ]
    missing += [line for line in lines if unknown_command(line) is not None]
    assert missing == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_examples_are_python(name: str) -> None:
    for language, block in FENCE.findall((ROOT / name).read_text(encoding="utf-8")):
        if language == "python":
            ast.parse(block)


# --- that a mistake is noticed ---


def test_commands_are_found_in_blocks_and_spans() -> None:
    text = "Run `make up` or\n\n```sh\nmake format lint  # both\n```\n\n```python\nmake = 1\n```\n"
    assert [make_targets(line) for line in code(text)] == [["format", "lint"], ["up"]]
    assert make_targets("make test PYTEST_ARGS='-k x y'") == ["test"]
    assert make_targets("makeshift") == []
    assert unknown_command("python -m operations demo --remove") is None
    assert unknown_command("operations tenant create --slug x") is None
    assert unknown_command("python -m operations tenant greet") == "greet"
    assert unknown_command("pip install x") is None


def test_headings_have_the_anchors_of_github() -> None:
    assert anchors("# One\n\n## A `b` (c), d-e\n\n```sh\n# no\n```\n") == {"one", "a-b-c-d-e"}
