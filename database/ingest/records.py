"""What can be delivered besides messages: samples of tags, reports, events, checks, metrics."""

from __future__ import annotations

import datetime
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Record:
    """What all have in common; nothing is trusted, so each value may be of any type.

    Subclasses name their columns; ``None`` is what the sender does not know.
    """

    topic: object = ""
    """Where it came from; kept if the record is rejected."""
    payload: object = None
    """The record as received, kept if it is rejected; None: its fields are kept."""
    envelope_version: object = None
    received_at: datetime.datetime | None = None
    """When the broker took it, the same at each delivery, as of a `Message`."""


@dataclass(slots=True)
class TagSample(Record):
    """A value of a tag. A later one of the same moment corrects it."""

    tenant_id: object
    """A UUID, or its text."""
    tag_id: object
    """An integer: ``tag_metadata.tag_id``."""
    ts: object
    """When it was sampled: a datetime with a zone, or ISO 8601 text with an offset."""
    value: object
    """A number, text, truth value, or JSON array or object; None: there is none."""
    quality: object = None
    """Status code of the driver, 0 is good; one of 32 bits is stored as a signed integer."""
    connection_id: object = None
    """The data source at the time, a UUID; None: the one that the tag belongs to."""


@dataclass(slots=True)
class DeviceHealth(Record):
    """A report of a device about itself; units as in ``device_health_telemetry``."""

    tenant_id: object
    device_id: object
    """What the device calls itself."""
    ts: object
    rssi: object = None
    rsrp: object = None
    rsrq: object = None
    sinr: object = None
    signal_quality: object = None
    network_type: object = None
    cell_id: object = None
    mcc_mnc: object = None
    battery_pct: object = None
    battery_voltage: object = None
    power_source: object = None
    charging: object = None
    cpu_temp_c: object = None
    memory_used_pct: object = None
    storage_used_pct: object = None
    uptime_seconds: object = None
    reboot_count: object = None
    error_count: object = None
    data_tx_bytes: object = None
    data_rx_bytes: object = None
    data_session_bytes: object = None
    gps_lat: object = None
    gps_lon: object = None
    gps_accuracy_m: object = None
    gps_fix: object = None
    extra: object = None
    """A dict of what else the device reports."""


@dataclass(slots=True)
class ConnectionEvent(Record):
    """A connection that a device made or lost, as the broker reports it."""

    tenant_id: object
    device_id: object
    ts: object
    event: object
    """``connected``, ``disconnected`` or ``connection_lost``."""
    seq: object = 0
    """Distinguishes events of the same moment."""
    details: object = None
    """A dict: reason, address, protocol."""


@dataclass(slots=True)
class EndpointCheck(Record):
    """A check of an endpoint, for its history; ``record_check()`` also changes its status."""

    tenant_id: object
    endpoint_id: object
    """A UUID, or its text."""
    checked_at: object
    """When it was due."""
    ok: object
    status_code: object = None
    response_ms: object = None
    dns_ms: object = None
    connect_ms: object = None
    ttfb_ms: object = None
    error: object = None


@dataclass(slots=True)
class ServiceMetric(Record):
    """A value of a metric of the platform's own services, which belongs to no tenant."""

    metric_name: object
    ts: object
    value: object
    """A number."""
    service: object = ""
    labels: object = None
    """A dict of label name to value."""
