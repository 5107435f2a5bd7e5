"""Making a backup: a dump and an inventory of one snapshot, read in full before it counts."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine

from database.server_info import server_info
from ddl.edition import COMMUNITY, POSTGRESQL
from ddl.sql import ident
from operations import programs
from operations.backups import cluster, encryption, inventory
from operations.backups.folder import Backup, unfinished
from operations.backups.inventory import Inventory
from operations.backups.manifest import (
    CLUSTER,
    DUMP,
    FORMAT,
    BackupError,
    Manifest,
    Server,
    describe_file,
    write_manifest,
)

LOCK_WAIT = 60
"""Seconds that pg_dump waits for a table which somebody locks exclusively."""

OnProgress = Callable[[str, int, int], None]
"""Receives what is being done, how many relations are done, and of how many."""


@dataclass(frozen=True)
class _Reader:
    """What the login of the backup sees."""

    name: str
    sees_all: bool
    """Superuser, or BYPASSRLS: no policy hides rows from it."""


def create(
    engine: Engine,
    folder: Path,
    *,
    checksums: bool = True,
    encrypt: str | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> Backup:
    """Make a backup of the engine's database in a folder, and read it in full.

    Args:
        engine: of a superuser, or of a role that sees all rows and may read all tables.
        checksums: of rows, which a restore compares; their number is compared in any case.
        encrypt: ``age:RECIPIENT`` or ``gpg:KEY``.

    Raises:
        BackupError: before anything is written, where rows are hidden from the login, or it may not
            read a table; or the folder cannot be written.
        ProgramError: pg_dump is missing, or failed. Nothing stays behind.
    """
    if encrypt is not None:
        encryption.check(encrypt.partition(":")[0])
    with engine.connect() as connection:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        inventory.prepare(connection)
        info = server_info(connection)
        reader = _check_reader(connection)
        major = info.version_number // 10000
        pg_dump = programs.client_program("pg_dump", major)
        pg_restore = programs.client_program("pg_restore", major)
        made_at = connection.execute(sa.text("SELECT now()")).scalar_one()
        made_at = made_at.astimezone(datetime.UTC)
        with unfinished(folder, info.database, made_at) as files:
            began = time.monotonic()
            found = _dump_and_inventory(
                connection,
                [
                    *(pg_dump, "--format=custom", f"--file={files / DUMP}", "--no-password"),
                    *("--verbose", f"--lock-wait-timeout={LOCK_WAIT * 1000}"),
                    *([] if reader.sees_all else ["--enable-row-security"]),
                    f"--dbname={programs.address(engine.url)}",
                ],
                programs.environment(engine.url),
                checksums=checksums,
                on_progress=on_progress,
            )
            seconds = round(time.monotonic() - began, 1)
            roles = cluster.read(connection).model_dump_json(indent=1)
            (files / CLUSTER).write_text(roles, encoding="utf-8")
            on_progress("Reading it in full", 0, 0)
            read_in_full(pg_restore, files / DUMP)
            if encrypt is not None:
                on_progress("Encrypting", 0, 0)
                for name in (DUMP, CLUSTER):
                    encryption.encrypt(files / name, encrypt)
            manifest = Manifest(
                format=FORMAT,
                database=info.database,
                made_at=made_at,
                seconds=seconds,
                server=Server(
                    version=info.version,
                    version_number=info.version_number,
                    edition=str(info.edition),
                    timescaledb=info.timescaledb,
                    identifier=_identifier(connection),
                ),
                revision=_revision(connection),
                database_bytes=connection.scalar(
                    sa.text("SELECT pg_database_size(current_database())")
                )
                or 0,
                encryption=encrypt.partition(":")[0] if encrypt else None,
                files={path.name: describe_file(path) for path in sorted(files.iterdir())},
                scheduled_jobs=_scheduled(connection, str(info.edition)),
                inventory=found,
            )
            write_manifest(files, manifest)
            final = folder / files.name.removeprefix(".partial-")
    return Backup(final, manifest)


def read_in_full(pg_restore: Path, dump: Path) -> None:
    """Have pg_restore read all of a dump: a list of its contents alone verifies nothing.

    Raises:
        ProgramError: it is cut short, or damaged.
    """
    programs.run(pg_restore, ["--file=/dev/null", dump], variables=programs.bare_environment())


def _dump_and_inventory(
    connection: Connection,
    command: list[Any],
    environment: dict[str, str],
    *,
    checksums: bool,
    on_progress: OnProgress,
) -> Inventory:
    """Both of one snapshot, at the same time."""
    sequences = inventory.sequence_values(connection)
    snapshot = connection.scalar(sa.text("SELECT pg_export_snapshot()"))
    total = len(inventory.relations(connection))
    done = {"dumped": 0, "counted": 0}

    def count(which: str) -> None:
        done[which] += 1
        on_progress("Dumping and counting", min(done.values()), total)

    def heard(line: str) -> None:
        # Chunks are tables of their own for pg_dump, so this may go beyond the total.
        if "dumping contents of table" in line:
            count("dumped")

    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(
            inventory.read,
            connection,
            sequences,
            checksums=checksums,
            progress=lambda _: count("counted"),
        )
        try:
            program, *arguments = command
            programs.run(
                program,
                [f"--snapshot={snapshot}", *arguments],
                variables=environment | {"PGAPPNAME": "fleetschema backup"},
                heard=heard,
            )
        except BaseException:
            driver = connection.connection.driver_connection
            with suppress(psycopg.Error):
                assert driver is not None
                driver.cancel()
            raise
        return counting.result()


# A policy that shows all rows to whoever it is for, and none that restricts it, will do.
_HIDDEN = """
SELECT c.oid::regclass::text FROM pg_class c
 WHERE c.relkind IN ('r', 'p') AND row_security_active(c.oid)
   AND (EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive)
        OR NOT EXISTS (
            SELECT FROM pg_policy p
             WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*')
               AND pg_get_expr(p.polqual, p.polrelid) = 'true'
               AND (0 = ANY (p.polroles)
                    OR EXISTS (SELECT FROM unnest(p.polroles) r WHERE pg_has_role(r, 'USAGE')))))
 ORDER BY 1
