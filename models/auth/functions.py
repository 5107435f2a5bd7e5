"""What the functions of the sign-in service have in common.

The service works before a tenant is known, so row-level security cannot bind it to one. It has no
grant on any table. Its functions run as the owner of the tables, and each demands a proof: the key
of a password, the hash of a random token, or the refresh token of a session. Where a proof is
missing or wrong they return NULL, false or no row, never an error: an error would undo what they
count. None says which of account, proof and time was at fault.
"""

from __future__ import annotations

import textwrap

from ddl import Function
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS

_REASON = (
    "The sign-in service has no right on any table: it reaches single rows, by what proves that it "
    "may."
)

NO_NEW_SESSION = "perform from public.users u where u.id = account for update;"
"""Before all sessions of an account are revoked: waits for those that are being made, and keeps new
ones waiting, by the lock that their foreign key takes."""

# A link that is void stays for as long as it counts: who could have it deleted could have another
# mailed. It does not count once it was used, since then the mailbox is that of who asked.
VOID_LINK = "set expires_at = t.created_at + interval '1 microsecond'"
"""Of a link ``t``: it expires at once."""

LIVE_SESSION = "s.revoked_at is null and s.expires_at > now()"
"""Of a session ``s``: not revoked, not replaced, not expired."""


def service_function(name: str, arguments: str, *, returns: str, body: str, comment: str) -> None:
    """A function that fleet_auth calls and that runs as the owner of the tables."""
    Function(
        name,
        arguments,
        returns=returns,
        language="plpgsql",
        settings=PLPGSQL_SETTINGS,
        body=textwrap.dedent(body),
        security_definer=True,
        reason=_REASON,
        grants={"fleet_auth": "execute"},
        comment=comment,
        metadata=Base.metadata,
    )


def inner_function(name: str, arguments: str, *, returns: str, body: str, comment: str) -> None:
    """A part of such functions, with the rights of its caller; nobody else may call it."""
    Function(
        name,
        arguments,
        returns=returns,
        language="plpgsql",
        settings=PLPGSQL_SETTINGS,
        body=textwrap.dedent(body),
        comment=comment,
        metadata=Base.metadata,
    )
