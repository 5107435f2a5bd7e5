"""The platform itself: tenant zero, the account it acts in, and the settings tenants start with."""

from __future__ import annotations

from typing import Any

from models.base import PLATFORM_TENANT_ID, SYSTEM_USER_ID

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

SETTINGS: list[dict[str, Any]] = [
    {"tenant_id": PLATFORM_TENANT_ID, "key": key, "value": value}
    for key, value in _SETTINGS.items()
]
"""Rows of tenant_settings of the platform: sync_tenant() hands each of them to a tenant once."""
