"""Which records of a batch are within the rates of their tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from database.ingest.messages import Message
from database.ingest.records import Record
from database.ingest.values import uuid_text


@dataclass(frozen=True)
class Kept:
    """A batch, divided."""

    records: Sequence[Message | Record]
    """What may be stored, in the order in which it came."""
    throttled: Sequence[Message | Record] = ()
    retry_after: float | None = None
    """Seconds until the first of the throttled may be stored."""


def within(
    records: Sequence[Message | Record], limited: Sequence[tuple[str, int, float | None]]
) -> Kept:
    """Divide a batch.

    Args:
        limited: of tenants with a rate, how many records each may store, and after how many seconds
            again any if it does.
    """
    if not limited:
        return Kept(records)
    room = {tenant: allowed for tenant, allowed, _ in limited}
    kept: list[Message | Record] = []
    throttled: list[Message | Record] = []
    over = set()
    for record in records:
        tenant = uuid_text(getattr(record, "tenant_id", None))
        if tenant is not None and tenant in room:
            room[tenant] -= 1
            if room[tenant] < 0:
                throttled.append(record)
                over.add(tenant)
                continue
        kept.append(record)
    waits = [seconds for tenant, _, seconds in limited if tenant in over and seconds is not None]
    return Kept(kept, throttled, min(waits, default=None))
