"""Readings of made-up fleets that look like real ones, with the defects that real ones have.

Everything follows from the seed, the device and the day, so the same day of the same fleet is
the same in every run, whatever the window.
"""

from __future__ import annotations

import datetime
import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from database.ingest import Message

KINDS: dict[str, tuple[str, ...]] = {
    "gateway": ("battery_pct", "signal_rssi", "uptime_seconds", "cpu_temp", "memory_pct"),
    "thermometer": ("temperature", "humidity", "battery_pct", "signal_rssi"),
    "tracker": ("latitude", "longitude", "speed", "heading", "fuel_pct", "battery_pct"),
    "meter": ("power_w", "energy_kwh", "supply_voltage", "signal_rssi"),
}
"""Kind of device to its metrics, for fleets that are not in a registry."""

_DAY = 86_400


@dataclass(frozen=True)
class FleetDevice:
    """A device and its metrics."""

    tenant_id: UUID
    device_id: str
    metrics: tuple[str, ...]
    latitude: float = 0.0
    """Position in degrees, or the centre of its movements."""
    longitude: float = 0.0


@dataclass(frozen=True)
class Defects:
    """Shares of readings with a defect, from 0 to 1."""

    missing: float = 0.01
    outages: float = 0.03
    """Share of days on which a device is silent for one to six hours."""
    late: float = 0.01
    """Arrive hours later."""
    out_of_order: float = 0.03
    """Arrive after later ones."""
    zero: float = 0.002
    """Report 0 for every metric."""
    duplicate: float = 0.005
    """Arrive twice."""
    malformed: float = 0.0003
    """Have to be rejected."""


def fleet(tenant_id: UUID, devices: int, *, prefix: str = "device") -> list[FleetDevice]:
    """Devices of every kind in turn, named ``prefix-00001`` and so on."""
    kinds = list(KINDS.values())
    return [
        FleetDevice(tenant_id, f"{prefix}-{n:05d}", kinds[n % len(kinds)], 50 + n % 7, 8 + n % 11)
        for n in range(1, devices + 1)
    ]


def expected(
    devices: Sequence[FleetDevice],
    start: datetime.datetime,
    end: datetime.datetime,
    every: datetime.timedelta,
) -> int:
    """How many messages there are without defects; with the default ones slightly fewer."""
    return len(devices) * math.ceil((end - start) / every)


def readings(
    devices: Sequence[FleetDevice],
    start: datetime.datetime,
    end: datetime.datetime,
    *,
    every: datetime.timedelta = datetime.timedelta(minutes=15),
    seed: int = 0,
    defects: Defects | None = None,
    batch: int = 10_000,
) -> Iterator[list[Message]]:
    """The messages of all devices from ``start`` up to ``end``, in order of arrival.

    Args:
        start: with a time zone; whole days in UTC give the same readings in every run.
        batch: messages per list; the last list has fewer.
    """
    flaws = Defects() if defects is None else defects
    sources = [_Device(device, seed, flaws, every) for device in devices]
    arriving: list[tuple[datetime.datetime, int, Message]] = []
    ready: list[Message] = []
    number = 0
    ts = start.astimezone(datetime.UTC)
    while ts < end:
        while arriving and arriving[0][0] <= ts:
            ready.append(heapq.heappop(arriving)[2])
        for source in sources:
            for delay, message in source.at(ts):
                if delay:
                    number += 1
                    received = ts + delay
                    late = replace(message, received_at=received)
                    heapq.heappush(arriving, (received, number, late))
                else:
                    ready.append(message)
        while len(ready) >= batch:
            yield ready[:batch]
            del ready[:batch]
        ts += every
    ready += [heapq.heappop(arriving)[2] for _ in range(len(arriving))]
    for first in range(0, len(ready), batch):
        yield ready[first : first + batch]


