"""Servers that live as long as a block of code."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import psycopg
import pytest

from database.embedded import (
    ServerError,
    TemporaryServer,
)
from database.embedded.programs import wheel_programs
from tests.support.embedded_projects import (
    VERSION,
    connect,
)


def test_temporary_server_leaves_nothing() -> None:
    """By TCP everybody needs a password; at the end the folder is gone."""
    with TemporaryServer(wheel_programs(VERSION), tcp=True) as one:
        folder, home = one.socket_directory, one.home
        with connect(one) as connection:
            connection.execute("create role app login password 'right'")
        by_network = {"host": "127.0.0.1", "port": one.port, "dbname": "postgres"}
        psycopg.connect(user="app", password="right", **by_network).close()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(user="postgres", **by_network)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", one.port)) == 0
    assert folder is not None
    assert not folder.exists()
    assert not home.exists()


def test_temporary_server_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def noted(**options: str) -> str:
        made.append(make(**options))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    with (
        pytest.raises(ServerError),
        TemporaryServer(wheel_programs(VERSION), shared_buffers="plenty"),
    ):
        pass
    assert len(made) == 2
    assert not any(Path(folder).exists() for folder in made)
