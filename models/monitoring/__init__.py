"""Service monitoring: projects, their endpoints, the checks of these, and incidents."""

from models.monitoring import (
    check_history,
    check_results,
    dependencies,
    endpoints,
    incidents,
    projects,
)

__all__ = ["check_history", "check_results", "dependencies", "endpoints", "incidents", "projects"]
