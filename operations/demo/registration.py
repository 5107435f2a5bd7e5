"""The two tenants of the demonstration and their devices, registered as a tenant registers them.

They are never part of a revision. A note in tenants.metadata marks the tenants, and no other
tenant is touched, even one with the same slug.
"""

from __future__ import annotations

import datetime
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import insert

from database.errors import FleetSchemaError
from database.tenancy import OPERATOR, operator_transaction, tenant_transaction
from operations.access.accounts import operator_name
from operations.demo.tenant_data import (
    TENANTS,
    DemoTenant,
    Surroundings,
    Template,
    device_rows,
    dynamic_group_rows,
    site_rows,
    static_group_rows,
    table,
)
from operations.owner import acting_as
from operations.tenants.creation import create_tenant
from operations.tenants.deletion import Deleted, Step, delete_tenant
from operations.tenants.tenant import Tenant, find_tenant

BATCH = 500
"""Devices per transaction; a run that is killed loses one batch, and the next run continues."""
METRICS_PER_DEVICE = 6
_NOTE = "demo"


class DemoError(FleetSchemaError):
    """The demonstration cannot be created or removed; the text says why."""


def ensure_tenant(engine: Engine, demo_tenant: DemoTenant) -> tuple[Tenant, bool]:
    """The tenant, and whether it is new.

    Raises:
        DemoError: the slug belongs to another tenant, or to one that is being deleted.
    """
    found = find(engine, demo_tenant)
    if found is not None and found.status == "deleted":
        raise DemoError(
            f"the tenant {demo_tenant.slug} is being deleted: finish the deletion with "
            "`python -m operations demo --remove`"
        )
    if found is not None:
        return found, False
    create_tenant(
        engine,
        slug=demo_tenant.slug,
        name=demo_tenant.name,
        owner_email=demo_tenant.owner_email,
        owner_name=demo_tenant.owner_name,
        metadata={_NOTE: True},
    )
    made = find(engine, demo_tenant)
    assert made is not None
    return made, True


def find(engine: Engine, demo_tenant: DemoTenant) -> Tenant | None:
    """The tenant, if it exists.

    Raises:
        DemoError: the demonstration did not create it.
    """
    found = find_tenant(engine, demo_tenant.slug)
    if found is not None and found.metadata.get(_NOTE) is not True:
        raise DemoError(
            f"the slug {demo_tenant.slug} belongs to a tenant that the demonstration did not "
            f"create ({found.name!r}), which is left alone: give that tenant another slug"
        )
    return found


def missing_devices(
    engine: Engine, demo_tenant: DemoTenant, tenant_id: uuid.UUID, count: int
) -> list[int]:
    """The numbers from 1 to ``count`` of the devices that are not registered yet."""
    query = sa.select(table("device_registry").c.device_id)
    with tenant_transaction(engine, tenant_id) as connection:
        there = set(connection.scalars(query))
    return [number for number in range(1, count + 1) if demo_tenant.device_id(number) not in there]


def register(
    engine: Engine,
    demo_tenant: DemoTenant,
    tenant_id: uuid.UUID,
    numbers: list[int],
    on_batch: Callable[[int], None],
) -> Counter[str]:
    """Register devices with all that belongs to them, as fleet_app bound to the tenant.

    Each batch of devices is one transaction, after which ``on_batch`` is called with the number
    of its devices. Returns table to rows added.

    Raises:
        DemoError: the tenant has no device templates.
    """
    added: Counter[str] = Counter()
    with tenant_transaction(engine, tenant_id) as connection:
        added["sites"] += _insert(connection, "sites", site_rows(demo_tenant, tenant_id))
        for groups in (static_group_rows(tenant_id), dynamic_group_rows(tenant_id)):
            added["device_groups"] += _insert(connection, "device_groups", groups)
        around = _surroundings(connection, demo_tenant, tenant_id)
    for batch in _batches(numbers):
        with tenant_transaction(engine, tenant_id) as connection:
            for name, rows in device_rows(around, batch).items():
                added[name] += _insert(connection, name, rows)
        on_batch(len(batch))
    return +added


