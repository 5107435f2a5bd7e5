"""The platform itself: audit trails, jobs, settings, metrics, retention, signed contexts."""

from models.system import (
    audit,
    background_jobs,
    operator_audit,
    platform,
    raw_data_horizons,
    service_metrics,
    signed_context,
)

__all__ = [
    "audit",
    "background_jobs",
    "operator_audit",
    "platform",
    "raw_data_horizons",
    "service_metrics",
    "signed_context",
]
