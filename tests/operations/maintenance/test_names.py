"""Rows are counted and deleted whatever a table and its column of time are called."""

from __future__ import annotations

import datetime
import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from ddl.sql import ident, send
from operations.maintenance.time_series import TimeSeries, count_older, empty, parts, tenants_in
from operations.tenants.tenant_tables import TenantTable
from tests.support.databases import MakeDatabase
from tests.support.servers import DatabaseServer

TENANT = uuid.UUID(int=1)
TOMORROW = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
NAMES = ("user", 'a "b" :x %s', "it's :tenant\\:", "Ж.%%")


@pytest.fixture
def engine(embedded_server: DatabaseServer, make_database: MakeDatabase) -> Engine:
    return sa.create_engine(make_database(embedded_server), poolclass=sa.NullPool)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_need_quotes(engine: Engine, name: str) -> None:
    series = TimeSeries(name, f"public.{ident(name)}", name, False, False, True)
    with engine.begin() as connection:
        send(
            connection,
            f"CREATE TABLE {series.storage} (tenant_id uuid, {ident(name)} timestamptz);"
            f"INSERT INTO {series.storage} VALUES ('{TENANT}', now()), ('{TENANT}', now())",
        )
    with engine.connect() as connection:
        assert [one.rows for one in parts(connection, series, TENANT, TOMORROW)] == [2]
        assert count_older(connection, series, TOMORROW) == 2
        assert tenants_in(connection, series) == [TENANT]
        table = TenantTable(0, "public", name, frozenset(), True)
        counted = sa.text(f"SELECT count(*) FROM {table.sql} WHERE tenant_id = :tenant")
        assert connection.scalar(counted, {"tenant": TENANT}) == 2
        connection.rollback()
        deleted = empty(connection, series, TENANT, before=TOMORROW, lock_timeout="1s")
        assert sum(deleted) == 2
