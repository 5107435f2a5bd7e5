"""Databases with tenants and devices that messages may come from."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from database.engine import make_engine
from database.tenancy import ANY_LOGIN
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.preparation import after
from tests.support.servers import DatabaseServer
from tests.support.telemetry import empty, populate
from tests.support.time_series import migrate


@after(migrate)
def with_devices(url: str) -> None:
    """Tenants and devices."""
    with engine_of(url) as engine:
        populate(engine)


@pytest.fixture
def database(make_database: MakeDatabase) -> str:
    """Reference data would only get in the way of the counts."""
    return make_database(like=with_devices)


@pytest.fixture
def community(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """The same with TimescaleDB."""
    with engine_of(make_database(timescaledb_server, like=with_devices)) as engine:
        yield engine


@pytest.fixture(scope="module")
def shared_engine(make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """One database for many small tests."""
    engine = make_engine(
        make_shared_database(like=with_devices), execution_options={ANY_LOGIN: True}
    )
    yield engine
    engine.dispose()


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
