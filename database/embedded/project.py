"""The embedded server of a project: where its data are, and which version they have."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from database.embedded.cluster import data_version
from database.embedded.programs import server_account
from database.embedded.providers import DEFAULT, programs
from database.embedded.server import Server

SUPERUSER = "postgres"
OWNER = "fleet_owner"
"""Owns the project's database: alembic and operations log in with it."""

SERVICE = "fleet_service"
"""Has fleet_app alone, as a login of `operations login create`."""

DATABASE = "fleetschema"

ROOT_HOMES = Path("/var/lib/fleetschema")
_POINTER = "location"

log = logging.getLogger(__name__)


class EmbeddedServer(Server):
    """The server of a project, from a wheel's programs, with its data in ``project/.pgdata``.

    Root gets it in ``/var/lib/fleetschema/<hash of the project's path>`` instead, because another
    user has to run it and may not be able to reach the project; ``.pgdata/location`` says where.

    ``provider`` names the wheel (see `PROVIDERS`), ``version`` the major version of a new server;
    existing data keep theirs, and either wheel's programs of that version run them.
    """

    admitted = (SUPERUSER, OWNER, SERVICE)

    def __init__(
        self,
        project: Path,
        *,
        version: int = 18,
        provider: str = DEFAULT,
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
        bin_dir = programs(self.version, provider)
        super().__init__(home, bin_dir, parameters=parameters, durable=durable)

    def start(self, timeout: float = 60) -> bool:
        """As `Server.start`; for root, also leaves the pointer to the data in the project."""
        started = super().start(timeout)
        if self.home != self.folder:
            # It is for people only: a project that cannot be written to does without.
            with contextlib.suppress(OSError):
                self.folder.mkdir(exist_ok=True)
                (self.folder / _POINTER).write_text(f"{self.home}\n")
        return started

    def open(self, user: str) -> str:
        """Start the server if need be; the URL of the project's database for one of its logins."""
        self.ensure()
        return self.url(DATABASE, user)

    def ensure(self) -> bool:
        """Start the server if need be, with the logins and database of `prepare`; as `start`."""
        # It imports the models, which this package, at the bottom of all, does not.
        from database.embedded.logins import prepare

        started = self.start()
        prepare(self, started=started)
        return started

    def destroy(self, timeout: float = 60) -> None:
        """As `Server.destroy`; also removes the pointer, and folders left empty."""
        super().destroy(timeout)
        if self.home != self.folder:
            (self.folder / _POINTER).unlink(missing_ok=True)
            for folder in (self.folder, ROOT_HOMES):
                with contextlib.suppress(OSError):
                    folder.rmdir()
