"""What health reports and connection events say of devices: seen, online, offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from database.ingest.batch import RecordBatch
from database.ingest.values import moment, uuid_text
from models.device.state import ONLINE_FOR

STATEMENT = """
    SELECT public.record_devices(
             array_agg(n.tenant_id), array_agg(n.device_id), array_agg(n.status),
             array_agg(n.seen), array_agg(n.sent), array_agg(NULL::timestamptz),
             array_agg(NULL::timestamptz), array_agg('{}'::jsonb), array_agg('{}'::jsonb))
      FROM unnest(%(tenants)s::text[]::uuid[], %(devices)s::text[], %(statuses)s::text[],
                  %(seen)s::text[]::timestamptz[], %(sent)s::text[]::timestamptz[])
             AS n (tenant_id, device_id, status, seen, sent)
"""
"""The call of the function that takes in what messages say, without values of metrics."""


def parameters(batches: Iterable[object], now: datetime) -> dict[str, list[str | None]] | None:
    """The arrays of the statement, an element a device; None: nothing is said of any device."""
    newest: dict[tuple[str, str], tuple[datetime, int, int, str]] = {}
    for key, said in _all(batches, now):
        if key not in newest or newest[key] < said:
            newest[key] = said
    if not newest:
        return None
    return {
        "tenants": [tenant for tenant, _ in newest],
        "devices": [device for _, device in newest],
        "statuses": [status for *_, status in newest.values()],
        "seen": [min(ts, now).isoformat() for ts, *_ in newest.values()],
        "sent": [ts.isoformat() if ts > now else None for ts, *_ in newest.values()],
    }


def _all(
    batches: Iterable[object], now: datetime
) -> Iterator[tuple[tuple[str, str], tuple[datetime, int, int, str]]]:
    """Device to when something was said, its rank and number among all of that moment, and what.

    An event says more than a report of the same moment.
    """
    for batch in batches:
        if not isinstance(batch, RecordBatch) or batch.series.presence is None:
            continue
        rejected = {id(one.message) for one in batch.rejected}
        record: Any
        for record in batch.accepted:
            if id(record) in rejected:
                continue
            tenant, ts = uuid_text(record.tenant_id), moment(record.ts)
            assert tenant is not None
            assert ts is not None
            status = batch.series.presence(record)
            rank, number = int(status is not None), getattr(record, "seq", 0)
            said = status or ("online" if ts >= now - ONLINE_FOR else "stale")
            yield (tenant, record.device_id), (ts, rank, number, said)
