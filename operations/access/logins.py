"""Login roles of programs. Each has a password and exactly one of the project's roles."""

from __future__ import annotations

import datetime
import secrets
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.errors import FleetSchemaError, server_message
from database.roles import timeouts
from database.tenancy import OPERATOR, OPERATOR_PATH, OPERATOR_READ
from ddl.sql import ident, literal, send
from models.shared.roles import ROLE_NAMES

PASSWORD_BYTES = 24
"""192 random bits: 32 characters that need no escaping in a URL."""

_LONGEST_NAME = 63  # bytes: PostgreSQL cuts longer names
_SCRAM = b"scram-sha-256"


class LoginError(FleetSchemaError):
    """A login cannot be created or changed; the text says which and why."""


@dataclass(frozen=True)
class Credentials:
    """What a program needs to log in. The password is kept nowhere."""

    name: str
    role: str
    password: str = field(repr=False)
    valid_until: datetime.datetime | None
    connections: int = 0
    """Sessions that began with an earlier password; they continue until they end."""

    def url(self, address: URL) -> str:
        """The URL of the database at ``address``, password included."""
        own = address.set(drivername="postgresql", username=self.name, password=self.password)
        # SQLAlchemy leaves spaces as they are; libpq rejects them.
        return own.render_as_string(hide_password=False).replace(" ", "%20")


@dataclass(frozen=True)
class Login:
    """A login role that has roles of the project."""

    name: str
    roles: tuple[str, ...]
    """One; several for the owner of the database, and by mistake for other logins."""
    valid_until: datetime.datetime | None
    connection_limit: int | None
    connections: int
    """Its sessions on the whole server at this moment."""


_LOGINS = """
    SELECT r.rolname AS name, r.rolcanlogin, r.rolsuper,
           r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls AS mighty,
           EXISTS (SELECT FROM pg_database d WHERE d.datdba = r.oid) AS owns,
           array(SELECT f.rolname::text FROM pg_roles f
                  WHERE f.rolname = ANY (:ours) AND f.oid <> r.oid
                    AND pg_has_role(r.oid, f.oid, 'member') ORDER BY 1) AS roles,
           nullif(r.rolvaliduntil, 'infinity') AS valid_until,
           nullif(r.rolconnlimit, -1) AS connection_limit,
           (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid) AS connections
      FROM pg_roles r
"""
_ME = sa.text("""
    SELECT current_user AS name, rolsuper, rolcreaterole,
           current_setting('server_version_num')::int >= 160000 AS modern,
           (SELECT pg_has_role(current_user, oid, 'member with admin option')
              FROM pg_roles WHERE rolname = :role) AS administers
      FROM pg_roles WHERE rolname = current_user
""")


def create(
    engine: Engine,
    name: str,
    role: str,
    *,
    valid_until: datetime.datetime | None = None,
    connection_limit: int | None = None,
) -> Credentials:
    """Create a login role with ``role``, a generated password and the timeouts of `database.roles`.

    One of operators finds the rows of all tenants by the names that tenants use (`OPERATOR_PATH`).

    Args:
        engine: of a role with CREATEROLE and, on PostgreSQL 16 and newer, ADMIN on ``role``.
        role: one of `models.shared.roles.ROLE_NAMES`.
        valid_until: after this time the password is rejected; None for no end.
        connection_limit: sessions at the same time; None for as many as the server has.

    Raises:
        LoginError: the role is unknown, the name exists or is invalid, the time has passed, or
            a privilege is missing.
    """
    _check(name, role, valid_until, connection_limit)
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with engine.begin() as connection:
        if _find(connection, name) is not None:
            raise LoginError(
                f"the role {name} exists already: choose another name, or give it a new password "
                f"with `python -m operations login rotate {name}`"
            )
        modern = _require_rights(connection, role, f"GRANT {role} TO {{me}} WITH ADMIN OPTION")
        options = ["LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT"]
        if connection_limit is not None:
            options.append(f"CONNECTION LIMIT {connection_limit}")
        options.append(_password_clause(connection, name, password, valid_until))
        statements = [
            f"CREATE ROLE {ident(name)} {' '.join(options)}",
            f"GRANT {role} TO {ident(name)}" + (" WITH INHERIT TRUE, SET TRUE" if modern else ""),
        ]
        statements += [
            f"ALTER ROLE {ident(name)} SET {what}_timeout = {literal(time)}"
            for what, time in timeouts(role).items()
        ]
        if role in (OPERATOR, OPERATOR_READ):
            statements.append(f"ALTER ROLE {ident(name)} SET search_path = {OPERATOR_PATH}")
        _send(connection, statements, f"the login {name} cannot be created")
    return Credentials(name, role, password, valid_until)


