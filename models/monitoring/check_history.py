"""Checks of endpoints, and their hourly and daily rollups with latency histograms."""

from __future__ import annotations

import datetime
import uuid
from itertools import pairwise

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Function, Hypertable, RefreshPolicy, RetentionPolicy
from models.shared.base import TIMESERIES, Base, TenantTimeSeries
from models.shared.judgement import Registered
from models.shared.rollups import MEASURABLE, tenant_rollup

ENDPOINT = Registered("endpoint_id", "endpoints", key="id")

LATENCY_BOUNDS_MS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
"""Upper bounds of the latency buckets in milliseconds; the last bucket has none."""


class HealthCheck(TenantTimeSeries, Base):
    """One check of an endpoint."""

    __tablename__ = "health_checks"
    __time_column__ = "checked_at"
    __registered__ = (ENDPOINT,)

    checked_at: Mapped[datetime.datetime] = mapped_column(
        sort_order=-19,
        comment="When the check was due, so that recording it twice changes nothing.",
    )
    endpoint_id: Mapped[uuid.UUID] = mapped_column(
        comment="The endpoint; no foreign key, as in every hypertable."
    )
    ok: Mapped[bool] = mapped_column(comment="It answered in time and as expected.")
    status_code: Mapped[int | None] = mapped_column(
        comment="Status code of HTTP or a similar protocol."
    )
    response_ms: Mapped[float | None] = mapped_column(
        comment="Time until the complete response; NULL: no response."
    )
    dns_ms: Mapped[float | None]
    connect_ms: Mapped[float | None]
    ttfb_ms: Mapped[float | None] = mapped_column(
        comment="Time until the first byte of the response."
    )
    error: Mapped[str | None] = mapped_column(comment="Error message; NULL if ok.")

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "endpoint_id", "checked_at"),
        CheckConstraint("response_ms >= 0", name="response_ms"),
        Hypertable("checked_at", chunk_interval="1 day"),
        Columnstore(segmentby="tenant_id, endpoint_id", orderby="checked_at DESC", after="7 days"),
        RetentionPolicy("30 days"),
        {"schema": TIMESERIES, "comment": "Checks of endpoints."},
    )


def bucket_columns() -> dict[str, str]:
    """Name and condition of each latency bucket, from the fastest to the slowest."""
    found = {f"below_{LATENCY_BOUNDS_MS[0]}_ms": f"response_ms < {LATENCY_BOUNDS_MS[0]}"}
    for lower, upper in pairwise(LATENCY_BOUNDS_MS):
        found[f"below_{upper}_ms"] = f"response_ms >= {lower} AND response_ms < {upper}"
    last = LATENCY_BOUNDS_MS[-1]
    # NaN and infinity are greater than every number.
    return {**found, f"from_{last}_ms": f"response_ms >= {last}"}


_FINITE = MEASURABLE.format("response_ms")
_BY = f"""
    SELECT tenant_id, endpoint_id, time_bucket('{{bucket}}', checked_at) AS bucket,
           count(*) AS count,
           count(*) FILTER (WHERE NOT ok) AS failures,
           avg(response_ms) FILTER (WHERE {_FINITE}) AS avg_ms,
           min(response_ms) FILTER (WHERE {_FINITE}) AS min_ms,
           max(response_ms) FILTER (WHERE {_FINITE}) AS max_ms,
           {
    ''',
           '''.join(
        f"count(*) FILTER (WHERE {condition}) AS {name}"
        for name, condition in bucket_columns().items()
    )
}
      FROM timeseries.health_checks
     GROUP BY 1, 2, 3
"""
_COLUMNS = (
    "tenant_id",
    "endpoint_id",
    "bucket",
    "count",
    "failures",
    "avg_ms",
    "min_ms",
    "max_ms",
    *bucket_columns(),
)

tenant_rollup(
    "health_checks_hourly",
    _BY.format(bucket="1 hour"),
    columns=_COLUMNS,
    refresh=RefreshPolicy("30 days", "1 hour", "30 minutes"),
    columnstore=Columnstore("tenant_id, endpoint_id", "bucket DESC", "7 days"),
    retention="30 days",
    comment="Checks of endpoints by hour, with a latency histogram whose counts can be summed.",
)
tenant_rollup(
    "health_checks_daily",
    _BY.format(bucket="1 day"),
    columns=_COLUMNS,
    refresh=RefreshPolicy("31 days", "1 day", "6 hours"),
    columnstore=Columnstore("tenant_id, endpoint_id", "bucket DESC", "30 days"),
    retention="1 year",
    comment="Checks of endpoints by day, with a latency histogram whose counts can be summed.",
)

_EDGES = ", ".join(
    f"({number}, {lower}, {upper})"
    for number, (lower, upper) in enumerate(pairwise([0, *LATENCY_BOUNDS_MS, "NULL"]), start=1)
)

Function(
    "percentile_from_buckets",
    "counts numeric[], fraction double precision, slowest double precision DEFAULT NULL",
    returns="double precision",
    body=f"""
        RETURN (
          SELECT s.lower + (s.upper - s.lower) * (s.wanted - s.before) / s.n
            FROM (SELECT b.lower::double precision AS lower,
                         coalesce(b.upper, greatest(b.lower, slowest))::double precision AS upper,
                         c.n::double precision AS n,
                         (sum(c.n) OVER (ORDER BY c.number) - c.n)::double precision AS before,
                         fraction * (sum(c.n) OVER ())::double precision AS wanted
                    FROM unnest(counts) WITH ORDINALITY AS c(n, number)
                    JOIN (VALUES {_EDGES}) AS b(number, lower, upper) ON b.number = c.number) AS s
           WHERE s.n > 0 AND s.before + s.n >= s.wanted
             AND fraction BETWEEN 0 AND 1 AND cardinality(counts) = {len(bucket_columns())}
           ORDER BY s.before
           LIMIT 1)
    """,
    volatility="immutable",
    parallel="safe",
    grants=dict.fromkeys(("fleet_app", "fleet_operator", "fleet_operator_read"), "execute"),
    comment="The latency in ms of a percentile (fraction: 0 to 1), interpolated within its bucket. "
    "counts: the bucket columns of health_checks_hourly or health_checks_daily in order, or "
    "their sums; slowest: max_ms, the upper end of the last bucket.",
    metadata=Base.metadata,
)
