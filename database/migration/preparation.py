"""What a run needs before its first revision: a direct session, one runner, roles, history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, MetaData

from database import console, roles
from database.console import Progress
from database.errors import FleetSchemaError, is_forbidden
from database.migration import history
from database.settings import Settings
from ddl import buckets, pending_operations, session
from ddl.edition import Edition, available, detect
from ddl.kinds.extension import missing as missing_extensions
from ddl.sql import ident, send
from models.shared.roles import ROLE_NAMES

LOCK_KEY = 0x666C656574  # "fleet": advisory locks are per database, so one constant is enough
POLL_SECONDS = 0.2


class PreparationError(FleetSchemaError):
    """The database cannot be migrated through this connection or by this role."""


def use(connection: Connection, settings: Settings) -> None:
    """Reject a pooler, then set what every statement of the session relies on; commit that.

    Raises:
        PreparationError: the connection goes through a pooler; a restore has not ended; or the role
            may not change a setting that a database or role has.
    """
    driver = connection.connection.driver_connection
    assert driver is not None
    # A pooler hands out a process number of its own; the server knows the true one.
    if driver.info.backend_pid != connection.scalar(sa.text("SELECT pg_backend_pid()")):
        raise PreparationError(
            "the connection goes through a connection pooler, where session locks and settings "
            "do not hold: set MIGRATION_DATABASE_URL to the server itself (usually port 5432)"
        )
    milliseconds = round(settings.migration_lock_timeout * 1000)
    send(
        connection,
        f"SET search_path = public; {session.fix()};"
        f" SET lock_timeout = {milliseconds}; SET client_min_messages = warning",
    )
    # Read when the engine first connected, from what the database or role had set.
    connection.dialect._backslash_escapes = False  # type: ignore[attr-defined]
    _check_session(connection)
    connection.commit()


def _check_session(connection: Connection) -> None:
    restoring = "SELECT current_setting('timescaledb.restoring', true) = 'on'"
    if connection.scalar(sa.text(restoring)):
        raise PreparationError(
            "timescaledb.restoring: expected off, found on: a restore of this database has begun "
            "and not ended; run: SELECT timescaledb_post_restore()"
        )
    if wrong := list(session.wrong(connection)):
        raise PreparationError(
            "settings that only a superuser changes are in the way: "
            + "; ".join(f"{name}: expected {value}, found {found}" for name, value, found in wrong)
            + ". Remove them from the database and the role (ALTER DATABASE … RESET, ALTER ROLE … "
            "RESET; \\drds in psql lists them)"
        )


@contextmanager
def exclusive(connection: Connection, settings: Settings) -> Iterator[None]:
    """Hold the advisory lock `LOCK_KEY`, waiting for another runner by polling.

    A blocking wait would hold a snapshot, and CREATE INDEX CONCURRENTLY of the other runner
    waits for all of those: a deadlock. The lock ends with the session, however that ends.

    Raises:
        PreparationError: the other runner did not finish within MIGRATION_LOCK_WAIT seconds, or
            the role may not take the lock.
    """
    try:
        _acquire(connection, settings.migration_lock_wait)
    except sa.exc.DBAPIError as error:
        if not is_forbidden(error):
            raise
        # `database.hardening` leaves these locks to the owner.
        connection.rollback()
        row = connection.execute(_RIGHTS).one()
        raise PreparationError(
            f"role {row.role} cannot work on database {row.database}; nothing was changed; "
            f"expected a login that may act as the owner, {row.owner}: set MIGRATION_DATABASE_URL "
            "to the owner's URL"
        ) from error
    try:
        yield
    finally:
        if not connection.closed and not connection.invalidated:
            connection.rollback()
            connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
            connection.commit()


def _acquire(connection: Connection, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    acquire = sa.text("SELECT pg_try_advisory_lock(:key)")
    with console.waiting("another migration of this database", seconds) as wait:
        while not connection.scalar(acquire, {"key": LOCK_KEY}):
            wait.reason = _holder(connection)
            connection.commit()
            if time.monotonic() > deadline:
                raise PreparationError(
                    f"expected the migration lock within {seconds:g} s, found it held by "
                    f"{wait.reason}: wait for that migration, or end it with "
                    "SELECT pg_terminate_backend(…), and run the command again"
                )
            time.sleep(POLL_SECONDS)
    connection.commit()


def _holder(connection: Connection) -> str:
    """Who holds the lock, for a message."""
    query = sa.text(
        "SELECT a.pid, a.usename, a.application_name, a.client_addr, a.backend_start"
        " FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
        "   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        "   AND l.classid::bigint << 32 | l.objid::bigint = :key"
    )
    row = connection.execute(query, {"key": LOCK_KEY}).first()
    if row is None:
        return "a session that has just ended"
    return (
        f"process {row.pid} of {row.usename} ({row.application_name}, connected since "
        f"{row.backend_start:%Y-%m-%d %H:%M:%S})"
    )


def prepare(connection: Connection, metadata: MetaData, progress: Progress) -> None:
    """Roles, extension or its substitute, and schema_history; each is left alone where it exists.

    Raises:
        PreparationError: names every right that the connected role lacks, and every extension of
            the models that it cannot have.
    """
    _check_rights(connection, metadata)
    connection.commit()
    with connection.begin():
        for statement in roles.creation():
            send(connection, statement)
        if not sa.inspect(connection).has_table(history.schema_history.name, schema="public"):
            for statement in history.creation():
                send(connection, statement)
    # A database that was built without TimescaleDB gains it by `operations convert`.
    if detect(connection) is Edition.POSTGRESQL and not pending_operations.entries(connection):
        offered = available(connection)
        connection.commit()
        if offered is not Edition.POSTGRESQL:
            with connection.begin():
                send(connection, "CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public")
            progress.line(f"Created extension timescaledb ({offered})")
    connection.commit()
    with connection.begin():
        built_for = pending_operations.lowered(connection, detect(connection))
        if built_for == Edition.POSTGRESQL and buckets.missing(connection):
            send(connection, buckets.creation())


_RIGHTS = sa.text("""
SELECT current_user AS role, current_database() AS database, pg_get_userbyid(d.datdba) AS owner,
       session_user AS login, pg_has_role(current_user, d.datdba, 'USAGE') AS owns,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       to_regnamespace('public') IS NOT NULL
           AND has_schema_privilege('public', 'CREATE') AS may_create_in_public
  FROM pg_database d WHERE d.datname = current_database()
