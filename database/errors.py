"""Errors that a person can fix, and what an error of the server or of libpq means to a person."""

from __future__ import annotations

import re
import traceback
from enum import Enum
from pathlib import Path

from psycopg import errors
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ddl.refusal import said

_BUSY = (errors.LockNotAvailable, errors.DeadlockDetected)
_TRANSIENT = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.IdleInTransactionSessionTimeout,
)
_UNDEFINED = (
    errors.InvalidSchemaName,
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
)


class FleetSchemaError(Exception):
    """Something that a person can fix: the text says what, where, and what to do about it.

    A command line prints the text and nothing else (no traceback) and exits with 1. The text
    never contains a password.
    """


class StaleSessionError(FleetSchemaError):
    """A pool or pooler handed over a session without having reset it; the next one is another."""


# --- errors in the models ---


def mistake_in_models(error: SQLAlchemyError) -> str:
    """What a declaration is refused for, with the line of the class that was being imported.

    Only SQLAlchemy and ``ddl`` refuse declarations. For any other error, such as a SyntaxError,
    Python's own traceback says best where it is.
    """
    said = str(error).partition("\n(Background on this error")[0]
    root = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if frame.name == "<module>" and path.is_relative_to(root / "models"):
            listed = path.name == "__init__.py"
            return said if listed else f"{said} ({path.relative_to(root)}:{frame.lineno})"
    return said


# --- errors of statements ---


def cause(error: BaseException) -> BaseException:
    """The driver's error behind one of SQLAlchemy's; any other error is its own cause."""
    behind = error.orig if isinstance(error, DBAPIError) else None
    return error if behind is None else behind


def is_busy(error: BaseException) -> bool:
    """Whether another session held a lock; the same statement may succeed a moment later."""
    return isinstance(cause(error), _BUSY)


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed if it is done again, from its first statement.

    The server ended it for another's sake (a deadlock, a serialization failure), or the connection
    is lost: then it may have been committed nevertheless, so what it writes must bear repetition.
    """
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or isinstance(cause(error), (*_TRANSIENT, StaleSessionError))


def is_of_rows(error: BaseException) -> bool:
    """Whether a value was refused: it does not fit, or breaks a constraint."""
    return isinstance(cause(error), errors.DataError | errors.IntegrityError)


def is_undefined(error: BaseException) -> bool:
    """Whether a schema, table, column or function is missing: the database is behind the code."""
    return isinstance(cause(error), _UNDEFINED)


def is_forbidden(error: BaseException) -> bool:
    """Whether the role lacks a right."""
    return isinstance(cause(error), errors.InsufficientPrivilege)


def server_message(error: BaseException, *, brief: bool = False) -> str:
    """The server's own words in one line: what, which rows, and its hint; if ``brief``, what.

    They never repeat the statement or its parameters, as the text of SQLAlchemy's error does. Notes
    of the driver's error follow: of a wait for a lock, who holds it.
    """
    behind = cause(error)
    return "; ".join([said(behind, brief=brief), *getattr(behind, "__notes__", [])])


# --- errors of connections ---


class ConnectionProblem(Enum):
    """Why a connection failed; the value is what to do about it.

    libpq gives no SQLSTATE for a connection that failed, only text. The patterns are libpq's own
    words, which are English everywhere, or those of servers that speak English; an error in
    another language is OTHER.
    """

    TLS = "Correct sslmode and sslrootcert in the URL, or DATABASE_SSLMODE."
    LOGIN = "Correct the user and the password in the URL."
    HOST = "Correct the host in the URL."
    DATABASE = "Correct the URL, or run: alembic upgrade head, which creates the database."
    ABSENT = "Start the server, or correct host and port in the URL."
    STARTING = "Wait until the server has started, or read its log."
    OTHER = "Correct the URL, or what the server allows to this user."

    @property
    def may_pass(self) -> bool:
        """Whether waiting may help."""
        return self in (
            ConnectionProblem.HOST,
            ConnectionProblem.ABSENT,
            ConnectionProblem.STARTING,
        )

    @property
    def is_final(self) -> bool:
        """Whether waiting cannot help, and another database of the server would not, either."""
        return self in (ConnectionProblem.TLS, ConnectionProblem.LOGIN)


# In this order: a text about TLS may name a host that refused the connection, too.
_PATTERNS = {
    ConnectionProblem.TLS: r"\bSSL\b|\bTLS\b|certificate",
    ConnectionProblem.LOGIN: (
        r"authentication failed|no password supplied|pg_hba\.conf|^FATAL: +role "
    ),
    ConnectionProblem.HOST: r"resolve host|translate host name",
    ConnectionProblem.DATABASE: r'database ".*" does not exist',
    ConnectionProblem.ABSENT: (
        r"Connection refused|No such file|timeout|unreachable|closed the connection"
    ),
    ConnectionProblem.STARTING: (
        r"the database system is (starting up|not yet accepting|in recovery)"
    ),
}
_PREFIX = re.compile(r"^connection (failed|is bad): (connection to server .*? failed: )?")


def connection_message(error: BaseException | None) -> str:
    """Why a connection failed, in one line, as the server or libpq says it."""
    return _PREFIX.sub("", str(error).partition("\n")[0]).rstrip(".")


def connection_problem(error: BaseException | None) -> ConnectionProblem:
    """What kind of reason that is."""
    message = connection_message(error)
    for problem, pattern in _PATTERNS.items():
        if re.search(pattern, message):
            return problem
    return ConnectionProblem.OTHER
