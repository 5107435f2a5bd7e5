"""A tenant, found by its slug."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from database.errors import FleetSchemaError
from database.tenancy import OPERATOR
from operations.owner import acting_as


class TenantError(FleetSchemaError):
    """A tenant cannot be created, found or deleted; the text says which and why."""


@dataclass(frozen=True)
class Tenant:
    """A row of tenants."""

    tenant_id: uuid.UUID
    slug: str
    name: str
    status: str
    metadata: dict[str, object]


FIND_TENANT = sa.text("""
    SELECT tenant_id, slug, name, status, metadata FROM public.tenants WHERE slug = :slug
""")


def find_tenant(engine: Engine, slug: str) -> Tenant | None:
    """The tenant with a slug; None if there is none."""
    with acting_as(engine, OPERATOR) as connection:
        row = connection.execute(FIND_TENANT, {"slug": slug}).one_or_none()
    return None if row is None else Tenant(**row._mapping)
