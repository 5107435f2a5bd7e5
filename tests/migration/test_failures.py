"""What a person reads when a command cannot work: one message that says what to do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from database.embedded import TemporaryServer
from tests.support.alembic_project import alembic, copy_project, failure
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer


def test_unreachable_server() -> None:
    url = "postgresql://postgres@127.0.0.1:1/fleetschema"
    message = failure(alembic("upgrade", "head", url=url, DATABASE_WAIT_TIMEOUT="1"))
    assert "127.0.0.1" in message


def test_wrong_password(owned: tuple[str, str]) -> None:
    begin = time.monotonic()
    message = failure(alembic("upgrade", "head", url=owned[0].replace("secret", "guess")))
    assert "password" in message
    assert "guess" not in message
    assert time.monotonic() - begin < 20, "a wrong password does not get right by waiting"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://root@localhost/fleet", "mysql"),
        ("postgresql://localhost:port/fleet", "port"),
        ("localhost/fleet", "postgresql://"),
    ],
)
def test_malformed_url(url: str, expected: str) -> None:
    assert expected in failure(alembic("upgrade", "head", url=url))


def test_database_ahead_of_the_code(migrated_database: str) -> None:
    with engine_of(migrated_database) as engine, engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for arguments in (("upgrade", "head"), ("downgrade", "-1"), ("check",)):
        message = failure(alembic(*arguments, url=migrated_database))
        assert "9999" in message, arguments


def test_looking_creates_no_database(embedded_server: TemporaryServer) -> None:
    """A mistyped name is an error for check and current; only a deploy makes a database."""
    url = embedded_server.url("mistyped")
    for command_name in ("check", "current"):
        assert "alembic upgrade head" in failure(alembic(command_name, url=url))
    with engine_of(embedded_server.url("postgres")) as engine, engine.connect() as connection:
        found = sa.text("SELECT count(*) FROM pg_database WHERE datname = 'mistyped'")
        assert connection.scalar(found) == 0


def test_unknown_revision(migrated_database: str) -> None:
    assert "nosuch" in failure(alembic("upgrade", "nosuch", url=migrated_database))


def test_check_without_roles_names_the_command(lone_server: DatabaseServer, owned: object) -> None:
    message = failure(alembic("check", url=lone_server.url("owned")))
    assert "alembic upgrade head" in message


def test_failing_revision_says_what_the_server_said(migrated_database: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    assert alembic("revision", "-m", "breaks", url=migrated_database, cwd=project).returncode == 0
    path = next((project / "alembic/versions").glob("*_breaks.py"))
    path.write_text(path.read_text().replace("pass", "op.execute('SELECT no_such_column')", 1))
    message = failure(alembic("upgrade", "head", url=migrated_database, cwd=project))
    assert 'column "no_such_column" does not exist' in message
    assert "nothing of that revision was kept" in message


def test_rows_in_the_way_of_a_revision_are_counted(migrated_database: str, tmp_path: Path) -> None:
    """In a database where nobody could count them when it was generated."""
    project = copy_project(tmp_path / "project")
    url = migrated_database
    assert alembic("revision", "-m", "narrows", url=url, cwd=project).returncode == 0
    path = next((project / "alembic/versions").glob("*_narrows.py"))
    call = 'op.alter_column_type("account_tiers", "name", "character varying(3)")'
    path.write_text(path.read_text().replace("pass", call, 1))
    with engine_of(url) as engine, engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO account_tiers (tier_id, name)"
                " VALUES ('a', 'long'), ('b', 'longer'), ('c', 'fit')"
            )
        )
    lines = failure(alembic("upgrade", "head", url=url, cwd=project)).splitlines()
    said = "the server refused a statement: value too long for type character varying(3)"
    counted = (
        "column public.account_tiers.name: expected values that fit character varying(3), found 2"
        " rows whose value does not; change them first, in a revision before this one or by hand:"
        " UPDATE account_tiers SET name = … WHERE …; or declare a type that holds them"
    )
    statement = "  in: ALTER TABLE account_tiers ALTER COLUMN name TYPE character varying(3)"
    assert lines[1:4] == [said, counted, statement]
