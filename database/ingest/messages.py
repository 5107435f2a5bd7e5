"""Messages as they come off the wire, judged, and written down the way COPY reads them fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from database.ingest import binary
from database.ingest.devices import Devices
from database.ingest.metrics import MetricColumns
from database.ingest.refusal import MalformedError
from database.ingest.series import TELEMETRY
from database.ingest.values import array_text, expected, in_utc, is_text, moment, uuid_text
from models.shared.constraints import MAX_NAME
from models.shared.judgement import (
    BAD_TIME,
    EXPIRED,
    FUTURE,
    MAX_AHEAD_DAYS,
    TAKEN_TENANT,
    UNKNOWN_TENANT,
    bad,
)
from models.telemetry.device_messages import MAX_MSG_TYPE
from models.telemetry.metrics import METRICS
from models.telemetry.registered import DEVICE

MAX_AHEAD = timedelta(days=MAX_AHEAD_DAYS)
"""A clock further ahead than this is wrong; each such day would cost a chunk of its own."""

TIME = "a time with a zone"
"""What is expected of a moment."""

COPIED_AT_ONCE = 65_536
"""Bytes that go to the server together."""

_PAIR = attrgetter("tenant_id", "device_id")
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_FIELDS = binary.count(len(TELEMETRY.columns))
_KNOWN = f"""
    SELECT t.tenant_id::text, p.retention_days, d.device_id, d.site_id::text
      FROM unnest(%(tenants)s::text::uuid[]) AS named
      JOIN public.tenants t ON t.tenant_id = named AND {TAKEN_TENANT}
      LEFT JOIN public.data_retention_policies p
           ON p.tenant_id = t.tenant_id AND p.relation = 'telemetry'
      LEFT JOIN (SELECT r.tenant_id, r.device_id, r.site_id
                   FROM unnest(%(owners)s::text::uuid[], %(devices)s::text::text[])
                        AS asked (tenant_id, device_id)
                   JOIN public.device_registry r USING (tenant_id, device_id)
                  WHERE {DEVICE.only}) d
           ON d.tenant_id = t.tenant_id
