"""Service monitoring: projects, endpoints, checks and incidents."""

from models.monitoring import (
    check_history,
    check_results,
    dependencies,
    endpoints,
    incidents,
    projects,
    questions,
)

__all__ = [
    "check_history",
    "check_results",
    "dependencies",
    "endpoints",
    "incidents",
    "projects",
    "questions",
]
