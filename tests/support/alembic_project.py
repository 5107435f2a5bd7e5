"""Alembic on a given database: this project, or a copy of it that a test may change."""

from __future__ import annotations

import compileall
import functools
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

from alembic.config import Config
from sqlalchemy import Engine

from tests.support import commands
from tests.support.commands import ROOT

PARTS = ("alembic", "alembic.ini", "models", "ddl", "database", "operations", "pyproject.toml")


def config_for(engine: Engine) -> Config:
    """The project's configuration for ``engine``, without output."""
    config = Config(str(ROOT / "alembic.ini"), stdout=io.StringIO())
    config.attributes["connection"] = engine
    return config


@functools.cache
def compiled() -> None:
    """Compile the project once: a third of the time of a command, and of each in a copy."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            compileall.compile_dir(ROOT / part, quiet=1)


def copy_project(target: Path) -> Path:
    """A copy of the project without environment and data."""
    compiled()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns(".env"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / part)
    return target


def environment(url: str | None, **settings: str) -> dict[str, str]:
    """The variables for a child process: the database and nothing that could mislead it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DATABASE_", "MIGRATION_", "PG", "TEST_"))
    }
    bin_dir = str(Path(sys.executable).parent)
    path = f"{bin_dir}{os.pathsep}{kept.get('PATH', '')}"
    # A test may edit a file twice in a second, which the time in a compiled file does not show.
    found = {**kept, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **settings}
    if url is not None:
        found["DATABASE_URL"] = url
    return found


def alembic(
    *arguments: str, url: str | None, cwd: Path = ROOT, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person would."""
    compiled()
    return commands.run("alembic", *arguments, environment=environment(url, **settings), cwd=cwd)


def operations(
    *arguments: str, url: str | None, cwd: Path = ROOT, given: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    """The same for ``python -m operations``; ``given`` is what a person types."""
    compiled()
    variables = environment(url, **settings)
    return commands.run("operations", *arguments, environment=variables, cwd=cwd, given=given)


def failure(result: subprocess.CompletedProcess[str]) -> str:
    """The message of a command that failed; it must be the only one, and no traceback."""
    text = result.stdout + result.stderr
    assert result.returncode != 0, text
    assert "Traceback" not in text, text
    assert text.count("FAILED: ") == 1, text
    return text.split("FAILED: ")[1]
