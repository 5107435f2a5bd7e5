"""Restoring a backup into a database of its own, which gets its name when it is complete."""

from __future__ import annotations

import datetime
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from pydantic import ValidationError
from sqlalchemy import Connection

from ddl.sql import literal, send
from operations import programs
from operations.backups import cluster, encryption, inventory, target
from operations.backups.creation import OnProgress
from operations.backups.encryption import SUFFIX
from operations.backups.folder import Backup
from operations.backups.inventory import Deviation
from operations.backups.manifest import CLUSTER, DUMP, BackupError, Manifest, verify_files
from operations.owner import backup_engine, on_database
from operations.revisions.project import alembic_config, project_revisions


@dataclass
class Restored:
    """A database that was made from a backup."""

    name: str
    deviations: list[Deviation] = field(default_factory=list)
    """What is not as the manifest says; empty: everything is equal."""
    compared: bool = True
    """Whether definitions were compared, too; between major versions they are spelled otherwise."""
    without_password: list[str] = field(default_factory=list)
    """Logins that were made, and whose passwords the backup does not have."""
    comment: str | None = None
    """Of the database that was saved."""
    aside: str | None = None
    """The name that the former database has now."""


@contextmanager
def rebuilt(
    connection: Connection,
    backup: Backup,
    name: str,
    *,
    identity: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> Iterator[Restored]:
    """A database ``name`` with all that the backup has, in which no job of TimescaleDB runs.

    It is dropped at the end of the block, unless the block has renamed it.

    Args:
        connection: from `target.server_for`.
        identity: the key of an encrypted backup, for age.

    Raises:
        BackupError: a file is damaged, or the name is taken.
        ProgramError: pg_restore failed. Nothing stays behind but roles.
    """
    manifest = backup.manifest
    on_progress("Reading the backup", 0, 0)
    verify_files(backup.folder, manifest)
    with _readable(backup, identity) as files:
        found = _cluster(files / CLUSTER)
        target.discard(connection, name)
        restored = Restored(name, comment=found.database.comment)
        restored.without_password = cluster.create_roles(connection, found)
        cluster.create_database(connection, name, found.database)
        try:
            target.comment(connection, name, target.MARK)
            on_progress("Restoring", 0, 0)
            _load(files / DUMP, manifest, name, on_progress)
            cluster.finish_database(connection, name, found.database)
            # The comment of the database that was saved is for later.
            target.comment(connection, name, target.MARK)
            _compare(manifest, restored, on_progress)
            yield restored
        finally:
            target.drop(connection, name)


@contextmanager
def _readable(backup: Backup, identity: Path | None) -> Iterator[Path]:
    """The folder of the files as they were before they were encrypted."""
    method = backup.manifest.encryption
    if method is None:
        yield backup.folder
        return
    with tempfile.TemporaryDirectory(prefix="fleetschema-restore-") as folder:
        for name in (DUMP, CLUSTER):
            path = backup.folder / (name + SUFFIX[method])
            encryption.decrypt(path, Path(folder) / name, method, identity)
        yield Path(folder)


def _cluster(path: Path) -> cluster.Cluster:
    try:
        return cluster.Cluster.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, OSError, UnicodeDecodeError) as error:
        raise BackupError(f"{path}: expected roles and the database, found {error}") from error


def _load(dump: Path, manifest: Manifest, name: str, on_progress: OnProgress) -> None:
    """Run pg_restore, with TimescaleDB's own steps around it; its jobs are off before they start.

    In one process: with several, jobs would be restored before the tables that they refer to, and
    be lost.
    """
    version = manifest.server.timescaledb
    with backup_engine(name) as engine:
        major = 0
        with engine.begin() as connection:
            query = "SELECT current_setting('server_version_num')::int"
            major = connection.execute(sa.text(query)).scalar_one() // 10000
            if version is not None:
                send(connection, f"CREATE EXTENSION timescaledb VERSION {literal(version)}")
        if version is not None:
            _alone(name, "SELECT timescaledb_pre_restore()")
        total = len(manifest.inventory[inventory.ROWS])
        done = 0

        def heard(line: str) -> None:
            nonlocal done
            if "processing data for table" in line:
                done += 1
                on_progress("Restoring", min(done, total), total)

        programs.run(
            programs.client_program("pg_restore", major),
            [
                *("--exit-on-error", "--no-password", "--verbose"),
                f"--dbname={programs.address(engine.url)}",
                dump,
            ],
            variables=programs.environment(engine.url) | {"PGAPPNAME": "fleetschema restore"},
            heard=heard,
        )
        if version is not None:
            jobs = "timescaledb_information.jobs"
            _alone(name, f"SELECT alter_job(job_id, scheduled => false) FROM {jobs}")
            _alone(name, "SELECT timescaledb_post_restore()")
        with engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            on_progress("Collecting statistics", 0, 0)
            send(connection, "ANALYZE")


