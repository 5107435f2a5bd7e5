"""The demonstration: two tenants with thousands of devices, made as a tenant makes them.

It is never part of a revision. It knows its tenants by a note in tenants.metadata and touches
no other, even one with the same slug.
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
"""Devices per transaction; a run that is killed loses one batch and the next run goes on."""
METRICS_PER_DEVICE = 6
_NOTE = "demo"


class DemoError(FleetSchemaError):
    """The demonstration cannot be made; says why."""


def ensure_tenant(engine: Engine, wanted: DemoTenant) -> tuple[Tenant, bool]:
    """The tenant, and whether it was made just now.

    Raises:
        DemoError: the slug belongs to somebody else's tenant, or to one that is being deleted.
    """
    found = find(engine, wanted)
    if found is not None and found.status == "deleted":
        raise DemoError(
            f"the tenant {wanted.slug} is being deleted: finish that with "
            "`python -m operations demo --remove`"
        )
    if found is not None:
        return found, False
    create_tenant(
        engine,
        slug=wanted.slug,
        name=wanted.name,
        owner_email=wanted.owner_email,
        owner_name=wanted.owner_name,
        metadata={_NOTE: True},
    )
    made = find(engine, wanted)
    assert made is not None
    return made, True


def find(engine: Engine, wanted: DemoTenant) -> Tenant | None:
    """The tenant, if it is there and was made by the demonstration.

    Raises:
        DemoError: it was not.
    """
    found = find_tenant(engine, wanted.slug)
    if found is not None and found.metadata.get(_NOTE) is not True:
        raise DemoError(
            f"the slug {wanted.slug} belongs to a tenant that the demonstration did not make "
            f"({found.name!r}): nothing of it was touched"
        )
    return found


def missing_devices(
    engine: Engine, wanted: DemoTenant, tenant_id: uuid.UUID, count: int
) -> list[int]:
    """The numbers, of 1 to ``count``, of the devices that are not registered yet."""
    query = sa.select(table("device_registry").c.device_id)
    with tenant_transaction(engine, tenant_id) as connection:
        there = set(connection.scalars(query))
    return [number for number in range(1, count + 1) if wanted.device_id(number) not in there]


def register(
    engine: Engine,
    wanted: DemoTenant,
    tenant_id: uuid.UUID,
    numbers: list[int],
    on_batch: Callable[[int], None],
) -> Counter[str]:
    """Register these devices with all that belongs to them, as fleet_app bound to the tenant.

    Each batch of devices is one transaction, after which ``on_batch`` gets their number.
    Returns table to rows added.

    Raises:
        DemoError: the tenant has no device templates.
    """
    added: Counter[str] = Counter()
    with tenant_transaction(engine, tenant_id) as connection:
        added["sites"] += _insert(connection, "sites", site_rows(wanted, tenant_id))
        for groups in (static_group_rows(tenant_id), dynamic_group_rows(tenant_id)):
            added["device_groups"] += _insert(connection, "device_groups", groups)
        around = _surroundings(connection, wanted, tenant_id)
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
    """Insert what is not there yet; returns how many rows that was."""
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


def _surroundings(connection: Connection, wanted: DemoTenant, tenant_id: uuid.UUID) -> Surroundings:
    """Read back what the tenant has, by the names that the demonstration gave."""
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
            f"the tenant {wanted.slug} has no device templates to make devices from: run "
            "`python -m operations reference`, then `python -m operations demo --remove`"
        )
    return Surroundings(
        wanted,
        tenant_id,
        [site_ids[name] for name in wanted.sites],
        group_ids,
        list(templates.values()),
        datetime.datetime.now(datetime.UTC),
    )


def remove(engine: Engine, on_step: Callable[[Step], None]) -> list[Deleted]:
    """Delete the tenants of the demonstration that are there, then their owners' accounts."""
    deleted = []
    for wanted in TENANTS:
        if find(engine, wanted) is not None:
            deleted.append(delete_tenant(engine, wanted.slug, on_step=on_step))
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
        reason="remove the accounts that the demonstration made",
        write=True,
        resource_type="user",
    ) as connection:
        connection.execute(sa.text(f"DELETE {_FREE_ACCOUNTS}"), _EMAILS)
