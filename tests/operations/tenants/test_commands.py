"""The commands `operations tenant create` and `operations tenant delete`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from operations.access.accounts import token_hash
from operations.commands import tenant as command
from operations.tenants.creation import create_tenant
from tests.support.tenant_rows import scalar


@pytest.fixture
def run(seeded_database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("DATABASE_URL", seeded_database)
    monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)
    runner = CliRunner()
    return lambda *arguments, **options: runner.invoke(command.app, arguments, **options)


def test_the_commands(run: Callable[..., Any], engine: Engine) -> None:
    made = run("create", "--slug", "new", "--name", "New", "--owner-email", "bob@example.com")
    assert made.exit_code == 0, made.output
    [token] = re.findall(r"^Token +(\S+)$", made.output, re.M)
    stored = scalar(engine, "SELECT token_hash FROM password_reset_tokens")
    assert stored == token_hash(token)
    assert re.search(r"^tenant_members +1", made.output, re.M)

    for typed in ("", "\n", "neu\n"):
        refused = run("delete", "new", input=typed)
        assert refused.exit_code == 1
        assert scalar(engine, "SELECT status FROM tenants WHERE slug = 'new'") == "active"

    deleted = run("delete", "new", input="new\n")
    assert deleted.exit_code == 0, deleted.output
    assert "bob@example.com" in deleted.output
    assert scalar(engine, "SELECT count(*) FROM tenants WHERE slug = 'new'") == 0


def test_yes_does_not_ask(run: Callable[..., Any], engine: Engine) -> None:
    create_tenant(engine, slug="new", name="New", owner_email="bob@example.com")
    assert run("delete", "new", "--yes").exit_code == 0
    assert scalar(engine, "SELECT count(*) FROM tenants WHERE slug = 'new'") == 0
