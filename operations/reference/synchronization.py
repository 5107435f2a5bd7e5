"""Built-in rows, copied into every tenant that does not have them yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from database.errors import server_message
from database.tenancy import OPERATOR
from operations.reference.rows import ReferenceDataError

LOCK_TIMEOUT = "30s"
"""How long to wait for a row that another session locks."""

_SHOWN = 5

# A suspended tenant gets its copies too, so that it is complete when it returns. A tenant that is
# being deleted gets none, and the lock prevents it from being marked before this is committed.
_TENANTS = sa.text("SELECT tenant_id, slug FROM public.tenants WHERE status <> 'deleted'")
_LOCK = sa.text("""
    SELECT FROM public.tenants WHERE tenant_id = :tenant AND status <> 'deleted'
       FOR NO KEY UPDATE
""")
_SYNC = sa.text("SELECT public.sync_tenant(:tenant)")


@dataclass(frozen=True)
class Synced:
    """What a synchronization copied."""

    rows: int
    tenants: int
    """How many tenants got any of the rows."""


@contextmanager
def as_operator(connection: Connection) -> Iterator[None]:
    """A transaction in which the owner, who sees no rows of tenants, acts as fleet_operator."""
    with connection.begin():
        connection.execute(
            sa.text(
                "SELECT set_config('role', :role, true), set_config('lock_timeout', :wait, true)"
            ),
            {"role": OPERATOR, "wait": LOCK_TIMEOUT},
        )
        yield


def sync(connection: Connection) -> Synced:
    """Call sync_tenant() for every tenant, each in a transaction of its own.

    A failure for one tenant does not affect the others.

    Raises:
        ReferenceDataError: names the first few tenants that failed, and says how many did.
    """
    with as_operator(connection):
        tenants = connection.execute(_TENANTS).all()
    rows = served = 0
    failed: list[str] = []
    for tenant in tenants:
        values = {"tenant": tenant.tenant_id}
        try:
            with as_operator(connection):
                if connection.execute(_LOCK, values).first() is None:
                    continue
                added = connection.scalar(_SYNC, values)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            reason = server_message(error, brief=True)
            failed.append(f"{tenant.slug} ({reason})")
            continue
        rows += added
        served += added > 0
    if failed:
        more = f" and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise ReferenceDataError(
            f"{len(failed)} of {len(tenants)} tenants did not get the built-in rows: "
            f"{', '.join(failed[:_SHOWN])}{more}; the others did: fix the cause and run: "
            "python -m operations reference"
        )
    return Synced(rows, served)