def rotate(
    engine: Engine, name: str, *, valid_until: datetime.datetime | None = None
) -> Credentials:
    """Give a login a new password; its ``valid_until`` stays if None. Open sessions continue.

    Raises:
        LoginError: no such login, one that `create` would not make, one that has expired and
            gets no new end, or a privilege is missing.
    """
    _check(name, None, valid_until, None)
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with engine.begin() as connection:
        found = _find(connection, name)
        role = _our_role(found, name)
        until = valid_until or found.valid_until
        if until is not None and until <= _now():
            raise LoginError(
                f"the login {name} expired at {until:%Y-%m-%d %H:%M %Z}: a new password needs a "
                f"new end: `python -m operations login rotate {name} --valid-until …`"
            )
        _require_rights(connection, name, f"GRANT {ident(name)} TO {{me}} WITH ADMIN OPTION")
        clause = _password_clause(connection, name, password, valid_until)
        statement = f"ALTER ROLE {ident(name)} {clause}"
        _send(connection, [statement], f"the login {name} cannot get a new password")
    return Credentials(name, role, password, until, connections=found.connections)


def listed(engine: Engine) -> list[Login]:
    """Every role that can log in and has a role of the project, except superusers."""
    query = sa.text(f"{_LOGINS} WHERE r.rolcanlogin AND NOT r.rolsuper ORDER BY r.rolname")
    with engine.connect() as connection:
        rows = connection.execute(query, {"ours": list(ROLE_NAMES)}).all()
    return [
        Login(row.name, tuple(row.roles), row.valid_until, row.connection_limit, row.connections)
        for row in rows
        if row.roles
    ]


def moment(text: str) -> datetime.datetime:
    """A date or date and time in ISO 8601; without an offset it is UTC.

    Raises:
        LoginError: it is neither.
    """
    try:
        found = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        raise LoginError(
            f"{text!r} is not a date: expected one such as 2030-12-31 or 2030-12-31T18:00+01:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _check(name: str, role: str | None, until: datetime.datetime | None, limit: int | None) -> None:
    if role is not None and role not in ROLE_NAMES:
        known = ", ".join(ROLE_NAMES)
        raise LoginError(f"{role!r} is not a role of the project: expected one of {known}")
    if not name or "\0" in name or len(name.encode()) > _LONGEST_NAME:
        raise LoginError(f"{name!r} is not a valid name: expected 1 to {_LONGEST_NAME} bytes")
    if until is not None and until <= _now():
        raise LoginError(
            f"valid until {until:%Y-%m-%d %H:%M %Z}: expected a time that has not passed"
        )
    if limit is not None and limit < 1:
        raise LoginError(f"a connection limit of {limit} allows no session: expected 1 or more")


def _find(connection: Connection, name: str) -> Any:
    query = sa.text(f"{_LOGINS} WHERE r.rolname = :name")
    return connection.execute(query, {"ours": list(ROLE_NAMES), "name": name}).one_or_none()


def _our_role(found: Any, name: str) -> str:
    """The one role of a login that may be changed here."""
    if reason := _not_ours(found):
        raise LoginError(
            f"the password of {name} cannot be rotated here: {reason}; the logins that can: "
            "`python -m operations login list`"
        )
    role: str = found.roles[0]
    return role


def _not_ours(found: Any) -> str | None:
    if found is None:
        return "it does not exist"
    if found.rolsuper:
        return "it is a superuser"
    if not found.rolcanlogin:
        return "it cannot log in"
    if found.owns:
        return "it owns a database"
    if found.mighty:
        return "it has an attribute such as CREATEROLE or BYPASSRLS"
    if len(found.roles) != 1:
        return f"expected exactly one role of the project, found {', '.join(found.roles) or 'none'}"
    return None


def _require_rights(connection: Connection, administered: str, fix: str) -> bool:
    """Check the rights to change a role; True on PostgreSQL 16 and newer, which need ADMIN."""
    me = connection.execute(_ME, {"role": administered}).one()
    if me.administers is None:
        raise LoginError(
            f"the role {administered} does not exist on this server: run `alembic upgrade head`"
        )
    if not me.rolsuper and not me.rolcreaterole:
        raise LoginError(
            f"the role {me.name} lacks CREATEROLE: as a superuser, run "
            f"ALTER ROLE {ident(me.name)} CREATEROLE"
        )
    if not me.rolsuper and me.modern and not me.administers:
        raise LoginError(
            f"the role {me.name} lacks the ADMIN option on {administered}: as a superuser, run "
            f"{fix.format(me=ident(me.name))}"
        )
    return bool(me.modern)


def _password_clause(
    connection: Connection, name: str, password: str, until: datetime.datetime | None
) -> str:
    """PASSWORD with the verifier, made here: neither the server nor its log sees the password."""
    driver = connection.connection.driver_connection
    assert driver is not None
    verifier = driver.pgconn.encrypt_password(password.encode(), name.encode(), _SCRAM).decode()
    clause = f"PASSWORD {literal(verifier)}"
    return clause if until is None else f"{clause} VALID UNTIL {literal(until.isoformat())}"


def _send(connection: Connection, statements: list[str], what: str) -> None:
    try:
        for statement in statements:
            send(connection, statement)
    except DBAPIError as error:
        # The statement holds the verifier, so only the server's own words are passed on.
        raise LoginError(f"{what}: {server_message(error)}") from None