def _batches(numbers: list[int]) -> Iterator[list[int]]:
    remaining = iter(numbers)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _insert(connection: Connection, name: str, rows: list[dict[str, object]]) -> int:
    """Insert the rows that are missing; returns how many."""
    if not rows:
        return 0
    target = table(name)
    statement = insert(target).on_conflict_do_nothing().returning(target.c.tenant_id)
    return len(connection.execute(statement, rows).all())


_METRICS = sa.text("""
    SELECT t.id, t.category, t.manufacturer, t.model, m.metric_key, m.display_name,
           (SELECT min(u.id) FROM units_of_measure u WHERE u.symbol = m.unit) AS unit_id,
           m.min_value, m.max_value, m.precision_digits, m.is_required
      FROM device_templates t
      LEFT JOIN template_metrics m ON m.tenant_id = t.tenant_id AND m.template_id = t.id
                                  AND m.data_type IN ('float', 'integer')
     WHERE t.category <> 'expansion_module'
     ORDER BY t.slug, m.is_required DESC, m.sort_order, m.metric_key
""")


def _surroundings(
    connection: Connection, demo_tenant: DemoTenant, tenant_id: uuid.UUID
) -> Surroundings:
    """Read what the tenant has, by the names in `tenant_data`."""
    sites, groups = table("sites").c, table("device_groups").c
    named_sites = connection.execute(sa.select(sites.name, sites.site_id))
    site_ids = {row.name: row.site_id for row in named_sites}
    named_groups = connection.execute(sa.select(groups.name, groups.group_id))
    group_ids = {row.name: row.group_id for row in named_groups}
    templates: dict[uuid.UUID, Template] = {}
    for row in connection.execute(_METRICS):
        template = templates.setdefault(
            row.id, Template(row.id, row.category, row.manufacturer, row.model, [])
        )
        if row.metric_key is not None and len(template.metrics) < METRICS_PER_DEVICE:
            template.metrics.append(row)
    if not templates:
        raise DemoError(
            f"the tenant {demo_tenant.slug} has no device templates: run "
            "`python -m operations reference`, then `python -m operations demo --remove`"
        )
    return Surroundings(
        demo_tenant,
        tenant_id,
        [site_ids[name] for name in demo_tenant.sites],
        group_ids,
        list(templates.values()),
        datetime.datetime.now(datetime.UTC),
    )


def remove(engine: Engine, on_step: Callable[[Step], None]) -> list[Deleted]:
    """Delete the tenants of the demonstration, then their owners' accounts."""
    deleted = []
    for demo_tenant in TENANTS:
        if find(engine, demo_tenant) is not None:
            deleted.append(delete_tenant(engine, demo_tenant.slug, on_step=on_step))
    if _demo_accounts(engine):
        _remove_accounts(engine)
    return deleted


_FREE_ACCOUNTS = """
    FROM public.users u WHERE lower(u.email) = ANY (:emails)
     AND NOT EXISTS (SELECT FROM public.tenant_members m WHERE m.user_id = u.id)
"""
_EMAILS = {"emails": [tenant.owner_email for tenant in TENANTS]}


def _demo_accounts(engine: Engine) -> int:
    with acting_as(engine, OPERATOR) as connection:
        query = sa.text(f"SELECT count(*) {_FREE_ACCOUNTS}")
        return int(connection.execute(query, _EMAILS).scalar_one())


def _remove_accounts(engine: Engine) -> None:
    with operator_transaction(
        engine,
        actor=operator_name(),
        action="demo.remove",
        reason="remove the accounts of the demonstration",
        write=True,
        resource_type="user",
    ) as connection:
        connection.execute(sa.text(f"DELETE {_FREE_ACCOUNTS}"), _EMAILS)
