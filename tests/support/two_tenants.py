"""A database in which two tenants have a row in every table, and measurements of every kind."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Table, types
from sqlalchemy.dialects import postgresql

import models
from ddl import Declared
from ddl.edition import Edition, detect
from ddl.kinds.view import ViewState
from ddl.rollups import RollupState
from models.shared.base import TIMESERIES

ONE, TWO = uuid.UUID(int=0xA1), uuid.UUID(int=0xA2)


@dataclass(frozen=True)
class Reach:
    """One relation as a tenant reaches it."""

    name: str
    table: Table | None
    """None: a view over a rollup."""


def tenant_tables() -> list[Table]:
    """Every table whose rows belong to tenants, those behind a view included."""
    return [
        table for table in models.metadata.sorted_tables if models.SCOPES.get(table.key) == "tenant"
    ]


def reaches() -> list[Reach]:
    """Every tenant table and every tenant view, by the name that a tenant uses."""
    found = [Reach(table.name, table) for table in tenant_tables()]
    tables = {reach.name for reach in found}
    rollups = {name for _, name in Declared.on(models.metadata).of(RollupState)}
    views = {name for _, name in Declared.on(models.metadata).of(ViewState)} & rollups
    return [*found, *(Reach(name, None) for name in sorted(views - tables))]


def fill(engine: Engine) -> None:
    """One row of each tenant in every table; measurements in the columnstore and in rollups.

    What else the tables demand (CHECKs, foreign keys, triggers) has nothing to do with who sees
    a row, so it is taken away first.
    """
    with engine.begin() as connection:
        _loosen(connection)
        values = ", ".join(f"('{one}', 't{one}', 'T')" for one in (ONE, TWO))
        connection.exec_driver_sql(f"INSERT INTO tenants (tenant_id, slug, name) VALUES {values}")
        for table in tenant_tables():
            for tenant in (ONE, TWO):
                connection.execute(table.insert().values(row(table, tenant)))
        edition = detect(connection)
    if edition is Edition.COMMUNITY:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            store_and_compress(connection)


def _loosen(connection: Connection) -> None:
    listed = connection.exec_driver_sql(
        "SELECT format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE',"
        " conrelid::regclass, conname)"
        " FROM pg_constraint JOIN pg_class c ON c.oid = conrelid"
        " WHERE contype IN ('c', 'f') AND connamespace IN"
        f" ('public'::regnamespace, '{TIMESERIES}'::regnamespace)",
        execution_options={"no_parameters": True},
    )
    for statement in listed.scalars().all():
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("SET LOCAL session_replication_role = replica")


def row(table: Table, tenant: uuid.UUID, key: uuid.UUID | None = None) -> dict[str, object]:
    """Values for every column that demands one, made of ``key``, else of the tenant."""
    found: dict[str, object] = {}
    for column in table.columns:
        if column.name == "tenant_id":
            found["tenant_id"] = tenant
        elif column.computed is not None or column.identity is not None:
            continue
        elif (not column.nullable and column.server_default is None) or column.primary_key:
            found[column.name] = _value(column.type, key or tenant)
    # Rollups have a row only where there is something to compute.
    measured: dict[str, object] = {"metrics": {"x": 1}, "v_num": 1.0}
    return found | {name: one for name, one in measured.items() if name in table.columns}


def _value(kind: types.TypeEngine[object], tenant: uuid.UUID) -> object:
    if isinstance(kind, types.Uuid):
        return tenant
    if isinstance(kind, types.Boolean):
        return True
    if isinstance(kind, types.Numeric | types.Float | types.Integer):
        return tenant.int % 0x100
    if isinstance(kind, postgresql.TIMESTAMP | types.DateTime):
        return sa.text("date_trunc('hour', now() - interval '2 days')")
    if isinstance(kind, types.ARRAY):
        return sa.text("'{}'")
    if isinstance(kind, types.JSON):
        return {"x": 1}
    if isinstance(kind, types.Interval):
        return sa.text("interval '1 day'")
    if isinstance(kind, types.Date):
        return sa.text("current_date")
    if isinstance(kind, types.Time):
        return sa.text("time '12:00'")
    if isinstance(kind, types.LargeBinary):
        return b"x"
    return f"of {tenant}"


def store_and_compress(connection: Connection) -> None:
    views = connection.exec_driver_sql(
        "SELECT format('%I.%I', view_schema, view_name)"
        " FROM timescaledb_information.continuous_aggregates",
        execution_options={"no_parameters": True},
    )
    for name in views.scalars().all():
        connection.exec_driver_sql(f"CALL refresh_continuous_aggregate('{name}', NULL, NULL)")
    connection.exec_driver_sql(
        "SELECT compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass)"
        " FROM timescaledb_information.chunks WHERE NOT is_compressed",
        execution_options={"no_parameters": True},
    )
