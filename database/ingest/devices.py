"""What a batch says of its devices: when they were seen, and the newest value of each metric."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from database.ingest.values import array_text, in_utc, json_text, uuid_text
from models.device.state import ONLINE_FOR

if TYPE_CHECKING:
    from database.ingest.messages import Message

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
_OLDEST = list(_ARRAYS).index("oldest")
_STATEMENT = "SELECT public.record_devices({})".format(
    ", ".join(f"%({name})s::text::{kind}[]" for name, kind in _ARRAYS.items())
)


class Devices:
    """The devices of a batch, which are taken in one by one while the server stores rows."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._messages: dict[tuple[str, str], list[Message]] = {}
        self._rows: dict[tuple[str, str], tuple[str | None, ...]] = {}
        self._doubtful: set[tuple[str, str]] = set()

    def take(self, messages: list[Message], times: list[datetime]) -> None:
        """Take in accepted messages of one device, in any order, and their times."""
        key = _key(messages[0])
        if key in self._messages:
            # One device may be named in two ways, by a UUID and by its text.
            messages = self._messages[key] + messages
            times = _times(messages)
        self._messages[key] = messages
        self._rows[key] = self._row(*key, messages, times)

    def doubt(self, messages: list[Message]) -> None:
        """Some of these may not be stored: another with their key was, of unknown content."""
        self._doubtful.update(map(_key, messages))

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
                rows.append(self._row(*key, kept, _times(kept)))
            else:
                continue
            if key in self._doubtful:
                rows[-1] = (*rows[-1][:_OLDEST], "-infinity", *rows[-1][_OLDEST + 1 :])
        return _STATEMENT, dict(zip(_ARRAYS, map(array_text, zip(*rows, strict=True)), strict=True))

    def _row(
        self, tenant: str, device: str, messages: list[Message], times: list[datetime]
    ) -> tuple[str | None, ...]:
        newest = max(times)
        values, found = _newest(messages, times, newest)
        if len(max(values, key=len, default="")) > LONGEST_METRIC // 4:
            values = {k: one for k, one in values.items() if len(k.encode()) <= LONGEST_METRIC}
        oldest = seconds = None
        if found and values:
            oldest = min(found[name] for name in values).isoformat()
            seconds = json_text({name: found[name].timestamp() for name in values})
        return (
            tenant,
            device,
            "online" if newest >= self._now - ONLINE_FOR else "stale",
            None if newest <= self._now else self._now.isoformat(),
            newest.isoformat(),
            oldest,
            json_text(values),
            seconds,
        )


def _key(message: Message) -> tuple[str, str]:
    tenant, device = uuid_text(message.tenant_id), message.device_id
    assert tenant is not None
    assert isinstance(device, str)
    return tenant, device


def _times(messages: list[Message]) -> list[Any]:
    return [in_utc(one.ts) for one in messages]


def _newest(
    messages: list[Message], times: list[datetime], newest: datetime
) -> tuple[dict[str, Any], dict[str, datetime]]:
    """The newest value of each metric, and its time; no times: all are the newest.

    Of one moment, the message with the highest ``seq`` counts, then that with the last type.
    """
    values: Any = messages[times.index(newest)].metrics
    objects: list[Any] = [one.metrics for one in messages]
    names: set[str] = set().union(*objects)
    if len(names) == len(values) and times.count(newest) == 1:
        return values, {}
    values, found = {}, {}
    order: Any = sorted(
        (ts, one.seq, one.msg_type, number)
        for number, (ts, one) in enumerate(zip(times, messages, strict=True))
    )
    for *_, number in order:
        metrics: Any = messages[number].metrics
        values.update(metrics)
        found.update(dict.fromkeys(metrics, times[number]))
    return values, {} if set(found.values()) <= {newest} else found