class _Device:
    """One device: constants of its own, and random numbers that begin anew every day."""

    def __init__(
        self, device: FleetDevice, seed: int, flaws: Defects, every: datetime.timedelta
    ) -> None:
        self.device = device
        self.tenant_id = str(device.tenant_id)
        self.name = f"{seed}:{device.tenant_id}:{device.device_id}"
        self.flaws = flaws
        self.every = every
        self.day = -1
        self.silent = (0.0, 0.0)
        # Made-up data, no secrets.
        character = random.Random(self.name)  # noqa: S311
        self.phase = character.random()
        self.level = character.uniform(-1, 1)
        self.pace = character.uniform(0.5, 1.5)
        self.luck = character
        self.curves = [(name, _CURVES.get(name, _plain)) for name in device.metrics]

    def at(self, ts: datetime.datetime) -> Iterator[tuple[datetime.timedelta | None, Message]]:
        """What the device sends at a time, with the delay of each message."""
        now = ts.timestamp()
        if int(now // _DAY) != self.day:
            self._begin(int(now // _DAY))
        luck = self.luck
        values: dict[str, Any] = {name: curve(self, now) for name, curve in self.curves}
        # One random number decides, so that the share of one defect does not change the others.
        drawn = luck.random()
        if self.silent[0] <= now < self.silent[1] or (drawn := drawn - self.flaws.missing) < 0:
            return
        delay = None
        message = Message(
            self.tenant_id, self.device.device_id, ts, values, topic="readings", received_at=ts
        )
        if (drawn := drawn - self.flaws.late) < 0:
            delay = self.every * (4 + luck.randrange(44))
        elif (drawn := drawn - self.flaws.out_of_order) < 0:
            delay = self.every * (1 + luck.randrange(2))
        elif (drawn := drawn - self.flaws.zero) < 0:
            message.metrics = dict.fromkeys(values, 0)
        elif (drawn := drawn - self.flaws.duplicate) < 0:
            yield self.every * (1 + luck.randrange(8)), message
        elif drawn - self.flaws.malformed < 0:
            _spoil(message, luck)
        yield delay, message

    def _begin(self, day: int) -> None:
        self.day = day
        self.luck = random.Random(f"{self.name}:{day}")  # noqa: S311
        self.silent = (0.0, 0.0)
        if self.luck.random() < self.flaws.outages:
            begin = day * _DAY + self.luck.uniform(0, _DAY)
            self.silent = (begin, begin + 3600 * self.luck.uniform(1, 6))


def _spoil(message: Message, luck: random.Random) -> None:
    """Make the message one that has to be rejected."""
    match luck.randrange(5):
        case 0:
            message.metrics = None
        case 1:
            message.metrics = {"temperature": math.nan}
        case 2:
            message.ts = "yesterday"
        case 3:
            message.device_id = f"{message.device_id}-unknown"
        case _:
            message.ts = "2106-02-07T06:28:15+00:00"


def _turn(seconds: float, period: float, phase: float = 0.0) -> float:
    return math.sin(2 * math.pi * (seconds / period + phase))


def _temperature(d: _Device, now: float) -> float:
    # Warmest in the afternoon, colder on some days than on others.
    swing = 4 * _turn(now - 9 * 3600, _DAY) + 2 * _turn(now, 5.3 * _DAY, d.phase)
    return round(18 + 6 * d.level + swing + d.luck.gauss(0, 0.3), 1)


def _humidity(d: _Device, now: float) -> float:
    swing = -12 * _turn(now - 9 * 3600, _DAY) + 6 * _turn(now, 3.7 * _DAY, d.phase)
    return round(min(100.0, max(0.0, 55 + 10 * d.level + swing + d.luck.gauss(0, 1))), 1)


def _battery(d: _Device, now: float) -> float:
    # Charged every few weeks, at 15 percent or so.
    return round(100 - 85 * ((now / (40 * _DAY * d.pace) + d.phase) % 1), 1)


def _fuel(d: _Device, now: float) -> float:
    return round(100 - 80 * ((now / (3 * _DAY * d.pace) + d.phase) % 1), 1)


def _signal(d: _Device, now: float) -> int:
    return round(-85 + 12 * d.level + 3 * _turn(now, _DAY, d.phase) + d.luck.gauss(0, 2))


def _uptime(d: _Device, now: float) -> int:
    return int((now + d.phase * 1e6) % (12 * _DAY * d.pace))


def _energy(d: _Device, now: float) -> float:
    # A counter: it never goes back.
    used = now % (2000 * _DAY) / 3.6e6 * 400 * d.pace
    return round(used + 0.5 * (1 - math.cos(2 * math.pi * now / _DAY)) * d.pace, 2)


def _power(d: _Device, now: float) -> float:
    return round(max(0.0, (400 + 150 * _turn(now - 8 * 3600, _DAY)) * d.pace + d.luck.gauss(0, 20)))


def _latitude(d: _Device, now: float) -> float:
    return round(d.device.latitude + 0.1 * _turn(now, 0.4 * _DAY * d.pace, d.phase), 6)


def _longitude(d: _Device, now: float) -> float:
    return round(d.device.longitude + 0.15 * _turn(now, 0.7 * _DAY * d.pace, d.phase), 6)


def _speed(d: _Device, now: float) -> float:
    moving = max(0.0, _turn(now, 0.2 * _DAY * d.pace, d.phase))
    return round(moving * 80 + (d.luck.random() * 5 if moving else 0), 1)


def _heading(d: _Device, now: float) -> float:
    return round((360 * (now / (0.4 * _DAY * d.pace) + d.phase) + d.luck.gauss(0, 4)) % 360, 1)


def _processor(d: _Device, now: float) -> float:
    return round(45 + 5 * d.level + 3 * _turn(now - 9 * 3600, _DAY) + d.luck.gauss(0, 1), 1)


def _memory(d: _Device, now: float) -> float:
    # Leaks a little until the nightly restart.
    return round(35 + 8 * d.level + 20 * ((now / _DAY + d.phase) % 1) + d.luck.random(), 1)


def _voltage(d: _Device, now: float) -> float:
    return round(12 + 0.3 * d.level + 0.1 * _turn(now, _DAY) + d.luck.gauss(0, 0.05), 2)


def _plain(d: _Device, now: float) -> float:
    return round(50 + 20 * d.level + 10 * _turn(now, _DAY, d.phase) + d.luck.gauss(0, 1), 1)


_CURVES: dict[str, Callable[[_Device, float], float]] = {
    "temperature": _temperature,
    "humidity": _humidity,
    "battery_pct": _battery,
    "fuel_pct": _fuel,
    "signal_rssi": _signal,
    "uptime_seconds": _uptime,
    "energy_kwh": _energy,
    "power_w": _power,
    "latitude": _latitude,
    "longitude": _longitude,
    "speed": _speed,
    "heading": _heading,
    "cpu_temp": _processor,
    "memory_pct": _memory,
    "supply_voltage": _voltage,
}
