"""The rows of the demonstration: made up, but the same in every run."""

from __future__ import annotations

import datetime
import random
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Table

from models.shared.base import Base

Rows = dict[str, list[dict[str, Any]]]
"""Table to the rows for it; the tables in an order that foreign keys allow."""

GATEWAY_SPAN = 25
"""One device in so many is a gateway, through which the others connect."""

_FIRST_DAY = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
_STATUSES = {
    "active": 85,
    "pending": 6,
    "inactive": 4,
    "suspended": 2,
    "revoked": 1,
    "decommissioned": 2,
}
_REACH = {"online": 88, "stale": 7, "offline": 5}
_HEALTH = {"active": 94, "inactive": 4, "error": 2}
_TAGS: dict[str, list[str | None]] = {
    "floor": ["0", "1", "2", "3"],
    "line": ["A", "B", "C"],
    "critical": [None],
    "indoor": [None],
}


@dataclass(frozen=True)
class DemoTenant:
    """A tenant of the demonstration."""

    slug: str
    name: str
    owner_name: str
    sites: dict[str, tuple[float, float]]
    """Name to latitude and longitude in degrees."""

    @property
    def owner_email(self) -> str:
        """An address that cannot exist: RFC 2606 reserves .example for this."""
        return f"owner@{self.slug}.example"

    def device_id(self, number: int) -> str:
        """The name of the device with this number, from 1."""
        return f"{self.slug.removeprefix('demo-')}-{number:05d}"


TENANTS = (
    DemoTenant(
        "demo-acme",
        "Acme Cold Chain (demo)",
        "Ada Acme",
        {
            "Hamburg harbour": (53.5436, 9.9666),
            "Rotterdam cold store": (51.9496, 4.1453),
            "Lyon depot": (45.7640, 4.8357),
            "Gdansk terminal": (54.3961, 18.6762),
            "Turin warehouse": (45.0703, 7.6869),
        },
    ),
    DemoTenant(
        "demo-globex",
        "Globex Buildings (demo)",
        "Gil Globex",
        {
            "Head office Porto": (41.1579, -8.6291),
            "Campus Austin": (30.2672, -97.7431),
            "Tower Singapore": (1.2834, 103.8607),
            "Laboratory Sapporo": (43.0618, 141.3545),
        },
    ),
)

STATIC_GROUPS = ("Gateways", "Firmware pilot", "Night shift")
DYNAMIC_GROUPS: dict[str, dict[str, Any]] = {
    "Critical and active": {"status": "active", "tags": ["critical"]},
}
"""Name to the conditions for its members."""


@dataclass(frozen=True)
class Template:
    """A device template of the tenant, with its numeric metrics."""

    id: uuid.UUID
    category: str
    manufacturer: str | None
    model: str | None
    metrics: list[Any]
    """Rows with metric_key, display_name, unit_id, min_value, max_value, precision_digits and
    is_required."""


@dataclass(frozen=True)
class Surroundings:
    """What a tenant has before its devices are registered."""

    tenant: DemoTenant
    tenant_id: uuid.UUID
    sites: list[uuid.UUID]
    groups: dict[str, uuid.UUID]
    templates: list[Template]
    now: datetime.datetime


def table(name: str) -> Table:
    """The table of this name in schema public, as declared by the models."""
    return Base.metadata.tables[name]


def site_rows(tenant: DemoTenant, tenant_id: uuid.UUID) -> list[dict[str, Any]]:
    """Rows of sites."""
    return [
        {"tenant_id": tenant_id, "name": name, "latitude": north, "longitude": east}
        for name, (north, east) in tenant.sites.items()
    ]


def static_group_rows(tenant_id: uuid.UUID) -> list[dict[str, Any]]:
    """Rows of device_groups whose members are listed."""
    return [{"tenant_id": tenant_id, "name": name} for name in STATIC_GROUPS]


def dynamic_group_rows(tenant_id: uuid.UUID) -> list[dict[str, Any]]:
    """Rows of device_groups whose members follow from a filter."""
    return [
        {"tenant_id": tenant_id, "name": name, "kind": "dynamic", "query_filter": query_filter}
        for name, query_filter in DYNAMIC_GROUPS.items()
    ]


