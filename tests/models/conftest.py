"""Databases with tenants in them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Engine

from tests.support import acme_and_globex, questions, seeded_tenant
from tests.support.alembic_project import config_for
from tests.support.databases import SERVERS
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer, describe_server


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


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.timescaledb)
        if name in ("timescaledb", "apache")
        else name
        for name in SERVERS
        if name not in ("embedded-16", "machine")
    ],
)
def asked(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """One database for the module: no test changes anything. TimescaleDB runs on PostgreSQL 15."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    request.getfixturevalue("editions").add(describe_server(server))
    name = f"questions_{uuid.uuid4().hex[:12]}"
    with (
        engine_of(server.url("postgres")) as admin,
        admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        try:
            with engine_of(server.url(name)) as engine:
                command.upgrade(config_for(engine), "head")
                questions.fill(engine)
                yield engine
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
