"""A database in which whatever the second tenant has can be told from all else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

import models
from ddl import Declared
from ddl.edition import Edition, detect
from ddl.rollups import RollupState
from models.shared.base import TIMESERIES
from tests.support.databases import LONG, MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.time_series import migrate
from tests.support.two_tenants import ONE, TWO, fill, row, tenant_tables

OTHER, ME = ONE, TWO


@pytest.fixture(
    scope="module",
    params=servers(
        "embedded", "embedded-16", "timescaledb", *(("machine", "apache") if LONG else ())
    ),
)
def marked(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """Two tenants, whose text and keys have their ids; no test changes anything.

    Rows of OTHER come first, in tables, indexes and segments, so that no failing row of ME hides
    them. Series and rollups have rows in the columnstore, where there is one, and beside it, with
    statistics.
    """
    with engine_of(make_shared_database(named_server(request), like=migrate)) as engine:
        fill(engine)
        with engine.begin() as connection:
            again(connection)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if detect(connection) is Edition.COMMUNITY:
                for schema, name in Declared.on(models.metadata).of(RollupState):
                    view = f"'{schema}.{name}', NULL, NULL, force => true"
                    connection.exec_driver_sql(f"CALL refresh_continuous_aggregate({view})")
            connection.exec_driver_sql("ANALYZE")
        yield engine


def again(connection: sa.Connection) -> None:
    """Rows of the series that come after their chunk was compressed, twelve of each tenant."""
    connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
    for table in tenant_tables():
        if table.schema != TIMESERIES:
            continue
        time = list(table.columns)[1].name
        for tenant in (OTHER, ME):
            for minute in range(1, 13):
                moment = f"date_trunc('hour', now() - interval '2 days {minute} minutes')"
                values = row(table, tenant) | {time: sa.text(f"{moment} + interval '{minute} s'")}
                connection.execute(table.insert().values(values))
