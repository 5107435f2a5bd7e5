from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.time_series import (
    SLUGS,
    add_rows,
    compress,
    make_tenants,
    migrate,
    refresh,
    stop_jobs,
)

EDITIONS = ("embedded", pytest.param("apache", marks=pytest.mark.timescaledb))


@pytest.fixture
def fleet(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """Community: three tenants with messages 40, 20 and 1 days old, all compressed."""
    url = make_database(timescaledb_server)
    migrate(url)
    with engine_of(url) as engine:
        stop_jobs(engine)
        make_tenants(engine)
        for tenant in SLUGS:
            for age in ("40 days", "20 days", "1 day"):
                add_rows(engine, tenant, age)
        refresh(engine)
        compress(engine)
        yield engine


@pytest.fixture(params=EDITIONS)
def lesser(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """Plain PostgreSQL, then the Apache edition: messages 450, 40 and 1 days old."""
    url = make_database(request.getfixturevalue(f"{request.param}_server"))
    migrate(url)
    with engine_of(url) as engine:
        make_tenants(engine)
        for tenant in SLUGS:
            for age in ("450 days", "40 days", "1 day"):
                add_rows(engine, tenant, age)
        yield engine