""")


_ROLE_SETTINGS = sa.text("""
SELECT format('ALTER %s RESET role', concat_ws(' IN ',
              'ROLE ' || quote_ident(pg_get_userbyid(nullif(s.setrole, 0))),
              'DATABASE ' || quote_ident(d.datname)))
  FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
 WHERE s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
   AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND EXISTS (SELECT FROM unnest(s.setconfig) one WHERE starts_with(one, 'role='))
 ORDER BY 1
""")


def _origin(connection: Connection, row: sa.Row[Any]) -> str:
    """How the session came to have a role of ours, and what to do."""
    if row.login == row.role:
        return "a login of the application: set MIGRATION_DATABASE_URL to the owner's"
    if commands := connection.scalars(_ROLE_SETTINGS).all():
        reset = "; ".join(["SET ROLE NONE", *commands])
        return f"a setting by which {row.login} becomes it, run: {reset}"
    return f"that {row.login} becomes it by its URL or PGOPTIONS: leave role out there"


def _check_rights(connection: Connection, metadata: MetaData) -> None:
    row = connection.execute(_RIGHTS).one()
    # None of these should gain what the message would otherwise tell to grant.
    if row.role in ROLE_NAMES:
        raise PreparationError(
            f"role {row.role} cannot migrate database {row.database}; nothing was changed; "
            f"expected the owner, {row.owner}, found {_origin(connection, row)}"
        )
    missing = []
    if not row.owns:
        missing.append(
            f"ownership of database {row.database}, which is {row.owner}'s (as a superuser: "
            f"ALTER DATABASE {ident(row.database)} OWNER TO {ident(row.role)})"
        )
    elif not row.may_create:
        missing.append(f"CREATE on database {row.database}")
    if not row.may_create_in_public:
        missing.append("CREATE in schema public (GRANT CREATE ON SCHEMA public)")
    missing += roles.missing_rights(connection)
    missing += missing_extensions(connection, metadata)
    if missing:
        raise PreparationError(
            f"role {row.role} cannot migrate database {row.database}; nothing was changed; it "
            "lacks " + "; and ".join(missing)
        )
