"""Service monitoring: projects, their endpoints, the checks of these, and incidents."""

from models.monitoring import checks, dependencies, endpoints, health, incidents, projects

__all__ = ["checks", "dependencies", "endpoints", "health", "incidents", "projects"]
