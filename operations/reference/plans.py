"""The device plans: what a device may use, and the price."""

from __future__ import annotations

from typing import Any

_LIMITS = (
    "sensors",
    "data_retention_days",
    "telemetry_rate_per_minute",
    "health_telemetry_interval_seconds",
)
_FEATURES = (
    "ota_updates",
    "advanced_analytics",
    "streaming_export",
    "x509_auth",
    "message_routing",
    "device_commands",
    "device_twin",
    "carrier_diagnostics",
)
_BASIC = frozenset({"device_commands", "carrier_diagnostics"})


def _plan(
    plan_id: str,
    description: str,
    *,
    prices: tuple[int, int],
    limits: tuple[int, ...],
    features: frozenset[str],
) -> dict[str, Any]:
    """A row of device_plans.

    Args:
        prices: cents a month, cents a year; a year costs ten months.
        limits: in the order of _LIMITS.
        features: those that are true.
    """
    return {
        "plan_id": plan_id,
        "name": plan_id.capitalize(),
        "description": description,
        "limits": dict(zip(_LIMITS, limits, strict=True)),
        "features": {name: name in features for name in _FEATURES},
        "monthly_price_cents": prices[0],
        "annual_price_cents": prices[1],
    }


_PLANS = (
    _plan(
        "basic",
        "Measurements and alerts of simple sensors",
        prices=(299, 2990),
        limits=(5, 30, 12, 300),
        features=_BASIC,
    ),
    _plan(
        "standard",
        "Remote management: firmware updates, device twin, analytics",
        prices=(999, 9990),
        limits=(15, 90, 60, 120),
        features=_BASIC | {"ota_updates", "advanced_analytics", "streaming_export", "device_twin"},
    ),
    _plan(
        "premium",
        "Devices that matter most: certificates, routing, a year of raw data",
        prices=(2499, 24990),
        limits=(30, 365, 120, 60),
        features=frozenset(_FEATURES),
    ),
)

PLANS: list[dict[str, Any]] = [
    plan | {"sort_order": number} for number, plan in enumerate(_PLANS, start=1)
]
"""Rows of device_plans, from the smallest to the largest."""
