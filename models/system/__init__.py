"""The platform itself: audit trails, background jobs, settings, metrics, retention policies."""

from models.system import (
    audit,
    background_jobs,
    operator_audit,
    platform,
    raw_data_horizons,
    service_metrics,
)

__all__ = [
    "audit",
    "background_jobs",
    "operator_audit",
    "platform",
    "raw_data_horizons",
    "service_metrics",
]
