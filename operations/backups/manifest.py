"""What a backup says of itself: `manifest.json`, written last, so that only a whole one has it."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

from pydantic import BaseModel, ValidationError

from database.errors import FleetSchemaError
from operations.backups.inventory import Inventory

FORMAT = 1
MANIFEST, DUMP, CLUSTER = "manifest.json", "database.dump", "cluster.json"


class BackupError(FleetSchemaError):
    """A backup cannot be made, read or restored; the text says why and what to do."""


class File(BaseModel):
    """A file of the backup, as it is stored."""

    bytes: int
    sha256: str


class Server(BaseModel):
    """Where the backup was made."""

    version: str
    """As the server writes it: `18.4`."""
    version_number: int
    """For comparisons: 180004 is 18.4."""
    edition: str
    timescaledb: str | None
    """The version of the extension in the database."""
    identifier: str
    """Of the cluster; a standby has that of its primary."""


class Manifest(BaseModel):
    """All about a backup but its rows and secrets."""

    format: int
    database: str
    made_at: datetime.datetime
    """When the snapshot was taken: the backup has what was committed by then."""
    seconds: float
    """From the snapshot to the end of the dump."""
    server: Server
    revision: str | None
    database_bytes: int
    """The size of the database on its server."""
    encryption: str | None
    """``age`` or ``gpg``; None: the files are readable."""
    files: dict[str, File]
    scheduled_jobs: list[int]
    """Those of TimescaleDB's jobs that run."""
    inventory: Inventory

    @property
    def major(self) -> int:
        """The server's major version."""
        return self.server.version_number // 10000

    @property
    def bytes(self) -> int:
        """What the backup takes on the disk, without its manifest."""
        return sum(file.bytes for file in self.files.values())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it into the folder of the backup."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """That of a backup.

    Raises:
        BackupError: there is none, or none that can be read.
    """
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(
            f"backup {folder}: expected a readable {MANIFEST}, found none"
            f" ({error.strerror if isinstance(error, OSError) else 'it is no text'}): take another"
            " backup: python -m operations backups list"
        ) from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BackupError(
            f"backup {folder}: {MANIFEST} is damaged ({error.errors()[0]['msg']}): take another "
            "backup: python -m operations backups list"
        ) from error
    if manifest.format != FORMAT:
        raise BackupError(
            f"backup {folder}: expected format {FORMAT}, found {manifest.format}: restore it with"
            " the release of this project that made it"
        )
    return manifest


def describe_file(path: Path) -> File:
    """Size and checksum of a file, which is read whole."""
    with path.open("rb") as file:
        return File(
            bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest()
        )


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Read every file of a backup.

    Raises:
        BackupError: one is missing, shorter, longer, or other than it was.
    """
    for name, expected in manifest.files.items():
        path = folder / name
        try:
            found = describe_file(path)
        except OSError as error:
            raise BackupError(
                f"backup {folder}: {name} cannot be read ({error.strerror}): take another backup: "
                "python -m operations backups list"
            ) from error
        if found != expected:
            what = (
                f"{expected.bytes:,} bytes, found {found.bytes:,}"
                if found.bytes != expected.bytes
                else f"checksum {expected.sha256[:12]}…, found {found.sha256[:12]}…"
            )
            raise BackupError(
                f"backup {folder}: {name} is damaged: expected {what}: take another backup: "
                "python -m operations backups list"
            )
