"""A cluster with roles of its own, and logins that keep a single connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from database.embedded import TemporaryServer
from database.engine import make_engine
from database.tenancy import ANY_LOGIN
from tests.support.engines import execute
from tests.support.servers import embedded_programs
from tests.support.tenancy import SCHEMA


@pytest.fixture(scope="package")
def server() -> Iterator[TemporaryServer]:
    """A cluster of its own: these roles are not those of the models."""
    with TemporaryServer(embedded_programs(18)) as server:
        execute(server.url("postgres"), SCHEMA)
        yield server


@pytest.fixture(autouse=True)
def two_rows(server: TemporaryServer) -> None:
    """Each test begins with one row a tenant and an empty log."""
    execute(
        server.url("postgres"),
        "delete from thing where name not like 'of _'; truncate operator_audit_log;"
        "delete from timeseries.reading where name not like 'of _'",
    )


@pytest.fixture
def login(server: TemporaryServer) -> Iterator[Any]:
    """Engines with a single connection, so that leftovers of one transaction meet the next."""
    made: list[Engine] = []

    def make(name: str, **options: Any) -> Engine:
        if name == "owner":
            options.setdefault("execution_options", {ANY_LOGIN: True})
        url = server.url("postgres", user=name, password="x")
        made.append(make_engine(url, **{"pool_size": 1, "max_overflow": 0, **options}))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()
