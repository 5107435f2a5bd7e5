"""The embedded server of a project: where its data are, and which version they have."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from database.embedded.cluster import data_version
from database.embedded.programs import server_account, wheel_programs
from database.embedded.server import Server

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
