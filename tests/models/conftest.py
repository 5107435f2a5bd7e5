"""Databases with tenants in them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.support import acme_and_globex, seeded_tenant
from tests.support.engines import engine_of


@pytest.fixture
def fleet(migrated_database: str) -> Iterator[Engine]:
    """Two tenants, Acme and Globex, with members and devices; no reference data."""
    with engine_of(migrated_database) as engine:
        acme_and_globex.populate(engine)
        yield engine


@pytest.fixture
def engine(seeded_database: str) -> Iterator[Engine]:
    """A database with reference data."""
    with engine_of(seeded_database) as engine:
        yield engine


@pytest.fixture
def acme(engine: Engine) -> uuid.UUID:
    """A tenant in it."""
    return seeded_tenant.provision(engine, "acme")
