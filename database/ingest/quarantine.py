"""What is kept of a message that is rejected: all of it, under a key that redelivery repeats."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import Table

from database.ingest.batch import RecordBatch
from database.ingest.messages import MAX_AHEAD, Batch, Message, Rejected
from database.ingest.records import Record
from database.ingest.series import column_types, retention
from database.ingest.values import in_utc, is_text, is_written_out, json_text
from models.shared.base import PLATFORM_TENANT_ID
from models.shared.ingest_views import MAX_NAMED, MAX_PAYLOAD
from models.telemetry.quarantine import QuarantineEvent

_TABLE: Table = QuarantineEvent.__table__  # type: ignore[assignment]
KEPT = retention(_TABLE)
"""An older key would be dropped with its row."""

MAX_DEPTH = 100
"""Nesting that both Python and PostgreSQL read whatever their limits; deeper is kept as bytes."""

COLUMNS = column_types(
    _TABLE, [column.name for column in _TABLE.columns if column.name != "ingested_at"]
)
"""What is written, in this order; ingested_at is the server's clock."""

_NAMESPACE = uuid5(NAMESPACE_OID, "fleetschema.quarantine_events")
_LONGEST_TOPIC = 65_535  # of MQTT


def statement() -> str:
    """The INSERT, of one array for each column."""
    arrays = ", ".join(f"%({name})s::text[]::{kind}[]" for name, kind in COLUMNS.items())
    return (
        f"INSERT INTO timeseries.quarantine_events ({', '.join(COLUMNS)})\n"
        f"SELECT * FROM unnest({arrays})\nON CONFLICT DO NOTHING"
    )


def parameters(batches: Iterable[Batch | RecordBatch]) -> dict[str, list[str | None]]:
    """What was rejected of the batches, column by column."""
    rows = [_row(rejected, batch) for batch in batches for rejected in batch.rejected]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def _row(rejected: Rejected, batch: Batch | RecordBatch) -> dict[str, str | None]:
    message, detail, series = rejected.message, rejected.detail, batch.series
    event = in_utc(getattr(message, series.time))
    fields = _fields(message, series.sent)
    payload, raw = _as_json(fields) if message.payload is None else _payload(message.payload)
    topic = _named(message.topic, _LONGEST_TOPIC) or ""
    content = hashlib.sha256(f"{_written(fields)}\n{topic}\n{payload}\n".encode())
    content.update(raw or b"")
    if raw is not None and len(raw) > MAX_PAYLOAD:
        checksum = hashlib.sha256(raw).hexdigest()
        detail = f"{detail}; of {len(raw):,} bytes (SHA-256 {checksum}) the first are kept"
    return {
        "tenant_id": batch.tenant_of(message) or str(PLATFORM_TENANT_ID),
        "ts": _arrival(message, event, batch.now).isoformat(),
        "id": str(uuid5(_NAMESPACE, content.hexdigest())),
        "reason": rejected.reason,
        "detail": detail,
        "topic": topic,
        "claimed_tenant": _named(getattr(message, "tenant_id", None)),
        "device_id": _named(getattr(message, "device_id", None)),
        "site_id": _named(getattr(message, "site_id", None)),
        "msg_type": _named(getattr(message, "msg_type", series.name)),
        "event_ts": None if event is None else event.isoformat(),
        "payload": payload,
        "payload_raw": None if raw is None else f"\\x{raw[:MAX_PAYLOAD].hex()}",
        "envelope_version": _named(message.envelope_version) or "1",
    }


def _arrival(
    message: Message | Record, event: datetime.datetime | None, now: datetime.datetime
) -> datetime.datetime:
    """When it arrived, in a way that the next delivery of it repeats.

    The clock would give each delivery a key of its own, so without the broker's time a device's
    own one serves if it is near, else the day.
    """
    received = in_utc(message.received_at)
    if received is not None and now - KEPT < received <= now + MAX_AHEAD:
        return received
    if event is not None and now - MAX_AHEAD <= event <= now + MAX_AHEAD:
        return event
    today = now.astimezone(datetime.UTC)
    return today.replace(hour=0, minute=0, second=0, microsecond=0)


def _payload(received: object) -> tuple[str | None, bytes | None]:
    """What was received: as JSON if jsonb can hold it, or as bytes."""
    if isinstance(received, str):
        received = received.encode("utf-8", "surrogatepass")
    if not isinstance(received, bytes | bytearray | memoryview):
        return _as_json(received)
    raw = bytes(received)
    try:
        parsed = json.loads(raw) if len(raw) <= MAX_PAYLOAD else None
    except (ValueError, RecursionError):
        parsed = None
    text = None if parsed is None else _as_json(parsed)[0]
    return (None, raw) if text is None else (text, None)


def _fields(message: Message | Record, names: Iterable[str]) -> dict[str, Any]:
    fields = {name: getattr(message, name) for name in names}
    plain = UUID | datetime.datetime
    return {name: str(v) if isinstance(v, plain) else v for name, v in fields.items()}


def _as_json(value: object) -> tuple[str | None, bytes | None]:
    try:
        text = json_text(value)
    except (ValueError, TypeError, RecursionError):
        return None, _written(value).encode()
    data = text.encode()
    fits = len(text) <= MAX_PAYLOAD and is_written_out(data)
    return (text, None) if fits and text != "null" and not _is_deep(value) else (None, data)


def _written(value: object) -> str:
    """As JSON if need be with NaN, escapes and the names of types; always the same text."""
    try:
        return json.dumps(value, default=_foreign)
    except (ValueError, TypeError, RecursionError) as error:
        # Numbers of thousands of digits, names that are no text, endless nesting.
        return f"{type(value).__qualname__} that cannot be written: {type(error).__name__}"


def _foreign(value: object) -> str:
    # Not its repr(): that might hold an address, and the key would differ at the next delivery.
    if isinstance(value, bytes | bytearray):
        return value.hex()
    has_text = type(value).__str__ is not object.__str__
    return f"{type(value).__qualname__} {value if has_text else ''}".rstrip()


def _is_deep(value: object) -> bool:
    """Whether it is nested beyond MAX_DEPTH; level by level, since recursion has its limits."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list | tuple):
                below += item
        if not below:
            return False
        level = below
    return True


def _named(value: object, longest: int = MAX_NAMED) -> str | None:
    """As the message names it, with escapes for what text cannot hold."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        text = value[:longest]
        return text if is_text(text, longest) else ascii(text)[1:-1]
    return _written(value if not isinstance(value, UUID) else str(value)).strip('"')[:longest]
