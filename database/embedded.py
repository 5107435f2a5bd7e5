"""Servers of our own: the embedded one of a project, and temporary ones for tests."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from database.cluster import data_version
from database.programs import ServerError, server_account, wheel_programs
from database.server import Server, ServerStatus

__all__ = ["EmbeddedServer", "Server", "ServerError", "ServerStatus", "TemporaryServer"]

ROOT_HOMES = Path("/var/lib/fleetschema")
_POINTER = "location"

log = logging.getLogger(__name__)


class EmbeddedServer(Server):
    """The server of a project, from the wheel's programs, with its data in ``project/.pgdata``.

    Root gets it in ``/var/lib/fleetschema/<hash of the project's path>`` instead, because another
    user has to run it and may not be able to reach the project; ``.pgdata/location`` says where.

    ``version`` is the major version of a new server, 18 or 16; existing data keep theirs.
    """

    def __init__(
        self,
        project: Path,
        *,
        version: int = 18,
        durable: bool = True,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        self.project = project.resolve()
        self.folder = self.project / ".pgdata"
        home = self.folder
        if server_account() is not None:
            home = ROOT_HOMES / hashlib.sha256(str(self.project).encode()).hexdigest()[:12]
        self.version = data_version(home / "data") or version
        if self.version != version:
            log.info("%s stays at PostgreSQL %s (%s was asked for)", home, self.version, version)
        super().__init__(home, wheel_programs(self.version), parameters=parameters, durable=durable)

    def start(self, timeout: float = 60) -> bool:
        """As `Server.start`; for root, also leaves the pointer to the data in the project."""
        started = super().start(timeout)
        if self.home != self.folder:
            # It is for people only: a project that cannot be written to does without.
            with contextlib.suppress(OSError):
                self.folder.mkdir(exist_ok=True)
                (self.folder / _POINTER).write_text(f"{self.home}\n")
        return started

    def destroy(self, timeout: float = 60) -> None:
        """As `Server.destroy`; also removes the pointer, and folders left empty."""
        super().destroy(timeout)
        if self.home != self.folder:
            (self.folder / _POINTER).unlink(missing_ok=True)
            for folder in (self.folder, ROOT_HOMES):
                with contextlib.suppress(OSError):
                    folder.rmdir()


class TemporaryServer(Server):
    """A server for a while, from any PostgreSQL's programs; a context manager.

    >>> with TemporaryServer(Path("/usr/lib/postgresql/17/bin"), max_connections="20") as server:
    ...     create_engine(server.url("postgres"))

    Settings with a dot in their name are passed as ``**{"timescaledb.license": "apache"}``.
    With ``tcp`` it also listens on a free port of 127.0.0.1, where everybody needs a password.
    """

    def __init__(
        self, bin_dir: Path, *, durable: bool = False, tcp: bool = False, **parameters: str
    ) -> None:
        home = Path(tempfile.mkdtemp(prefix="fleetschema-server-", dir="/tmp"))
        super().__init__(
            home,
            bin_dir,
            parameters=parameters,
            durable=durable,
            tcp=tcp,
            port=_free_port() if tcp else 5432,
        )
        if self.account is not None:
            home.chmod(0o755)

    def __enter__(self) -> TemporaryServer:
        try:
            self.start()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def destroy(self, timeout: float = 60) -> None:
        """As `Server.destroy`; here the whole folder is the server's own."""
        super().destroy(timeout)
        shutil.rmtree(self.home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
