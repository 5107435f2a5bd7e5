"""Telemetry: what devices and tags measured, their health, and what could not be accepted."""

from models.telemetry import (
    device_connections,
    device_health,
    device_messages,
    metric_catalog,
    quarantine,
    tag_values,
)

__all__ = [
    "device_connections",
    "device_health",
    "device_messages",
    "metric_catalog",
    "quarantine",
    "tag_values",
]
