"""Service monitoring: projects, and the checks of their endpoints."""

from models.monitoring import checks, projects

__all__ = ["checks", "projects"]
