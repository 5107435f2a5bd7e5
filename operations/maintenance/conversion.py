"""Converting a database that was built without TimescaleDB, once its server has it.

Models and database are compared as if no operation were pending, and the difference is carried
out: tables become hypertables with their rows, views become rollups. This is no revision, since
it depends on the installation; schema_history has a row about it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import MigrateOperation
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

import ddl
import models
from database import privileges
from database.console import Progress
from database.errors import FleetSchemaError, server_message
from database.migration import held_jobs, history, preparation
from database.migration.checks import edition_of
from database.migration.revisions import Revisions
from database.migration.runner import is_ours
from database.settings import Settings
from ddl import buckets, pending_operations
from ddl import edition as editions
from ddl.edition import Edition
from ddl.rollups import RollupOperation
from ddl.sql import send
from operations.maintenance import late_data
from operations.maintenance.late_data import RefreshError
from operations.revisions.project import project_revisions

SILENT = Progress(lambda _: None)


class ConversionError(FleetSchemaError):
    """The database cannot be converted; the text says why, and what was changed, if anything."""


@dataclass(frozen=True)
class Conversion:
    """What a conversion did."""

    edition: Edition
    done: list[str]
    """Each operation in order: "create_hypertable hypertable timeseries.x"."""
    filled: list[str]
    """The rollups that were filled with the history of the raw data."""
    left: int
    """Operations that stay pending, since they need another edition."""


def convert(engine: Engine, *, progress: Progress = SILENT) -> Conversion | None:
    """Create the extension and carry out the pending operations; None if there are none.

    This is one transaction; the rollups are filled after it, one by one, while the jobs of
    policies wait, and a run that was interrupted then continues. Tables that become hypertables are
    locked and rewritten.

    Args:
        engine: of the database's owner.
        progress: prints a line per operation and rollup.

    Raises:
        ConversionError: the server has no TimescaleDB or too small an edition, the database is not
            at the head or differs from the models, or the server rejected a statement.
    """
    revisions = project_revisions()
    settings = Settings()
    with engine.connect() as connection:
        preparation.use(connection, settings)
        connection.commit()
        with preparation.exclusive(connection, settings):
            with connection.begin():
                pending = pending_operations.entries(connection)
                if not pending:
                    return None
                edition = _check(connection, revisions, pending)
            done: list[str] = []
            if any(kind != pending_operations.FILL for kind, _ in pending):
                done, edition = _replay_once(connection, revisions, edition, progress)
                with connection.begin():
                    privileges.apply(connection)
            filled = _fill(connection, progress)
            with connection.begin():
                if edition is Edition.COMMUNITY:
                    send(connection, held_jobs.RESUME)
                left = len(pending_operations.entries(connection))
    return Conversion(edition, done, filled, left)


def _check(connection: Connection, revisions: Revisions, pending: list[tuple[str, str]]) -> Edition:
    """The edition that the server offers, if it allows a pending operation."""
    offered = editions.available(connection)
    if not pending_operations.convertible(connection, offered):
        raise ConversionError(
            f"{len(pending)} operations are pending, but this server offers no more than edition "
            f"{offered}: install TimescaleDB, add it to shared_preload_libraries "
            "(Community edition: timescaledb.license = 'timescale'), restart the server, and run "
            "the command again"
        )
    revisions.verify()
    heads = MigrationContext.configure(connection).get_current_heads()
    if set(heads) != {revisions.head}:
        raise ConversionError(
            f"expected the database at revision {revisions.head}, found "
            f"{', '.join(heads) or 'base'}: run: alembic upgrade head, then this command again"
        )
    built = edition_of(connection)
    if found := _differences(connection, built):
        listed = ", ".join(map(_named, found[:5])) + (" and more" if len(found) > 5 else "")
        raise ConversionError(
            f"the database differs from the models before the conversion ({listed}), which this "
            f"command would change unseen: resolve the differences in edition {built} first"
        )
    return offered


def _replay_once(
    connection: Connection, revisions: Revisions, offered: Edition, progress: Progress
) -> tuple[list[str], Edition]:
    try:
        with connection.begin():
            return _replay(connection, revisions, offered, progress)
    except DBAPIError as error:
        raise ConversionError(
            f"the server rejected a statement: {server_message(error)}; nothing was changed: "
            "fix the cause and run the command again"
        ) from error


def _replay(
    connection: Connection, revisions: Revisions, offered: Edition, progress: Progress
) -> tuple[list[str], Edition]:
    """Create the extension, carry out the difference, and check that none is left."""
    begin = time.monotonic()
    if editions.detect(connection) is Edition.POSTGRESQL:
        send(connection, "CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public")
        progress.line(f"Created extension timescaledb ({offered})")
    edition = editions.detect(connection)
    pending_operations.forget(connection, edition)
    built = edition_of(connection)
    context = _context(connection, built)
    operations = _differences(connection, built)
    for operation in operations:
        Operations(context).invoke(operation)
        progress.line(f"  + {_named(operation)}")
    for operation in operations:
        if isinstance(operation, RollupOperation) and operation.after is not None:
            pending_operations.record_fill(connection, operation.after.key)
    if edition.has_policies:
        send(connection, buckets.removal())
        # Retention would delete, in the moment of the commit, what the rollups are filled from.
        send(connection, held_jobs.PAUSE)
    if left := _differences(connection, built):
        raise ConversionError(
            f"after the conversion the database would still differ from the models "
            f"({', '.join(map(_named, left[:5]))}); nothing was changed"
        )
    for statement in history.renewal():
        send(connection, statement)
    head = revisions.head or ""
    milliseconds = round((time.monotonic() - begin) * 1000)
    checksum = revisions.checksum(head)
    send(connection, history.entry(head, "convert", checksum, edition, milliseconds))
    return [_named(operation) for operation in operations], edition


def _fill(connection: Connection, progress: Progress) -> list[str]:
    """Fill each new rollup from all raw data, as the view before it was computed.

    Its refresh policy would only cover the last weeks, and the rest would be missing.
    """
    with connection.begin():
        pending = [
            name
            for kind, name in pending_operations.entries(connection)
            if kind == pending_operations.FILL
        ]
    filled = []
    for relation in [name for name in _rollups(connection) if name in pending]:
        progress.note(f"filling {relation}")
        try:
            _refresh(connection, relation)
        except RefreshError as error:
            raise ConversionError(
                f"the database is converted to TimescaleDB, but {error}; run the command again to "
                "continue there"
            ) from error
        with connection.begin():
            pending_operations.forget_fill(connection, relation)
        filled.append(relation)
    return filled


def _rollups(connection: Connection) -> dict[str, late_data.Rollup]:
    """By name, each after what it reads."""
    with connection.begin():
        return {one.sql: one for one in late_data.rollups(connection)}


def _refresh(connection: Connection, relation: str) -> None:
    late_data.take_in(connection, _rollups(connection)[relation])


def _context(connection: Connection, edition: str) -> MigrationContext:
    return MigrationContext.configure(
        connection,
        opts={
            "target_metadata": models.metadata,
            "autogenerate_plugins": ["ddl"],
            "include_name": is_ours,
            "edition": str(edition),
        },
    )


def _differences(connection: Connection, edition: str) -> list[MigrateOperation]:
    """The operations that would bring the database to the models, in order."""
    context = _context(connection, edition)
    script = produce_migrations(context, models.metadata)
    ddl.process_revision_directives(context, None, [script])
    return list(script.upgrade_ops.ops) if script.upgrade_ops else []


def _named(operation: MigrateOperation) -> str:
    return " ".join(map(str, operation.to_diff_tuple()[:2]))
