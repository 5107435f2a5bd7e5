"""A model in Python of samples and their hourly rollup, which databases have to agree with.

Days are counted back from the last midnight (UTC) and stay away from what depends on the hour: no
sample is as old as a retention or a window, give or take a day.
"""

from __future__ import annotations

import datetime
import math
import uuid
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.time_series import ACME, GLOBEX, HOOLI

TENANTS = (ACME, GLOBEX, HOOLI)
DAYS = (1, 2, 5, 9, 13, 17, 21, 25, 35, 40)
AGES = (3, 7, 11, 19)
UNTIL = (None, 15, 23)
"""Of policies and of chunks that are dropped by hand: what is two days older goes, if by hand only
what is younger than the other."""
HOURS = (1, 2, 20)
MINUTES = (7, 23)
WINDOW, RETENTION = 28, 30
"""Of the refresh policy of tag_values_hourly, and of tag_values, in days."""

Bucket: TypeAlias = tuple[uuid.UUID, int, int, int]
"""Tenant, tag, day, hour."""
Value: TypeAlias = tuple[float, float, float, int]
"""Average, minimum, maximum, count."""


@dataclass(frozen=True)
class Sample:
    """The key of a sample."""

    tenant: uuid.UUID
    tag: int
    day: int
    hour: int
    minute: int

    @property
    def bucket(self) -> Bucket:
        """That it belongs to."""
        return (self.tenant, self.tag, self.day, self.hour)

    def moment(self, midnight: datetime.datetime) -> datetime.datetime:
        """When it was taken."""
        return (
            midnight
            - datetime.timedelta(days=self.day)
            + datetime.timedelta(hours=self.hour, minutes=self.minute)
        )


@dataclass
class Model:
    """What is stored, and what a rollup that stores rows has to show after a refresh."""

    raw: dict[Sample, float] = field(default_factory=dict)
    rollup: dict[Bucket, Value] = field(default_factory=dict)
    late: set[Bucket] = field(default_factory=set)
    """Buckets in which raw rows changed since they were refreshed."""
    chunks: set[int] = field(default_factory=set)
    """Days of which the hypertable has a chunk."""
    seen: set[int] = field(default_factory=set)
    """Those that it had already when the rollup was last looked at."""
    policies: dict[uuid.UUID, int] = field(default_factory=dict)
    horizons: dict[uuid.UUID, int] = field(default_factory=dict)
    """Hours (see `_hour`) before which raw rows of a tenant may be missing."""
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """Hours from and before which raw rows of all may be missing."""
    added: set[Bucket] = field(default_factory=set)
    """Made by late data alone where raw rows may be missing."""

    def add(self, samples: dict[Sample, float]) -> None:
        """A sample that is there already stays as it is."""
        for sample, value in samples.items():
            self.chunks.add(sample.day)
            if sample not in self.raw:
                self.raw[sample] = value
                self.late.add(sample.bucket)

    def remove(self, gone: list[Sample]) -> None:
        """Delete samples."""
        for sample in gone:
            del self.raw[sample]
            self.late.add(sample.bucket)

    def aggregates(self) -> dict[Bucket, Value]:
        """The buckets of the raw data."""
        values: dict[Bucket, list[float]] = {}
        for sample, value in self.raw.items():
            values.setdefault(sample.bucket, []).append(value)
        return {
            key: (sum(one) / len(one), min(one), max(one), len(one)) for key, one in values.items()
        }

    def covers(self, bucket: Bucket) -> bool:
        """Whether the raw data still has all rows of a bucket."""
        hour = _hour(bucket)
        return (
            bucket[2] < RETENTION
            and hour >= self.horizons.get(bucket[0], hour)
            and not any(begins <= hour < ends for begins, ends in self.gaps)
        )

    def refresh(self, *, window: bool) -> None:
        """Take in what is late, and with ``window`` only what is in that of the jobs."""
        fresh = self.aggregates()
        for bucket in sorted(self.late, key=str):
            day = bucket[2]
            if day not in self.chunks or (window and day > WINDOW):
                continue
            self.late.discard(bucket)
            covered = self.covers(bucket)
            if bucket in self.rollup and not covered and bucket not in self.added:
                continue
            if bucket not in fresh:
                self.rollup.pop(bucket, None)
                continue
            self.rollup[bucket] = fresh[bucket]
            if not covered and day < RETENTION:
                self.added.add(bucket)

    def drop_chunks(self, age: int, until: int | None = None) -> None:
        """Drop the chunks of all days that ended ``age`` days ago, and began ``until`` ago."""
        gone = {day for day in self.chunks if day >= age + 2 and (until is None or day < until)}
        self.seen -= gone
        self.chunks -= gone
        self.raw = {sample: value for sample, value in self.raw.items() if sample.day not in gone}

    def note_dropped(self) -> None:
        """Where a rollup has buckets and its source no chunk of then, chunks were dropped."""
        days = sorted(self.seen, reverse=True)
        self.seen = set(self.chunks)
        edges = [
            -math.inf,
            *(edge for day in days for edge in (-24 * day, 24 - 24 * day)),
            math.inf,
        ]
        for begins, ends in zip(edges[::2], edges[1::2], strict=True):
            kept = [_hour(one) for one in self.rollup if begins <= _hour(one) < ends]
            if not kept:
                continue
            last = max(kept)
            self.added -= {one for one in self.added if begins <= _hour(one) <= last}
            # A bucket is an hour wide.
            self.gaps.append((begins - 1, last + 1))

    def retain(self) -> None:
        """Apply the policies of tenants, chunk by chunk."""
        for tenant, age in self.policies.items():
            gone = [one for one in self.raw if one.tenant == tenant and one.day >= age + 2]
            if gone:
                horizon = 24 - 24 * min(one.day for one in gone)
                self.horizons[tenant] = max(horizon, self.horizons.get(tenant, horizon))
                self.added -= {
                    one for one in self.added if one[0] == tenant and _hour(one) < horizon
                }
            self.remove(gone)

    def forget(self, tenant: uuid.UUID) -> None:
        """Delete a tenant."""
        self.raw = {one: value for one, value in self.raw.items() if one.tenant != tenant}
        self.rollup = {one: value for one, value in self.rollup.items() if one[0] != tenant}
        self.late = {one for one in self.late if one[0] != tenant}
        self.policies.pop(tenant, None)
        self.horizons.pop(tenant, None)


def _hour(bucket: Bucket) -> int:
    """When it begins, in hours from the last midnight."""
    return bucket[3] - 24 * bucket[2]
