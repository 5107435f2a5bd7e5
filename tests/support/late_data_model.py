"""A model in Python of samples and their hourly rollup, which databases have to agree with.

Days are counted back from the last midnight (UTC) and stay away from what depends on the hour: no
sample is as old as a retention or a window, give or take a day.
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.time_series import ACME, GLOBEX, HOOLI

TENANTS = (ACME, GLOBEX, HOOLI)
DAYS = (1, 2, 5, 9, 13, 17, 21, 25, 35, 40)
AGES = (3, 7, 11, 19)
"""Of policies and of chunks that are dropped by hand: what is two days older goes."""
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
    policies: dict[uuid.UUID, int] = field(default_factory=dict)
    horizons: dict[uuid.UUID | None, tuple[int, int]] = field(default_factory=dict)
    """Days and hours ago before which raw rows of a tenant (None: of all) may be missing."""

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
        tenant, _, day, hour = bucket
        horizons = (self.horizons.get(one) for one in (tenant, None))
        return day < RETENTION and all(
            one is None or (-day, hour) >= (-one[0], one[1]) for one in horizons
        )

    def refresh(self, *, window: bool) -> None:
        """Take in what is late, and with ``window`` only what is in that of the jobs."""
        fresh = self.aggregates()
        for bucket in sorted(self.late, key=str):
            day = bucket[2]
            if day not in self.chunks or (window and day > WINDOW):
                continue
            self.late.discard(bucket)
            if not self.covers(bucket):
                if bucket in fresh:
                    self.rollup.setdefault(bucket, fresh[bucket])
            elif bucket in fresh:
                self.rollup[bucket] = fresh[bucket]
            else:
                self.rollup.pop(bucket, None)

    def drop_chunks(self, age: int) -> None:
        """Drop the chunks of all days that ended ``age`` days ago."""
        gone = {day for day in self.chunks if day >= age + 2}
        self.chunks -= gone
        self.raw = {sample: value for sample, value in self.raw.items() if sample.day not in gone}

    def note_dropped(self) -> None:
        """The youngest bucket without a chunk shows how far chunks were dropped."""
        dropped = [(-day, hour) for _, _, day, hour in self.rollup if day not in self.chunks]
        if dropped:
            day, hour = max(dropped)
            self._raise_to(None, (-day, hour + 1))

    def retain(self) -> None:
        """Apply the policies of tenants, chunk by chunk."""
        for tenant, age in self.policies.items():
            gone = [one for one in self.raw if one.tenant == tenant and one.day >= age + 2]
            if gone:
                self._raise_to(tenant, (min(one.day for one in gone) - 1, 0))
            self.remove(gone)

    def forget(self, tenant: uuid.UUID) -> None:
        """Delete a tenant."""
        self.raw = {one: value for one, value in self.raw.items() if one.tenant != tenant}
        self.rollup = {one: value for one, value in self.rollup.items() if one[0] != tenant}
        self.late = {one for one in self.late if one[0] != tenant}
        self.policies.pop(tenant, None)
        self.horizons.pop(tenant, None)

    def _raise_to(self, tenant: uuid.UUID | None, horizon: tuple[int, int]) -> None:
        known = self.horizons.get(tenant)
        if known is None or (-known[0], known[1]) < (-horizon[0], horizon[1]):
            self.horizons[tenant] = horizon
