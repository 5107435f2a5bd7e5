"""What the platform keeps about its own running: audit trails and metrics."""

from models.system import audit, metrics, operators

__all__ = ["audit", "metrics", "operators"]
