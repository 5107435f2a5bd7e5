"""The platform itself: its tenant, its account, and the initial settings of tenants."""

from __future__ import annotations

from typing import Any

from models.shared.base import PLATFORM_TENANT_ID, SYSTEM_USER_ID

TENANT: dict[str, Any] = {
    "tenant_id": PLATFORM_TENANT_ID,
    "slug": "platform",
    "name": "Platform",
}
"""Row of tenants."""

SYSTEM_USER: dict[str, Any] = {
    "id": SYSTEM_USER_ID,
    # RFC 2606: no mail can ever reach .invalid, so the account cannot be taken over by mail.
    "email": "system@platform.invalid",
    "display_name": "System",
    "is_system": True,
}
"""Row of users."""

# A tenant may change its settings, so limits that protect the platform from a tenant (message
# rates, sizes) are not here: they follow from its tier and the plans of its devices.
_SETTINGS: dict[str, Any] = {
    "display.timezone": "UTC",
    "ingest.store_rejected": True,
    "alerts.digest_frequency": "daily",
    "monitoring.check_interval_seconds": 30,
    "monitoring.failure_threshold": 3,
    "monitoring.notify_recovery": True,
}

# Limits that protect the platform, and settings that all services share.
_SYSTEM_SETTINGS: dict[str, tuple[Any, str]] = {
    "ingest.max_payload_bytes": (16384, "Longer messages are quarantined."),
    "ingest.rate_limit_burst": (50, "Messages that a device may send at once."),
    "ingest.rate_limit_per_second": (10, "Messages per second that a device may send on average."),
    "mqtt.require_auth": (True, "The broker rejects clients without credentials."),
    "sessions.retention_days": (60, "How long ended sessions are kept."),
}

SYSTEM_SETTINGS: list[dict[str, Any]] = [
    {"key": key, "value": value, "description": description}
    for key, (value, description) in _SYSTEM_SETTINGS.items()
]
"""Rows of system_settings."""

SETTINGS: list[dict[str, Any]] = [
    {"tenant_id": PLATFORM_TENANT_ID, "key": key, "value": value}
    for key, value in _SETTINGS.items()
]
"""Rows of tenant_settings of the platform: sync_tenant() hands each of them to a tenant once."""
