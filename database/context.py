"""Tokens by which a signed database knows that the application chose the tenant.

Whoever can send SQL can set ``app.tenant_id``. In a signed database that chooses nothing: the
tenant comes from ``app.tenant_token``, which only a holder of a key can make. See
docs/isolation.md; the server's side is ``verified_tenant()``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from pathlib import Path
from typing import Protocol
from uuid import UUID

from database.errors import FleetSchemaError

LIFETIME = 300
"""Seconds in which a transaction may begin with a token: how far clocks may be apart."""

KEY_BYTES = 32

_MAKE = "write one with `operations context rotate --key-file {}`"


class ContextKeyError(FleetSchemaError):
    """A file has no key to sign with; the text says which, and never what is in it."""


class Signer(Protocol):
    """What signs tokens: the execution option ``context_key`` of an engine."""

    def token(self, tenant: UUID, lifetime: float = LIFETIME) -> str:
        """The value of ``app.tenant_token``, valid for ``lifetime`` seconds; "" without a key."""


class ContextKey:
    """A key of 32 random bytes, as ``operations context rotate`` makes them."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ContextKeyError(
                f"a key of signed contexts: expected {KEY_BYTES} bytes, found {len(secret)}"
            )
        self.id = hashlib.sha256(secret).hexdigest()[:8]
        self._secret = secret

    def __repr__(self) -> str:
        """Without the key."""
        return f"ContextKey({self.id})"

    def token(self, tenant: UUID, lifetime: float = LIFETIME) -> str:
        """``id.expiry.tenant.signature``, in 121 characters."""
        signed = f"{self.id}.{int(time.time() + lifetime):010d}.{tenant}."
        return f"{signed}{hmac.digest(self._secret, signed.encode(), 'sha256').hex()}"


class KeyFile:
    """The key in a file, as 64 hexadecimal digits; a new key counts from the next token on."""

    def __init__(self, path: str | Path) -> None:
        """Nothing is read yet: who needs no token needs no file."""
        self.path = Path(path)
        self._read: tuple[tuple[int, int], ContextKey] | None = None

    def __repr__(self) -> str:
        return f"KeyFile({str(self.path)!r})"

    def token(self, tenant: UUID, lifetime: float = LIFETIME) -> str:
        """As `ContextKey.token`. Raises ContextKeyError: the file holds no key."""
        return self._current().token(tenant, lifetime)

    def _current(self) -> ContextKey:
        read = self._read
        try:
            found = self.path.stat()
            state = (found.st_mtime_ns, found.st_ino)
            if read is None or read[0] != state:
                # Two threads may read it at once; both read the same.
                read = (state, _parsed(self.path, self.path.read_text(encoding="ascii")))
                self._read = read
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ContextKeyError(
                f"the key file {self.path} cannot be read ({reason}): correct CONTEXT_KEY_FILE, or "
                + _MAKE.format(self.path)
            ) from None
        return read[1]


def _parsed(path: Path, text: str) -> ContextKey:
    text = text.strip()
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text):
        raise ContextKeyError(
            f"the key file {path}: expected {2 * KEY_BYTES} hexadecimal digits, found something "
            f"else, of {len(text)} characters: " + _MAKE.format(path)
        )
    return ContextKey(bytes.fromhex(text))
