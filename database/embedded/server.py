"""A PostgreSQL server of our own: one cluster in a folder of its own, reached by a socket."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from database import console
from database.embedded.cluster import (
    SOCKET_PREFIX,
    access_rules,
    configuration,
    data_version,
    initialise,
    is_free_socket_folder,
    is_running,
    locked,
    postmaster,
)
from database.embedded.programs import (
    Account,
    ServerError,
    programs_version,
    run,
    server_account,
    spawn,
)
from database.embedded.providers import copied_programs, copy_programs
from database.urls import DRIVER

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerStatus:
    """What is there of a server: ``version`` is None where it has no data yet."""

    running: bool
    pid: int | None
    version: int | None
    data_directory: Path
    socket_directory: Path | None
    log_file: Path


class Server:
    """One PostgreSQL cluster in ``home``, run by the programs in ``bin_dir``.

    It outlives the process that starts it. It listens on a Unix socket in a short private folder
    under ``/tmp`` (a socket's path has 107 bytes at most), and on 127.0.0.1 where ``tcp`` says
    so. The superuser ``postgres`` comes in by the socket without a password, since only the
    folder's owner and root get there; other users need one.

    Where the present user is root, another runs it (`server_account`): ``home`` and what it holds
    are root's, the data and the socket are the other's, and nothing outside changes.

    ``parameters`` are server settings by name; ``durable=False`` trades safety in a crash of the
    machine for speed.
    """

    admitted: Sequence[str] = ("postgres",)
    """Who comes in by the socket without a password."""

    def __init__(
        self,
        home: Path,
        bin_dir: Path,
        *,
        parameters: Mapping[str, str] | None = None,
        durable: bool = True,
        tcp: bool = False,
        port: int = 5432,
    ) -> None:
        self.home = home
        self.account: Account | None = server_account()
        self._source = bin_dir
        # Another user may not reach the virtual environment.
        self._copied = copied_programs(bin_dir, home) if self.account else None
        self.bin_dir = self._copied or bin_dir
        self.parameters = dict(parameters or {})
        self.durable = durable
        self.tcp = tcp
        self.port = port
        self.data_directory = home / "data"
        self.log_file = home / "server.log"
        self._socket_link = home / "socket"

    @property
    def socket_directory(self) -> Path | None:
        """The folder of the socket, or None before the first start."""
        try:
            return self._socket_link.readlink()
        except OSError:
            return None

    def url(
        self, database: str = "fleetschema", user: str = "postgres", password: str | None = None
    ) -> str:
        """The SQLAlchemy URL of a database by the socket; ServerError before the first start."""
        folder = self.socket_directory
        if folder is None:
            raise ServerError(f"the server in {self.home} was never started: it has no address")
        # The port too: PGPORT counts where a URL has none.
        query = {"host": str(folder), "port": str(self.port)}
        return URL.create(
            DRIVER, username=user, password=password, database=database, query=query
        ).render_as_string(hide_password=False)

    def status(self) -> ServerStatus:
        """What is there, without changing anything."""
        pid = postmaster(self.data_directory)
        return ServerStatus(
            pid is not None,
            pid,
            data_version(self.data_directory),
            self.data_directory,
            self.socket_directory,
            self.log_file,
        )

    def start(self, timeout: float = 60) -> bool:
        """Start the server, making its data first where there are none; False if it ran already.

        Returns when it takes connections, or raises ServerError after ``timeout`` seconds, with
        the last lines of its log. Processes that start it at once wait for one another.
        """
        deadline = time.monotonic() + timeout
        try:
            with (
                console.waiting(f"the PostgreSQL server in {self.home}", timeout),
                self._locked(deadline),
            ):
                return self._start(deadline)
        except OSError as error:
            raise ServerError(
                f"the server in {self.home} cannot be set up: {error}; "
                "set DATABASE_URL to use a server of your own"
            ) from error

    def admit(self) -> None:
        """Write anew who comes in, for a server that an earlier release started."""
        self._write("pg_hba.conf", access_rules(self.tcp, self.admitted))

    def stop(self, timeout: float = 60) -> bool:
        """Stop the server, ending its sessions; False if it did not run."""
        if not self.home.is_dir():
            return False
        deadline = time.monotonic() + timeout
        with self._locked(deadline):
            return self._stop("fast", deadline)

    def destroy(self, timeout: float = 60) -> None:
        """Stop the server and remove all that it made, its data included, and nothing else."""
        if not self.home.is_dir():
            return
        deadline = time.monotonic() + timeout
        with self._locked(deadline):
            self._stop("immediate", deadline)
            folder = self.socket_directory
            if folder is not None and is_free_socket_folder(folder, self.account, self.port):
                shutil.rmtree(folder)
            for name in ("data", "data.new", "programs"):
                if (self.home / name).exists():
                    shutil.rmtree(self.home / name)
            for name in ("socket", "server.conf", "pg_hba.conf", "server.log", "lock"):
                (self.home / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.home.rmdir()

    def _start(self, deadline: float) -> bool:
        pid = postmaster(self.data_directory)
        if pid is not None and not self._socket_exists():
            # Something emptied /tmp under the running server: no client can reach it any more.
            log.warning("the socket of the server in %s is gone: restarting it", self.home)
            self._stop("fast", deadline)
        elif pid is not None and self._becomes_ready(pid, deadline):
            log.info("the server in %s is running already", self.home)
            return False
        self._prepare_programs()
        version = programs_version(self.bin_dir)
        found = data_version(self.data_directory)
        if found is None:
            initialise(self.home, self.bin_dir, version, self.account, sync=self.durable)
        elif found != version:
            raise ServerError(
                f"{self.data_directory} holds data of PostgreSQL {found}, but {self.bin_dir} are "
                f"programs of {version}: use those of {found}, or remove the data"
            )
        self._prepare_socket_folder()
        self._write_configuration()
        # What a crash left behind would stop the server if its number is in use again.
        (self.data_directory / "postmaster.pid").unlink(missing_ok=True)
        self._launch(deadline)
        log.info("started PostgreSQL %s in %s", version, self.home)
        return True

    def _prepare_programs(self) -> None:
        if self._copied is not None:
            copy_programs(self._source, self._copied)

    def _launch(self, deadline: float) -> None:
        if not self.log_file.exists():
            self.log_file.touch(mode=0o600)
            if self.account is not None:
                os.chown(self.log_file, self.account.uid, self.account.gid)
        while True:
            begin = self.log_file.stat().st_size
            pid = spawn(
                self.log_file,
                *(self.bin_dir / "postgres", "-D", self.data_directory),
                account=self.account,
            )
            if self._becomes_ready(pid, deadline):
                return
            # Sessions of a killed server may take a moment to notice that it is gone.
            leftover = "shared memory block" in self._log_since(begin)
            if not leftover or time.monotonic() > deadline:
                raise self._error("did not start", self._log_since(begin))
            time.sleep(0.2)

    def _becomes_ready(self, pid: int, deadline: float) -> bool:
        """Wait until the server takes connections; False if it ends instead."""
        while is_running(pid):
            with contextlib.suppress(OSError, IndexError):
                lines = (self.data_directory / "postmaster.pid").read_text().splitlines()
                if lines[0] == str(pid) and lines[7].strip() in ("ready", "standby"):
                    return True
            if time.monotonic() > deadline:
                raise self._error("was not ready in time", self._log_since(0))
            time.sleep(0.02)
        return False

    def _stop(self, mode: str, deadline: float) -> bool:
        pid = postmaster(self.data_directory)
        if pid is None:
            return False
        self._prepare_programs()
        seconds = max(1, int(deadline - time.monotonic()))
        outcome = run(
            self.bin_dir / "pg_ctl",
            *("stop", "-w", "-m", mode, "-t", str(seconds), "-D", self.data_directory),
            account=self.account,
            timeout=seconds + 30,
        )
        if outcome.code != 0 and postmaster(self.data_directory) is not None:
            raise self._error(f"(process {pid}) did not stop", self._log_since(0))
        return True

    def _prepare_socket_folder(self) -> None:
        folder = self.socket_directory
        if folder is not None and is_free_socket_folder(folder, self.account, self.port):
            # No server uses what a crash left here, though the number in the lock may be in use
            # again, or still be there: a container's first process may bury no dead.
            for leftover in folder.glob(".s.PGSQL.*"):
                leftover.unlink(missing_ok=True)
            return
        folder = Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX))
        if self.account is not None:
            os.chown(folder, self.account.uid, self.account.gid)
        self._socket_link.unlink(missing_ok=True)
        self._socket_link.symlink_to(folder)

    def _socket_exists(self) -> bool:
        folder = self.socket_directory
        return folder is not None and (folder / f".s.PGSQL.{self.port}").is_socket()

    def _write_configuration(self) -> None:
        own = {
            "listen_addresses": "127.0.0.1" if self.tcp else "",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_directory),
            "hba_file": str(self.home / "pg_hba.conf"),
        }
        for name, text in (
            ("pg_hba.conf", access_rules(self.tcp, self.admitted)),
            ("server.conf", configuration(self.durable, {**self.parameters, **own})),
        ):
            self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        path = self.home / name
        path.write_text(text)
        path.chmod(0o600 if self.account is None else 0o644)

    def _log_since(self, begin: int, lines: int = 12) -> str:
        with contextlib.suppress(OSError), self.log_file.open("rb") as file:
            file.seek(begin)
            text = file.read().decode(errors="replace")
            return "\n".join(text.splitlines()[-lines:])
        return ""

    def _error(self, what: str, details: str) -> ServerError:
        return ServerError(
            f"the server in {self.home} {what}; its log is {self.log_file}, and ends with\n"
            f"{details.strip()}"
        )

    def _locked(self, deadline: float) -> contextlib.AbstractContextManager[None]:
        return locked(self.home / "lock", 0o700 if self.account is None else 0o755, deadline)
