"""Two tenants with series of every kind of value, and questions about them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import tenant_transaction
from ddl.edition import Edition, detect

ACME, GLOBEX = uuid.UUID(int=0xA), uuid.UUID(int=0xB)
SHOP, PAY = uuid.UUID(int=0xE1), uuid.UUID(int=0xE2)
ODD = """it's "flow" $part$ $query$ 100 % :x"""
NOW = "(date_trunc('day', now(), 'UTC') + interval '10:20:30')"
"""A moment of today or, in the morning, of the future: nothing may depend on the hour."""

# Metrics of every kind: numbers, too large and too small ones, texts, NULL, absent; a gap of two
# days; a second message of the same moment; a device of the same name in two tenants.
FILL = f"""
    INSERT INTO tenants (tenant_id, slug, name)
    VALUES ('{ACME}', 'acme', 'Acme'), ('{GLOBEX}', 'globex', 'Globex');
    INSERT INTO device_registry (tenant_id, device_id, device_type)
    SELECT t, 'pump-' || n, 'pump'
      FROM unnest('{{{ACME},{GLOBEX}}}'::uuid[]) t, generate_series(1, 4) n;
    INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, seq, metrics)
    SELECT t, ts, 'pump-' || d, seq, jsonb_strip_nulls(jsonb_build_object(
             'rpm', CASE minute % 7 WHEN 3 THEN '"text"'::jsonb WHEN 4 THEN NULL
                                    WHEN 5 THEN '1e300' WHEN 6 THEN '1e-200'
                                    ELSE to_jsonb(minute % 101 - 50 + d + seq * 0.25) END,
             $odd${ODD}$odd$, minute % 13,
             'long' || repeat('-', 300), minute % 3,
             'state', CASE WHEN minute / 600 % 3 = 0 THEN 'idle' ELSE 'running' END))
      FROM unnest('{{{ACME},{GLOBEX}}}'::uuid[]) t, generate_series(1, 3) d,
           generate_series(0, 1) seq,
           generate_series(now() - interval '40 days', now(), '37 minutes') ts,
           LATERAL (SELECT (extract(epoch FROM ts) / 60)::bigint + d AS minute) m
     WHERE (t = '{ACME}' OR d = 1) AND seq <= minute % 2
       AND NOT ts BETWEEN now() - interval '20 days' AND now() - interval '18 days';
    INSERT INTO timeseries.tag_values (tenant_id, ts, tag_id, connection_id, v_num)
    SELECT t, ts, 7, '{SHOP}', CASE WHEN random() < 0.1 THEN 'NaN' ELSE random() END
      FROM unnest('{{{ACME},{GLOBEX}}}'::uuid[]) t,
           generate_series(now() - interval '20 days', now(), '11 minutes') ts;
    INSERT INTO timeseries.health_checks (tenant_id, checked_at, endpoint_id, ok, response_ms)
    SELECT t, ts, e, random() > 0.1, CASE WHEN random() > 0.1 THEN 12000 * random() ^ 4 END
      FROM unnest('{{{ACME},{GLOBEX}}}'::uuid[]) t, unnest('{{{SHOP},{PAY}}}'::uuid[]) e,
           generate_series(now() - interval '12 days', now(), '7 minutes') ts;
"""
REFRESHED = {
    "telemetry_hourly": "1 hour",
    "telemetry_daily": "1 day",
    "tag_values_hourly": "1 hour",
    "health_checks_hourly": "1 hour",
    "health_checks_daily": "1 day",
}

NUMBER = """CASE WHEN jsonb_typeof(metrics -> :metric) = 'number'
    THEN (metrics ->> :metric)::numeric = 0
         OR abs((metrics ->> :metric)::numeric) BETWEEN 1e-100 AND 1e100 ELSE false END"""


def fill(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(FILL, execution_options={"no_parameters": True})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if detect(connection) is not Edition.COMMUNITY:
            return
        for rollup, late in REFRESHED.items():
            connection.exec_driver_sql(
                f"CALL refresh_continuous_aggregate('timeseries.{rollup}',"
                f" now() - interval '60 days', now() - interval '{late}')"
            )
        connection.exec_driver_sql(
            "SELECT compress_chunk(c) FROM show_chunks('timeseries.telemetry',"
            " older_than => interval '7 days') c"
        )


def ask(engine: Engine, query: str, tenant: uuid.UUID = ACME, **values: Any) -> list[Any]:
    with tenant_transaction(engine, tenant) as connection:
        return [tuple(row) for row in connection.execute(sa.text(query), values)]


def refusal(engine: Engine, query: str) -> str:
    with pytest.raises(DBAPIError) as refused:
        ask(engine, query)
    return str(refused.value.orig).splitlines()[0]


def same(found: list[Any], expected: list[Any]) -> None:
    """Equal but for the last digits of means."""
    assert [tuple(map(_near, row)) for row in found] == [tuple(map(_near, row)) for row in expected]


def _near(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value


RANGES = {
    "whole days": (
        "date_trunc('day', now() - interval '35 days', 'UTC')",
        "date_trunc('day', now(), 'UTC')",
    ),
    "odd edges": (
        f"{NOW} - interval '33 days 05:06:07.000008'",
        f"{NOW} - interval '2 days 00:01'",
    ),
    "until now": (f"{NOW} - interval '9 days'", "now()"),
    "into the future": (f"{NOW} - interval '3 days'", "now() + interval '3 days'"),
    "within an hour": (
        f"{NOW} - interval '12 days'",
        f"{NOW} - interval '12 days' + interval '17 minutes'",
    ),
    "two parts of hours": (
        f"{NOW} - interval '5 days'",
        f"{NOW} - interval '5 days' + interval '1:10'",
    ),
    "a gap": (f"{NOW} - interval '19 days 12:00'", f"{NOW} - interval '18 days 20:00'"),
    "before all": ("timestamptz '2001-01-01 00:30Z'", "timestamptz '2001-02-01 00:30Z'"),
}
WIDTHS = {
    "20 minutes": "date_bin('20 minutes', ts, '2000-01-03Z')",
    "6 hours": "date_bin('6 hours', ts, '2000-01-03Z')",
    "1 day": "date_trunc('day', ts, 'UTC')",
    "1 month": "date_trunc('month', ts, 'UTC')",
}


SERIES = "SELECT * FROM metric_series('pump-1', 'rpm', now() - interval '1 day', now(), '1 hour')"
