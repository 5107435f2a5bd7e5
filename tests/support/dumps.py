"""Logical dumps: a database copied through pg_dump and pg_restore, as people move theirs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from database.embedded.programs import programs_version
from database.embedded.providers import PROVIDERS
from tests.support.engines import engine_of, execute
from tests.support.servers import embedded_programs, machine_programs


def copy_by_dump(source: str, target: str, folder: Path, *, dumped_as: str | None = None) -> None:
    """Dump the database at ``source`` and restore it into the empty one at ``target``.

    Skips where there is no pg_dump of the server's version.

    Args:
        source: a superuser's URL.
        target: a superuser's URL.
        folder: for the dump.
        dumped_as: the URL of another login for the dump.
    """
    file = folder / "dump"
    programs = _programs(source)
    _run(programs / "pg_dump", "-Fc", "-f", file, "-d", _libpq(dumped_as or source))
    with engine_of(source) as engine, engine.connect() as connection:
        version = connection.scalar(
            sa.text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
        )
    if version is not None:
        execute(target, f"CREATE EXTENSION timescaledb VERSION '{version}'")
        execute(target, "SELECT timescaledb_pre_restore()")
    _run(programs / "pg_restore", "-d", _libpq(target), "--exit-on-error", file)
    if version is not None:
        execute(target, "SELECT timescaledb_post_restore()")


def dump(source: str) -> None:
    """Dump the database at ``source``, a superuser's URL, and keep nothing of it."""
    program = _programs(source) / "pg_dump"
    _run(program, "--no-sync", "-f", "/dev/null", "-d", _libpq(source))


def _libpq(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _programs(url: str) -> Path:
    """Those of the server's own version: a newer pg_restore sets what an older one lacks."""
    with engine_of(url) as engine, engine.connect() as connection:
        version = int(connection.scalar(sa.text("SHOW server_version_num"))) // 10000
    if version in {number for one in PROVIDERS.values() for number in one.installs}:
        return embedded_programs(version)
    found = machine_programs()
    if found is None or programs_version(found) != version:
        pytest.skip(f"this machine has no pg_dump of PostgreSQL {version}")
    return found


def _run(program: Path, *arguments: object) -> None:
    found = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
