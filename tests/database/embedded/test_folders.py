"""The folders of an embedded server: private, its own, and nothing else is touched."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from database.embedded import (
    EmbeddedServer,
    ServerError,
)
from database.embedded.programs import server_account, wheel_programs
from tests.support.embedded_projects import (
    ROOT,
    VERSION,
    scalar,
    server,
)


def test_socket_folder_is_private(running: EmbeddedServer) -> None:
    folder = running.socket_directory
    assert folder is not None
    found = folder.stat()
    account = server_account()
    assert found.st_mode & 0o777 == 0o700
    assert found.st_uid == (os.geteuid() if account is None else account.uid)


def test_no_existing_folder_changes(project: Path) -> None:
    """Not the project, its parents, the environment of the wheel nor its parents."""
    wheel = wheel_programs(VERSION)
    watched = {project, wheel, *project.parents, *wheel.parents, Path(sys.prefix), ROOT}
    watched |= {Path("/var/lib"), Path("/tmp")}
    before = {folder: folder.stat() for folder in watched}
    one = server(project)
    one.start()
    one.stop()
    one.destroy()
    for folder, found in before.items():
        now = folder.stat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (
            found.st_mode,
            found.st_uid,
            found.st_gid,
        ), folder


def test_socket_folder_lost_while_stopped(project: Path) -> None:
    one = server(project)
    one.start()
    one.stop()
    folder = one.socket_directory
    assert folder is not None
    shutil.rmtree(folder)
    one.start()
    assert scalar(one, "select 1") == 1


def test_socket_folder_lost_while_running(project: Path) -> None:
    """A server that nobody can reach is started anew."""
    one = server(project)
    one.start()
    folder = one.socket_directory
    assert folder is not None
    shutil.rmtree(folder)
    assert one.start() is True
    assert scalar(one, "select 1") == 1


def test_socket_folder_of_somebody_else(project: Path) -> None:
    """A folder that others may enter is not used again, whoever made it."""
    one = server(project)
    one.start()
    one.stop()
    folder = one.socket_directory
    assert folder is not None
    folder.chmod(0o777)
    one.start()
    assert one.socket_directory != folder
    folder.rmdir()


def test_long_path(tmp_path: Path) -> None:
    """The path of a socket has 107 bytes; that of a project may have more."""
    folder = tmp_path / ("long" * 30) / ("é" * 60)
    folder.mkdir(parents=True)
    one = server(folder)
    try:
        one.start()
        assert len(os.fsencode(one.socket_directory or "")) < 90
        assert scalar(one, "select 1") == 1
    finally:
        one.destroy()


def test_odd_path(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s a "project" $HOME `x` \\ %s'
    folder.mkdir()
    one = server(folder)
    try:
        one.start()
        assert scalar(one, "select 1") == 1
    finally:
        one.destroy()


def test_destroy_keeps_what_it_did_not_make(project: Path) -> None:
    one = server(project)
    one.start()
    kept = [project / "models.py", project / ".pgdata" / "notes.txt", one.home / "dump.sql"]
    for file in kept:
        file.write_text("mine")
    folder = one.socket_directory
    one.destroy()
    assert [file.read_text() for file in kept] == ["mine"] * 3
    assert {path.name for path in (project / ".pgdata").iterdir()} <= {"notes.txt", "dump.sql"}
    assert folder is not None
    assert not folder.exists()
    (one.home / "dump.sql").unlink()
    (project / ".pgdata" / "notes.txt").unlink()


def test_a_copy_of_the_project_has_a_server_of_its_own(project: Path, tmp_path: Path) -> None:
    """With the original running or not, neither disturbs the other."""
    one = server(project)
    one.start()
    copy = tmp_path / "copy"
    shutil.copytree(
        project, copy, symlinks=True, ignore=lambda _, names: [n for n in names if ".s.PG" in n]
    )
    two = server(copy)
    try:
        assert not two.status().running
        assert two.start() is True
        assert two.socket_directory != one.socket_directory
        assert two.status().pid != one.status().pid
    finally:
        two.destroy()
    assert scalar(one, "select 1") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_project_that_cannot_be_written_to(project: Path) -> None:
    project.chmod(0o500)
    with pytest.raises(ServerError, match=r"cannot be set up.*\.pgdata.*set DATABASE_URL"):
        server(project).start()
    project.chmod(0o700)
