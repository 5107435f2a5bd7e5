"""docs/adding-a-table.md, followed word by word in a copy of the project.

A block of code after a line that ends in a file name is that file: Python is written, a diff is
applied, and what stands below alembic/versions is compared with what was generated. The commands
of a console block are run, and their output compared. `…` matches anything. SQL is for hand and is
left out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support import commands
from tests.support.alembic_project import copy_project, environment
from tests.support.commands import ROOT
from tests.support.databases import LONG, MakeDatabase, named_server, richest_or_each, seed
from tests.support.engines import execute

PAGE = ROOT / "docs" / "adding-a-table.md"
GAP = "…"
CHECK = "alembic check"


@dataclass(frozen=True)
class Block:
    """A fenced block: the line it starts at, its language, the file that it is about, its text."""

    line: int
    language: str
    path: str
    lines: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page in order.

    The file is the last one named in the paragraph before, which ends in a colon; two blocks
    without a word between them are about the same file.
    """
    path, start, language, paragraph = "", 0, "", ""
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if start and line == "```":
            yield Block(start, language, path, tuple(body))
            start, body = 0, []
        elif start:
            body.append(line)
        elif line.startswith("```"):
            start, language = number, line[3:].strip()
        elif line.strip():
            paragraph = f"{paragraph} {line}" if paragraph else line
            named = re.findall(r"`([\w/.…]+\.py)`", paragraph)
            path = named[-1] if named and line.endswith(":") else ""
        else:
            paragraph = ""


def matches(expected: tuple[str, ...], found: list[str], *, anywhere: bool = False) -> bool:
    """Whether the lines agree; a line `…` stands for any lines, `…` in a line for anything."""
    gap = r"(?:.*\n)*?"
    parts = [
        gap
        if line.strip() == GAP
        else r"[ ]*".join(
            ".*".join(re.escape(piece) for piece in word.split(GAP)) for word in line.split()
        )
        + r"[ ]*\n"
        for line in expected
    ]
    pattern = "".join(part if part == gap else rf"[ ]*{part}" for part in parts)
    text = "".join(f"{re.sub(r' +', ' ', line)}\n" for line in found)
    search = re.search if anywhere else re.fullmatch
    flags = re.MULTILINE
    return search(f"^{pattern}" if anywhere else pattern, text, flags) is not None


