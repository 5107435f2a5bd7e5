"""Tests in signed databases: TEST_CONTEXT=signed makes every database at the head a signed one.

One key signs for all of them, so that whatever engine a test makes has it: see CONTRIBUTING.md.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from database.context import ContextKey
from database.signing import set_signed

SIGNED = os.environ.get("TEST_CONTEXT") == "signed"

_SECRET = hashlib.sha256(b"the key of all tests").digest()
KEY = ContextKey(_SECRET)

_KEEP = sa.text(
    "INSERT INTO signing.context_keys (id, inner_pad, outer_pad) VALUES (:id, :inner, :outer)"
    " ON CONFLICT DO NOTHING"
)


def key_file() -> Path:
    """A file with the key, for engines that read it: the setting CONTEXT_KEY_FILE."""
    path = Path(tempfile.mkdtemp(prefix="fleetschema-key-")) / "key"
    path.write_text(_SECRET.hex(), encoding="ascii")
    return path


def options() -> dict[str, Any]:
    """The execution options of an engine that signs."""
    return {"context_key": KEY} if SIGNED else {}


def apply(connection: Connection) -> None:
    """Make a database at the head what TEST_CONTEXT says."""
    if not SIGNED or not connection.scalar(sa.text("SELECT to_regclass('signing.context_keys')")):
        return
    block = _SECRET.ljust(64, b"\0")
    pads = {name: bytes(byte ^ by for byte in block) for name, by in _PADS.items()}
    connection.execute(_KEEP, {"id": KEY.id, **pads})
    set_signed(connection, signed=True)


_PADS = {"inner": 0x36, "outer": 0x5C}


def choose(connection: Connection, tenant: UUID | str, *, local: bool = True) -> None:
    """Bind a transaction, or the session, to a tenant, in plain and in signed databases."""
    connection.execute(
        sa.text(
            "SELECT set_config('app.tenant_id', :tenant, :local),"
            " set_config('app.tenant_token', :token, :local)"
        ),
        {"tenant": str(tenant), "token": KEY.token(UUID(str(tenant))), "local": local},
    )