def device_rows(around: Surroundings, numbers: list[int]) -> Rows:
    """Rows of the devices with these numbers and of all that belongs to them."""
    rows: Rows = {
        name: []
        for name in (
            "device_registry",
            "device_state",
            "device_tags",
            "device_sensors",
            "device_group_members",
        )
    }
    for number in numbers:
        _Device(around, number).add_to(rows)
    return rows


class _Device:
    """One device; everything about it follows from its number."""

    def __init__(self, around: Surroundings, number: int) -> None:
        self.around = around
        self.id = around.tenant.device_id(number)
        self.gateway_number = number - (number - 1) % GATEWAY_SPAN
        self.is_gateway = self.gateway_number == number
        self.random = random.Random(self.id)  # noqa: S311 (made-up data, no secrets)
        self.key = {"tenant_id": around.tenant_id, "device_id": self.id}
        self.status = "active" if self.is_gateway else self._pick(_STATUSES)
        kinds = [t for t in around.templates if (t.category == "gateway") is self.is_gateway]
        self.template = self.random.choice(kinds or around.templates)

    def add_to(self, rows: Rows) -> None:
        """Add the rows of the device, its state, tags, sensors and groups."""
        rows["device_registry"].append(self._registry())
        rows["device_state"].append(self._state())
        tags = self._tags()
        rows["device_tags"] += [{**self.key, "tag": t, "value": v} for t, v in tags.items()]
        rows["device_sensors"] += [self._sensor(metric) for metric in self.template.metrics]
        rows["device_group_members"] += [
            {**self.key, "group_id": self.around.groups[name]} for name in self._groups(tags)
        ]

    def _registry(self) -> dict[str, Any]:
        deployed = _FIRST_DAY + datetime.timedelta(days=self.random.randrange(300))
        gone = deployed + datetime.timedelta(days=30) if self.status == "decommissioned" else None
        parent = None if self.is_gateway else self.around.tenant.device_id(self.gateway_number)
        # All devices of a gateway are at its site.
        site = self.around.sites[self.gateway_number // GATEWAY_SPAN % len(self.around.sites)]
        return {
            **self.key,
            "site_id": site,
            "template_id": self.template.id,
            "parent_device_id": parent,
            "status": self.status,
            "device_type": self.template.category,
            "manufacturer": self.template.manufacturer,
            "model": self.template.model,
            "serial_number": f"SN{self.random.randrange(10**9):09d}",
            "mac_address": ":".join(f"{self.random.randrange(256):02x}" for _ in range(6)),
            "fw_version": f"2.{self.random.randrange(6)}.{self.random.randrange(10)}",
            "deployment_date": deployed,
            "decommissioned_at": gone,
        }

    def _state(self) -> dict[str, Any]:
        reach = self._pick(_REACH) if self.status == "active" else "offline"
        minutes = {"online": 2, "stale": 45, "offline": 60 * 24 * 7}[reach]
        seen = self.around.now - datetime.timedelta(seconds=self.random.randrange(60 * minutes))
        return {**self.key, "status": reach, "last_seen_at": seen, "last_heartbeat_at": seen}

    def _tags(self) -> dict[str, str | None]:
        chosen = self.random.sample(list(_TAGS), k=self.random.randint(1, 3))
        return {tag: self.random.choice(_TAGS[tag]) for tag in chosen}

    def _sensor(self, metric: Any) -> dict[str, Any]:
        low, high = float(metric.min_value or 0), float(metric.max_value or 100)
        middle = self.random.triangular(low, max(low, high))
        return {
            **self.key,
            "metric_key": metric.metric_key,
            "display_name": metric.display_name,
            "template_id": self.template.id,
            "template_metric_key": metric.metric_key,
            "unit_id": metric.unit_id,
            "min_range": metric.min_value,
            "max_range": metric.max_value,
            "precision_digits": metric.precision_digits,
            "status": self._pick(_HEALTH),
            "source": "required" if metric.is_required else "optional",
            "last_value": round(Decimal(middle), metric.precision_digits),
        }

    def _groups(self, tags: dict[str, str | None]) -> list[str]:
        belongs = {
            "Gateways": self.is_gateway,
            "Firmware pilot": self.random.random() < 0.05,
            "Night shift": self.random.random() < 0.3,
            "Critical and active": "critical" in tags and self.status == "active",
        }
        return [name for name, holds in belongs.items() if holds]

    def _pick(self, weights: dict[str, int]) -> str:
        return self.random.choices(list(weights), weights=list(weights.values()))[0]
