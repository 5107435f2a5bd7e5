from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine

from operations.demo import registration
from operations.demo.tenant_data import TENANTS
from tests.support.tenant_rows import DEVICES


@pytest.fixture
def two_tenants(engine: Engine) -> dict[str, uuid.UUID]:
    """Slug to id of two tenants with rows in many tables."""
    made = {}
    for demo_tenant in TENANTS:
        tenant, _ = registration.ensure_tenant(engine, demo_tenant)
        numbers = list(range(1, DEVICES + 1))
        registration.register(engine, demo_tenant, tenant.tenant_id, numbers, lambda devices: None)
        made[tenant.slug] = tenant.tenant_id
    return made
