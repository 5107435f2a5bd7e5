"""The attributes of devices that have a column; see docs/adding-a-metric.md."""

from __future__ import annotations

from models.shared.attributes import Attribute

ATTRIBUTES: tuple[Attribute, ...] = ()
