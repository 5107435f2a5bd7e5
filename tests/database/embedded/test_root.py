"""Where the person is root, another user runs the server."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from database.embedded import (
    EmbeddedServer,
    ServerError,
    programs,
)
from database.embedded.programs import server_account, wheel_programs
from database.embedded.project import ROOT_HOMES
from tests.support.embedded_projects import (
    VERSION,
    scalar,
    server,
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")
def test_root_gets_a_home_elsewhere(running: EmbeddedServer) -> None:
    """Another user runs the server; the programs stay root's; the project has a pointer."""
    account = server_account()
    assert account is not None
    pid = running.status().pid
    assert Path(f"/proc/{pid}").stat().st_uid == account.uid
    assert [path.name for path in (running.project / ".pgdata").iterdir()] == ["location"]
    assert (running.project / ".pgdata" / "location").read_text().strip() == str(running.home)
    assert running.home.is_relative_to(ROOT_HOMES)
    assert running.bin_dir.is_relative_to(running.home)
    assert (running.bin_dir / "psql").stat().st_uid == 0
    assert running.data_directory.stat().st_uid == account.uid


@pytest.mark.skipif(os.geteuid() != 0, reason="anybody else can read his own environment")
def test_root_with_a_private_environment(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel under a folder that nobody else may enter, installed with a strict umask."""
    wheel = wheel_programs(VERSION).parents[1]
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(wheel.parent / f"{wheel.name}.libs", private / f"{wheel.name}.libs")
    install = wheel_programs(VERSION).parent.name
    shutil.copytree(
        wheel / install,
        private / wheel.name / install,
        ignore=shutil.ignore_patterns("include", "*.a"),
    )
    for folder, _, files in os.walk(private):
        for path in (Path(folder), *(Path(folder, file) for file in files)):
            path.chmod(path.stat().st_mode & 0o700)
    moved = private / wheel.name / install / "bin"
    monkeypatch.setattr("database.embedded.project.wheel_programs", lambda _: moved)
    previous = os.umask(0o077)
    try:
        one = server(project)
        one.start()
    finally:
        os.umask(previous)
    assert scalar(one, "select 1") == 1
    assert (private.stat().st_mode & 0o777, moved.stat().st_mode & 0o777) == (0o700, 0o700)
    shutil.rmtree(private)
    one.stop()
    monkeypatch.undo()
    server(project).destroy()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")
def test_root_without_postgres_user(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare container has `nobody` at best; without any other user the error says so."""
    import pwd

    others = [user for user in pwd.getpwall() if user.pw_name != "postgres"]
    monkeypatch.setattr(programs.pwd, "getpwall", lambda: others)
    account = server_account()
    assert account is not None
    assert account.name == "nobody"
    one = server(project)
    one.start()
    assert Path(f"/proc/{one.status().pid}").stat().st_uid == account.uid
    one.destroy()
    monkeypatch.setattr(programs.pwd, "getpwall", lambda: others[:1])
    with pytest.raises(ServerError, match="no other user"):
        server_account()
