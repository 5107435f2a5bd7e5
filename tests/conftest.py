"""Servers and databases for the tests, and a last line that says which editions they saw."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, text

from database.embedded import TemporaryServer
from database.embedded.programs import wheel_programs
from tests.support.servers import DatabaseServer, NoServer, describe_server, running_timescaledb

pytest_plugins = ["tests.support.databases"]

MakeDatabase = Callable[..., str]

_editions = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_editions] = set()


@pytest.fixture(scope="session")
def editions(request: pytest.FixtureRequest) -> set[str]:
    """What the last line of the run lists."""
    return request.config.stash[_editions]


@pytest.fixture(scope="session")
def embedded_server(request: pytest.FixtureRequest) -> Iterator[TemporaryServer]:
    """PostgreSQL from the wheel, 18 or what TEST_EMBEDDED_VERSION says."""
    version = int(os.environ.get("TEST_EMBEDDED_VERSION") or 18)
    with TemporaryServer(wheel_programs(version)) as server:
        request.config.stash[_editions].add(describe_server(server))
        yield server


@pytest.fixture(scope="session")
def timescaledb_server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """A server with TimescaleDB; skips where there is none."""
    try:
        with running_timescaledb() as server:
            request.config.stash[_editions].add(describe_server(server))
            yield server
    except NoServer as reason:
        request.config.stash[_editions].add(str(reason))
        pytest.skip(str(reason))


@pytest.fixture
def make_database(request: pytest.FixtureRequest) -> Iterator[MakeDatabase]:
    """A factory of fresh databases, dropped after the test; returns their URLs.

    ``make_database()`` makes an empty one on the embedded server, ``make_database(server)`` on
    another, and ``template=`` copies a database of that server.
    """
    made: list[tuple[DatabaseServer, str]] = []

    def make(server: DatabaseServer | None = None, *, template: str | None = None) -> str:
        if server is None:
            server = request.getfixturevalue("embedded_server")
        name = f"test_{uuid.uuid4().hex[:12]}"
        copied = f' template "{template}"' if template else ""
        _administer(server, f'create database "{name}"{copied}')
        made.append((server, name))
        return server.url(name)

    yield make
    for server, name in made:
        _administer(server, f'drop database if exists "{name}" with (force)')


def _administer(server: DatabaseServer, statement: str) -> None:
    engine = create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(statement))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands over what it saw."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["editions"] = sorted(session.config.stash[_editions])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_editions].update(getattr(node, "workeroutput", {}).get("editions", ()))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    seen = sorted(config.stash[_editions])
    terminalreporter.write_line(f"Editions exercised: {'; '.join(seen) or 'none'}")
