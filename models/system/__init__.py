"""What the platform keeps about its own running: audit trails and metrics."""

from models.system import audit, background_jobs, operator_audit, platform, service_metrics

__all__ = ["audit", "background_jobs", "operator_audit", "platform", "service_metrics"]
