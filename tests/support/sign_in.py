"""A sign-in service: a login of fleet_auth that knows nothing but its functions."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from tests.support.engines import engine_of
from tests.support.plain_owner import plain_owner

METHOD = "$scrypt$ln=4,r=8,p=1$"
"""Cheap, for tests."""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def key_of(password: str, method: str) -> str:
    """What a password and the method of an account give."""
    salt = method.rpartition("$")[2].encode()
    return hashlib.scrypt(password.encode(), salt=salt, n=16, r=8, p=1).hex()


def secret_of(password: str) -> str:
    """A value of auth_identities.secret_hash."""
    method = METHOD + secrets.token_hex(16)
    return f"{method}${sha256(key_of(password, method))}"


@dataclass(frozen=True)
class Session:
    """What a browser keeps: the identifier and the refresh token."""

    jti: uuid.UUID = field(default_factory=uuid.uuid4)
    token: str = field(default_factory=secrets.token_urlsafe)

    @property
    def proof(self) -> tuple[uuid.UUID, str]:
        """What functions ask for."""
        return self.jti, sha256(self.token)


@dataclass(frozen=True)
class Service:
    """The service, and the database's owner beside it."""

    engine: Engine
    owner: Engine

    def call(self, function: str, *values: object) -> Any:
        """A function's rows, or its one value, in a transaction of its own."""
        with self.engine.begin() as connection:
            return call(connection, function, *values)

    def sign_in(self, email: str, password: str) -> Session | None:
        """As a service does it: the key by the account's method, then the session."""
        method = self.call("password_method", email) or METHOD + "x"
        session = Session()
        account = self.call(
            "sign_in", email, key_of(password, method), *session.proof, in_days(self.engine, 30)
        )
        return session if account else None

    def mails(self) -> dict[str, tuple[str, str]]:
        """What the mailer takes: address to purpose and token."""
        with self.owner.begin() as connection:
            connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
            taken = connection.exec_driver_sql("SELECT * FROM take_account_mail()").all()
        return {row.email: (row.purpose, row.token) for row in taken}

    def operate(self, statement: str, **values: object) -> Any:
        """The first value of a statement as fleet_operator."""
        with self.owner.begin() as connection:
            connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
            result = connection.execute(sa.text(statement), values)
            return result.scalar() if result.returns_rows else result.rowcount

    def registered(self, slug: str, password: str = "correct") -> tuple[uuid.UUID, str]:
        """A tenant by sign-up, whose owner has set the password; and the owner's address."""
        email = f"owner@{slug}.example"
        tenant = self.call("sign_up", slug, slug, email, "Owner")
        token = self.mails()[email][1]
        assert self.call("reset_password", sha256(token), secret_of(password))
        return tenant, email


def call(connection: Connection, function: str, *values: object) -> Any:
    """The rows of a function that returns a table, or the one value."""
    names = [f"v{number}" for number in range(len(values))]
    arguments = ", ".join(f":{name}" for name in names)
    result = connection.execute(
        sa.text(f"SELECT * FROM public.{function}({arguments})"),
        dict(zip(names, values, strict=True)),
    )
    rows = result.all()
    return rows[0][0] if len(result.keys()) == 1 else rows


def in_days(engine: Engine, days: int) -> Any:
    with engine.connect() as connection:
        return connection.scalar(sa.text(f"SELECT now() + interval '{days} days'"))


@contextmanager
def service_on(database: str) -> Iterator[Service]:
    """A service on a database that gets an owner without superuser, so that policies count."""
    name, password = f"signin_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    with engine_of(database) as superuser:
        with superuser.begin() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
            connection.exec_driver_sql(f"GRANT fleet_auth TO {name}")
        url = sa.make_url(database).set(username=name, password=password)
        with plain_owner(database) as owner, engine_of(owner) as owning, engine_of(url) as engine:
            yield Service(engine, owning)
        with superuser.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")