def _alone(name: str, statement: str) -> None:
    """In a session of its own, since settings of the database are for those that follow."""
    with backup_engine(name) as engine, engine.connect() as connection:
        send(connection.execution_options(isolation_level="AUTOCOMMIT"), statement)


def _compare(manifest: Manifest, restored: Restored, on_progress: OnProgress) -> None:
    expected = manifest.inventory
    total = len(expected[inventory.ROWS])
    done = 0

    def progress(_: str) -> None:
        nonlocal done
        done += 1
        on_progress("Comparing", done, total)

    with backup_engine(restored.name) as engine, engine.connect() as connection:
        inventory.prepare(connection)
        number = connection.execute(sa.text("SHOW server_version_num")).scalar_one()
        restored.compared = int(number) // 10000 == manifest.major
        checksums = any("checksum" in text for text in expected[inventory.ROWS].values())
        found = inventory.read(
            connection,
            inventory.sequence_values(connection),
            checksums=checksums,
            progress=progress,
        )
    restored.deviations = inventory.compare(expected, found, same_version=restored.compared)


def to_head(name: str, manifest: Manifest) -> bool:
    """Apply the revisions that came after the backup, as the owner; whether there were any."""
    if manifest.revision == project_revisions().head:
        return False
    config = alembic_config()
    # What a command prints is its result.
    config.stdout = sys.stderr
    with on_database(name):
        command.upgrade(config, "head")
    return True


def schedule_jobs(name: str, jobs: list[int], *, later: bool = False) -> None:
    """Let those run that ran when the backup was made.

    Args:
        later: not before tomorrow.
    """
    if not jobs:
        return
    listed = ", ".join(map(str, jobs))
    start = ", next_start => now() + interval '1 day'" if later else ""
    _alone(
        name,
        f"SELECT alter_job(job_id, scheduled => true{start}) FROM timescaledb_information.jobs"
        f" WHERE job_id IN ({listed})",
    )


def restore(
    backup: Backup,
    name: str,
    *,
    replace: bool = False,
    end_sessions: bool = False,
    identity: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> Restored:
    """Make the database ``name`` from a backup, and compare it before it gets this name.

    Args:
        replace: a database of this name that holds something is kept under another name.
        end_sessions: of whoever is connected to it then.

    Raises:
        BackupError: there is such a database and ``replace`` is not given; sessions are connected;
            the server cannot take the backup; or what was restored is not equal to what was backed
            up. The database of this name is as it was.
    """
    manifest = backup.manifest
    with target.server_for(manifest) as connection:
        there = target.existing(connection, name)
        check(there, replace=replace, end_sessions=end_sessions)
        working = f"{name}_restoring"
        with rebuilt(
            connection, backup, working, identity=identity, on_progress=on_progress
        ) as restored:
            if restored.deviations:
                raise BackupError(differing(restored.deviations, f"database {name}"))
            on_progress("Applying revisions", 0, 0)
            to_head(working, manifest)
            aside = _aside(name) if there else None
            # Who has connected meanwhile.
            check(target.existing(connection, name), replace=replace, end_sessions=end_sessions)
            # They start in the database that has its name.
            target.start_jobs(working, run=False)
            schedule_jobs(working, manifest.scheduled_jobs)
            target.comment(connection, working, restored.comment)
            target.swap(connection, working, name, aside)
            restored.name = name
            if aside and there and not there.relations:
                target.drop(connection, aside)
            else:
                restored.aside = aside
        return restored


def check(there: target.Existing | None, *, replace: bool, end_sessions: bool) -> None:
    """Whether a database may be replaced.

    Raises:
        BackupError: it may not; says what to do.
    """
    if there is None:
        return
    if there.relations and not replace:
        raise BackupError(
            f"database {there.name}: expected none, or an empty one, found {there.relations:,} "
            "tables, views and sequences: to keep it under another name and put the backup in its "
            "place, add --replace; to restore beside it, add --as NAME"
        )
    if there.sessions and not end_sessions:
        shown = ", ".join(there.sessions[:3])
        more = f" and {len(there.sessions) - 3} more" if there.sessions[3:] else ""
        raise BackupError(
            f"database {there.name}: expected nobody connected, found {len(there.sessions)} "
            f"sessions ({shown}{more}): stop the services first, or add --end-sessions"
        )


def differing(deviations: list[Deviation], what: str) -> str:
    """The text of an error."""
    shown = "\n".join(f"  {one}" for one in deviations[:20])
    more = f"\n  and {len(deviations) - 20} more" if deviations[20:] else ""
    return (
        f"{what}: expected what the backup's manifest says, found {len(deviations)} differences; "
        f"it was not put in place:\n{shown}{more}"
    )


def _aside(name: str) -> str:
    return f"{name}_before_{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}"
