"""The folder of backups: which there are, making another, and rotation.

A backup is a folder of its own, `<database>-<time in UTC>`. It is written as `.partial-…` and gets
its name when it is whole and on the disk, so nothing else looks like a backup.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from operations.backups.manifest import BackupError, Manifest, read_manifest

_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Backup:
    """A backup that is whole as far as its manifest and the sizes of its files tell."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.folder.name


@dataclass(frozen=True)
class Unreadable:
    """What has a name like a backup and is none."""

    folder: Path
    problem: str


def backups(folder: Path) -> tuple[list[Backup], list[Unreadable]]:
    """The backups of a folder, the newest first, and what only looks like one."""
    good: list[Backup] = []
    bad: list[Unreadable] = []
    if not folder.is_dir():
        return good, bad
    for path in folder.iterdir():
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            manifest = read_manifest(path)
            _sizes(path, manifest)
        except BackupError as error:
            bad.append(Unreadable(path, str(error)))
        else:
            good.append(Backup(path, manifest))
    good.sort(key=lambda one: (one.manifest.made_at, one.name), reverse=True)
    return good, sorted(bad, key=lambda one: one.folder)


def find(folder: Path, name: str | None, database: str) -> Backup:
    """A backup by its name or path; the newest of a database where none is named.

    Raises:
        BackupError: there is no such backup, or it is damaged.
    """
    if name is not None:
        path = folder / name if (folder / name).is_dir() else Path(name)
        manifest = read_manifest(path)
        _sizes(path, manifest)
        return Backup(path.resolve(), manifest)
    good, bad = backups(folder)
    of_database = [one for one in good if one.manifest.database == database]
    if not of_database:
        others = "".join(f"\n  {one.problem}" for one in bad)
        raise BackupError(
            f"folder {folder}: expected a backup of database {database}, found none: run: "
            f"python -m operations backup{others}"
        )
    return of_database[0]


def _sizes(path: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        try:
            found = (path / name).stat().st_size
        except OSError as error:
            raise BackupError(f"backup {path}: {name} is missing: take another backup") from error
        if found != expected.bytes:
            raise BackupError(
                f"backup {path}: {name} is damaged: expected {expected.bytes:,} bytes, found "
                f"{found:,}: take another backup"
            )


@contextmanager
def unfinished(folder: Path, database: str, made_at: datetime.datetime) -> Iterator[Path]:
    """A folder for the files of a backup; when the block ends well, it is published.

    Files and folders are on the disk before the backup gets its name. What an earlier run left
    behind when it was killed is removed. Where the block fails, nothing stays.

    Raises:
        BackupError: the folder cannot be written, or another run is at work in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder):
            for left in folder.glob(f"{_PARTIAL}*"):
                shutil.rmtree(left)
            # Two in a second are two.
            moment = f"{made_at:%Y%m%dT%H%M%S}{made_at.microsecond // 1000:03d}Z"
            name = f"{database.replace('/', '_')}-{moment}"
            target = folder / name
            if target.exists():
                raise BackupError(f"backup {target} is there already: run the command again")
            partial = folder / f"{_PARTIAL}{name}"
            partial.mkdir(mode=0o700)
            try:
                yield partial
                for path in (*partial.iterdir(), partial):
                    _sync(path)
                partial.rename(target)
                _sync(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise BackupError(
            f"folder {folder}: the backup cannot be written{where}: {error.strerror}: no backup was"
            " made; make room, or set BACKUP_DIRECTORY"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupError(
                f"folder {folder}: another backup is being made or removed: wait for it"
            ) from error
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def superfluous(
    good: list[Backup], newest: Backup, *, days: int, copies: int, now: datetime.datetime
) -> list[Backup]:
    """Backups older than so many days, but for the newest ones, so many of them.

    Only those of the same database of the same cluster as ``newest``, which stays in any case.

    Args:
        copies: how many stay whatever their age, 1 at least.
    """

    def identity(one: Backup) -> tuple[str, str]:
        return one.manifest.database, one.manifest.server.identifier

    same = [one for one in good if identity(one) == identity(newest)]
    oldest = now - datetime.timedelta(days=days)
    return [
        one
        for one in same[max(copies, 1) :]
        if one.manifest.made_at < oldest and one.folder != newest.folder
    ]


def remove(folder: Path, rejected: list[Backup]) -> None:
    """Delete backups; each loses its name first, so none is ever half of one.

    Raises:
        BackupError: another run is at work in the folder, or a file cannot be deleted.
    """
    try:
        with _locked(folder):
            for one in rejected:
                hidden = folder / f"{_PARTIAL}{one.name}"
                one.folder.rename(hidden)
                shutil.rmtree(hidden)
    except OSError as error:
        raise BackupError(f"folder {folder}: a backup cannot be deleted: {error}") from error
