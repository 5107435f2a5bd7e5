"""The account tiers: what a tenant may use, and the price."""

from __future__ import annotations

from typing import Any

_LIMITS = (
    "users",
    "alert_rules",
    "notification_channels",
    "dashboards_per_user",
    "device_groups",
    "api_requests_per_minute",
)
_FEATURES = (
    "sso",
    "custom_branding",
    "audit_log_export",
    "bulk_device_import",
    "carrier_self_service",
    "alert_escalation",
    "oncall_scheduling",
    "maintenance_windows",
)
_COMMON = frozenset(_FEATURES) - {"sso", "custom_branding"}


def _tier(
    tier_id: str,
    description: str,
    *,
    prices: tuple[int, int],
    limits: tuple[int, ...],
    features: frozenset[str],
    support: tuple[str, float | None, int | None, bool],
) -> dict[str, Any]:
    """A row of account_tiers.

    Args:
        prices: cents a month, cents a year.
        limits: in the order of _LIMITS.
        features: those that are true.
        support: level, promised availability in %, hours until a response, and whether the
            customer has a dedicated contact.
    """
    level, uptime, hours, dedicated = support
    return {
        "tier_id": tier_id,
        "name": tier_id.capitalize(),
        "description": description,
        "limits": dict(zip(_LIMITS, limits, strict=True)),
        "features": {name: name in features for name in _FEATURES},
        "support": {
            "level": level,
            "sla_uptime_pct": uptime,
            "response_time_hours": hours,
            "dedicated_csm": dedicated,
        },
        "monthly_price_cents": prices[0],
        "annual_price_cents": prices[1],
    }


_TIERS = (
    _tier(
        "free",
        "To try the platform with a handful of devices",
        prices=(0, 0),
        limits=(2, 5, 2, 3, 3, 30),
        features=frozenset(),
        support=("community", None, None, False),
    ),
    _tier(
        "growth",
        "For a fleet that grows: escalation, on-call and bulk import",
        prices=(4900, 49000),
        limits=(10, 100, 10, 10, 25, 300),
        features=_COMMON,
        support=("standard", 99.5, 8, False),
    ),
    _tier(
        "scale",
        "For large fleets and several teams, with single sign-on",
        prices=(14900, 149000),
        limits=(50, 1000, 50, 25, 100, 1500),
        features=_COMMON | {"sso"},
        support=("business", 99.9, 4, False),
    ),
    _tier(
        "enterprise",
        "Everything, under the customer's own brand, with a person to call",
        prices=(49900, 499000),
        limits=(500, 10000, 100, 50, 500, 6000),
        features=_COMMON | {"sso", "custom_branding"},
        support=("enterprise", 99.99, 1, True),
    ),
)

TIERS: list[dict[str, Any]] = [
    tier | {"sort_order": number} for number, tier in enumerate(_TIERS, start=1)
]
"""Rows of account_tiers, from the smallest to the largest."""
