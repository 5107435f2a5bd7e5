"""The platform itself: tenant zero, the account it acts in, and the settings tenants start with."""

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
    # RFC 2606: no mail can ever reach .invalid, so nobody can take the account over by mail.
    "email": "system@platform.invalid",
    "display_name": "System",
    "is_system": True,
}
"""Row of users."""

# A tenant may change its settings, so nothing that protects the platform from a tenant is here
# (message rates, sizes): that follows from its tier and the plans of its devices.
_SETTINGS: dict[str, Any] = {
    "display.timezone": "UTC",
    "ingest.store_rejected": True,
    "alerts.digest_frequency": "daily",
    "monitoring.check_interval_seconds": 30,
    "monitoring.failure_threshold": 3,
    "monitoring.notify_recovery": True,
}

# What protects the platform, and what all services agree on.
_SYSTEM_SETTINGS: dict[str, tuple[Any, str]] = {
    "ingest.max_payload_bytes": (16384, "Longer messages are quarantined."),
    "ingest.rate_limit_burst": (50, "Messages that a device may send at once."),
    "ingest.rate_limit_per_second": (10, "Messages of a device per second, for long."),
    "mqtt.require_auth": (True, "The broker lets nobody in without a credential."),
    "sessions.retention_days": (60, "Ended sessions are kept so long."),
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
