"""The rows of this package, written to the database in an order that foreign keys allow."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Table

from models.shared.base import PLATFORM_TENANT_ID, Base
from operations.reference.collection import (
    POLL_GROUPS,
    SYSTEM_CONNECTION,
    SYSTEM_TAG_UNITS,
    SYSTEM_TAGS,
)
from operations.reference.permissions import ACTIONS, PERMISSIONS
from operations.reference.plans import PLANS
from operations.reference.platform import SETTINGS, SYSTEM_SETTINGS, SYSTEM_USER, TENANT
from operations.reference.retired import RETIRED
from operations.reference.roles import ROLE_TEMPLATE_PERMISSIONS, ROLE_TEMPLATES
from operations.reference.rows import delete, delete_others, put
from operations.reference.templates import TEMPLATES
from operations.reference.tiers import TIERS
from operations.reference.units import UNITS

TABLES = Base.metadata.tables

# A price belongs to price IDs at Stripe, which only the database has: changed here alone, it
# would differ from what customers are charged.
_PRICES = ("monthly_price_cents", "annual_price_cents")


def write_catalogues(connection: Connection) -> Counter[str]:
    """Write all rows; returns table to the number of rows inserted, changed or deleted.

    The connection acts as fleet_operator, in a transaction.

    Raises:
        ReferenceDataError: rows are missing although they were written.
    """
    changed: Counter[str] = Counter()
    changed["permissions"] += put(connection, TABLES["permissions"], PERMISSIONS)
    _write_roles(connection, changed)
    changed["units_of_measure"] += put(connection, TABLES["units_of_measure"], UNITS, key=["name"])
    changed["account_tiers"] += put(connection, TABLES["account_tiers"], TIERS, once=_PRICES)
    changed["device_plans"] += put(connection, TABLES["device_plans"], PLANS, once=_PRICES)
    _write_platform(connection, changed)
    _write_collection(connection, changed)
    _write_templates(connection, changed)
    for name, retired in RETIRED.items():
        if retired:
            changed[name] += _retire(connection, TABLES[name], retired)
    return changed


def _write_roles(connection: Connection, changed: Counter[str]) -> None:
    """The roles and exactly their permissions, among the actions that this code knows."""
    roles, permitted = TABLES["role_templates"], TABLES["role_template_permissions"]
    changed[roles.name] += put(connection, roles, ROLE_TEMPLATES)
    changed[permitted.name] += put(connection, permitted, ROLE_TEMPLATE_PERMISSIONS)
    known = [*ACTIONS, *RETIRED["permissions"]]
    changed[permitted.name] += delete_others(
        connection,
        permitted,
        ROLE_TEMPLATE_PERMISSIONS,
        among=permitted.c.template.in_([role["name"] for role in ROLE_TEMPLATES])
        & permitted.c.action.in_(known),
    )


def _write_platform(connection: Connection, changed: Counter[str]) -> None:
    changed["users"] += put(
        connection, TABLES["users"], [SYSTEM_USER], once=("email", "display_name")
    )
    changed["tenants"] += put(connection, TABLES["tenants"], [TENANT], once=("slug", "name"))
    changed["system_settings"] += put(
        connection, TABLES["system_settings"], SYSTEM_SETTINGS, once=("value",)
    )
    changed["tenant_settings"] += put(
        connection, TABLES["tenant_settings"], SETTINGS, once=("value",)
    )


def _write_collection(connection: Connection, changed: Counter[str]) -> None:
    """Poll groups, and the System connection with its tags."""
    connections, tags, units = (
        TABLES[name] for name in ("connections", "tag_metadata", "units_of_measure")
    )
    changed["poll_groups"] += put(connection, TABLES["poll_groups"], POLL_GROUPS)
    changed[connections.name] += put(connection, connections, [SYSTEM_CONNECTION])
    ids = {row.name: row.id for row in connection.execute(sa.select(units.c.name, units.c.id))}
    rows = [
        tag | {"unit_id": ids.get(SYSTEM_TAG_UNITS.get(tag["tag_name"], ""))} for tag in SYSTEM_TAGS
    ]
    key = ["tenant_id", "connection_id", "tag_path", "driver_type"]
    changed[tags.name] += put(connection, tags, rows, key=key)


def _write_templates(connection: Connection, changed: Counter[str]) -> None:
    """The platform's device templates and exactly their parts."""
    templates = TABLES["device_templates"]
    changed[templates.name] += put(
        connection,
        templates,
        [{"tenant_id": PLATFORM_TENANT_ID} | template.row for template in TEMPLATES],
        key=["tenant_id", "slug"],
    )
    built_in = sa.select(templates.c.slug, templates.c.id).where(
        templates.c.tenant_id == PLATFORM_TENANT_ID
    )
    ids = {row.slug: row.id for row in connection.execute(built_in)}
    known = [ids[template.row["slug"]] for template in TEMPLATES]
    for name, rows in _parts(ids).items():
        changed[name] += put(connection, TABLES[name], rows)
        among = (TABLES[name].c.tenant_id == PLATFORM_TENANT_ID) & TABLES[name].c.template_id.in_(
            known
        )
        changed[name] += delete_others(connection, TABLES[name], rows, among=among)


def _parts(ids: dict[str, uuid.UUID]) -> dict[str, list[dict[str, Any]]]:
    """Table to its rows; ``ids`` maps the slugs of the templates to their IDs."""
    parts: dict[str, list[dict[str, Any]]] = {
        "template_metrics": [],
        "template_commands": [],
        "template_slots": [],
        "template_slot_compat": [],
    }
    for template in TEMPLATES:
        key = {"tenant_id": PLATFORM_TENANT_ID, "template_id": ids[template.row["slug"]]}
        for name, rows in (
            ("template_metrics", template.metrics),
            ("template_commands", template.commands),
            ("template_slots", template.slots),
        ):
            parts[name] += [
                key | row | {"sort_order": number} for number, row in enumerate(rows, start=1)
            ]
        parts["template_slot_compat"] += [
            key | {"slot_key": slot, "module_template_id": ids[slug]}
            for slot, slugs in template.fits.items()
            for slug in slugs
        ]
    return parts


def _retire(connection: Connection, table: Table, names: Sequence[str]) -> int:
    """Stop selling where the table has is_active; else delete what nothing refers to."""
    column = {"device_templates": "slug", "units_of_measure": "name"}.get(table.name)
    named = table.c[column] if column else next(iter(table.primary_key))
    which: ColumnElement[bool] = named.in_(names)
    if "tenant_id" in table.c:
        which = which & (table.c.tenant_id == PLATFORM_TENANT_ID)
    if "is_active" in table.c:
        deactivate = sa.update(table).where(which, table.c.is_active).values(is_active=False)
        return connection.execute(deactivate).rowcount
    return delete(connection, table, which)
