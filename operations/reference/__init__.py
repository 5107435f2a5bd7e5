"""Reference data: what every database holds before anybody has entered anything.

The facts stand in one module per subject, as plain data. `apply` makes a database agree with
them, as often as one likes and after any revision; revisions hold no data. The rules:

- The reference wins over what was changed by hand: names, descriptions, limits, features, what
  a built-in role permits, the parts of a built-in device template.
- Some columns only new rows get, for they are the operators' afterwards: prices, whether a
  tier or plan is sold, ids at Stripe, the platform's name, the settings that tenants start with.
- Rows that the reference does not know are left alone: an operator's own tier, say.
  `retired.py` is for those that it once had.
- Tenants get a copy of what is built in once. What they changed is not overwritten, what they
  deleted does not come back, and what a built-in role loses here their copy keeps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database import privileges
from database.migration import preparation
from database.migration.runner import LOCK_KEY
from database.roles import missing as missing_roles
from database.settings import Settings
from database.tenancy import OPERATOR
from operations.reference.catalogue import write
from operations.reference.rows import ReferenceDataError
from operations.reference.synchronization import as_operator, sync

__all__ = ["Applied", "ReferenceDataError", "apply"]

log = logging.getLogger(__name__)

_UNDEFINED = ("3F000", "42P01", "42703", "42883")  # schema, table, column, function


@dataclass(frozen=True)
class Applied:
    """What happened to one subject."""

    name: str
    changed: int
    """Rows inserted, changed or deleted; 0 when all was as it should be."""


def apply(engine: Engine, say: Callable[[str], None] = log.info) -> list[Applied]:
    """Make the database agree with the reference, its privileges included.

    The catalogues are one transaction: all of them or nothing. The copies of each tenant are
    another. Runs at the same time, and upgrades, come one after the other.

    Args:
        engine: of the database's owner, reaching the server directly.
        say: told when another run has to be waited for.

    Returns:
        One entry per subject, changed or not.

    Raises:
        ReferenceDataError: the database is not at a revision that has the tables, the role cannot
            be taken, or a tenant could not be served.
        database.privileges.PrivilegeError: a privilege of the database is not in force.
        database.migration.preparation.PreparationError: a pooler, or another run that does not end.
    """
    settings = Settings()
    with engine.connect() as connection:
        preparation.use(connection, settings)
        # The settings of this session are not for the next user of a pool.
        connection.detach()
        connection.commit()
        with preparation.exclusive(connection, LOCK_KEY, settings, say):
            try:
                applied = _apply_catalogues(connection)
            except DBAPIError as error:
                raise _explained(connection, error) from error
        copied = sync(connection)
    return [*applied, Applied(f"built-in rows copied into {copied.tenants} tenants", copied.rows)]


def _apply_catalogues(connection: Connection) -> list[Applied]:
    if absent := missing_roles(connection):
        raise ReferenceDataError(
            f"the cluster has no role {', '.join(absent)}: run: alembic upgrade head"
        )
    connection.commit()
    with as_operator(connection):
        # What follows the catalogues needs it; its absence would be noticed too late.
        connection.execute(sa.text("SELECT CAST('public.sync_tenant(uuid)' AS regprocedure)"))
        changed = write(connection)
    # Only now it is certain that the database is one of ours and not an empty one.
    with connection.begin():
        mended = len(privileges.problems(connection))
        if mended:
            privileges.apply(connection)
    return [
        *(Applied(name, count) for name, count in changed.items()),
        Applied("privileges and settings of the database", mended),
    ]


def _explained(connection: Connection, error: DBAPIError) -> Exception:
    """The error in words that say what to do, where that is known."""
    state = getattr(error.orig, "sqlstate", None)
    reason = str(error.orig).strip().partition("\n")[0]
    if error.connection_invalidated:
        return error
    connection.rollback()
    where = connection.execute(sa.text("SELECT current_database(), session_user")).one()
    if state in _UNDEFINED:
        revision = MigrationContext.configure(connection).get_current_revision()
        return ReferenceDataError(
            f"database {where[0]} is at revision {revision or 'base'}, which lacks what the "
            f"reference data needs ({reason}): run: alembic upgrade head"
        )
    if state == "42501" and "role" in reason:
        return ReferenceDataError(
            f"{where[1]} cannot act as {OPERATOR} in database {where[0]} ({reason}): run it as "
            "the owner that applies the revisions"
        )
    if state in ("55P03", "40P01"):
        return ReferenceDataError(
            f"another session holds what the reference data needs ({reason}); nothing was "
            "changed: run it again"
        )
    return error
