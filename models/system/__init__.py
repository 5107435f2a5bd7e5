"""What the platform keeps about its own running: audit trails and metrics."""

from models.system import audit, jobs, metrics, operators, platform

__all__ = ["audit", "jobs", "metrics", "operators", "platform"]
