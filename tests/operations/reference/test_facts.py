"""The reference data itself; no database needed."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from ddl import Declared
from ddl.kinds.retention_policy import RetentionPolicyState
from models.shared.base import TIMESERIES, Base
from models.shared.time_series_checks import days
from operations.reference.permissions import ACTIONS, PERMISSIONS
from operations.reference.plans import PLANS
from operations.reference.retired import RETIRED
from operations.reference.roles import ROLE_TEMPLATE_PERMISSIONS, ROLE_TEMPLATES, granted
from operations.reference.templates import TEMPLATES
from operations.reference.tiers import TIERS
from operations.reference.units import UNITS

CRUD = ("create", "read", "update", "delete")

FLEET_ACTIONS = {
    "dashboard": {
        "read": ["dashboards.read"],
        "write": ["dashboards.create", "dashboards.update", "dashboards.delete"],
        "share": ["dashboards.share"],
    },
    "devices": {
        **{name: [f"devices.{name}"] for name in (*CRUD, "decommission", "import")},
        "write": ["devices.update"],
        "commands": ["devices.commands.send"],
        "commands.send": ["devices.commands.send"],
        "tokens.rotate": ["devices.tokens.rotate"],
        "tokens.revoke": ["devices.tokens.revoke"],
        "tags.write": ["devices.tags.update"],
        "twin.write": ["devices.twin.update"],
        "groups.write": [f"devices.groups.{verb}" for verb in ("create", "update", "delete")],
    },
    "alerts": {
        **{name: [f"alerts.{name}"] for name in ("read", "acknowledge", "close", "silence")},
        "digest.write": ["alerts.digest.update"],
        "rules.read": ["alert_rules.read"],
        "rules.write": [f"alert_rules.{verb}" for verb in ("create", "update", "delete")],
    },
    "alert-rules": {
        **{verb: [f"alert_rules.{verb}"] for verb in ("create", "update", "delete")},
        "templates": ["alert_rules.apply_template"],
    },
    "notifications": {
        name: [f"notifications.{name}"]
        for name in (
            "create",
            "update",
            "delete",
            "test",
            "routing.create",
            "routing.update",
            "routing.delete",
        )
    },
    "escalation": {verb: [f"escalation.{verb}"] for verb in ("create", "update", "delete")},
    "oncall": {
        **{verb: [f"oncall.{verb}"] for verb in ("create", "update", "delete")},
        "layers.write": ["oncall.layers.update"],
        "overrides.write": ["oncall.overrides.update"],
    },
    "maintenance": {
        **{verb: [f"maintenance.{verb}"] for verb in CRUD},
        "write": [f"maintenance.{verb}" for verb in ("create", "update", "delete")],
    },
    "integrations": {
        "read": ["notifications.read", "notifications.routing.read"],
        "write": [f"notifications.{verb}" for verb in ("create", "update", "delete")],
        "routes": [f"notifications.routing.{verb}" for verb in ("create", "update", "delete")],
    },
    "users": {
        "read": ["users.read"],
        "invite": ["users.create"],
        "edit": ["users.update"],
        "remove": ["users.delete"],
        "roles": ["users.roles.update"],
    },
    "reports": {"read": ["reports.read"], "export": ["reports.export"]},
    "sites": {
        "read": ["sites.read"],
        "write": ["sites.create", "sites.update", "sites.delete"],
    },
    "subscriptions": {"read": ["subscriptions.read"], "write": ["subscriptions.update"]},
    "settings": {"read": ["settings.read"]},
    "carrier": {
        "integrations.read": ["carrier.integrations.read"],
        "integrations.write": [
            f"carrier.integrations.{verb}" for verb in ("create", "update", "delete")
        ],
        "actions.execute": ["carrier.actions.execute"],
        "links.write": ["carrier.links.update"],
    },
}
"""Category and action of the fleet system to the actions of the project."""


def test_every_action_of_the_fleet_system_has_a_successor():
    counts = {category: len(actions) for category, actions in FLEET_ACTIONS.items()}
    assert sum(counts.values()) == 67
    assert counts["devices"] == 14
    successors = {new for olds in FLEET_ACTIONS.values() for news in olds.values() for new in news}
    assert successors <= ACTIONS


@pytest.mark.parametrize(
    "feature",
    [
        "dashboards",
        "charts",
        "connectivity.connections",
        "connectivity.tags",
        "connectivity.poll_groups",
        "connectivity.units",
        "connectivity.internal_tags",
        "connectivity.mqtt",
        "jobs",
        "users",
        "roles",
        "endpoints",
    ],
)
def test_features_of_data_collection_and_monitoring_have_the_four_common_verbs(feature):
    assert {f"{feature}.{verb}" for verb in CRUD} <= ACTIONS


def test_actions_are_unique_dotted_and_lower_case():
    assert len(PERMISSIONS) == len(ACTIONS) == 150
    malformed = [
        a for a in ACTIONS if not re.fullmatch(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)+", a)
    ]
    assert malformed == []


def test_no_verb_duplicates_others():
    """``write`` and ``manage`` duplicated other actions in the old lists."""
    verbs = {action.rpartition(".")[2] for action in ACTIONS}
    assert verbs & {"write", "edit", "manage", "remove", "view"} == set()


def test_descriptions_are_complete_and_unique():
    descriptions = [row["description"] for row in PERMISSIONS]
    assert all(re.fullmatch(r"[A-Z].{5,}[^. ]", text) for text in descriptions)
    assert len(set(descriptions)) == len(descriptions)


def _of(role: str) -> set[str]:
    return {row["action"] for row in ROLE_TEMPLATE_PERMISSIONS if row["template"] == role}


def test_roles():
    scopes = {row["name"]: row["scope"] for row in ROLE_TEMPLATES}
    org = {
        "owner",
        "admin",
        "member",
        "viewer",
        "team-admin",
        "alert-manager",
        "integration-manager",
        "device-manager",
        "full-admin",
    }
    project = {"project-admin", "project-editor", "project-viewer"}
    assert scopes == dict.fromkeys(org, "org") | dict.fromkeys(project, "project")


def test_roles_include_one_another_as_their_names_suggest():
    assert _of("owner") == ACTIONS
    assert _of("viewer") < _of("member") < _of("admin") < _of("full-admin") < _of("owner")
    assert ACTIONS - _of("full-admin") == {"organization.transfer"}
    for manager in ("team-admin", "device-manager", "alert-manager", "integration-manager"):
        assert _of("viewer") < _of(manager) < _of("full-admin")
    assert _of("project-viewer") < _of("project-editor") < _of("project-admin") < _of("admin")


def test_viewers_only_read():
    for role in ("viewer", "project-viewer"):
        assert {action.rpartition(".")[2] for action in _of(role)} == {"read"}


def test_every_permission_is_granted_to_a_role_besides_the_owner():
    granted_to = Counter(row["action"] for row in ROLE_TEMPLATE_PERMISSIONS)
    assert {action for action in ACTIONS if granted_to[action] < 2} == {"organization.transfer"}


def test_a_pattern_that_matches_nothing_is_a_mistake():
    with pytest.raises(ValueError, match=r"no action matches devices\.fly"):
        granted("devices.* devices.fly")


def test_units():
    categories = Counter(row["category"] for row in UNITS)
    assert len(UNITS) == 52
    assert len(categories) == 10
    assert min(categories.values()) >= 4
    assert len({row["name"] for row in UNITS}) == len({row["symbol"] for row in UNITS}) == 52


def test_built_in_templates_measure_in_known_units():
    symbols = {row["symbol"] for row in UNITS}
    assert {m["unit"] for template in TEMPLATES for m in template.metrics} <= symbols


def test_built_in_templates():
    parts = {
        template.row["slug"]: (len(template.metrics), len(template.commands), len(template.slots))
        for template in TEMPLATES
    }
    assert parts == {
        "lifeline-gateway-v1": (6, 3, 4),
        "lifeline-temp-probe": (1, 0, 0),
        "lifeline-humidity-sensor": (2, 0, 0),
        "lifeline-gps-tracker": (4, 0, 0),
    }
    gateway = TEMPLATES[0]
    assert {slot["slot_key"]: slot["max_devices"] for slot in gateway.slots} == {
        "analog_1": 1,
        "analog_2": 1,
        "onewire_1": 8,
        "fsk_radio": 4,
    }
    assert gateway.fits.keys() == {slot["slot_key"] for slot in gateway.slots}


def test_account_tiers():
    figures = {
        row["tier_id"]: (
            row["monthly_price_cents"],
            row["annual_price_cents"],
            *row["limits"].values(),
        )
        for row in TIERS
    }
    assert figures == {
        "free": (0, 0, 2, 5, 2, 3, 3, 30),
        "growth": (4900, 49000, 10, 100, 10, 10, 25, 300),
        "scale": (14900, 149000, 50, 1000, 50, 25, 100, 1500),
        "enterprise": (49900, 499000, 500, 10000, 100, 50, 500, 6000),
    }
    assert list(TIERS[0]["limits"]) == [
        "users",
        "alert_rules",
        "notification_channels",
        "dashboards_per_user",
        "device_groups",
        "api_requests_per_minute",
    ]
    features = {row["tier_id"]: row["features"] for row in TIERS}
    assert {tier: sum(held.values()) for tier, held in features.items()} == {
        "free": 0,
        "growth": 6,
        "scale": 7,
        "enterprise": 8,
    }
    assert [t for t, held in features.items() if held["sso"]] == ["scale", "enterprise"]
    assert [t for t, held in features.items() if held["custom_branding"]] == ["enterprise"]
    assert [tuple(row["support"].values()) for row in TIERS] == [
        ("community", None, None, False),
        ("standard", 99.5, 8, False),
        ("business", 99.9, 4, False),
        ("enterprise", 99.99, 1, True),
    ]


def test_device_plans():
    figures = {
        row["plan_id"]: (
            row["monthly_price_cents"],
            row["annual_price_cents"],
            *row["limits"].values(),
        )
        for row in PLANS
    }
    assert figures == {
        "basic": (299, 2990, 5, 30, 12, 300),
        "standard": (999, 9990, 15, 90, 60, 120),
        "premium": (2499, 24990, 30, 365, 120, 60),
    }
    assert list(PLANS[0]["limits"]) == [
        "sensors",
        "data_retention_days",
        "telemetry_rate_per_minute",
        "health_telemetry_interval_seconds",
    ]
    lacking = {
        row["plan_id"]: {name for name, held in row["features"].items() if not held}
        for row in PLANS
    }
    assert lacking["premium"] == set()
    assert lacking["standard"] == {"x509_auth", "message_routing"}
    assert lacking["basic"] - lacking["standard"] == {
        "ota_updates",
        "advanced_analytics",
        "streaming_export",
        "device_twin",
    }


def test_nothing_retired_is_still_in_the_reference():
    present = {
        "account_tiers": {row["tier_id"] for row in TIERS},
        "device_plans": {row["plan_id"] for row in PLANS},
        "permissions": ACTIONS,
        "role_templates": {row["name"] for row in ROLE_TEMPLATES},
        "units_of_measure": {row["name"] for row in UNITS},
        "device_templates": {template.row["slug"] for template in TEMPLATES},
    }
    assert RETIRED.keys() == present.keys() <= Base.metadata.tables.keys()
    assert [name for name in RETIRED if present[name] & set(RETIRED[name])] == []


def test_raw_data_outlives_the_longest_plan() -> None:
    """Data must be kept for as long as any plan promises."""
    declared = Declared.on(Base.metadata).of(RetentionPolicyState)
    kept = days(declared[TIMESERIES, "telemetry"].drop_after)
    assert kept > max(plan["limits"]["data_retention_days"] for plan in PLANS)