"""
_UNREADABLE = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'S', 'm') AND n.nspname !~ '^(pg_|information_schema)'
   AND NOT (has_schema_privilege(n.oid, 'USAGE')
            AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                     ELSE has_table_privilege(c.oid, 'SELECT') END)
 ORDER BY 1
"""


def _check_reader(connection: Connection) -> _Reader:
    """Whether the login sees everything.

    Raises:
        BackupError: it does not, so a backup would silently be a part.
    """
    row = connection.execute(
        sa.text(
            "SELECT rolname, rolsuper OR rolbypassrls AS sees_all FROM pg_roles"
            " WHERE rolname = current_user"
        )
    ).one()
    for query, what in (
        (_HIDDEN, "sees all rows of every table, found that policies hide rows of"),
        (_UNREADABLE, "may read every table, found that it may not read"),
    ):
        found = list(connection.scalars(sa.text(query)))
        if found:
            shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if found[3:] else "")
            role = ident("fleet_backup")
            raise BackupError(
                f"login {row.rolname}: expected one that {what} {shown}: set BACKUP_DATABASE_URL to"
                f" the URL of a superuser, or of a role made for it, as a superuser: CREATE ROLE "
                f"{role} LOGIN BYPASSRLS PASSWORD '…'; GRANT pg_read_all_data TO {role}"
            )
    return _Reader(row.rolname, row.sees_all)


def _scheduled(connection: Connection, edition: str) -> list[int]:
    if edition == POSTGRESQL:
        return []
    query = "SELECT job_id FROM timescaledb_information.jobs WHERE scheduled ORDER BY 1"
    return list(connection.scalars(sa.text(query))) if edition == COMMUNITY else []


def _identifier(connection: Connection) -> str:
    query = "SELECT system_identifier::text FROM pg_control_system()"
    return str(connection.scalar(sa.text(query)))


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": "public"})
    return context.get_current_revision()
