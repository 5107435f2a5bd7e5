"""health checks

Revision 0021, after 0020; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_function(
        "percentile_from_buckets", "counts numeric[], fraction double precision, slowest double precision DEFAULT NULL",
        returns="double precision", language="sql", volatility="immutable", parallel="safe",
        body=(
            "RETURN (\n"
            "  SELECT s.lower + (s.upper - s.lower) * (s.wanted - s.before) / s.n\n"
            "    FROM (SELECT b.lower::double precision AS lower,\n"
            "                 coalesce(b.upper, greatest(b.lower, slowest))::double precision AS upper,\n"
            "                 c.n::double precision AS n,\n"
            "                 (sum(c.n) OVER (ORDER BY c.number) - c.n)::double precision AS before,\n"
            "                 fraction * (sum(c.n) OVER ())::double precision AS wanted\n"
            "            FROM unnest(counts) WITH ORDINALITY AS c(n, number)\n"
            "            JOIN (VALUES (1, 0, 10), (2, 10, 25), (3, 25, 50), (4, 50, 100), (5, 100, 250), (6, 250,"
            " 500), (7, 500, 1000), (8, 1000, 2500), (9, 2500, 5000), (10, 5000, 10000), (11, 10000, NULL)) AS"
            " b(number, lower, upper) ON b.number = c.number) AS s\n"
            "   WHERE s.n > 0 AND s.before + s.n >= s.wanted\n"
            "     AND fraction BETWEEN 0 AND 1 AND cardinality(counts) = 11\n"
            "   ORDER BY s.before\n"
            "   LIMIT 1)"
        ),
        comment="The latency in ms of a percentile (fraction: 0 to 1), interpolated within its bucket. counts: the"
            " bucket columns of health_checks_hourly or health_checks_daily in order, or their sums; slowest: max_ms,"
            " the upper end of the last bucket.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "execute"},
    )

    op.create_table(
        "health_checks",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("checked_at", sa.TIMESTAMP(timezone=True), nullable=False,
            comment="When the check was due, so that recording it twice changes nothing."),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False,
            comment="The endpoint; no foreign key, as in every hypertable."),
        sa.Column("ok", sa.Boolean(), nullable=False, comment="It answered in time and as expected."),
        sa.Column("status_code", sa.Integer(), nullable=True, comment="Status code of HTTP or a similar protocol."),
        sa.Column("response_ms", sa.Double(), nullable=True,
            comment="Time until the complete response; NULL: no response."),
        sa.Column("dns_ms", sa.Double(), nullable=True),
        sa.Column("connect_ms", sa.Double(), nullable=True),
        sa.Column("ttfb_ms", sa.Double(), nullable=True, comment="Time until the first byte of the response."),
        sa.Column("error", sa.Text(), nullable=True, comment="Error message; NULL if ok."),
        sa.CheckConstraint("response_ms >= 0", name=op.f("ck_health_checks_response_ms")),
        sa.PrimaryKeyConstraint("tenant_id", "endpoint_id", "checked_at", name=op.f("pk_health_checks")),
        schema="timeseries",
        comment="Checks of endpoints.",
    )
    op.create_hypertable("health_checks", time_column="checked_at", chunk_interval="1 day", schema="timeseries")
    op.create_columnstore(
        "health_checks", segmentby="tenant_id,endpoint_id", orderby="checked_at DESC", after="7 days",
        schema="timeseries",
    )
    op.create_retention_policy("health_checks", drop_after="30 days", schema="timeseries")
    op.create_view(
        "health_checks",
        (
            "SELECT tenant_id, checked_at, endpoint_id, ok, status_code, response_ms, dns_ms, connect_ms, ttfb_ms,"
            " error\n"
            "  FROM timeseries.health_checks\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        check_option="cascaded", comment="Checks of endpoints. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select"},
    )
    op.grant(
        "health_checks", {"fleet_ingest": "insert", "fleet_operator, fleet_operator_read": "select"},
        schema="timeseries",
    )
    op.create_rollup(
        "health_checks_daily",
        (
            "SELECT tenant_id, endpoint_id, time_bucket('1 day', checked_at) AS bucket,\n"
            "       count(*) AS count,\n"
            "       count(*) FILTER (WHERE NOT ok) AS failures,\n"
            "       avg(response_ms) FILTER (WHERE abs(response_ms) <= 1e100) AS avg_ms,\n"
            "       min(response_ms) FILTER (WHERE abs(response_ms) <= 1e100) AS min_ms,\n"
            "       max(response_ms) FILTER (WHERE abs(response_ms) <= 1e100) AS max_ms,\n"
            "       count(*) FILTER (WHERE response_ms < 10) AS below_10_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 10 AND response_ms < 25) AS below_25_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 25 AND response_ms < 50) AS below_50_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 50 AND response_ms < 100) AS below_100_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 100 AND response_ms < 250) AS below_250_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 250 AND response_ms < 500) AS below_500_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 500 AND response_ms < 1000) AS below_1000_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 1000 AND response_ms < 2500) AS below_2500_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 2500 AND response_ms < 5000) AS below_5000_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 5000 AND response_ms < 10000) AS below_10000_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 10000) AS from_10000_ms\n"
            "  FROM timeseries.health_checks\n"
            " GROUP BY 1, 2, 3"
        ),
        materialized_only=False,
        comment="Checks of endpoints by day, with a latency histogram whose counts can be summed.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
    )
    op.create_columnstore(
        "health_checks_daily", segmentby="tenant_id,endpoint_id", orderby="bucket DESC", after="30 days", rollup=True,
        schema="timeseries",
    )
    op.create_retention_policy("health_checks_daily", drop_after="1 year", schema="timeseries")
    op.create_refresh_policy(
        "health_checks_daily", start_offset="7 days", end_offset="1 day", every="6 hours", schema="timeseries",
    )
    op.create_rollup(
        "health_checks_hourly",
        (
            "SELECT tenant_id, endpoint_id, time_bucket('1 hour', checked_at) AS bucket,\n"
            "       count(*) AS count,\n"
            "       count(*) FILTER (WHERE NOT ok) AS failures,\n"
            "       avg(response_ms) FILTER (WHERE abs(response_ms) <= 1e100) AS avg_ms,\n"
            "       min(response_ms) FILTER (WHERE abs(response_ms) <= 1e100) AS min_ms,\n"
            "       max(response_ms) FILTER (WHERE abs(response_ms) <= 1e100) AS max_ms,\n"
            "       count(*) FILTER (WHERE response_ms < 10) AS below_10_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 10 AND response_ms < 25) AS below_25_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 25 AND response_ms < 50) AS below_50_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 50 AND response_ms < 100) AS below_100_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 100 AND response_ms < 250) AS below_250_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 250 AND response_ms < 500) AS below_500_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 500 AND response_ms < 1000) AS below_1000_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 1000 AND response_ms < 2500) AS below_2500_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 2500 AND response_ms < 5000) AS below_5000_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 5000 AND response_ms < 10000) AS below_10000_ms,\n"
            "       count(*) FILTER (WHERE response_ms >= 10000) AS from_10000_ms\n"
            "  FROM timeseries.health_checks\n"
            " GROUP BY 1, 2, 3"
        ),
        materialized_only=False,
        comment="Checks of endpoints by hour, with a latency histogram whose counts can be summed.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
    )
    op.create_columnstore(
        "health_checks_hourly", segmentby="tenant_id,endpoint_id", orderby="bucket DESC", after="7 days", rollup=True,
        schema="timeseries",
    )
    op.create_retention_policy("health_checks_hourly", drop_after="30 days", schema="timeseries")
    op.create_refresh_policy(
        "health_checks_hourly", start_offset="3 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.create_view(
        "health_checks_daily",
        (
            "SELECT tenant_id, endpoint_id, bucket, count, failures, avg_ms, min_ms, max_ms, below_10_ms, below_25_ms,"
            " below_50_ms, below_100_ms, below_250_ms, below_500_ms, below_1000_ms, below_2500_ms, below_5000_ms,"
            " below_10000_ms, from_10000_ms\n"
            "  FROM timeseries.health_checks_daily\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        comment="Checks of endpoints by day, with a latency histogram whose counts can be summed. Only rows of the"
            " current tenant.",
        grants={"fleet_app": "select"},
    )
    op.create_view(
        "health_checks_hourly",
        (
            "SELECT tenant_id, endpoint_id, bucket, count, failures, avg_ms, min_ms, max_ms, below_10_ms, below_25_ms,"
            " below_50_ms, below_100_ms, below_250_ms, below_500_ms, below_1000_ms, below_2500_ms, below_5000_ms,"
            " below_10000_ms, from_10000_ms\n"
            "  FROM timeseries.health_checks_hourly\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        comment="Checks of endpoints by hour, with a latency histogram whose counts can be summed. Only rows of the"
            " current tenant.",
        grants={"fleet_app": "select"},
    )


def downgrade() -> None:
    op.drop_view("health_checks_hourly")
    op.drop_view("health_checks_daily")
    op.drop_rollup("health_checks_hourly", schema="timeseries")
    op.drop_rollup("health_checks_daily", schema="timeseries")
    op.drop_view("health_checks")
    op.drop_hypertable("health_checks", schema="timeseries")
    op.drop_table("health_checks", schema="timeseries")
    op.drop_function("percentile_from_buckets", "counts numeric[], fraction double precision, slowest double precision")
