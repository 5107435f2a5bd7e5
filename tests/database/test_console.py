"""What a person sees of a command that takes its time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from database import console
from tests.support.alembic_project import alembic


def test_a_short_wait_is_not_worth_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with console.waiting("the server", 60):
        pass
    assert capsys.readouterr().err == ""


def test_a_wait_says_for_what_for_how_long_and_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "WAITING_AFTER", 0.01)
    with console.waiting("the server", 60) as wait:
        wait.reason = "Connection refused"
        time.sleep(0.2)
    assert capsys.readouterr().err == "Waiting for the server, at most 60 s: Connection refused\n"


@pytest.mark.parametrize("command", [("upgrade", "head"), ("check",), ("current",)])
def test_alembic_says_that_it_waits(command: tuple[str, ...], tmp_path: Path) -> None:
    """One line, on stderr: a program may read what the command itself writes."""
    url = f"postgresql://postgres@/fleet?host={tmp_path}"
    result = alembic(*command, url=url, DATABASE_WAIT_TIMEOUT="1.5")
    assert result.returncode != 0
    assert "Waiting" not in result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("Waiting")]
    assert len(lines) == 1
    assert f'database "fleet" at socket {tmp_path}, at most 1.5 s: ' in lines[0]


def test_progress() -> None:
    lines: list[str] = []
    progress = console.Progress(lines.append)
    progress.line("Created database fleet")
    progress.revision("upgrade", "0001_first", 0.25)
    progress.revision("downgrade", "0001_first", 12)
    progress.note("edition postgresql")
    progress.warning("role x stays")
    assert lines == [
        "Created database fleet",
        f"  + {'0001_first':<48}   0.25 s",
        f"  - {'0001_first':<48}  12.00 s",
        "  . edition postgresql",
        "  ! role x stays",
    ]
