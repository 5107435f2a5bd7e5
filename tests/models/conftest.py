"""Databases with tenants in them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.support import acme_and_globex, questions, seeded_tenant
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.time_series import migrate


def with_acme_and_globex(url: str) -> None:
    migrate(url)
    with engine_of(url) as engine:
        acme_and_globex.populate(engine)


@pytest.fixture
def fleet(make_database: MakeDatabase) -> Iterator[Engine]:
    """Two tenants, Acme and Globex, with members and devices; no reference data."""
    with engine_of(make_database(like=with_acme_and_globex)) as engine:
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


@pytest.fixture(scope="module", params=servers("embedded", "timescaledb", "apache"))
def asked(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """One database for the module: no test changes anything. TimescaleDB runs on PostgreSQL 15."""
    with engine_of(make_shared_database(named_server(request), like=migrate)) as engine:
        questions.fill(engine)
        yield engine
