"""A database that gains TimescaleDB later: what its revisions had to leave out is made up for.

Models and database are compared as if the ledger did not exist, and the difference is carried
out: tables become hypertables with their rows, views become rollups. It is no revision, for it
fits one installation only; schema_history has a row about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import MigrateOperation
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

import ddl
import models
from database.errors import FleetSchemaError
from database.migration import history, preparation
from database.migration.revisions import Revisions
from database.migration.runner import LOCK_KEY, edition_of, is_ours
from database.settings import Settings
from ddl import edition as editions
from ddl import ledger
from ddl.edition import Edition
from ddl.rollup import RollupOperation
from ddl.sql import literal, send
from operations.errors import server_message
from operations.revisions.project import project_revisions


class ConversionError(FleetSchemaError):
    """TimescaleDB cannot be adopted; says why. Nothing was changed, unless it says so."""


@dataclass(frozen=True)
class Conversion:
    """What an adoption did."""

    edition: Edition
    done: list[str]
    """Each operation as a person would name it, in order: "create_hypertable timeseries.x"."""
    filled: list[str]
    """The rollups that were filled with the history of the raw data."""
    left: int
    """Rows that stay in the ledger, since they need a better edition still."""


def _silent(text: str) -> None:
    """Say nothing."""


def convert(engine: Engine, *, say: Callable[[str], None] = _silent) -> Conversion | None:
    """Create the extension and whatever the ledger holds back; None if it holds nothing back.

    All of it is one transaction; the rollups are filled after it, one by one. Stopped there, a
    second run goes on. Tables that become hypertables are locked meanwhile, and written anew.

    Args:
        engine: of the database's owner.
        say: takes a line of progress.

    Raises:
        ConversionError: the server has no TimescaleDB or too small an edition, the database is not
            at the head or differs from the models, or the server refused a statement.
    """
    revisions = project_revisions()
    settings = Settings()
    with engine.connect() as connection:
        preparation.use(connection, settings)
        connection.commit()
        with preparation.exclusive(connection, LOCK_KEY, settings, say):
            with connection.begin():
                waiting = ledger.entries(connection)
                if not waiting:
                    return None
                edition = _check(connection, revisions, waiting)
            done: list[str] = []
            if any(kind != ledger.FILL for kind, _ in waiting):
                done, edition = _replay_once(connection, revisions, edition, say)
            filled = _fill(connection, say)
            with connection.begin():
                left = len(ledger.entries(connection))
    return Conversion(edition, done, filled, left)


def _check(connection: Connection, revisions: Revisions, waiting: list[tuple[str, str]]) -> Edition:
    """The edition that the server offers, if something can be done with it."""
    offered = editions.available(connection)
    if not ledger.adoptable(connection, offered):
        raise ConversionError(
            f"the ledger holds {len(waiting)} entries, but this server offers no more than "
            f"edition {offered}: install TimescaleDB, add it to shared_preload_libraries "
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
            f"the database differs from the models before anything is adopted ({listed}); "
            f"bring it to them in edition {built} first, for this command would undo that unseen"
        )
    return offered


def _replay_once(
    connection: Connection, revisions: Revisions, offered: Edition, say: Callable[[str], None]
) -> tuple[list[str], Edition]:
    try:
        with connection.begin():
            return _replay(connection, revisions, offered, say)
    except DBAPIError as error:
        raise ConversionError(
            f"the server refused a statement: {server_message(error)}; nothing was changed: "
            "fix the cause and run the command again"
        ) from error


def _replay(
    connection: Connection, revisions: Revisions, offered: Edition, say: Callable[[str], None]
) -> tuple[list[str], Edition]:
    """The one transaction."""
    begin = time.monotonic()
    if editions.detect(connection) is Edition.POSTGRESQL:
        send(connection, "CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public")
        say(f"Created extension timescaledb ({offered})")
    edition = editions.detect(connection)
    ledger.forget(connection, edition)
    built = edition_of(connection)
    context = _context(connection, built)
    operations = _differences(connection, built)
    for operation in operations:
        Operations(context).invoke(operation)
        say(f"  + {_named(operation)}")
    for operation in operations:
        if isinstance(operation, RollupOperation) and operation.after is not None:
            ledger.note_fill(connection, operation.after.key)
    if left := _differences(connection, built):
        raise ConversionError(
            f"after the adoption the database would still differ from the models "
            f"({', '.join(map(_named, left[:5]))}); nothing was changed"
        )
    for statement in history.renewal():
        send(connection, statement)
    head = revisions.head or ""
    milliseconds = round((time.monotonic() - begin) * 1000)
    checksum = revisions.checksum(head)
    send(connection, history.entry(head, "convert", checksum, edition, milliseconds))
    return [_named(operation) for operation in operations], edition


def _fill(connection: Connection, say: Callable[[str], None]) -> list[str]:
    """Store in each new rollup what the view before it computed from all raw data.

    Its policy would only ever look at the last days, and hide the rest.
    """
    with connection.begin():
        waiting = [name for kind, name in ledger.entries(connection) if kind == ledger.FILL]
    filled = []
    for relation in _sources_first(connection, waiting):
        say(f"  . filling {relation}")
        try:
            _refresh(connection, relation)
        except DBAPIError as error:
            raise ConversionError(
                f"the database is converted to TimescaleDB, but {relation} could not be filled: "
                f"{server_message(error)}; run the command again to continue there"
            ) from error
        with connection.begin():
            ledger.forget_fill(connection, relation)
        filled.append(relation)
    return filled


def _sources_first(connection: Connection, relations: list[str]) -> list[str]:
    """A rollup of another rollup was made after it."""
    query = sa.text("SELECT CAST(:relation AS regclass)::oid")
    with connection.begin():
        return sorted(relations, key=lambda one: connection.scalar(query, {"relation": one}))


def _refresh(connection: Connection, relation: str) -> None:
    """Outside of a transaction, as TimescaleDB wants it; its own job may be at it as well."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.autocommit = True
    try:
        with driver.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', '10min', false)")
            cursor.execute(f"CALL refresh_continuous_aggregate({literal(relation)}, NULL, NULL)")
    finally:
        driver.autocommit = False


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
    """What would bring the database to the models, in order."""
    context = _context(connection, edition)
    script = produce_migrations(context, models.metadata)
    ddl.process_revision_directives(context, None, [script])
    return list(script.upgrade_ops.ops) if script.upgrade_ops else []


def _named(operation: MigrateOperation) -> str:
    return " ".join(map(str, operation.to_diff_tuple()[:2]))
