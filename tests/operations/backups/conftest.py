"""A database with rows in each place where TimescaleDB keeps some, and commands on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from ddl.edition import COMMUNITY, detect
from tests.support import commands
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of, execute
from tests.support.preparation import after
from tests.support.servers import DatabaseServer
from tests.support.telemetry import ONE, populate
from tests.support.time_series import migrate

_ROWS = f"""
    INSERT INTO timeseries.telemetry (tenant_id, device_id, ts, metrics)
    SELECT '{ONE}', 'd' || n % 10, now() - n * interval '1 hour', jsonb_build_object('t', n)
      FROM generate_series(1, 300) AS n;
    INSERT INTO data_retention_policies (tenant_id, relation, retention_days)
    VALUES ('{ONE}', 'telemetry', 30)
"""


@after(migrate)
def with_history(url: str) -> None:
    """With TimescaleDB rows are in the columnstore, and rolled up beyond the raw data."""
    with engine_of(url) as engine:
        populate(engine)
        with engine.connect() as connection:
            community = detect(connection) == COMMUNITY
    execute(url, _ROWS)
    if community:
        execute(url, "CALL refresh_continuous_aggregate('timeseries.telemetry_hourly', NULL, NULL)")
        execute(url, "SELECT drop_chunks('timeseries.telemetry', interval '10 days')")
        execute(
            url,
            "SELECT compress_chunk(c) FROM show_chunks('timeseries.telemetry',"
            " older_than => interval '3 days') c",
        )


@dataclass
class Place:
    """A database, a folder for its backups, and a way to run commands on both."""

    server: DatabaseServer
    url: str
    folder: Path

    def run(
        self, *arguments: str, url: str | None = None, together: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """``python -m operations`` with these arguments, as a superuser."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder.parent),
            "DATABASE_URL": url or self.url,
            "BACKUP_DIRECTORY": str(self.folder),
            **variables,
        }
        return commands.run("operations", *arguments, environment=environment, together=together)

    def backup(self) -> Path:
        """A new one."""
        done = self.run("backup")
        assert done.returncode == 0, done.stdout
        return max(self.backups())

    def backups(self) -> list[Path]:
        """The folders that look like a backup."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir())

    @property
    def database(self) -> str:
        """Its name."""
        return str(sa.make_url(self.url).database)

    def databases(self) -> set[str]:
        """The names of those that are about it."""
        with engine_of(self.server.url("postgres")) as engine, engine.connect() as connection:
            names = connection.scalars(sa.text("SELECT datname FROM pg_database"))
            return {name for name in names if name.startswith(self.database)}

    def ask(self, query: str, database: str | None = None) -> object:
        """One value."""
        url = self.server.url(database or self.database)
        with engine_of(url) as engine, engine.connect() as connection:
            return connection.scalar(sa.text(query))


@pytest.fixture(params=servers("embedded", "timescaledb"))
def either(request: pytest.FixtureRequest, make_database: MakeDatabase, tmp_path: Path) -> Place:
    """On both servers."""
    server = named_server(request)
    return Place(server, make_database(server, like=with_history), tmp_path / "backups")


@pytest.fixture
def place(embedded_server: DatabaseServer, make_database: MakeDatabase, tmp_path: Path) -> Place:
    """On the embedded server."""
    return Place(embedded_server, make_database(like=with_history), tmp_path / "backups")


@pytest.fixture
def removed() -> Iterator[Callable[[Place, str], None]]:
    """Lets a database go after the test."""
    listed: list[tuple[Place, str]] = []
    yield lambda place, name: listed.append((place, name))
    for place, name in listed:
        execute(place.server.url("postgres"), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
