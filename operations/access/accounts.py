"""Accounts of people, and the one-time tokens with which they set their password."""

from __future__ import annotations

import datetime
import getpass
import hashlib
import os
import re
import secrets
import uuid
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection

from database.errors import FleetSchemaError
from operations.owner import within_role

TOKEN_BYTES = 32

_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+")
_LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets


class AccountError(FleetSchemaError):
    """An account cannot be created or used; the text says which and why."""


@dataclass(frozen=True)
class Account:
    """A row of users."""

    id: uuid.UUID
    email: str
    is_new: bool
    """Whether it is new."""


@dataclass(frozen=True)
class Token:
    """A one-time token. Only its hash is stored, so it can be shown only now."""

    text: str = field(repr=False)
    expires_at: datetime.datetime


def checked_email(text: str) -> str:
    """The address without surrounding white space, its domain in lower case.

    Raises:
        AccountError: not an address such as ann@example.com.
    """
    email = text.strip()
    if len(email) > _LONGEST_EMAIL or not _EMAIL.fullmatch(email):
        raise AccountError(
            f"{email!r} is not an e-mail address: expected one such as ann@example.com"
        )
    name, _, domain = email.rpartition("@")
    return f"{name}@{domain.lower()}"


def token_hash(token: str) -> str:
    """The value of password_reset_tokens.token_hash: SHA-256 in lower-case hex.

    A random token of 256 bits cannot be guessed, so neither salt nor a slow hash is needed.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def operator_name() -> str:
    """The user of this machine: the actor in the audit log, if none is given."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user ID without a name
        return f"uid {os.getuid()}"


_INSERT_USER = sa.text("""
    INSERT INTO public.users (email, display_name) VALUES (:email, :name)
        ON CONFLICT (lower(email)) DO NOTHING RETURNING id
""")
_FIND_USER = sa.text("""
    SELECT id, email, is_active, is_system FROM public.users
     WHERE lower(email) = lower(:email) FOR UPDATE
""")


def ensure_account(connection: Connection, email: str, name: str | None = None) -> Account:
    """The account of an address, created if it is missing; ``name`` is for a new one.

    The row stays locked until the transaction ends. The connection must act as fleet_operator.

    Raises:
        AccountError: the account is deactivated or that of the system.
    """
    created = connection.scalar(_INSERT_USER, {"email": email, "name": name})
    row = connection.execute(_FIND_USER, {"email": email}).one()
    if row.is_system:
        raise AccountError(f"{row.email} is the account of the platform itself: it cannot sign in")
    if not row.is_active:
        raise AccountError(
            f"the account {row.email} is deactivated: set users.is_active to true first"
        )
    return Account(id=row.id, email=row.email, is_new=created is not None)


_FORGET_TOKENS = sa.text("""
    DELETE FROM public.password_reset_tokens
     WHERE user_id = :user AND purpose = 'reset' AND used_at IS NULL
""")
_STORE_TOKEN = sa.text("""
    INSERT INTO public.password_reset_tokens (user_id, token_hash, purpose)
    VALUES (:user, :hash, 'reset') RETURNING expires_at
""")


def issue_token(connection: Connection, user_id: uuid.UUID) -> Token:
    """A new token for setting the password, valid for an hour; earlier unused ones become void.

    It is written as the owner of the tables, who logged in, since operators cannot write tokens;
    afterwards the connection acts as the same role as before.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with within_role(connection, "none"):
        connection.execute(_FORGET_TOKENS, {"user": user_id})
        values = {"user": user_id, "hash": token_hash(token)}
        expires_at = connection.execute(_STORE_TOKEN, values).scalar_one()
    return Token(token, expires_at)
