"""The catalogue of permissions: every action that a role may allow.

An action is ``feature.verb``. The four common verbs are the four flags of user_permissions, whose
``feature`` is the first part: can_update on ``connectivity.tags`` stands for
``connectivity.tags.update``.
"""

# Three systems brought their lists; each concept is here once. What is not listed kept its name.
#
# From the fleet system (67 actions):
#   dashboard.read, .write, .share         dashboards.read, .create .update .delete, .share
#   devices.write                          devices.update
#   devices.commands                       devices.commands.send
#   devices.tags.write, .twin.write        devices.tags.update, devices.twin.update
#   devices.groups.write                   devices.groups.create .update .delete
#   alerts.rules.read, .write              alert_rules.read, .create .update .delete
#   alerts.digest.write                    alerts.digest.update
#   alert-rules.create, .update, .delete   alert_rules.create, .update, .delete
#   alert-rules.templates                  alert_rules.apply_template
#   integrations.read                      notifications.read, notifications.routing.read
#   integrations.write                     notifications.create .update .delete
#   integrations.routes                    notifications.routing.create .update .delete
#   oncall.layers.write, .overrides.write  oncall.layers.update, oncall.overrides.update
#   maintenance.write                      maintenance.create .update .delete
#   users.invite, .edit, .remove, .roles   users.create, .update, .delete, users.roles.update
#   sites.write                            sites.create .update .delete
#   subscriptions.write                    subscriptions.update
#   carrier.integrations.write             carrier.integrations.create .update .delete
#   carrier.links.write                    carrier.links.update
#
# From data collection (features, each with four flags):
#   chart_composer                         charts
#   connectivity.devices                   connectivity.connections: devices are something else
#   mqtt                                   connectivity.mqtt
#   permissions                            roles, and users.permissions for single members
#   configuration                          settings, where writing is .update alone
#   diagnostics, diagnostic.*, logs        diagnostics.*.read: they are read only
#   flows                                  nothing: not part of this schema
#
# From service monitoring (scopes of API keys):
#   endpoint:read, :create                 endpoints.read, .create
#   incident:read, analytics:read          incidents.read, analytics.read
#   admin                                  nothing: such a key lists what the role admin permits

from __future__ import annotations

from typing import Any, NamedTuple

_CRUD = {"create": "Create", "read": "See", "update": "Change", "delete": "Delete"}


class _Feature(NamedTuple):
    name: str
    noun: str
    """The object of the common verbs, for the descriptions."""
    common: str = "create read update delete"
    more: dict[str, str] = {}  # noqa: RUF012 (never changed)
    """Further verb to its description."""


_CATALOGUES = "of all tenants (only the platform's own members can)"

_BY_CATEGORY: dict[str, list[_Feature]] = {
    "Dashboards": [
        _Feature("dashboards", "dashboards", more={"share": "Share dashboards with the team"}),
        _Feature("charts", "charts"),
    ],
    "Devices": [
        _Feature(
            "devices",
            "devices",
            more={
                "decommission": "Take devices out of service for good",
                "import": "Register many devices from a file",
            },
        ),
        _Feature("devices.tags", "tags of devices", "update"),
        _Feature("devices.twin", "the desired state of devices", "update"),
        _Feature(
            "devices.tokens",
            "",
            "",
            {
                "rotate": "Replace API tokens of devices",
                "revoke": "Revoke API tokens of devices",
            },
        ),
        _Feature("devices.commands", "", "", {"send": "Send commands to devices"}),
        _Feature("devices.jobs", "jobs for devices", "create read", {"cancel": "Cancel such jobs"}),
        _Feature("devices.groups", "device groups"),
        _Feature("devices.templates", "device templates"),
        _Feature("devices.firmware", "firmware versions and update campaigns"),
        _Feature("sites", "sites"),
    ],
    "Carriers": [
        _Feature("carrier.integrations", "accounts at mobile carriers"),
        _Feature("carrier.links", "which SIM card belongs to which device", "update"),
        _Feature(
            "carrier.actions", "", "", {"execute": "Activate, suspend and reset SIM cards remotely"}
        ),
    ],
    "Connectivity": [
        _Feature("connectivity.connections", "connections to data sources"),
        _Feature("connectivity.tags", "tags read from data sources"),
        _Feature("connectivity.mqtt", "MQTT subscriptions, publishers and clients"),
        _Feature("connectivity.internal_tags", "tags about the platform itself"),
        _Feature("connectivity.poll_groups", f"poll groups {_CATALOGUES}"),
        _Feature("connectivity.units", f"units of measure {_CATALOGUES}"),
    ],
    "Alerts": [
        _Feature(
            "alerts",
            "alerts",
            "read",
            {
                "acknowledge": "Acknowledge alerts",
                "close": "Close alerts",
                "silence": "Silence alerts for a while",
            },
        ),
        _Feature("alerts.digest", "when alert digests are sent", "update"),
        _Feature("alert_rules", "alert rules", more={"apply_template": "Apply templates of rules"}),
        _Feature("maintenance", "maintenance windows"),
        _Feature("escalation", "escalation policies"),
        _Feature("oncall", "on-call schedules"),
        _Feature("oncall.layers", "layers of on-call schedules", "update"),
        _Feature("oncall.overrides", "who stands in for whom on call", "update"),
    ],
    "Notifications": [
        _Feature(
            "notifications",
            "notification channels",
            more={"test": "Send a test over notification channels"},
        ),
        _Feature("notifications.routing", "rules of which alert goes to which channel"),
    ],
    "Monitoring": [
        _Feature("projects", "projects"),
        _Feature("endpoints", "monitored endpoints"),
        _Feature(
            "incidents",
            "incidents",
            "create read update",
            {"acknowledge": "Acknowledge incidents", "resolve": "Resolve incidents"},
        ),
        _Feature("analytics", "availability and response times", "read"),
    ],
    "Reports": [
        _Feature("reports", "reports", "read", {"export": "Export reports and data"}),
        _Feature("audit", "the audit trail", "read", {"export": "Export the audit trail"}),
    ],
    "Team": [
        _Feature("users", "members (creating is inviting)"),
        _Feature("users.roles", "which member has which role", "update"),
        _Feature("users.permissions", "exceptions for single members", "read update"),
        _Feature("roles", "roles of the organization's own"),
        _Feature("api_keys", "API keys"),
    ],
    "Organization": [
        _Feature(
            "organization",
            "the profile of the organization",
            "read update",
            {"transfer": "Make another member an owner"},
        ),
        _Feature("settings", "settings", "read update"),
        _Feature("subscriptions", "subscriptions", "read update"),
    ],
    "Operations": [
        _Feature("jobs", "background jobs"),
        _Feature("diagnostics.system", "the state of the system", "read"),
        _Feature("diagnostics.capacity", "capacity and its use", "read"),
        _Feature("diagnostics.network", "the state of the network", "read"),
        _Feature("diagnostics.logs", "logs", "read"),
    ],
}


def _rows(category: str, feature: _Feature) -> list[dict[str, Any]]:
    common = {verb: f"{_CRUD[verb]} {feature.noun}" for verb in feature.common.split()}
    return [
        {"action": f"{feature.name}.{verb}", "category": category, "description": description}
        for verb, description in (common | feature.more).items()
    ]


PERMISSIONS: list[dict[str, Any]] = [
    row
    for category, features in _BY_CATEGORY.items()
    for feature in features
    for row in _rows(category, feature)
]
"""Rows of permissions."""

ACTIONS: frozenset[str] = frozenset(row["action"] for row in PERMISSIONS)
"""Every action there is."""
