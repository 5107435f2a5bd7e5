"""What has to be true of a database before a command compares it or moves it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, MetaData

from database import roles
from database.errors import FleetSchemaError
from database.migration.revisions import Revisions
from ddl import pending_operations
from ddl.edition import Edition, available, detect
from ddl.kinds.extension import missing as missing_extensions


def is_known(connection: Connection, revisions: Revisions, applied: Collection[str]) -> None:
    """The code has every revision that was applied.

    Raises:
        FleetSchemaError: the database is ahead of the code.
    """
    if unknown := sorted(set(applied) - revisions.files.keys()):
        raise FleetSchemaError(
            f"database {_name(connection)}: expected a revision up to "
            f"{revisions.head or 'base'}, found {', '.join(unknown)}: the database is "
            "ahead of this code; deploy the code that has that revision, or downgrade with it. "
            "If the file is gone for good, run: alembic stamp --purge "
            f"{revisions.head or 'base'} && alembic check, which lists what it left behind"
        )


def is_at_head(connection: Connection, revisions: Revisions, applied: Collection[str]) -> None:
    """The database has every revision: what the models lack in it is no difference before.

    Raises:
        FleetSchemaError: it is behind.
    """
    if set(applied) != ({revisions.head} if revisions.head else set()):
        raise FleetSchemaError(
            f"database {_name(connection)}: expected revision {revisions.head or 'base'}, found "
            f"{', '.join(sorted(applied)) or 'none'}: run: alembic upgrade head"
        )


def has_roles(connection: Connection) -> None:
    """The cluster has the roles.

    Raises:
        FleetSchemaError: names those that are missing.
    """
    if absent := roles.missing(connection):
        raise FleetSchemaError(
            f"the cluster has no role {', '.join(absent)}, which policies and grants of the "
            "models name: run: alembic upgrade head"
        )


def has_extensions(connection: Connection, metadata: MetaData) -> None:
    """The server has the extensions that the models declare, or has created them already.

    Raises:
        FleetSchemaError: names those that cannot be had, and how to have them.
    """
    if lacking := missing_extensions(connection, metadata):
        raise FleetSchemaError(
            f"the models cannot be compared with database {_name(connection)}; it lacks "
            + "; and ".join(lacking)
        )


def is_converted(connection: Connection) -> None:
    """The database uses what the server has of TimescaleDB.

    Raises:
        FleetSchemaError: the server gained it after the revisions.
    """
    if missed := not_converted(connection):
        raise FleetSchemaError(f"database {_name(connection)}: {missed}")


def not_converted(connection: Connection) -> str:
    """What this server could do that the revisions had to leave out; empty if nothing."""
    edition = available(connection)
    count = len(pending_operations.convertible(connection, edition))
    if count == 0:
        return ""
    return (
        f"this server has {edition}, but {count} hypertables, rollups and policies were set up "
        "without it: run: python -m operations convert"
    )


def edition_of(connection: Connection) -> Edition:
    """The edition that revisions are for here: TimescaleDB counts once it is converted to."""
    return Edition(pending_operations.lowered(connection, detect(connection)))


def _name(connection: Connection) -> str:
    return str(connection.engine.url.database)
