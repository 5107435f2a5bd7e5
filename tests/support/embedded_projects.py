"""Embedded servers of projects that a test makes, and what tests do to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from database.embedded import (
    EmbeddedServer,
    Server,
)
from database.embedded.cluster import is_postgres
from database.urls import parse_url

ROOT = Path(__file__).resolve().parents[2]


VERSION = int(os.environ.get("TEST_EMBEDDED_VERSION") or 18)


START = """
import sys
from pathlib import Path
from database.embedded import EmbeddedServer
print(EmbeddedServer(Path(sys.argv[1]), version=int(sys.argv[2]), durable=False).start())
"""


def server(project: Path, **options: Any) -> EmbeddedServer:
    return EmbeddedServer(project, **{"version": VERSION, "durable": False, **options})


def connect(server: Server, database: str = "postgres", **options: Any) -> psycopg.Connection:
    url = parse_url(server.url(database))
    arguments = url.get_dialect()().create_connect_args(url)[1]
    return psycopg.connect(**{**arguments, "autocommit": True, **options})


def scalar(server: Server, query: str) -> Any:
    with connect(server) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def starter(project: Path) -> subprocess.Popen[str]:
    """Another process that starts the server and ends."""
    return subprocess.Popen(
        [sys.executable, "-c", START, str(project), str(VERSION)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill(server: Server) -> int:
    pid = server.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while is_postgres(pid):
        time.sleep(0.01)
    return pid
