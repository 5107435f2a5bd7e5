"""metrics as columns

Revision 0033, after 0032; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


# The rollups call a function from here on, so that another metric changes that and not them. Their
# rows are what they were: all are kept.
def upgrade() -> None:
    # accept ban-drop-view: it and the next are created again below, in the same transaction
    op.drop_view("telemetry_hourly")
    op.drop_view("telemetry_daily")
    op.drop_rollup("telemetry_hourly", set_aside=True, schema="timeseries")
    op.drop_rollup("telemetry_daily", set_aside=True, schema="timeseries")
    op.alter_columnstore(
        "telemetry", segmentby="tenant_id,device_id,msg_type", orderby="ts DESC,seq", after="7 days",
        schema="timeseries",
    )
    op.create_function(
        "numeric_metrics", "message timeseries.telemetry", returns="TABLE(metric text, value double precision)",
        language="sql", volatility="immutable", parallel="safe",
        body=(
            "BEGIN ATOMIC\n"
            "SELECT m.key, m.value::double precision\n"
            "  FROM jsonb_each(message.metrics) m\n"
            " WHERE octet_length(m.key) <= 255\n"
            "   AND CASE WHEN jsonb_typeof(m.value) = 'number'\n"
            "            THEN m.value::numeric = 0 OR abs(m.value::numeric) BETWEEN 1e-100 AND 1e100\n"
            "            ELSE false END;\n"
            "END"
        ),
        comment="The numeric metrics of a message, from its columns and from its JSON.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "execute"},
    )
    op.create_rollup(
        "telemetry_daily",
        (
            "SELECT t.tenant_id, t.device_id, m.metric, time_bucket('1 day', t.ts) AS bucket,\n"
            "       avg(m.value) AS avg, min(m.value) AS min, max(m.value) AS max, count(*) AS count\n"
            "  FROM timeseries.telemetry t, LATERAL numeric_metrics(t) m\n"
            " GROUP BY 1, 2, 3, 4"
        ),
        materialized_only=False, comment="Numeric metrics of devices by day.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
        keys=["tenant_id", "device_id", "metric", "bucket"], copied=["avg", "min", "max", "count"],
    )
    op.create_columnstore(
        "telemetry_daily", segmentby="tenant_id,device_id,metric", orderby="bucket DESC", after="90 days", rollup=True,
        schema="timeseries",
    )
    op.create_retention_policy("telemetry_daily", drop_after="5 years", schema="timeseries")
    op.create_refresh_policy(
        "telemetry_daily", start_offset="7 days", end_offset="1 day", every="6 hours", schema="timeseries",
    )
    op.create_rollup(
        "telemetry_hourly",
        (
            "SELECT t.tenant_id, t.device_id, m.metric, time_bucket('1 hour', t.ts) AS bucket,\n"
            "       avg(m.value) AS avg, min(m.value) AS min, max(m.value) AS max, count(*) AS count\n"
            "  FROM timeseries.telemetry t, LATERAL numeric_metrics(t) m\n"
            " GROUP BY 1, 2, 3, 4"
        ),
        materialized_only=False, comment="Numeric metrics of devices by hour.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
        keys=["tenant_id", "device_id", "metric", "bucket"], copied=["avg", "min", "max", "count"],
    )
    op.create_columnstore(
        "telemetry_hourly", segmentby="tenant_id,device_id,metric", orderby="bucket DESC", after="30 days", rollup=True,
        schema="timeseries",
    )
    op.create_retention_policy("telemetry_hourly", drop_after="1 year", schema="timeseries")
    op.create_refresh_policy(
        "telemetry_hourly", start_offset="3 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.create_view(
        "telemetry_daily",
        (
            "SELECT tenant_id, device_id, metric, bucket, avg, min, max, count\n"
            "  FROM timeseries.telemetry_daily\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        comment="Numeric metrics of devices by day. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "telemetry_hourly",
        (
            "SELECT tenant_id, device_id, metric, bucket, avg, min, max, count\n"
            "  FROM timeseries.telemetry_hourly\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        comment="Numeric metrics of devices by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_view("telemetry_hourly")
    op.drop_view("telemetry_daily")
    op.drop_rollup("telemetry_hourly", set_aside=True, schema="timeseries")
    op.drop_rollup("telemetry_daily", set_aside=True, schema="timeseries")
    op.drop_function("numeric_metrics", "message timeseries.telemetry")
    op.alter_columnstore(
        "telemetry", segmentby="tenant_id,device_id", orderby="ts DESC,msg_type,seq", after="7 days",
        schema="timeseries",
    )
    op.create_rollup(
        "telemetry_daily",
        (
            "SELECT t.tenant_id,\n"
            "   t.device_id,\n"
            "   m.key AS metric,\n"
            "   time_bucket('1 day'::interval, t.ts) AS bucket,\n"
            "   avg((m.value)::double precision) AS avg,\n"
            "   min((m.value)::double precision) AS min,\n"
            "   max((m.value)::double precision) AS max,\n"
            "   count(*) AS count\n"
            "  FROM timeseries.telemetry t,\n"
            "   LATERAL jsonb_each(t.metrics) m(key, value)\n"
            " WHERE ((octet_length(m.key) <= 255) AND\n"
            "       CASE\n"
            "           WHEN (jsonb_typeof(m.value) = 'number'::text) THEN (((m.value)::numeric = (0)::numeric) OR"
            " ((abs((m.value)::numeric) >="
            " 0.0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001)"
            " AND (abs((m.value)::numeric) <="
            " '10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)))\n"
            "           ELSE false\n"
            "       END)\n"
            " GROUP BY t.tenant_id, t.device_id, m.key, (time_bucket('1 day'::interval, t.ts))"
        ),
        materialized_only=False, comment="Numeric metrics of devices by day.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
        keys=["tenant_id", "device_id", "metric", "bucket"], copied=["avg", "min", "max", "count"],
    )
    op.create_refresh_policy(
        "telemetry_daily", start_offset="7 days", end_offset="1 day", every="06:00:00", schema="timeseries",
    )
    op.create_retention_policy("telemetry_daily", drop_after="5 years", schema="timeseries")
    op.create_columnstore(
        "telemetry_daily", segmentby="tenant_id,device_id,metric", orderby="bucket DESC", after="90 days", rollup=True,
        schema="timeseries",
    )
    op.create_rollup(
        "telemetry_hourly",
        (
            "SELECT t.tenant_id,\n"
            "   t.device_id,\n"
            "   m.key AS metric,\n"
            "   time_bucket('01:00:00'::interval, t.ts) AS bucket,\n"
            "   avg((m.value)::double precision) AS avg,\n"
            "   min((m.value)::double precision) AS min,\n"
            "   max((m.value)::double precision) AS max,\n"
            "   count(*) AS count\n"
            "  FROM timeseries.telemetry t,\n"
            "   LATERAL jsonb_each(t.metrics) m(key, value)\n"
            " WHERE ((octet_length(m.key) <= 255) AND\n"
            "       CASE\n"
            "           WHEN (jsonb_typeof(m.value) = 'number'::text) THEN (((m.value)::numeric = (0)::numeric) OR"
            " ((abs((m.value)::numeric) >="
            " 0.0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001)"
            " AND (abs((m.value)::numeric) <="
            " '10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)))\n"
            "           ELSE false\n"
            "       END)\n"
            " GROUP BY t.tenant_id, t.device_id, m.key, (time_bucket('01:00:00'::interval, t.ts))"
        ),
        materialized_only=False, comment="Numeric metrics of devices by hour.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
        keys=["tenant_id", "device_id", "metric", "bucket"], copied=["avg", "min", "max", "count"],
    )
    op.create_refresh_policy(
        "telemetry_hourly", start_offset="3 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.create_retention_policy("telemetry_hourly", drop_after="1 year", schema="timeseries")
    op.create_columnstore(
        "telemetry_hourly", segmentby="tenant_id,device_id,metric", orderby="bucket DESC", after="30 days", rollup=True,
        schema="timeseries",
    )
    op.create_view(
        "telemetry_daily",
        (
            "SELECT tenant_id,\n"
            "   device_id,\n"
            "   metric,\n"
            "   bucket,\n"
            "   avg,\n"
            "   min,\n"
            "   max,\n"
            "   count\n"
            "  FROM timeseries.telemetry_daily\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        comment="Numeric metrics of devices by day. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "telemetry_hourly",
        (
            "SELECT tenant_id,\n"
            "   device_id,\n"
            "   metric,\n"
            "   bucket,\n"
            "   avg,\n"
            "   min,\n"
            "   max,\n"
            "   count\n"
            "  FROM timeseries.telemetry_hourly\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        comment="Numeric metrics of devices by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
