"""A PgBouncer in transaction mode in front of a server, where the machine has one."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from database.embedded import TemporaryServer
from tests.support.commands import ROOT

PORT = 6432

CONFIGURATION = ROOT / "pgbouncer.ini"


@contextmanager
def transaction_pooler(
    server: TemporaryServer, login: str, *, connections: int = 1, **changes: str
) -> Iterator[Path]:
    """Run our pooler with so many server connections, as ``login``; gives its socket folder.

    ``changes`` are settings that differ from those of the file.
    """
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin")
    if program is None:
        pytest.skip("no PgBouncer on this machine")
    assert server.socket_directory is not None
    folder = server.socket_directory
    file, socket = server.home / "pgbouncer.ini", folder / f".s.PGSQL.{PORT}"
    settings = configparser.ConfigParser(interpolation=None, delimiters=["="])
    settings.read(CONFIGURATION)
    settings["databases"] = {"*": f"host={folder} port=5432 user={login} password=x"}
    pooler = settings["pgbouncer"]
    for name in ("auth_user", "auth_file", "auth_query"):
        del pooler[name]
    pooler.update(
        {
            "listen_addr": "",
            "listen_port": str(PORT),
            "unix_socket_dir": str(folder),
            "auth_type": "any",
            "default_pool_size": str(connections),
            "reserve_pool_size": "0",
            **changes,
        }
    )
    with file.open("w") as written:
        settings.write(written)
    file.chmod(0o644)
    identity: dict[str, Any] = {}
    if server.account is not None:
        identity = {
            "user": server.account.uid,
            "group": server.account.gid,
            "extra_groups": [],
        }
    process = subprocess.Popen(
        [program, "--quiet", file],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **identity,
    )
    try:
        deadline = time.monotonic() + 10
        while not socket.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield folder
    finally:
        process.terminate()
        process.wait()
        file.unlink()
        socket.unlink(missing_ok=True)
