"""The signed context of a database: its keys, and whether tenants need a token at all.

The server makes the keys, so no statement, log or argument has one; only the answer to the one
who asked does. Whether the database is signed is the body of ``current_tenant()``: so it counts
for every connection from its next statement on, and a plain database pays nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from database.context import LIFETIME, ContextKey
from database.errors import FleetSchemaError
from database.signing import is_signed, set_signed

VALID_AT_ONCE = 2

_KEYS = sa.text("""
    SELECT id, created_at, nullif(valid_until, 'infinity') AS valid_until,
           valid_until > now() AS valid
      FROM signing.context_keys ORDER BY created_at DESC, id
""")
_PRESENT = sa.text("SELECT to_regclass('signing.context_keys') IS NOT NULL")
# Three random UUIDs have 366 random bits. A key with the id of another would be refused.
_MAKE = sa.text("""
    WITH made AS MATERIALIZED (
        SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
                      || uuid_send(gen_random_uuid())) AS key),
    filled AS (SELECT key, key || decode(repeat('00', 32), 'hex') AS block FROM made),
    stored AS (
        INSERT INTO signing.context_keys (id, inner_pad, outer_pad)
        SELECT left(encode(sha256(key), 'hex'), 8),
               (SELECT string_agg(set_byte('\\x00', 0, get_byte(block, n) # 54), '' ORDER BY n)
                  FROM generate_series(0, 63) n),
               (SELECT string_agg(set_byte('\\x00', 0, get_byte(block, n) # 92), '' ORDER BY n)
                  FROM generate_series(0, 63) n)
          FROM filled)
    SELECT key FROM made
""")
_NEWEST = sa.text("""
    SELECT inner_pad FROM signing.context_keys WHERE valid_until > now()
     ORDER BY created_at DESC, id LIMIT 1
""")
_END = sa.text("""
    UPDATE signing.context_keys SET valid_until = least(valid_until, now() + :after) WHERE id <> :id
""")

_CLEAN = sa.text("DELETE FROM signing.context_keys WHERE valid_until <= now()")


class ContextError(FleetSchemaError):
    """The context cannot be changed so; the text says why, and what to do."""


@dataclass(frozen=True)
class Key:
    """A key of the database, without its secret."""

    id: str
    created_at: datetime.datetime
    valid_until: datetime.datetime | None
    valid: bool


@dataclass(frozen=True)
class Context:
    """Whether a database is signed, and its keys, the newest first."""

    signed: bool
    keys: list[Key]

    @property
    def valid(self) -> list[Key]:
        """The keys by which tokens are taken."""
        return [key for key in self.keys if key.valid]


def read(connection: Connection) -> Context:
    """Of the database of ``connection``.

    Raises ContextError: it has no such keys yet.
    """
    if not connection.scalar(_PRESENT):
        raise ContextError("the database has no table signing.context_keys: alembic upgrade head")
    keys = [Key(**row) for row in connection.execute(_KEYS).mappings()]
    return Context(is_signed(connection), keys)


def rotate(engine: Engine, file: Path, *, previous_for: datetime.timedelta | None = None) -> Key:
    """Make a key, and write it to ``file`` in place of what is there, as soon as it is valid.

    Args:
        previous_for: how long the keys before it stay valid; None for until `forget`.

    Raises ContextError: two keys are valid already, or the file cannot be written.
    """
    key, written = _made(engine, file, previous_for)
    try:
        written.replace(file)
    except OSError as error:
        raise ContextError(
            f"the key {key} is valid, and stands in {written}, but could not replace {file} "
            f"({error.strerror}): move it there"
        ) from None
    with engine.connect() as connection:
        return next(one for one in read(connection).keys if one.id == key)


def _made(engine: Engine, file: Path, previous_for: datetime.timedelta | None) -> tuple[str, Path]:
    """The id of a new key, and a file beside ``file`` with the key."""
    written = None
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("LOCK TABLE signing.context_keys IN EXCLUSIVE MODE"))
            valid = read(connection).valid
            if len(valid) >= VALID_AT_ONCE and previous_for != datetime.timedelta(0):
                raise ContextError(
                    f"{len(valid)} keys are valid, {' and '.join(key.id for key in valid)}: when "
                    f"no application signs with {valid[-1].id} any more, run `operations context "
                    f"forget {valid[-1].id}`"
                )
            secret = connection.scalars(_MAKE).one()
            key = ContextKey(secret).id
            if previous_for is not None:
                connection.execute(_END, {"after": previous_for, "id": key})
            connection.execute(_CLEAN)
            written = _written_beside(file, secret)
    except BaseException as error:
        if written is not None:
            written.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ContextError(
                f"the key cannot be written to {file} ({error.strerror}): no key was made"
            ) from None
        raise
    return key, written


def _written_beside(file: Path, secret: bytes) -> Path:
    """A new file in the same folder, which only this user can read, or those who can ``file``."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    written = Path(name)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(f"{secret.hex()}\n")
    try:
        found = file.stat()
    except FileNotFoundError:
        return written
    with contextlib.suppress(PermissionError):  # who is not root keeps it for itself
        os.chown(name, found.st_uid, found.st_gid)
        written.chmod(found.st_mode & 0o770)
    return written


def forget(engine: Engine, key: str) -> None:
    """Take no token of a key any more, from the next statement of every connection on.

    Raises ContextError: there is no such key, or no other for a database that is signed.
    """
    with engine.begin() as connection:
        found = read(connection)
        if key not in [known.id for known in found.keys]:
            listed = ", ".join(known.id for known in found.keys) or "none"
            raise ContextError(f"the database has no key {key}: it has {listed}")
        if found.signed and [known.id for known in found.valid] == [key]:
            raise ContextError(
                f"{key} is the only valid key of a signed database, which no application could "
                "use without: run `operations context rotate --key-file FILE` first"
            )
        connection.execute(sa.text("DELETE FROM signing.context_keys WHERE id = :id"), {"id": key})


def sign(connection: Connection) -> None:
    """From now on take a tenant with a token only.

    Raises ContextError: no key is valid.
    """
    if not read(connection).valid:
        raise ContextError(
            "no key is valid, so no application could use the database: run `operations context "
            "rotate --key-file FILE`, and give the file to the applications"
        )
    set_signed(connection, signed=True)


def plain(connection: Connection) -> None:
    """From now on take the tenant that ``app.tenant_id`` names. The keys stay."""
    read(connection)
    set_signed(connection, signed=False)


class OwnersKey:
    """The newest key of the database, which its owner can read: for commands of the owner."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def token(self, tenant: UUID, lifetime: float = LIFETIME) -> str:
        """As `ContextKey.token`; "" where there is no key."""
        with self._engine.connect() as connection:
            pad = connection.scalar(_PRESENT) and connection.scalar(_NEWEST)
        if not pad:
            return ""
        return ContextKey(bytes(byte ^ 0x36 for byte in pad[:32])).token(tenant, lifetime)
