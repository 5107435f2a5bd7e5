"""Industrial data collection: poll groups, and the platform itself as a data source."""

from __future__ import annotations

import uuid
from typing import Any

from models.shared.base import PLATFORM_TENANT_ID

POLL_GROUPS: list[dict[str, Any]] = [
    {"group_id": number, "name": name, "poll_rate_ms": rate, "description": description}
    for number, (name, rate, description) in enumerate(
        (
            ("Ultra Fast", 50, "Safety and motion"),
            ("Very Fast", 100, "Fast control loops"),
            ("Fast", 250, "Control loops"),
            ("Normal", 500, "Process values that people watch"),
            ("Standard", 1000, "The default of tags"),
            ("Slow", 2000, "Temperatures and levels"),
            ("Very Slow", 5000, "Values that hardly change"),
            ("Diagnostic", 10000, "Counters and states of the equipment"),
            ("Minute", 60000, "Totals and energy"),
            ("Custom", 30000, "Half a minute, for anything else"),
        ),
        start=1,
    )
]
"""Rows of poll_groups; 5 is the default of tag_metadata."""

SYSTEM_CONNECTION_ID = uuid.UUID(int=0)

SYSTEM_CONNECTION: dict[str, Any] = {
    "tenant_id": PLATFORM_TENANT_ID,
    "id": SYSTEM_CONNECTION_ID,
    "name": "System",
    "type": "system",
    "is_system_connection": True,
}
"""Row of connections: figures of the platform itself, collected like those of any source."""

_TAGS: dict[str, tuple[str, str | None]] = {
    "cpu_load1": ("Load average of one minute", None),
    "cpu_load5": ("Load average of five minutes", None),
    "cpu_load15": ("Load average of fifteen minutes", None),
    "cpu_used_pct": ("Share of processor time in use", "percent"),
    "memory_used_pct": ("Share of memory in use", "percent"),
    "swap_used_pct": ("Share of swap space in use", "percent"),
    "disk_used_pct": ("Share of the data disk in use", "percent"),
    "network_in_bytes": ("Bytes received since the start", None),
    "network_out_bytes": ("Bytes sent since the start", None),
    "process_uptime_s": ("Seconds since the collector started", "second"),
    "ingest_rows_per_s": ("Rows stored in a second", None),
    "ingest_queue_length": ("Messages that wait to be stored", None),
    "quarantined_per_minute": ("Messages that were rejected", None),
    "active_connections": ("Sources that are connected", None),
    "active_tags": ("Tags that are being read", None),
    "database_size_bytes": ("Size of the database", None),
    "database_sessions": ("Sessions of the database", None),
    "transactions_per_s": ("Transactions committed in a second", None),
    "total_lock_wait_ms": ("Time spent waiting for locks, of all sessions", "millisecond"),
}

SYSTEM_TAGS: list[dict[str, Any]] = [
    {
        "tenant_id": PLATFORM_TENANT_ID,
        "connection_id": SYSTEM_CONNECTION_ID,
        "driver_type": "system",
        "tag_path": name,
        "tag_name": name,
        "description": description,
        "data_type": "real",
        "is_subscribed": True,
    }
    for name, (description, _) in _TAGS.items()
]
"""Rows of tag_metadata of the System connection."""

SYSTEM_TAG_UNITS: dict[str, str] = {name: unit for name, (_, unit) in _TAGS.items() if unit}
"""Tag to the name of its unit."""
