"""Rates of tenants in tests: set, looked at, and made older instead of waited for."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from tests.support.telemetry import ONE, rows

_LEFT = """
    SELECT r.level - coalesce(sum(d.records), 0)
      FROM ingest_rates r
      LEFT JOIN (SELECT of_tenant, max(records) AS records FROM ingest_debits
                  GROUP BY of_tenant, transaction) d ON d.of_tenant = r.tenant_id
     WHERE r.tenant_id = :tenant GROUP BY r.tenant_id
"""


def as_operator(engine: Engine, statement: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
        connection.execute(sa.text(statement), values)


def limit(
    engine: Engine, per_minute: int | None, burst: int | None = None, tenant: uuid.UUID = ONE
) -> None:
    """Give the tenant a rate, and a full bucket; None: no rate."""
    as_operator(engine, "DELETE FROM ingest_rates WHERE tenant_id = :tenant", tenant=tenant)
    if per_minute is not None:
        as_operator(
            engine,
            "INSERT INTO ingest_rates (tenant_id, records_per_minute, burst)"
            " VALUES (:tenant, :per_minute, :burst)",
            tenant=tenant,
            per_minute=per_minute,
            burst=burst,
        )


def pass_time(engine: Engine, seconds: float) -> None:
    """Let all that is known of buckets be older."""
    for table, column in (("ingest_rates", "level_at"), ("ingest_debits", "began_at")):
        # Operators have no UPDATE of debits, so this is for a superuser.
        with engine.begin() as connection:
            connection.execute(
                sa.text(f"UPDATE {table} SET {column} = {column} - :age * interval '1 second'"),
                {"age": seconds},
            )


def left(engine: Engine, tenant: uuid.UUID = ONE) -> float:
    """What the bucket held when it was last looked into, less what was stored since."""
    return float(rows(engine, _LEFT, tenant=tenant)[0][0])
