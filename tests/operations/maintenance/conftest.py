from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.preparation import after
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


@after(migrate)
def fill(url: str) -> None:
    """Community: three tenants with messages 40, 20 and 1 days old, all compressed."""
    with engine_of(url) as engine:
        stop_jobs(engine)
        make_tenants(engine)
        for tenant in SLUGS:
            for age in ("40 days", "20 days", "1 day"):
                add_rows(engine, tenant, age)
        refresh(engine)
        compress(engine)


@after(migrate)
def fill_without_jobs(url: str) -> None:
    """Three tenants with messages 450, 40 and 1 days old."""
    with engine_of(url) as engine:
        make_tenants(engine)
        for tenant in SLUGS:
            for age in ("450 days", "40 days", "1 day"):
                add_rows(engine, tenant, age)


@pytest.fixture
def fleet(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """What `fill` makes."""
    with engine_of(make_database(timescaledb_server, like=fill)) as engine:
        yield engine


@pytest.fixture(params=servers("embedded", "apache"))
def lesser(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """What `fill_without_jobs` makes, on plain PostgreSQL and on the Apache edition."""
    with engine_of(make_database(named_server(request), like=fill_without_jobs)) as engine:
        yield engine