class Reader:
    """Follows a page in a copy of the project."""

    def __init__(self, project: Path, urls: dict[str, str]) -> None:
        self.project = project
        self.environment = environment(**urls, COLUMNS="200")

    def do(self, block: Block, *, checks: bool = True) -> None:
        """Follow one block, `alembic check` or not; a failure names the line of the page."""
        where = f"{PAGE.name}:{block.line}"
        if block.language == "sql":
            return  # of a hypertable of another size; the tests of columnstores run it
        if block.language == "console":
            self._run(where, block.lines, checks=checks)
            return
        assert block.path, f"{where}: which file is this?"
        if block.language == "diff":
            self._apply(where, self._find(where, block.path), block.lines)
        elif block.path.startswith("alembic/versions/"):
            text = self._find(where, block.path).read_text(encoding="utf-8")
            assert matches(block.lines, text.splitlines(), anywhere=True), f"{where}\n{text}"
        else:
            path = self.project / block.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(block.lines) + "\n", encoding="utf-8")

    def _find(self, where: str, name: str) -> Path:
        """The one file whose name matches."""
        found = list(self.project.glob(name.replace(GAP, "[0-9][0-9][0-9][0-9]")))
        assert len(found) == 1, f"{where}: {name} is {found}"
        return found[0]

    def _apply(self, where: str, path: Path, lines: tuple[str, ...]) -> None:
        """Replace the lines before the diff, which must occur exactly once."""
        before = "".join(f"{line[1:]}\n" for line in lines if line[:1] in (" ", "-", ""))
        after = "".join(f"{line[1:]}\n" for line in lines if line[:1] in (" ", "+", ""))
        text = path.read_text(encoding="utf-8")
        assert f"\n{text}".count(f"\n{before}") == 1, f"{where}: not once in {path}:\n{before}"
        path.write_text(f"\n{text}".replace(f"\n{before}", f"\n{after}")[1:], encoding="utf-8")

    def _run(self, where: str, lines: tuple[str, ...], *, checks: bool) -> None:
        starts = [place for place, line in enumerate(lines) if line.startswith("$ ")]
        assert starts[:1] == [0], f"{where}: a console block starts with a command"
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            typed, expected = lines[start][2:], lines[start + 1 : end]
            if typed == CHECK and not checks:
                continue
            result = self._typed(typed)
            context = f"{where}: $ {typed}\n{result.stdout}"
            assert result.returncode == 0, context
            assert matches(expected, result.stdout.splitlines()), context

    def _typed(self, line: str) -> subprocess.CompletedProcess[str]:
        """What a shell would do with a line, the quick way for commands of the project."""
        match shlex.split(line):
            case ["alembic" as module, *arguments] | ["python", "-m", module, *arguments]:
                return commands.run(
                    module,
                    *arguments,
                    environment=self.environment,
                    cwd=self.project,
                    together=True,
                )
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.project,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(params=richest_or_each("embedded", "timescaledb"))
def urls(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[dict[str, str]]:
    """A database at the head with reference data, on a server of either kind: its URLs."""
    url = make_database(named_server(request), like=seed)
    login = f"service_{uuid.uuid4().hex[:8]}"
    execute(url, f"CREATE ROLE {login} LOGIN PASSWORD 'x' IN ROLE fleet_app")
    service = sa.make_url(url).set(username=login, password="x")
    yield {
        "url": service.render_as_string(hide_password=False),
        "MIGRATION_DATABASE_URL": url,
    }
    execute(url, f"DROP ROLE {login}")


@pytest.mark.slow
def test_the_page_says_what_happens(urls: dict[str, str], tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    reader = Reader(project, urls)
    followed = list(blocks(PAGE.read_text(encoding="utf-8")))
    assert len(followed) > 30
    # What a revision left over would be in the next one; in the short form only the last is asked.
    last = max(block.line for block in followed if f"$ {CHECK}" in block.lines)
    for block in followed:
        reader.do(block, checks=LONG or block.line == last)
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "models", "alembic"],
        cwd=project,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


# --- that the reader notices ---


def test_blocks_know_their_file() -> None:
    page = (
        "See `b.py`.\n\nIn `c.py` or\n`a.py` there:\n\n```python\nx\n```\n\n```diff\n y\n```\n\n"
        "Run:\n\n```console\n$ ls\n```\n"
    )
    assert [(block.language, block.path) for block in blocks(page)] == [
        ("python", "a.py"),
        ("diff", "a.py"),
        ("console", ""),
    ]


@pytest.mark.parametrize(
    ("expected", "found", "result"),
    [
        (("a", "b"), ["a", "b"], True),
        (("a",), ["a", "b"], False),
        (("a", "…"), ["a", "b", "c"], True),
        (("…", "c"), ["a", "b", "c"], True),
        (("…", "d"), ["a", "b", "c"], False),
        (("  + …_x … s",), ["  + 0007_x      0.01 s"], True),
        (("  + …_x … s",), ["  + 0007_y      0.01 s"], False),
        (("a.b",), ["axb"], False),
        ((), [], True),
        ((), ["a"], False),
    ],
)
def test_output_is_compared(expected: tuple[str, ...], found: list[str], result: bool) -> None:
    assert matches(expected, found) is result


def test_a_file_is_compared_by_what_is_shown_of_it() -> None:
    text = ["def upgrade():", "    one", "    two", "    three"]
    assert matches(("    two",), text, anywhere=True)
    assert matches(("    one", "    …", "    three"), text, anywhere=True)
    assert not matches(("    one", "    three"), text, anywhere=True)
    assert not matches(("    three", "    …", "    one"), text, anywhere=True)


def test_a_diff_is_applied_where_it_fits_once(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("a\nb\nc\nb\n")
    reader = Reader(tmp_path, {"url": "postgresql://nowhere/"})
    with pytest.raises(AssertionError, match="page:1: not once"):
        reader._apply("page:1", path, ("-b", "+d"))
    reader._apply("page:1", path, (" a", "-b", "+d", "+e"))
    assert path.read_text() == "a\nd\ne\nc\nb\n"


def test_a_command_that_fails_or_says_something_else_is_noticed(tmp_path: Path) -> None:
    reader = Reader(tmp_path, {"url": "postgresql://nowhere/"})
    reader.do(Block(1, "console", "", ("$ echo one", "one", "$ true")))
    for lines in (("$ echo one", "two"), ("$ false",), ("$ echo one",)):
        with pytest.raises(AssertionError, match=r"adding-a-table\.md:1: \$"):
            reader.do(Block(1, "console", "", lines))
