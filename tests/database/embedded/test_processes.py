"""Processes that end, crash, start at once, or hold the lock."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from database.embedded import (
    EmbeddedServer,
    ServerError,
)
from database.embedded.cluster import postmaster
from database.embedded.programs import server_account
from tests.support.embedded_projects import (
    ROOT,
    START,
    VERSION,
    connect,
    kill,
    scalar,
    server,
    starter,
)


def test_survives_the_process_that_started_it(project: Path) -> None:
    process = starter(project)
    assert process.communicate(timeout=60)[0].strip() == "True"
    one = server(project)
    assert scalar(one, "select 1") == 1
    assert one.start() is False


def test_survives_the_end_of_its_session(project: Path) -> None:
    """Closing the terminal, or Ctrl-C, reaches the whole process group."""
    process = subprocess.Popen(
        [sys.executable, "-c", START + "\nimport time; time.sleep(60)", str(project), str(VERSION)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    one = server(project)
    while not one.status().running:
        assert process.poll() is None
        time.sleep(0.05)
    one.start()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert scalar(one, "select 1") == 1


def test_started_twice_at_once(project: Path) -> None:
    """Both succeed; one of them did it."""
    processes = [starter(project) for _ in range(3)]
    said = [process.communicate(timeout=90)[0].strip() for process in processes]
    assert sorted(said) == ["False", "False", "True"]
    assert [process.returncode for process in processes] == [0, 0, 0]


def test_after_a_crash(project: Path) -> None:
    """Killed at once, sessions open: the next start recovers, committed rows are there."""
    one = server(project, durable=True)
    one.start()
    with contextlib.suppress(psycopg.OperationalError), connect(one) as connection:
        connection.execute("create table kept as select 1 as x")
        pid = kill(one)
        assert (one.data_directory / "postmaster.pid").exists()
        assert not one.status().running
        assert one.start() is True
    assert one.status().pid != pid
    assert scalar(one, "select x from kept") == 1


def test_process_number_in_use_again(project: Path) -> None:
    """What a crash left behind names a process that is alive, but another's."""
    one = server(project)
    one.start()
    kill(one)
    file = one.data_directory / "postmaster.pid"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    for lock in Path(lines[4]).glob(".s.PGSQL.*.lock"):
        lock.write_text(file.read_text())
    assert postmaster(one.data_directory) is None
    assert one.start() is True
    assert scalar(one, "select 1") == 1


def test_killed_while_making_the_data(project: Path) -> None:
    """Half of a data directory never counts as one."""
    one = server(project)
    (one.home / "data.new").mkdir(parents=True)
    (one.home / "data.new" / "PG_VERSION").write_text(str(VERSION))
    if server_account():
        one.home.chmod(0o755)
        one.home.parent.chmod(0o755)
    assert one.start() is True
    assert not (one.home / "data.new").exists()


def test_bounded_wait_for_another_process(running: EmbeddedServer) -> None:
    """A process that hangs while it holds the lock does not hang the others for ever."""
    import fcntl

    with (running.home / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ServerError, match="another process has held"):
            running.start(timeout=0.2)
