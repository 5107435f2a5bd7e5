"""Databases with tenants in them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.support import acme_and_globex, questions, seeded_tenant
from tests.support.databases import MakeDatabase, named_server, seed, servers
from tests.support.engines import engine_of
from tests.support.preparation import after
from tests.support.time_series import migrate


@after(migrate)
def with_acme_and_globex(url: str) -> None:
    with engine_of(url) as engine:
        acme_and_globex.populate(engine)


@pytest.fixture
def fleet(make_database: MakeDatabase) -> Iterator[Engine]:
    """Two tenants, Acme and Globex, with members and devices; no reference data."""
    with engine_of(make_database(like=with_acme_and_globex)) as engine:
        yield engine


@after(seed)
def with_acme(url: str) -> None:
    with engine_of(url) as engine:
        seeded_tenant.provision(engine, "acme")


@pytest.fixture
def engine(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """A database with reference data, and with a tenant where the test has ``acme``."""
    asked = "acme" in request.fixturenames
    with engine_of(make_database(like=with_acme if asked else seed)) as engine:
        yield engine


@pytest.fixture
def acme(engine: Engine) -> uuid.UUID:
    """The tenant."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
        return uuid.UUID(str(found.scalar_one()))


@pytest.fixture(scope="module", params=servers("embedded", "timescaledb", "apache"))
def asked(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """One database for the module: no test changes anything. TimescaleDB runs on PostgreSQL 15."""
    with engine_of(make_shared_database(named_server(request), like=migrate)) as engine:
        questions.fill(engine)
        yield engine
