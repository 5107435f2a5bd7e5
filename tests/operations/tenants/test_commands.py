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


def test_rates_are_set_shown_and_lifted(run: Callable[..., Any], engine: Engine) -> None:
    create_tenant(engine, slug="new", name="New", owner_email="bob@example.com")
    assert run("rate").output == "No limit\n"
    assert run("rate", "new").output == "new has no limit\n"
    assert re.search(
        r"^new +50 +72,000 +72,000", run("rate", "new", "--per-minute", "50").output, re.M
    )
    assert re.search(
        r"^new +60 +7 +7", run("rate", "new", "--per-minute", "60", "--burst", "7").output, re.M
    )
    assert re.search(r"^new +60 +7 +7", run("rate").output, re.M)
    assert run("rate", "new", "--none").output == "new has no limit\n"
    noted = "SELECT count(*) FROM operator_audit_log WHERE action = 'tenant.rate'"
    assert scalar(engine, noted) == 3
    for arguments, said in (
        (("new", "--per-minute", "0"), "expected 1 to 2147483647 records, found 0"),
        (("nobody", "--none"), "no tenant has the slug 'nobody'"),
        (("platform", "--per-minute", "1"), "is the platform itself"),
    ):
        refused = run("rate", *arguments)
        assert refused.exit_code == 1
        assert said in str(refused.exception)
    for wrong in (("new", "--burst", "1"), ("new", "--none", "--per-minute", "1"), ("--none",)):
        assert run("rate", *wrong).exit_code == 2


def test_a_tenant_with_a_rate_can_be_deleted(run: Callable[..., Any], engine: Engine) -> None:
    create_tenant(engine, slug="new", name="New", owner_email="bob@example.com")
    run("rate", "new", "--per-minute", "50")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO ingest_debits SELECT tenant_id, 1, 1, 1, now() FROM ingest_rates"
        )
    assert run("delete", "new", "--yes").exit_code == 0
    for table in ("ingest_rates", "ingest_debits"):
        assert scalar(engine, f"SELECT count(*) FROM {table}") == 0
