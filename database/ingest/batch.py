"""Records of one series that are delivered together, judged, and written down for COPY."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from operator import attrgetter
from typing import Any

from database.ingest.messages import COPIED_AT_ONCE, MAX_AHEAD, TIME, Rejected, misplaced
from database.ingest.records import Record
from database.ingest.refusal import MalformedError
from database.ingest.series import Reference, Series
from database.ingest.values import expected, in_utc, moment, uuid_text
from models.shared.judgement import BAD_TIME, TAKEN_TENANT, UNKNOWN_TENANT, bad

KNOWN_TENANTS = f"""
    SELECT t.tenant_id::text, p.retention_days
      FROM public.tenants t
      LEFT JOIN public.data_retention_policies p
           ON p.tenant_id = t.tenant_id AND p.relation = %(relation)s
     WHERE t.tenant_id = ANY (%(tenants)s::text[]::uuid[]) AND {TAKEN_TENANT}
"""


class RecordBatch:
    """First what the records refer to is looked up, then each is encoded."""

    def __init__(self, series: Series, records: Sequence[Record], now: datetime) -> None:
        self.series = series
        self.records = records
        self.now = now
        self.accepted: list[Record] = []
        self.lines: list[bytes] = []
        self.rejected: list[Rejected] = []
        self._newest = now + MAX_AHEAD
        self._tenants: dict[str, datetime] = {}
        self._known: dict[Reference, dict[tuple[str, str], str | None]] = {}
        # Most records name what others have named, too; 7, 7.0 and True are equal.
        names = ["tenant_id", *(one.name for one in series.references)]
        self._names: Callable[[Any], tuple[object, ...]] = attrgetter(*names)
        self._found: dict[tuple[object, ...], list[str]] = {}
        self._keys: list[str] = []
        self._repeated: dict[str, list[tuple[Record, bytes]]] = {}

    def tenants(self) -> set[str]:
        """All tenants named, known or not."""
        if not self.series.tenants:
            return set()
        named = (uuid_text(names[0]) for names in self._named)
        return {tenant for tenant in named if tenant is not None}

    def questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Queries and parameters; the answer to each is to be taken in before the next."""
        if not self.series.tenants:
            return
        yield KNOWN_TENANTS, {"tenants": sorted(self.tenants()), "relation": self.series.name}
        for place, reference in enumerate(self.series.references, start=1):
            pairs = set()
            for names in self._named:
                tenant, name = uuid_text(names[0]), reference.name_of(names[place])
                if tenant in self._tenants and name is not None:
                    pairs.add((tenant, name))
            self._known[reference] = {}
            if pairs:
                owners, named = map(list, zip(*sorted(pairs), strict=True))
                yield reference.look_up, {"owners": owners, "named": named}

    def answers(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Take in the rows of the latest question."""
        if not self._known:
            self._tenants = {tenant: self.series.oldest(self.now, days) for tenant, days in rows}
            return
        latest = next(reversed(self._known))
        self._known[latest] = {(tenant, name): brought for tenant, name, brought in rows}

    def tenant_of(self, record: Any) -> str | None:
        """The tenant that the record names, if there is one."""
        tenant_id = uuid_text(record.tenant_id) if self.series.tenants else None
        return tenant_id if tenant_id in self._tenants else None

    def encoded(self) -> Iterator[bytes]:
        """The rows of acceptable records, in pieces for COPY; the others become rejected.

        In the order of the key, so that two deliveries of the same rows wait for each other. Of
        several with one key the first counts, or the last where that corrects what is before it.
        """
        found: dict[str, tuple[Record, bytes]] = {}
        for record in self.records:
            try:
                key, line = self._encode(record)
            except MalformedError as error:
                self.rejected.append(Rejected(record, error.reason, error.detail))
                continue
            if key not in found:
                found[key] = record, line
            elif self.series.corrected_by is None:
                self._repeated.setdefault(key, []).append((record, line))
            else:
                self._repeated.setdefault(key, []).insert(0, found[key])
                found[key] = record, line
        for key in sorted(found):
            self._accept(key, *found[key])
        sent, size = 0, 0
        for number, line in enumerate(self.lines, start=1):
            size += len(line)
            if size > COPIED_AT_ONCE:
                yield b"".join(self.lines[sent:number])
                sent, size = number, 0
        yield b"".join(self.lines[sent:])

    def take_repeated(self) -> range:
        """Accept what was left out as repeated, where the other with its key was rejected.

        One for each key; returns their numbers.
        """
        before = len(self.lines)
        rejected = {id(one.message) for one in self.rejected}
        latest = dict(zip(self._keys, self.accepted, strict=True))
        for key, record in latest.items():
            if id(record) in rejected and (others := self._repeated.get(key)):
                self._accept(key, *others.pop(0))
        return range(before, len(self.lines))

    def _accept(self, key: str, record: Record, line: bytes) -> None:
        self._keys.append(key)
        self.accepted.append(record)
        self.lines.append(line)

    def _encode(self, record: Record) -> tuple[str, bytes]:
        series = self.series
        texts = self._references(record) if series.tenants else []
        oldest = self._tenants[texts[0]] if series.tenants else series.oldest(self.now, None)
        texts.append(self._time(getattr(record, series.time), oldest))
        for one in series.fields:
            value = getattr(record, one.name)
            text = one.nothing
            if (value is not None or text is None) and (text := one.write(value)) is None:
                raise MalformedError(bad(one.name), expected(one.wanted, value))
            texts.append(text)
        key = "\t".join([texts[place] for place in series.key_places])
        return key, ("\t".join(texts) + "\n").encode()

    @cached_property
    def _named(self) -> list[tuple[object, ...]]:
        """Tenants, and what they have registered, as records name them."""
        named = list(map(self._names, self.records))
        try:
            return list({(names, *map(type, names)): names for names in named}.values())
        except TypeError:
            return named  # A list or an object in the place of an id.

    def _references(self, record: Any) -> list[str]:
        """Tenant and what else the record refers to, as COPY takes them."""
        names = self._names(record)
        try:
            return self._found[names, *map(type, names)].copy()
        except KeyError:
            texts = self._found[names, *map(type, names)] = self._looked_up(record)
            return texts.copy()
        except TypeError:
            return self._looked_up(record)

    def _looked_up(self, record: Any) -> list[str]:
        tenant = uuid_text(record.tenant_id)
        if tenant is None:
            raise MalformedError(bad("tenant_id"), expected("a UUID", record.tenant_id))
        if tenant not in self._tenants:
            raise MalformedError(UNKNOWN_TENANT, f"there is no tenant {tenant}")
        texts, brought = [tenant], None
        for reference, known in self._known.items():
            value = getattr(record, reference.name)
            if value is None and brought is not None:
                texts.append(brought)
                continue
            name = reference.name_of(value)
            if name is None:
                raise MalformedError(bad(reference.name), expected(reference.wanted, value))
            if (tenant, name) not in known:
                wanted = f"{reference.known} of {tenant}"
                raise MalformedError(reference.unknown, expected(wanted, value))
            brought = known[tenant, name]
            texts.append(reference.written(name))
        return texts

    def _time(self, value: object, oldest: datetime) -> str:
        ts = moment(value) if value.__class__ is not datetime else value
        if ts is not None and ts.tzinfo is not UTC:
            ts = moment(ts)
        if ts is None:
            raise MalformedError(BAD_TIME, expected(TIME, value))
        if not oldest <= ts <= self._newest:
            raise misplaced(ts, oldest, self._newest)
        # One spelling for each moment, by which repeated keys are found.
        return (ts if ts.tzinfo is UTC else in_utc(ts) or ts).isoformat()
