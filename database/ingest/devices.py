"""What a batch says of its devices: when they were seen, and the newest value of each metric."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from database.ingest.states import Asked, Said
from database.ingest.values import in_utc, json_text, uuid_text
from models.device.state import ONLINE_FOR
from models.device.state_size import MOST_METRICS, SMALL_BYTES, STATE_BYTES

if TYPE_CHECKING:
    from database.ingest.messages import Message

LONGEST_METRIC = 255
"""Bytes of a metric's name, as in the rollups; a longer one is in the messages only."""
LARGE = STATE_BYTES
"""Characters of what a batch says of a device, beyond which large values of it are left out."""

Question = Generator[list[Asked], list[tuple[Asked, list[str]]], None]
"""Yields what to ask, and receives which metrics of which elements are stored otherwise."""


class Devices:
    """The devices of a batch, which are taken in one by one while the server stores rows."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._messages: dict[tuple[str, str], list[Message]] = {}
        self._rows: dict[tuple[str, str], Said] = {}
        self._doubtful: set[tuple[str, str]] = set()
        self._untrue: dict[int, set[str]] = {}
        """Of messages, by id, the metrics that are not stored as they were sent."""

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

    def questions(self, rejected: set[int]) -> Question:
        """Ask of doubtful devices which values are stored as sent; no others are believed.

        First of the newest ones, and where one of them is not, of all that are in its place.
        """
        kept = {key: self._kept(self._messages[key], rejected) for key in self._doubtful}
        asked: list[Asked] = []
        for (tenant, device), messages in kept.items():
            if messages:
                times = _times(messages)
                newest = max(times)
                values, found = _newest(messages, times, newest)
                if len(json_text(values)) > LARGE:
                    values = _bounded(values, found)
                claims = {name: (values[name], found.get(name, newest)) for name in values}
                asked.append((tenant, device, claims))
        if not asked:
            return
        every: list[Asked] = []
        claimants: dict[int, Message] = {}
        for (tenant, device, _), metrics in (yield asked):
            for message in kept[tenant, device]:
                sent: Any = message.metrics
                ts = in_utc(message.ts)
                assert ts is not None
                if claims := {name: (sent[name], ts) for name in metrics if name in sent}:
                    every.append((tenant, device, claims))
                    claimants[id(claims)] = message
        if every:
            for (*_, claims), metrics in (yield every):
                self._untrue[id(claimants[id(claims)])] = set(metrics)

    def said(self, rejected: set[int]) -> list[Said]:
        """What is said of each device.

        Args:
            rejected: ids of messages that were taken in, but refused by the database.
        """
        changed = rejected | self._untrue.keys()
        rows: list[Said] = []
        for key, messages in self._messages.items():
            if not changed or changed.isdisjoint(map(id, messages)):
                rows.append(self._rows[key])
            elif kept := self._kept(messages, rejected):
                rows.append(self._row(*key, kept, _times(kept)))
        return rows

    def _kept(self, messages: list[Message], rejected: set[int]) -> list[Message]:
        """What of messages is stored, as far as is known."""
        kept = []
        for one in messages:
            if untrue := self._untrue.get(id(one)):
                sent: Any = one.metrics
                left = {name: value for name, value in sent.items() if name not in untrue}
                kept.append(replace(one, metrics=left))
            elif id(one) not in rejected:
                kept.append(one)
        return kept

    def _row(
        self, tenant: str, device: str, messages: list[Message], times: list[datetime]
    ) -> Said:
        newest = max(times)
        values, found = _newest(messages, times, newest)
        if len(max(values, key=len, default="")) > LONGEST_METRIC // 4:
            values = {k: one for k, one in values.items() if len(k.encode()) <= LONGEST_METRIC}
        text = json_text(values)
        if len(values) > MOST_METRICS or len(text) > LARGE:
            values = _bounded(values, found)
            text = json_text(values)
        oldest = seconds = None
        if found and values:
            oldest = min(found[name] for name in values).isoformat()
            seconds = json_text({name: found[name].timestamp() for name in values})
        return (
            tenant,
            device,
            "online" if newest >= self._now - ONLINE_FOR else "stale",
            None if newest <= self._now else self._now.isoformat(),
            None if newest <= self._now else newest.isoformat(),
            newest.isoformat(),
            oldest,
            text,
            seconds,
        )


def _bounded(values: dict[str, Any], found: dict[str, datetime]) -> dict[str, Any]:
    """What is said of a device, as much as the server can take: the newest values, large ones null.

    As the trigger of ``device_state`` makes them: there is one, but it is in the messages only.
    """
    newest = sorted(values, key=found.__getitem__) if found else list(values)
    return {
        name: None if len(json_text(values[name])) > SMALL_BYTES else values[name]
        for name in newest[-MOST_METRICS:]
    }


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
