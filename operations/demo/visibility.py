"""What each kind of connection sees of the demonstration, and which attempts are rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row

from database.tenancy import APP, OPERATOR, operator_transaction, tenant_transaction
from operations.access.accounts import operator_name
from operations.demo.tenant_data import TENANTS
from operations.owner import acting_as
from operations.tenants.tenant import Tenant

_COUNTS = sa.text("""
    SELECT 'tenants' AS what, count(*) AS rows FROM tenants
    UNION ALL SELECT 'people', count(*) FROM users
    UNION ALL SELECT 'sites', count(*) FROM sites
    UNION ALL SELECT 'groups', count(*) FROM device_groups
    UNION ALL SELECT 'tags', count(*) FROM device_tags
    UNION ALL SELECT 'devices', count(*) FROM device_registry
    UNION ALL (SELECT 'devices ' || status, count(*) FROM device_state GROUP BY status ORDER BY 1)
    UNION ALL SELECT 'sensors', count(*) FROM device_sensors
    UNION ALL (SELECT 'sensors ' || status, count(*) FROM device_sensors GROUP BY status ORDER BY 1)
""")
_PER_TENANT = sa.text("""
    SELECT t.slug, t.status,
           (SELECT count(*) FROM public.sites x WHERE x.tenant_id = t.tenant_id) AS sites,
           (SELECT count(*) FROM public.device_registry x WHERE x.tenant_id = t.tenant_id)
               AS devices,
           (SELECT count(*) FROM public.device_sensors x WHERE x.tenant_id = t.tenant_id)
               AS sensors
      FROM public.tenants t WHERE t.slug = ANY (:slugs)
    UNION ALL
    SELECT 'all ' || (SELECT count(*) FROM public.tenants) || ' tenants', '',
           (SELECT count(*) FROM public.sites), (SELECT count(*) FROM public.device_registry),
           (SELECT count(*) FROM public.device_sensors)
""")
_LAST_AUDIT = sa.text("""
    SELECT user_id, login, action, reason, created_at FROM public.operator_audit_log
     WHERE action = :action ORDER BY created_at DESC, id DESC LIMIT 1
""")
_LOOK = "demo.look"


def seen_by_tenant(engine: Engine, tenant: Tenant) -> dict[str, int]:
    """Rows by subject, as fleet_app bound to the tenant; no query names the tenant."""
    with tenant_transaction(engine, tenant.tenant_id) as connection:
        return _counted(connection)


def seen_without_tenant(engine: Engine) -> dict[str, int]:
    """The same queries as fleet_app without a tenant."""
    with acting_as(engine, APP) as connection:
        return _counted(connection)


def _counted(connection: Connection) -> dict[str, int]:
    return {row.what: row.rows for row in connection.execute(_COUNTS)}


def seen_by_operator(engine: Engine) -> tuple[Sequence[Row[Any]], Row[Any]]:
    """Rows (slug, status, sites, devices, sensors), and the audit log's entry about this query."""
    with operator_transaction(
        engine, actor=operator_name(), action=_LOOK, reason="show what an operator sees"
    ) as connection:
        slugs = {"slugs": [tenant.slug for tenant in TENANTS]}
        rows = connection.execute(_PER_TENANT, slugs).all()
        return rows, connection.execute(_LAST_AUDIT, {"action": _LOOK}).one()


@dataclass(frozen=True)
class Answer:
    """The server's answer to one attempt."""

    attempt: str
    text: str
    """The command tag or the error."""
    rejected: bool
    """An error, or no row was found."""


_THEIR_DEVICE = "tenant_id = %(their_tenant)s AND device_id = %(their_device)s"
_ATTEMPTS = {
    "read a device, naming tenant and id": (
        f"SELECT device_id, status FROM device_registry WHERE {_THEIR_DEVICE}"
    ),
    "read the row of the tenant": "SELECT name FROM tenants WHERE tenant_id = %(their_tenant)s",
    "read their owner's e-mail address": "SELECT email FROM users WHERE email = %(their_owner)s",
    "change a device": f"UPDATE device_registry SET notes = 'x' WHERE {_THEIR_DEVICE}",
    "delete a device": f"DELETE FROM device_registry WHERE {_THEIR_DEVICE}",
    "insert a site for that tenant": (
        "INSERT INTO sites (tenant_id, name) VALUES (%(their_tenant)s, 'ours now')"
    ),
    "move one's own site to that tenant": (
        "UPDATE sites SET tenant_id = %(their_tenant)s WHERE site_id = %(own_site)s"
    ),
    "put one's own device on their site": (
        "UPDATE device_registry SET site_id = %(their_site)s WHERE device_id = %(own_device)s"
    ),
    "add a sensor to their device": (
        "INSERT INTO device_sensors (tenant_id, device_id, metric_key, display_name)"
        " VALUES (%(own_tenant)s, %(their_device)s, 'x', 'x')"
    ),
    "add oneself to its members": (
        "INSERT INTO tenant_members (tenant_id, user_id, status)"
        " SELECT %(their_tenant)s, user_id, 'active' FROM tenant_members LIMIT 1"
    ),
    "turn row-level security off": (
        "SET LOCAL row_security = off; SELECT device_id FROM device_registry"
    ),
}
"""What one tenant tries on another; of several statements the last one counts."""

