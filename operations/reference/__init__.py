"""Reference data: the rows that every database has from the beginning.

Each module has the rows of one subject as plain data. `apply` makes a database agree with them;
it may run any number of times and after any revision. Revisions contain no data. The rules:

- The reference data replaces changes made by hand: names, descriptions, limits, features, the
  permissions of a built-in role, the parts of a built-in device template.
- Some columns are set in new rows only, since operators change them afterwards: prices, whether
  a tier or plan is sold, Stripe IDs, the platform's name, the initial settings of tenants.
- Other rows are left alone, such as an operator's own tier. `retired.py` lists rows that the
  reference data no longer has.
- Tenants get a copy of the built-in rows once. What they changed is not overwritten, what they
  deleted is not restored, and what a built-in role loses here, their copy keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database import privileges
from database.errors import is_busy, is_forbidden, is_undefined, server_message
from database.migration import preparation
from database.roles import missing as missing_roles
from database.settings import Settings
from database.tenancy import OPERATOR
from operations.reference.catalogue import write_catalogues
from operations.reference.rows import ReferenceDataError
from operations.reference.synchronization import as_operator, sync

__all__ = ["Applied", "ReferenceDataError", "apply"]


@dataclass(frozen=True)
class Applied:
    """What was changed for one subject."""

    name: str
    changed: int
    """Rows inserted, changed or deleted; 0 if all were as they should be."""


def apply(engine: Engine) -> list[Applied]:
    """Make the database agree with the reference data and with the privileges it should have.

    The catalogues are one transaction, the copies of each tenant another. Other runs and
    upgrades at the same time wait for this one.

    Args:
        engine: of the database's owner, reaching the server directly.

    Returns:
        One entry per subject, changed or not.

    Raises:
        ReferenceDataError: the revision of the database lacks a table, the engine's role may not
            act as fleet_operator, or a tenant did not get its copies.
        database.privileges.PrivilegeError: a privilege of the database is not in force.
        database.migration.preparation.PreparationError: a pooler, or another run that does not end.
    """
    settings = Settings()
    with engine.connect() as connection:
        preparation.use(connection, settings)
        # The settings of this session must not reach the next user of a pool.
        connection.detach()
        connection.commit()
        with preparation.exclusive(connection, settings):
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
        # The last step needs it; that it is missing would be noticed too late.
        connection.execute(sa.text("SELECT CAST('public.sync_tenant(uuid)' AS regprocedure)"))
        changed = write_catalogues(connection)
    # Only now is it certain that this is a database of the project and not an empty one.
    with connection.begin():
        fixed = len(privileges.problems(connection))
        if fixed:
            privileges.apply(connection)
    return [
        *(Applied(name, count) for name, count in changed.items()),
        Applied("privileges and settings of the database", fixed),
    ]


def _explained(connection: Connection, error: DBAPIError) -> Exception:
    """The error as a message that says what to do, where that is known."""
    reason = server_message(error, brief=True)
    if error.connection_invalidated:
        return error
    connection.rollback()
    where = connection.execute(sa.text("SELECT current_database(), session_user")).one()
    if is_undefined(error):
        revision = MigrationContext.configure(connection).get_current_revision()
        return ReferenceDataError(
            f"database {where[0]} is at revision {revision or 'base'}, which lacks what the "
            f"reference data needs ({reason}): run: alembic upgrade head"
        )
    if is_forbidden(error) and "role" in reason:
        return ReferenceDataError(
            f"{where[1]} cannot act as {OPERATOR} in database {where[0]} ({reason}): run the "
            "command as the owner, who applies the revisions"
        )
    if is_busy(error):
        return ReferenceDataError(
            f"another session holds what the reference data needs ({reason}); nothing was "
            "changed: run the command again"
        )
    return error
