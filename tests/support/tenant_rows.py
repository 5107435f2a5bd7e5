"""The rows of the demonstration's two tenants: counted, compared by checksum, changed."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from operations.demo.tenant_data import TENANTS
from operations.tenants import tenant_tables
from operations.tenants.tenant_tables import count_rows

DEVICES = 60
ACME, GLOBEX = (tenant.slug for tenant in TENANTS)


def counts(engine: Engine, tenant_id: uuid.UUID) -> dict[str, int]:
    with engine.connect() as connection:
        return count_rows(connection, tenant_id)


def checksums(engine: Engine, tenant_id: uuid.UUID) -> dict[str, str]:
    """Table to a checksum over every column of every row of a tenant."""
    with engine.connect() as connection:
        return {
            table.name: connection.execute(
                sa.text(
                    "SELECT md5(coalesce(string_agg(x::text, ' ' ORDER BY x::text), ''))"
                    f" FROM {table.sql} x WHERE tenant_id = :tenant"
                ),
                {"tenant": tenant_id},
            ).scalar_one()
            for table in tenant_tables.read_tenant_tables(connection)
        }


def scalar(engine: Engine, query: str, **values: Any) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.text(query), values).scalar_one()


def execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
