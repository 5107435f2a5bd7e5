"""What a batch says of its devices: when they were seen, and the newest value of each metric."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from database.ingest.values import json_text, moment, uuid_text

if TYPE_CHECKING:
    from database.ingest.messages import Message

ONLINE_FOR = timedelta(minutes=15)
"""A device whose newest message is not older than this is online."""

LONGEST_METRIC = 255
"""Bytes of a metric's name, as in the rollups; a longer one is in the messages only."""

_ARRAYS = {
    "tenants": "uuid",
    "devices": "text",
    "statuses": "text",
    "seen": "timestamptz",
    "newest": "timestamptz",
    "oldest": "timestamptz",
    "states": "jsonb",
    "times": "jsonb",
}
_STATEMENT = "SELECT public.record_devices({})".format(
    ", ".join(f"%({name})s::text::{kind}[]" for name, kind in _ARRAYS.items())
)


class Devices:
    """The devices of a batch, which are taken in one by one while the server stores rows."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._messages: dict[tuple[str, str], list[Message]] = {}
        self._rows: dict[tuple[str, str], tuple[str, ...]] = {}

    def take(self, messages: list[Message]) -> None:
        """Take in accepted messages of one device, in any order."""
        tenant, device = uuid_text(messages[0].tenant_id), messages[0].device_id
        assert tenant is not None
        assert isinstance(device, str)
        key = tenant, device
        # One device may be named in two ways, by a UUID and by its text.
        known = self._messages[key] = self._messages.get(key, []) + messages
        self._rows[key] = self._row(tenant, device, known)

    def statement(self, rejected: set[int]) -> tuple[str, dict[str, str]]:
        """The call and its arrays, an element a device.

        Args:
            rejected: ids of messages that were taken in, but refused by the database.
        """
        rows = []
        for key, messages in self._messages.items():
            if not rejected or rejected.isdisjoint(map(id, messages)):
                rows.append(self._rows[key])
            elif kept := [one for one in messages if id(one) not in rejected]:
                rows.append(self._row(*key, kept))
        return _STATEMENT, dict(zip(_ARRAYS, map(_array, zip(*rows, strict=True)), strict=True))

    def _row(self, tenant: str, device: str, messages: list[Message]) -> tuple[str, ...]:
        values, times, newest = _newest(messages)
        if len(max(values, key=len, default="")) > LONGEST_METRIC // 4:
            names = [name for name in values if len(name.encode()) <= LONGEST_METRIC]
            values = {name: values[name] for name in names}
            times = {name: times[name] for name in names}
        written = newest.isoformat()
        return (
            tenant,
            device,
            "online" if newest >= self._now - ONLINE_FOR else "stale",
            written if newest <= self._now else self._now.isoformat(),
            written,
            min(times.values(), default=newest).isoformat(),
            json_text(values),
            json_text({name: ts.timestamp() for name, ts in times.items()}),
        )


def _newest(
    messages: list[Message],
) -> tuple[dict[str, Any], dict[str, datetime], datetime]:
    """The newest values, their times, and the time of the newest message.

    Of one moment, the message with the highest ``seq`` counts.
    """
    times: list[Any] = [one.ts for one in messages]
    if any(ts.__class__ is not datetime for ts in times):
        times = [moment(ts) for ts in times]
    newest = max(times)
    values: Any = messages[times.index(newest)].metrics
    names = values.keys()
    if times.count(newest) == 1 and all(one.metrics.keys() == names for one in messages):  # type: ignore[attr-defined]
        return values, dict.fromkeys(names, newest), newest
    values, found = {}, {}
    for number in sorted(range(len(times)), key=lambda one: (times[one], messages[one].seq)):
        metrics: Any = messages[number].metrics
        values.update(metrics)
        found.update(dict.fromkeys(metrics, times[number]))
    return values, found, newest


def _array(values: Iterable[str]) -> str:
    """The values as text of an array of PostgreSQL; the driver would take several times as long."""
    text = '","'.join(one.replace("\\", r"\\").replace('"', r"\"") for one in values)
    return f'{{"{text}"}}'
