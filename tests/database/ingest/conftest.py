"""Databases with tenants and devices that messages may come from."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from database.engine import make_engine
from tests.support.engines import engine_of, execute
from tests.support.servers import DatabaseServer
from tests.support.telemetry import empty, populate


@pytest.fixture
def database(migrated_database: str) -> str:
    """Reference data would only get in the way of the counts."""
    with engine_of(migrated_database) as engine:
        populate(engine)
    return migrated_database


@pytest.fixture(scope="package")
def shared_engine(embedded_server: DatabaseServer, migrated_template: str) -> Iterator[Engine]:
    """One database for many small tests."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    server = embedded_server.url("postgres")
    execute(server, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    execute(server, f"GRANT TEMPORARY ON DATABASE {name} TO fleet_ingest")
    engine = make_engine(embedded_server.url(name))
    populate(engine)
    yield engine
    engine.dispose()
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def shared(shared_engine: Engine) -> Engine:
    empty(shared_engine)
    return shared_engine


@pytest.fixture
def login(engine: Engine) -> Iterator[Callable[..., sa.URL]]:
    """A login that is granted one role and nothing else."""
    made = []

    def make(role: str) -> sa.URL:
        name = f"login_{uuid.uuid4().hex[:8]}"
        made.append(name)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE {role}")
        return engine.url.set(username=name, password="x")

    yield make
    with engine.begin() as connection:
        for name in made:
            connection.exec_driver_sql(f"DROP ROLE {name}")
