"""A server that lives as long as a block of code, from any PostgreSQL's programs."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

from database.embedded.server import Server

_MEMORY = Path("/dev/shm")  # noqa: S108 (private folders are made in it)
_ROOM = 4 * 1024**3
"""Bytes that must be free in memory for a server there: tests run several at once."""


class TemporaryServer(Server):
    """A server for a while, from any PostgreSQL's programs; a context manager.

    >>> with TemporaryServer(Path("/usr/lib/postgresql/17/bin"), max_connections="20") as server:
    ...     create_engine(server.url("postgres"))

    Settings with a dot in their name are passed as ``**{"timescaledb.license": "apache"}``.
    With ``tcp`` it also listens on a free port of 127.0.0.1, where every user needs a password.
    Its data are in memory where there is room for them, unless they are to be ``durable``: a copy
    of a database of a thousand files takes a tenth of the time that it takes on a disk.
    """

    def __init__(
        self, bin_dir: Path, *, durable: bool = False, tcp: bool = False, **parameters: str
    ) -> None:
        folder = _MEMORY if not durable and _has_room(_MEMORY) else Path("/tmp")  # noqa: S108
        home = Path(tempfile.mkdtemp(prefix="fleetschema-server-", dir=folder))
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


def _has_room(folder: Path) -> bool:
    """Whether a server may run in a folder: the programs may be copied there, too."""
    try:
        flags = os.statvfs(folder).f_flag
        return not flags & os.ST_NOEXEC and shutil.disk_usage(folder).free >= _ROOM
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
