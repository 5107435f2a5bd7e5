"""A migrated database with two tenants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.models.alerting import populate
from tests.support.engines import engine_of


@pytest.fixture
def fleet(migrated_database: str) -> Iterator[Engine]:
    """Two tenants, Acme and Globex, with members and devices."""
    with engine_of(migrated_database) as engine:
        populate(engine)
        yield engine
