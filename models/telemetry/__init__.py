"""Telemetry: measurements of devices and tags, device health, and quarantined messages."""

from models.telemetry import (
    device_connections,
    device_health,
    device_messages,
    ingest_rates,
    metric_catalog,
    metric_columns,
    metrics,
    quarantine,
    questions,
    tag_values,
    times,
)

__all__ = [
    "device_connections",
    "device_health",
    "device_messages",
    "ingest_rates",
    "metric_catalog",
    "metric_columns",
    "metrics",
    "quarantine",
    "questions",
    "tag_values",
    "times",
]
