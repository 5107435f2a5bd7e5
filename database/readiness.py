"""Waiting for a server that is starting, and telling clearly why one cannot be used."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from psycopg import errors, pq, sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from database import console
from database.errors import (
    FleetSchemaError,
    connection_message,
    connection_problem,
    server_message,
)
from database.libpq import connect_arguments
from database.urls import describe, parse_url

log = logging.getLogger(__name__)

_MAINTENANCE = ("postgres", "template1")


class DatabaseUnavailable(FleetSchemaError):  # noqa: N818 (a state, not a mistake)
    """A database cannot be reached or used; says where, why, and what to do."""


def wait_until_ready(url: URL | str, timeout: float = 60) -> None:
    """Return as soon as the database takes connections; wait at most ``timeout`` seconds.

    Waits only where time may help: a server that is absent, starting, or not yet in the DNS.
    A wrong password, an unknown role or database, or unusable TLS is an error at once. Each
    attempt has five seconds, unless the URL says ``connect_timeout``.

    Raises DatabaseUnavailable.
    """
    url = _parsed(url)
    try:
        _connect(url, timeout).close()
    except psycopg.OperationalError as error:
        raise _unavailable(url, error, timeout) from error


def ensure_database(url: URL | str, timeout: float = 60) -> bool:
    """As `wait_until_ready`, and create the database if it is missing; True if that was done.

    The database is created through ``postgres``, or else ``template1``, on the same server. Two
    processes may do so at once. Raises DatabaseUnavailable, also where the right is missing.
    """
    url = _parsed(url)
    try:
        _connect(url, timeout).close()
    except psycopg.OperationalError as error:
        # Whether only the database is missing is read from the catalog: the server's words
        # may be in any language.
        if connection_problem(error).is_final or _is_transient(url, error):
            raise _unavailable(url, error, timeout) from error
        created = _create(url, timeout)
    else:
        return False
    # Also where the database is there: another process may have just created it. If not, the
    # server gives its reason again.
    wait_until_ready(url, timeout)
    if created:
        log.info("created database %s at %s", url.database, describe(url))
    return created


def _parsed(url: URL | str) -> URL:
    return parse_url(url, "the URL") if isinstance(url, str) else url


def _arguments(url: URL) -> dict[str, Any]:
    """Return what SQLAlchemy would pass to psycopg for the URL."""
    arguments = {**connect_arguments(url), **url.get_dialect()().create_connect_args(url)[1]}
    arguments.setdefault("connect_timeout", 5)
    return arguments


def _connect(url: URL, timeout: float, **options: Any) -> psycopg.Connection:
    with console.waiting(f'database "{url.database}" at {describe(url)}', timeout) as wait:

        def remember(state: RetryCallState) -> None:
            if state.outcome is not None:
                wait.reason = connection_message(state.outcome.exception())

        attempts = Retrying(
            retry=retry_if_exception(lambda error: _is_transient(url, error)),
            wait=wait_random_exponential(multiplier=0.1, max=1),
            stop=stop_after_delay(timeout),
            before_sleep=remember,
            reraise=True,
        )
        return attempts(psycopg.connect, **{**_arguments(url), **options})


def _is_transient(url: URL, error: BaseException) -> bool:
    """Whether waiting may help."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    problem = connection_problem(error)
    if problem.is_final:
        return False
    if problem.may_pass:
        return True
    # libpq's ping reads the server's SQLSTATE, whatever language its messages are in.
    answer = pq.PGconn.ping(make_conninfo(**_arguments(url)).encode())
    return answer in (pq.Ping.REJECT, pq.Ping.NO_RESPONSE)


def _unavailable(url: URL, error: psycopg.OperationalError, timeout: float) -> DatabaseUnavailable:
    waited = f" after waiting {timeout:g} s" if _is_transient(url, error) else ""
    user = f' as "{url.username}"' if url.username else ""
    return DatabaseUnavailable(
        f'cannot connect to database "{url.database}" at {describe(url)}{user}{waited}: '
        f"{connection_message(error)}. {connection_problem(error).value}"
    )


def _create(url: URL, timeout: float) -> bool:
    """Create the database; False if it is there, or if nothing on the server can be reached."""
    connection = None
    for maintenance in _MAINTENANCE:
        try:
            connection = _connect(url, timeout, dbname=maintenance, autocommit=True)
            break
        except psycopg.OperationalError:
            continue
    if connection is None:
        return False
    with connection:
        found = connection.execute(
            "select 1 from pg_database where datname = %s", [url.database]
        ).fetchone()
        if found:
            return False
        try:
            # Another session in template1 stands in the way, but not for long.
            Retrying(
                retry=retry_if_exception_type(errors.ObjectInUse),
                wait=wait_random_exponential(multiplier=0.1, max=1),
                stop=stop_after_delay(timeout),
                reraise=True,
            )(connection.execute, _creation(connection, url))
        except (errors.DuplicateDatabase, errors.UniqueViolation):
            pass  # Another process was faster.
        except errors.InsufficientPrivilege as error:
            user = connection.info.user
            raise DatabaseUnavailable(
                f'database "{url.database}" is missing at {describe(url)}, and role "{user}" may '
                f'not create it: run `ALTER ROLE "{user}" CREATEDB`, or '
                f'`CREATE DATABASE "{url.database}" OWNER "{user}"`, as an administrator.'
            ) from error
        except psycopg.Error as error:
            raise DatabaseUnavailable(
                f'database "{url.database}" is missing at {describe(url)} and cannot be created: '
                f"{server_message(error)}."
            ) from error
    return True


def _creation(connection: psycopg.Connection, url: URL) -> sql.Composed:
    row = connection.execute(
        "select pg_encoding_to_char(encoding) from pg_database where datname = 'template1'"
    ).fetchone()
    statement = sql.SQL("create database {}").format(sql.Identifier(url.database or ""))
    if row is not None and row[0] != "UTF8":
        # Only template0 can be copied into another encoding, and only C fits every one.
        statement += sql.SQL(" template template0 encoding 'UTF8' locale 'C'")
    return statement
