"""What tenants and logins choose neither moves the cursor of an operator nor forges a line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from database.console import Progress, visible
from database.errors import FleetSchemaError
from operations import cli
from operations.console import console, plain_table, write, write_json, write_lines
from operations.tenants.creation import create_tenant
from tests.support.engines import engine_of

HOSTILE = "a\x1b[2J\r\n\x9b1m\u202eb\u2028[red]c[/bold]\x7f :smile: \ud800"
SHOWN = r"a\x1b[2J\r\n\x9b1m\u202eb\u2028[red]c[/bold]\x7f :smile: \ud800"


def test_every_way_of_printing_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible(SHOWN + " ünï 漢 \N{RIGHTWARDS ARROW}") == SHOWN + " ünï 漢 →"
    write(HOSTILE)
    assert capsys.readouterr().out == f"{SHOWN}\n"
    write_lines("a\n  b\x1b")
    assert capsys.readouterr().out == "a\n  b\\x1b\n"
    table = plain_table("Name", title="\x1b]0;pwned\x07")
    table.add_row(HOSTILE)
    console.print(table)
    assert [line.strip() for line in capsys.readouterr().out.split("\n")] == [
        r"\x1b]0;pwned\x07",
        "Name",
        SHOWN,
        "",
    ]
    lines: list[str] = []
    Progress(lines.append).warning("role x\x1b stays")
    assert lines == [r"  ! role x\x1b stays"]


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"text": HOSTILE, "ü": ["\U000e0001", "漢"]}
    write_json(document)
    out = capsys.readouterr().out
    assert json.loads(out) == document
    assert visible(out.replace("\n", "")) == out.replace("\n", "")
    assert "漢" in out


def test_an_error_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise FleetSchemaError("tenant x\x1b[1A\nerror: none")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == "error: tenant x\\x1b[1A\n  error: none"


def test_a_tenant_that_is_to_be_deleted(
    seeded_database: str, commands_on: Callable[[str], None]
) -> None:
    """The question names the tenant; escapes in its name would answer in its place."""
    with engine_of(seeded_database) as engine:
        create_tenant(engine, slug="new", name="New", owner_email="bob@example.com")
        with engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
            name = "Nice\x1b[1A\x1b[2K\rThis deletes other [/bold]"
            connection.execute(
                text("UPDATE tenants SET name = :name WHERE slug = 'new'"), {"name": name}
            )
    commands_on(seeded_database)
    asked = CliRunner().invoke(cli.app, ["tenant", "delete", "new"], input="no\n")
    assert r"This deletes Nice\x1b[1A\x1b[2K\rThis deletes other [/bold] (" in asked.output
    assert "\x1b" not in asked.output


def test_all_commands_print_through_it() -> None:
    """No other way in the commands, but the questions, whose text is the project's."""
    other = re.compile(r"(?<![.\w])print\(|typer\.echo|stdout\.write")
    found = [
        f"{path}: {line}"
        for path in Path(cli.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if other.search(line)
    ]
    assert found == []
