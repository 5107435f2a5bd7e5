"""The built-in roles and their permissions; every tenant gets a copy.

``Viewer`` of the fleet system and ``viewer`` of the other two are one role, viewer, which reads
and nothing else. The fleet system's other five are spelled in lower case like the rest.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from operations.reference.permissions import ACTIONS


class _Role(NamedTuple):
    name: str
    description: str
    grants: str
    """Actions, with * for any characters; ``!`` before a pattern removes what it matches."""
    scope: str = "org"


# Everything except details about people and machines that daily work does not need.
_VIEWER = "*.read !audit.read !api_keys.read !users.permissions.read !diagnostics.*"

_ROLES = (
    _Role("owner", "Everything, the organization itself included", "*"),
    _Role("full-admin", "Everything but handing the organization over", "* !organization.transfer"),
    _Role(
        "admin",
        "Manages people and everything they work with; not the organization or its subscription",
        "* !organization.update !organization.transfer !subscriptions.update",
    ),
    _Role(
        "team-admin",
        "Sees everything and manages people: members, roles, exceptions",
        f"{_VIEWER} users.* roles.*",
    ),
    _Role(
        "device-manager",
        "Sees everything and manages devices, sites, SIM cards and data sources",
        f"{_VIEWER} devices.* sites.* carrier.* maintenance.* connectivity.connections.*"
        " connectivity.tags.* connectivity.mqtt.*",
    ),
    _Role(
        "alert-manager",
        "Sees everything and manages alerts, their rules, incidents and maintenance windows",
        f"{_VIEWER} alerts.* alert_rules.* maintenance.* incidents.*",
    ),
    _Role(
        "integration-manager",
        "Sees everything and manages who is notified, how and when: channels, escalation, on-call",
        f"{_VIEWER} notifications.* escalation.* oncall.*",
    ),
    _Role(
        "member",
        "Sees everything and does the daily work: dashboards, alerts, incidents, endpoints",
        f"{_VIEWER} dashboards.* charts.* alerts.* incidents.* endpoints.create endpoints.update"
        " maintenance.create maintenance.update devices.update devices.tags.update"
        " oncall.overrides.update reports.export",
    ),
    _Role("viewer", "Sees everything, changes nothing", _VIEWER),
    _Role(
        "project-admin",
        "Manages a project with everything in it",
        "projects.* endpoints.* incidents.* analytics.* maintenance.* dashboards.* charts.*"
        " notifications.read users.read !projects.create",
        "project",
    ),
    _Role(
        "project-editor",
        "Works on a project: its endpoints, incidents and dashboards",
        "projects.read endpoints.* incidents.* analytics.* maintenance.* dashboards.* charts.*"
        " users.read !endpoints.delete !dashboards.share",
        "project",
    ),
    _Role(
        "project-viewer",
        "Sees a project, changes nothing",
        "projects.read endpoints.read incidents.read analytics.read maintenance.read"
        " dashboards.read charts.read users.read",
        "project",
    ),
)


def granted(patterns: str) -> frozenset[str]:
    """The actions that a list of patterns grants, applied from left to right.

    Raises:
        ValueError: a pattern matches no action.
    """
    found: set[str] = set()
    for pattern in patterns.split():
        matched = {action for action in ACTIONS if fnmatchcase(action, pattern.removeprefix("!"))}
        if not matched:
            raise ValueError(f"no action matches {pattern}")
        found = found - matched if pattern.startswith("!") else found | matched
    return frozenset(found)


ROLE_TEMPLATES: list[dict[str, Any]] = [
    {
        "name": role.name,
        "description": role.description,
        "scope": role.scope,
        "sort_order": number,
    }
    for number, role in enumerate(_ROLES, start=1)
]
"""Rows of role_templates."""

ROLE_TEMPLATE_PERMISSIONS: list[dict[str, Any]] = [
    {"template": role.name, "action": action}
    for role in _ROLES
    for action in sorted(granted(role.grants))
]
"""Rows of role_template_permissions."""
