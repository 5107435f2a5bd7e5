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
from tests.support.servers import embedded_wheel

ROOT = Path(__file__).resolve().parents[2]


VERSION = int(os.environ.get("TEST_EMBEDDED_VERSION") or 18)


START = """
import sys
from pathlib import Path
from database.embedded import EmbeddedServer
project, version, provider = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
print(EmbeddedServer(project, version=version, provider=provider, durable=False).start())
"""


def server(project: Path, **options: Any) -> EmbeddedServer:
    version = options.get("version", VERSION)
    defaults = {"version": version, "provider": embedded_wheel(version), "durable": False}
    return EmbeddedServer(project, **{**defaults, **options})


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
        [sys.executable, "-c", START, str(project), str(VERSION), embedded_wheel(VERSION)],
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
