from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from operations.demo import registration
from operations.demo.tenant_data import TENANTS
from tests.support.databases import MakeDatabase, seed
from tests.support.engines import engine_of
from tests.support.preparation import after
from tests.support.tenant_rows import DEVICES


@after(seed)
def with_two_tenants(url: str) -> None:
    """Two tenants with rows in many tables."""
    with engine_of(url) as engine:
        for demo_tenant in TENANTS:
            tenant, _ = registration.ensure_tenant(engine, demo_tenant)
            numbers = list(range(1, DEVICES + 1))
            registration.register(
                engine, demo_tenant, tenant.tenant_id, numbers, lambda devices: None
            )


@pytest.fixture
def database_of_two(make_database: MakeDatabase) -> str:
    """The URL of a database with two tenants."""
    return make_database(like=with_two_tenants)


@pytest.fixture
def two_tenants(engine: Engine) -> dict[str, uuid.UUID]:
    """Slug to id of the two tenants."""
    query = sa.text("SELECT slug, tenant_id FROM tenants WHERE slug = ANY(:slugs)")
    with engine.connect() as connection:
        found = connection.execute(query, {"slugs": [one.slug for one in TENANTS]})
        return {row.slug: row.tenant_id for row in found}
