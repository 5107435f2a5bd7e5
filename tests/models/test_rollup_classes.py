"""Mapped classes of rollups are what the rollups are."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine, Table, inspect, select

import models
from database.tenancy import tenant_session
from ddl import Declared
from ddl.rollups import RollupState
from models.rollups import RollupBase, TelemetryDaily, TelemetryHourly

TABLES = RollupBase.metadata.sorted_tables


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_class_has_the_columns_of_its_rollup(engine: Engine, table: Table) -> None:
    declared = {column.name: column.type.compile(engine.dialect) for column in table.columns}
    for schema in ("timeseries", "public") if "tenant_id" in declared else ("timeseries",):
        found = inspect(engine).get_columns(table.name, schema=schema)
        assert declared == {
            column["name"]: column["type"].compile(engine.dialect) for column in found
        }


def test_a_tenant_reads_its_buckets(engine: Engine, acme: uuid.UUID) -> None:
    with tenant_session(engine, acme) as session:
        session.connection().exec_driver_sql(
            "INSERT INTO telemetry (tenant_id, ts, device_id, metrics) VALUES"
            " (current_tenant(), '2026-10-24 08:10Z', 'pump-1', '{\"flow\": 2}')"
        )
        hour = session.scalars(select(TelemetryHourly)).one()
        assert (hour.device_id, hour.metric, hour.avg, hour.count) == ("pump-1", "flow", 2.0, 1)
        assert session.scalars(select(TelemetryDaily.bucket)).one().day == 24


def test_they_are_no_tables_of_the_models() -> None:
    assert not {table.key for table in TABLES} & set(models.metadata.tables)


def test_every_rollup_has_a_class() -> None:
    declared = Declared.on(models.metadata).of(RollupState)
    assert {(table.schema, table.name) for table in TABLES} == set(declared)