"""


@dataclass(slots=True)
class Message:
    """One message; nothing about it is trusted, so its values may be of any type."""

    tenant_id: object
    """A UUID, or its text."""
    device_id: object
    """What the device calls itself."""
    ts: object
    """When it was measured: a datetime with a zone, or ISO 8601 text with an offset."""
    metrics: object
    """A dict of metric name to any value that JSON has."""
    msg_type: object = "telemetry"
    seq: object = 0
    site_id: object = None
    """Where the device was; None: where the registry says it is."""
    topic: object = ""
    """Where it came from; kept with messages that are rejected."""
    payload: object = None
    """The message as received, kept if it is rejected; None: its fields are kept."""
    envelope_version: object = None
    received_at: datetime | None = None
    """When the broker took it, the same at each delivery: makes redelivery of rejected messages
    harmless at any time, else it is so within a day."""


class Rejected(NamedTuple):
    """One message, or record of another series, that goes into quarantine."""

    message: Any
    reason: str
    detail: str


class Source(NamedTuple):
    """What the messages of one device have in common."""

    order: tuple[str, str]
    """Tenant and device."""
    begins: bytes
    """With what their rows begin, up to tenant and device."""
    site: bytes
    oldest: datetime | None
    """What is older would be deleted at once."""
    rejection: tuple[str, str] | None
    """Why none of its messages is accepted: reason and detail."""


class Batch:
    """Messages delivered together: first their devices are looked up, then each is encoded."""

    series = TELEMETRY

    def __init__(self, messages: Iterable[Message], now: datetime) -> None:
        self.records = list(messages)
        self.now = now
        self.accepted: list[Message] = []
        self.lines: list[bytes] = []
        """Their rows in COPY's binary format: tenant, device, ts, msg_type, seq, site, metrics, and
        the declared metrics."""
        self.repeated: list[tuple[Message, bytes]] = []
        """Further messages with the key of one before them; COPY would reject the batch."""
        self.rejected: list[Rejected] = []
        self.devices = Devices(now)
        self._tenants: dict[str, datetime] = {}
        self._sources: dict[Any, Source] = {}
        self._accepted: set[str] = set()
        self._groups = _grouped(self.records)

    def tenants(self) -> set[str]:
        """All tenants named, known or not."""
        named = (uuid_text(tenant) for tenant, _ in self._groups)
        return {tenant for tenant in named if tenant is not None}

    def questions(self) -> Iterator[tuple[str, dict[str, str]]]:
        """The look-up of all tenants named, and of the pairs of tenant and device."""
        owners, devices = [], []
        for tenant, device in self._groups:
            tenant_id = uuid_text(tenant)
            if tenant_id is not None and is_text(device, MAX_NAME):
                owners.append(tenant_id)
                devices.append(device)
        asked = {"tenants": self.tenants(), "owners": owners, "devices": devices}
        yield _KNOWN, {name: array_text(values) for name, values in asked.items()}

    def answers(self, rows: Sequence[tuple[str, int | None, str | None, str | None]]) -> None:
        """Take in the look-up: known tenants, days of own retentions, known devices and sites."""
        self._tenants = {tenant: self.series.oldest(self.now, days) for tenant, days, _, _ in rows}
        sites = {(tenant, device): site for tenant, _, device, site in rows}
        for pair in self._groups:
            tenant, device = pair
            self._sources[pair] = self._source(tenant, device, sites)

    def tenant_of(self, message: Message) -> str | None:
        """The tenant that the message names, if there is one."""
        tenant_id = uuid_text(message.tenant_id)
        return tenant_id if tenant_id in self._tenants else None

    def tenants_accepted(self) -> list[str]:
        """The tenants of the messages that were not rejected."""
        return sorted(self._accepted)

    def encoded(self) -> Iterator[bytes]:
        """The rows of acceptable messages, in pieces for COPY; the others become rejected.

        The server works on one piece while the next is made, which is why this is lazy. Rows of
        one device come together, which makes the server's work on the index a quarter less.
        """
        encode, lines = self._encoder(), self.lines
        sent, size = 0, 0
        for pair in sorted(self._groups, key=lambda pair: self._sources[pair].order):
            source = self._sources[pair]
            if source.rejection is not None:
                self._reject(self._groups[pair])
                continue
            first = len(lines)
            times: list[datetime] = []
            size += encode(source, self._groups[pair], times)
            if times:
                self._accepted.add(source.order[0])
                self.devices.take(self.accepted[first:], times)
            if size > COPIED_AT_ONCE:
                yield b"".join(lines[sent:])
                sent, size = len(lines), 0
        yield b"".join(lines[sent:])

    def take_repeated(self) -> range:
        """Accept what was left out as repeated, too; returns its numbers."""
        before = len(self.lines)
        for message, line in self.repeated:
            self.accepted.append(message)
            self.lines.append(line)
            ts = in_utc(message.ts)
            assert ts is not None
            self.devices.take([message], [ts])
        self.repeated = []
        return range(before, len(self.lines))

    def _source(
        self, tenant: object, device: object, sites: dict[tuple[str, str | None], str | None]
    ) -> Source:
        tenant_id = uuid_text(tenant)
        rejection = None
        if tenant_id is None:
            rejection = bad("tenant_id"), expected("a UUID", tenant)
        elif tenant_id not in self._tenants:
            rejection = UNKNOWN_TENANT, f"there is no tenant {tenant_id}"
        elif not is_text(device, MAX_NAME):
            rejection = (
                bad(DEVICE.column),
                expected(f"text of 1 to {MAX_NAME} characters", device),
            )
        elif (tenant_id, device) not in sites:
            wanted = f"a registered device of {tenant_id} that is not suspended or revoked"
            rejection = DEVICE.unknown, expected(wanted, device)
        if rejection is not None:
            return Source(("", ""), b"", b"", None, rejection)
        order = tenant_id, device = str(tenant_id), str(device)
        begins = _FIELDS + binary.uuid(tenant_id) + binary.text(device)
        own = sites[order]
        site = binary.NULL if own is None else binary.uuid(own)
        return Source(order, begins, site, self._tenants[tenant_id], None)

    def _reject(self, messages: list[Message]) -> None:
        """Reject messages of an unknown device; each is told what itself has named."""
        for message in messages:
            source = self._source(message.tenant_id, message.device_id, {})
            assert source.rejection is not None
            self.rejected.append(Rejected(message, *source.rejection))

    def _encoder(self) -> Callable[[Source, list[Message], list[datetime]], int]:
        """A function that encodes messages of one device, notes their times, and returns bytes.

        It is one long loop, since calls are what takes time in Python.
        """
        newest = self.now + MAX_AHEAD
        types: dict[object, bytes] = {}
        sites: dict[object, bytes] = {}
        bigint, epoch, microsecond = binary.bigint, binary.EPOCH, binary.MICROSECOND
        divided = MetricColumns(METRICS).divided
        accepted, lines = self.accepted, self.lines

        def encode(source: Source, messages: list[Message], times: list[datetime]) -> int:
            begins, own_site, oldest = source.begins, source.site, source.oldest
            assert oldest is not None
            keys: set[bytes] = set()
            size = 0
            for message in messages:
                try:
                    ts = message.ts
                    if ts.__class__ is not datetime or ts.tzinfo is not UTC:
                        ts = moment(ts)
                        if ts is None:
                            raise MalformedError(BAD_TIME, expected(TIME, message.ts))
                    if not oldest <= ts <= newest:
                        raise misplaced(ts, oldest, newest)
                    if ts.tzinfo is not UTC:
                        ts = ts.astimezone(UTC)
                    try:
                        kind = types[message.msg_type]
                    except (KeyError, TypeError):
                        kind = types[message.msg_type] = _msg_type(message.msg_type)
                    seq = message.seq
                    if seq.__class__ is not int or not _LOWEST <= seq <= _HIGHEST:
                        raise MalformedError(bad("seq"), expected("an integer of 64 bits", seq))
                    if message.site_id is None:
                        site = own_site
                    else:
                        try:
                            site = sites[message.site_id]
                        except (KeyError, TypeError):
                            site = sites[message.site_id] = _site(message.site_id)
                    metrics = divided(message.msg_type, message.metrics)
                except MalformedError as error:
                    self.rejected.append(Rejected(message, error.reason, error.detail))
                    continue
                key = bigint(8, (ts - epoch) // microsecond) + kind + bigint(8, seq)
                line = begins + key + site + metrics
                if key in keys:
                    self.repeated.append((message, line))
                    continue
                keys.add(key)
                accepted.append(message)
                lines.append(line)
                times.append(ts)
                size += len(line)
            return size

        return encode


def _grouped(messages: list[Message]) -> dict[Any, list[Message]]:
    """Pairs of tenant and device to their messages, in the order in which they came."""
    groups: dict[Any, list[Message]] = {}
    for message in messages:
        try:
            groups.setdefault(_PAIR(message), []).append(message)
        except TypeError:
            # A list or an object in the place of an id: its tenant is still to be looked up.
            pair = (message.tenant_id if _is_hashable(message.tenant_id) else None, None)
            groups.setdefault(pair, []).append(message)
    return groups


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def misplaced(ts: datetime, oldest: datetime, newest: datetime) -> MalformedError:
    """What is wrong with a moment outside of the range."""
    if in_utc(ts) is None:
        return MalformedError(BAD_TIME, expected(TIME, ts))
    if ts > newest:
        return MalformedError(FUTURE, expected(f"at most {newest}", ts))
    return MalformedError(EXPIRED, expected(f"at least {oldest}", ts))


def _msg_type(value: object) -> bytes:
    if not is_text(value, MAX_MSG_TYPE):
        raise MalformedError(
            bad("msg_type"), expected(f"text of 1 to {MAX_MSG_TYPE} characters", value)
        )
    return binary.text(str(value))


def _site(value: object) -> bytes:
    if (site := uuid_text(value)) is None:
        raise MalformedError(bad("site_id"), expected("a UUID", value))
    return binary.uuid(site)
