"""A rename is told by check, said by an option, or asked for on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.support.alembic_project import alembic, copy_project, environment, failure
from tests.support.engines import engine_of

COMMAND = "alembic -x rename=sites.place:sites.location revision --autogenerate"
RENAMED = 'op.alter_column("sites", "place", new_column_name="location")'


@pytest.fixture
def former(migrated_database: str) -> str:
    """The URL of a database in which a column still has another name than in the models."""
    with engine_of(migrated_database) as engine, engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE sites RENAME location TO place"))
    return migrated_database


def test_check_says_that_a_rename_may_be_meant(former: str) -> None:
    result = alembic("check", url=former)
    assert "column public.sites.place may have become public.sites.location" in result.stdout
    assert COMMAND in result.stdout
    failure(result)
    document = json.loads(alembic("-x", "json", "check", url=former).stdout)
    assert [one["command"] for one in document["renames"]] == [COMMAND]


def test_the_revision_is_shown_as_it_would_be_written(former: str) -> None:
    arguments = ("-x", "show=revision", "-x", "rename=sites.place:sites.location", "check")
    result = alembic(*arguments, url=former)
    assert "name: expected location, found place" in result.stdout
    assert RENAMED in result.stdout
    assert "drop_column" not in result.stdout


def test_a_rename_that_is_impossible_is_refused(former: str) -> None:
    result = alembic("-x", "rename=sites.place:sites.spot", "check", url=former)
    assert "possible: sites.place:sites.location" in failure(result)


@pytest.mark.parametrize(("answer", "renames"), [("y", True), ("", False)])
def test_a_question_on_a_terminal(answer: str, renames: bool, former: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    person, terminal = pty.openpty()
    os.write(person, f"{answer}\n".encode())
    result = subprocess.run(
        [sys.executable, "-m", "alembic", "revision", "--autogenerate", "-m", "place"],
        cwd=project,
        env=environment(former),
        stdin=terminal,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    os.close(person)
    os.close(terminal)
    question = "Was column public.sites.place renamed to public.sites.location (both are text)?"
    assert question in result.stdout
    [revision] = (project / "alembic" / "versions").glob("*_place.py")
    assert (RENAMED in revision.read_text(encoding="utf-8")) is renames
    if renames:
        for arguments in (("upgrade", "head"), ("check",)):
            done = alembic(*arguments, url=former, cwd=project)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def reader(former: str) -> Connection:
    """A session that has read the table and is still in its transaction."""
    engine = sa.create_engine(former, poolclass=sa.NullPool)
    connection = engine.connect()
    connection.execute(sa.text("SELECT count(*) FROM sites"))
    return connection


def test_only_a_confirmed_rename_locks_the_table(former: str, reader: Connection) -> None:
    """Readers and the comparison do not wait for each other until somebody says so."""
    with reader:
        patience = {"MIGRATION_LOCK_TIMEOUT": "0.5"}
        assert "2 differences" in failure(
            alembic("-x", "show=revision", "check", url=former, **patience)
        )
        option = ("-x", "rename=sites.place:sites.location", "-x", "show=revision")
        message = failure(alembic(*option, "check", url=former, **patience))
        assert "column public.sites.place to public.sites.location" in message
        assert "lock timeout" in message