_REJECTIONS = ("42501", "23503")  # insufficient privilege, foreign key violation
"""Errors by which the server rejects an attempt; any other is a mistake in the attempt."""


def attempts(engine: Engine, intruder: Tenant, victim: Tenant) -> list[Answer]:
    """Try, as one tenant, to touch the rows of another; every attempt is rolled back."""
    values = {**_samples(engine, intruder, "own"), **_samples(engine, victim, "their")}
    answers = []
    for attempt, statements in _ATTEMPTS.items():
        with tenant_transaction(engine, intruder.tenant_id) as connection:
            answers.append(_try(connection, attempt, statements, values))
    return answers


def chosen_tenant(engine: Engine, intruder: Tenant, victim: Tenant) -> int:
    """Devices of the victim that a transaction sees after it has changed its own tenant.

    This is the limit of row-level security: the tenant is what the application says it is.
    """
    with tenant_transaction(engine, intruder.tenant_id) as connection:
        change = sa.text("SELECT set_config('app.tenant_id', :tenant, true)")
        connection.execute(change, {"tenant": str(victim.tenant_id)})
        query = sa.text("SELECT count(*) FROM device_registry WHERE tenant_id = :tenant")
        return int(connection.execute(query, {"tenant": victim.tenant_id}).scalar_one())


_FINGERPRINT = sa.text("""
    SELECT md5(concat(
        (SELECT string_agg(x::text, '' ORDER BY device_id) FROM public.device_registry x
          WHERE tenant_id = :tenant),
        (SELECT string_agg(x::text, '' ORDER BY id) FROM public.device_sensors x
          WHERE tenant_id = :tenant),
        (SELECT string_agg(x::text, '' ORDER BY site_id) FROM public.sites x
          WHERE tenant_id = :tenant)))
""")


def fingerprint(engine: Engine, tenant: Tenant) -> str:
    """A checksum over every column of the tenant's devices, sensors and sites."""
    with acting_as(engine, OPERATOR) as connection:
        found: str = connection.execute(_FINGERPRINT, {"tenant": tenant.tenant_id}).scalar_one()
        return found


def _samples(engine: Engine, tenant: Tenant, whose: str) -> dict[str, Any]:
    """The parameters of the attempts: a device and a site of the tenant, and its owner."""
    with tenant_transaction(engine, tenant.tenant_id) as connection:
        device, site = connection.execute(
            sa.text(
                "SELECT device_id, site_id FROM device_registry WHERE site_id IS NOT NULL"
                " ORDER BY device_id LIMIT 1"
            )
        ).one()
        owner = connection.execute(sa.text("SELECT min(email) FROM users")).scalar_one()
    found = {"tenant": tenant.tenant_id, "device": device, "site": site, "owner": owner}
    return {f"{whose}_{name}": value for name, value in found.items()}


def _try(connection: Connection, attempt: str, statements: str, values: dict[str, Any]) -> Answer:
    # On the driver's own cursor, since SQLAlchemy does not keep the server's command tag.
    driver = connection.connection.driver_connection
    assert driver is not None
    savepoint = connection.begin_nested()
    try:
        with driver.cursor() as cursor:
            for statement in statements.split("; "):
                cursor.execute(statement, values)
            return Answer(attempt, cursor.statusmessage, cursor.rowcount == 0)
    except psycopg.Error as error:
        text = f"ERROR {error.sqlstate}: {error.diag.message_primary}"
        return Answer(attempt, text, error.sqlstate in _REJECTIONS)
    finally:
        savepoint.rollback()
