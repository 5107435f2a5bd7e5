"""What health reports and connection events say of devices: seen, online, offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from database.ingest.batch import RecordBatch
from database.ingest.states import Said
from database.ingest.values import moment, uuid_text
from models.device.state import ONLINE_FOR

_NO_VALUES = (None, None, "{}", "{}")


def said(batches: Iterable[object], now: datetime) -> list[Said]:
    """What is said of each device of which anything is said: no values of metrics."""
    newest: dict[tuple[str, str], tuple[datetime, int, int, str]] = {}
    for key, of_it in _all(batches, now):
        if key not in newest or newest[key] < of_it:
            newest[key] = of_it
    return [
        (
            *key,
            status,
            min(ts, now).isoformat(),
            ts.isoformat() if ts > now else None,
            *_NO_VALUES,
        )
        for key, (ts, _, _, status) in newest.items()
    ]


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
