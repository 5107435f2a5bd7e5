"""The server that a backup is restored to: whether it can take it, and the database made for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from database.server_info import server_info
from ddl.edition import COMMUNITY, POSTGRESQL
from ddl.sql import ident, literal, send
from operations.backups.manifest import BackupError, Manifest
from operations.lock import exclusive_run
from operations.owner import backup_engine
from operations.revisions.project import project_revisions

MAINTENANCE = "postgres"
"""The database from which others are made, renamed and dropped."""
MARK = "unfinished restore of fleetschema"
"""The comment of a database that nobody uses yet; one with it may be dropped."""


@dataclass(frozen=True)
class Existing:
    """A database that is there already."""

    name: str
    relations: int
    """Tables, views and sequences that are no extension's."""
    sessions: list[str]
    """Who is connected: login, application, address."""


@contextmanager
def server_for(manifest: Manifest) -> Iterator[Connection]:
    """A connection to the server, on which every statement is committed at once.

    Nobody else restores there meanwhile.

    Raises:
        BackupError: the server, or the login, cannot restore such a backup.
    """
    busy = BackupError("another restore or drill is at work on this server: wait for it")
    with backup_engine(MAINTENANCE) as engine, engine.connect() as first:
        connection = first.execution_options(isolation_level="AUTOCOMMIT")
        with exclusive_run(connection, "restore", busy):
            _check(connection, manifest)
            yield connection


def _check(connection: Connection, manifest: Manifest) -> None:
    info = server_info(connection)
    major = info.version_number // 10000
    made = f"backup of {manifest.database} of {manifest.made_at:%Y-%m-%d %H:%M} UTC"
    if not info.superuser:
        raise BackupError(
            f"login {info.user}: expected a superuser, which restoring needs (other owners, "
            "TimescaleDB, an event trigger), found none: set BACKUP_DATABASE_URL to the URL of one"
        )
    if info.read_only:
        raise BackupError(f"the server of {info.user}: expected a primary, found a standby")
    if major < manifest.major:
        raise BackupError(
            f"{made}: expected PostgreSQL {manifest.major} or newer, found {info.version}: restore "
            "it on such a server"
        )
    if manifest.server.timescaledb is not None:
        _check_timescaledb(connection, manifest, made, str(info.available))
    names = manifest.inventory["extension"].keys() - {"timescaledb"}
    available = set(connection.scalars(sa.text("SELECT name FROM pg_available_extensions")))
    if missing := sorted(names - available):
        raise BackupError(
            f"{made}: expected a server with the extensions {', '.join(missing)}, found none of "
            "them: install their packages"
        )
    if manifest.revision is not None and manifest.revision not in project_revisions().files:
        raise BackupError(
            f"{made}: expected a revision of this project, found {manifest.revision}: restore it "
            "with the release of this project that has it"
        )


def _check_timescaledb(
    connection: Connection, manifest: Manifest, made: str, available: str
) -> None:
    version = manifest.server.timescaledb
    query = "SELECT version FROM pg_available_extension_versions WHERE name = 'timescaledb'"
    versions = sorted(connection.scalars(sa.text(query)))
    if version not in versions:
        raise BackupError(
            f"{made}: expected a server with TimescaleDB {version}, found "
            f"{', '.join(versions) or 'none'}: install this version, restore, and update it then "
            "(ALTER EXTENSION timescaledb UPDATE, in a session that has just begun)"
        )
    if available == POSTGRESQL or COMMUNITY == manifest.server.edition != available:
        raise BackupError(
            f"{made}: expected the edition {manifest.server.edition}, found {available}: set "
            "shared_preload_libraries = 'timescaledb' and timescaledb.license = 'timescale', and "
            "restart the server"
        )


_RELATIONS = sa.text("""
    SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                          AND d.classid = 'pg_class'::regclass AND d.objid = c.oid)
""")
# TimescaleDB's own workers are no clients.
_SESSIONS = sa.text("""
    SELECT concat_ws(' ', usename, nullif(application_name, ''), client_addr::text)
      FROM pg_stat_activity
     WHERE datname = :name AND pid <> pg_backend_pid() AND backend_type = 'client backend'
     ORDER BY 1
""")


def existing(connection: Connection, name: str) -> Existing | None:
    """What is known of a database, if there is one of this name."""
    known = sa.text("SELECT count(*) FROM pg_database WHERE datname = :name")
    if not connection.scalar(known, {"name": name}):
        return None
    sessions = list(connection.scalars(_SESSIONS, {"name": name}))
    with backup_engine(name) as engine, engine.connect() as inside:
        relations: int = inside.execute(_RELATIONS).scalar_one()
    return Existing(name, relations, sessions)


def discard(connection: Connection, name: str) -> None:
    """Drop what a restore that was killed has left under this name.

    Raises:
        BackupError: there is a database of this name that is somebody's.
    """
    query = """SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database
                WHERE datname = :name"""
    comment = connection.scalar(sa.text(query), {"name": name})
    if comment is None:
        return
    if comment != MARK:
        raise BackupError(
            f"database {name}: expected none, or one that a restore has left, found somebody's: "
            "rename it, or restore under another name (--as)"
        )
    drop(connection, name)


def comment(connection: Connection, name: str, text: str | None) -> None:
    """Say what a database is for: `MARK` as long as nobody uses it."""
    send(
        connection,
        f"COMMENT ON DATABASE {ident(name)} IS {literal(text) if text else 'NULL'}",
    )


def drop(connection: Connection, name: str) -> None:
    """Drop a database, with whoever is connected to it."""
    send(connection, f"DROP DATABASE IF EXISTS {ident(name)} WITH (FORCE)")


def swap(connection: Connection, restored: str, name: str, aside: str | None) -> None:
    """Give the restored database its name, and the one that has it another, in one transaction.

    Sessions of both end.
    """
    for one in (restored, name if aside else None):
        if one is not None:
            _close(connection, one)
    try:
        send(
            connection,
            "BEGIN;"
            + (f"ALTER DATABASE {ident(name)} RENAME TO {ident(aside)};" if aside else "")
            + f"ALTER DATABASE {ident(restored)} RENAME TO {ident(name)}; COMMIT",
        )
    except BaseException:
        send(connection, "ROLLBACK")
        if aside:
            _open(connection, name)
        raise
    for one in (name, aside):
        if one is not None:
            _open(connection, one)


def _close(connection: Connection, name: str) -> None:
    send(connection, f"ALTER DATABASE {ident(name)} ALLOW_CONNECTIONS false")
    query = sa.text(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = :name"
    )
    for _ in range(100):
        if not connection.scalar(query, {"name": name}):
            return
        time.sleep(0.1)


def _open(connection: Connection, name: str) -> None:
    send(connection, f"ALTER DATABASE {ident(name)} ALLOW_CONNECTIONS true")
    # The scheduler of TimescaleDB has ended, too.
    start_jobs(name, run=True)


def start_jobs(name: str, *, run: bool) -> None:
    """Start, or stop, the scheduler of a database, where there is TimescaleDB."""
    with backup_engine(name) as engine, engine.begin() as connection:
        installed = "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"
        if connection.scalar(sa.text(installed)):
            word = "start" if run else "stop"
            send(connection, f"SELECT _timescaledb_functions.{word}_background_workers()")
