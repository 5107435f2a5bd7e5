"""What makes up a cluster on disk: its folder, its data, its configuration, its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from database.embedded.programs import Account, Outcome, ServerError, run

SOCKET_PREFIX = "/tmp/fleetschema-"  # noqa: S108 (private folders are made with this prefix)
"""How the folder of a socket of ours begins; short, because a socket's path has 107 bytes."""

_SENSIBLE = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    # The same answers on every machine, whatever its own settings.
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "datestyle": "ISO, MDY",
}
_NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # Nothing is recovered from the log, which may lie in memory.
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
}


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder and its missing parents with exactly this mode; leave existing ones alone."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    try:
        folder.mkdir()
    except FileExistsError:
        return
    folder.chmod(mode)


@contextlib.contextmanager
def locked(path: Path, mode: int, deadline: float) -> Iterator[None]:
    """Hold the lock file, waiting until ``deadline`` (of time.monotonic); else ServerError.

    A file that its holder deleted meanwhile, with the server and the folder, does not count;
    the folder is made again with ``mode``.
    """
    while True:
        make_folder(path.parent, mode)
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    yield
                    return
        if time.monotonic() > deadline:
            raise ServerError(
                f"another process has held {path} for too long: it is starting or stopping "
                "the server; end it, then try again"
            )
        time.sleep(0.05)


def initialise(
    home: Path, bin_dir: Path, version: int, account: Account | None, *, sync: bool
) -> None:
    """Make ``home/data``: encoding UTF8, text in the order of code points, with checksums.

    The folder gets its name when it is complete, so a killed initdb leaves no half of a cluster.
    """
    unfinished = home / "data.new"
    outcome = Outcome(1, "")
    # Letters outside ASCII are told from other signs only where the system knows C.UTF-8.
    for letters in ("C.UTF-8", "C"):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account is not None:
            os.chown(unfinished, account.uid, account.gid)
        outcome = run(
            bin_dir / "initdb",
            *("--pgdata", unfinished, "--username=postgres", "--encoding=UTF8"),
            *_locale(version, letters),
            *("--data-checksums", "--auth-local=trust", "--auth-host=scram-sha-256"),
            *(() if sync else ("--no-sync",)),
            account=account,
        )
        if outcome.code == 0:
            break
    else:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ServerError(f"initdb failed for {home / 'data'}:\n{outcome.output.strip()}")
    # Root writes where another user may have put a link: do not follow one.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
    with os.fdopen(os.open(unfinished / "postgresql.conf", flags), "a") as file:
        file.write("\n# Written at every start; ALTER SYSTEM wins over it.\n")
        file.write("include '../server.conf'\n")
    unfinished.rename(home / "data")


def _locale(version: int, letters: str) -> tuple[str, ...]:
    """Text sorts the same with either provider; the built-in one came with PostgreSQL 17."""
    libc = ("--locale=C", f"--lc-ctype={letters}")
    if version < 17:
        return libc
    return (*libc, "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


def configuration(durable: bool, parameters: Mapping[str, str]) -> str:
    """The text of the configuration file."""
    settings = {**_SENSIBLE, **({} if durable else _NOT_DURABLE), **parameters}
    lines = (f"{name} = '{_quoted(value)}'\n" for name, value in settings.items())
    return "".join(lines)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def access_rules(tcp: bool, admitted: Sequence[str]) -> str:
    """The text of pg_hba.conf: those ``admitted`` by the socket, everyone else by password."""
    rules = [
        f"local all,replication {','.join(admitted)} trust",
        "local all,replication all scram-sha-256",
    ]
    if tcp:
        rules.append("host all,replication all 127.0.0.1/32 scram-sha-256")
    return "".join(f"{rule}\n" for rule in rules)


def is_free_socket_folder(folder: Path, account: Account | None, port: int) -> bool:
    """Whether a socket folder of ours is still there, still private, and not in use.

    Any user may make a folder of that name under /tmp after ours was deleted; and a copy of a
    project brings along the address of the original, which may be running.
    """
    owner = os.geteuid() if account is None else account.uid
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        return False
    lock = folder / f".s.PGSQL.{port}.lock"
    number = lock.read_text().split("\n", 1)[0] if lock.exists() else ""
    return not (number.isdigit() and is_postgres(int(number)))


def data_version(data_directory: Path) -> int | None:
    """The major version that made a data directory, or None where there is none."""
    try:
        return int((data_directory / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except PermissionError:
        raise ServerError(
            f"{data_directory} cannot be read: it belongs to another user, who made this server"
        ) from None


def postmaster(data_directory: Path) -> int | None:
    """The process that serves a data directory, or None.

    The number alone proves little: after a crash it may be another process's, and a copied data
    directory names the server of the original.
    """
    try:
        lines = (data_directory / "postmaster.pid").read_text().splitlines()
        pid = abs(int(lines[0]))
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
        return None
    if not _is_alive(pid):
        return None
    arguments = _arguments(pid)
    if arguments is None:
        return pid if len(lines) > 1 and Path(lines[1]) == data_directory else None
    return pid if str(data_directory) in arguments else None


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely unburied.

    An empty command line would not tell: a process that is just being started has none, either.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        # It is gone, or this system does not show it.
        return _is_alive(pid) and not Path("/proc/self/stat").exists()
    return state[0] not in ("Z", "X")


def is_postgres(pid: int) -> bool:
    """Whether a process is there and is a PostgreSQL server."""
    if not _is_alive(pid):
        return False
    arguments = _arguments(pid)
    return arguments is None or "postgres" in Path(arguments[0]).name


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _arguments(pid: int) -> list[str] | None:
    """The command line of a process, or None on a system that does not show it."""
    if not Path("/proc/self/cmdline").exists():
        return None
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, PermissionError):
        return [""]
