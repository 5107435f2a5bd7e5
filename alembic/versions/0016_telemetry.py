"""telemetry

Revision 0016, after 0015; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_function(
        "notify_own_telemetry", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if public.current_tenant() is not null then\n"
            "    perform pg_notify('telemetry', public.current_tenant()::text);\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY telemetry for the tenant of the transaction, if one is set.",
    )

    op.create_table(
        "telemetry",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False,
            comment="When it was measured, according to the device."),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("msg_type", sa.Text(), server_default="telemetry", nullable=False,
            comment="Kind of message, as named by the device."),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False,
            comment="Distinguishes messages of the same moment."),
        sa.Column("site_id", sa.Uuid(), nullable=True, comment="The site of the device at the time."),
        sa.Column("metrics", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Metric name to value of any type."),
        sa.Column("ingested_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False,
            comment="When it was stored; the difference to ts is the delay."),
        sa.CheckConstraint("device_id <> ''", name=op.f("ck_telemetry_device_id_not_empty")),
        sa.CheckConstraint("jsonb_typeof(metrics) = 'object'", name=op.f("ck_telemetry_metrics_object")),
        sa.CheckConstraint("msg_type <> ''", name=op.f("ck_telemetry_msg_type_not_empty")),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", "ts", "msg_type", "seq", name=op.f("pk_telemetry")),
        schema="timeseries",
        comment="Messages of devices, one row each with all its metrics.",
    )
    op.create_hypertable("telemetry", time_column="ts", chunk_interval="1 day", schema="timeseries")
    op.create_columnstore(
        "telemetry", segmentby="tenant_id,device_id", orderby="ts DESC,msg_type,seq", after="7 days",
        schema="timeseries",
    )
    op.create_retention_policy("telemetry", drop_after="400 days", schema="timeseries")
    op.create_trigger(
        "notify_own_telemetry", "telemetry", "after", "insert", level="statement", function="notify_own_telemetry()",
        schema="timeseries",
    )
    op.create_view(
        "telemetry",
        (
            "SELECT tenant_id, ts, device_id, msg_type, seq, site_id, metrics, ingested_at\n"
            "  FROM timeseries.telemetry\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        check_option="cascaded",
        comment="Messages of devices, one row each with all its metrics. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select"},
    )
    op.grant(
        "telemetry", {"fleet_ingest": "insert", "fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
    )

    op.create_table(
        "metric_catalog",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("metric_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("unit_id", sa.Integer(), nullable=True),
        sa.Column("expected_min", sa.Double(), nullable=True, comment="Lowest plausible value, in unit_id."),
        sa.Column("expected_max", sa.Double(), nullable=True, comment="Highest plausible value, in unit_id."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("metric_name <> ''", name=op.f("ck_metric_catalog_metric_name_not_empty")),
        sa.CheckConstraint("expected_min <= expected_max", name=op.f("ck_metric_catalog_expected_range")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_metric_catalog_tenant_id")),
        sa.ForeignKeyConstraint(["unit_id"], ["units_of_measure.id"], name=op.f("fk_metric_catalog_unit_id")),
        sa.PrimaryKeyConstraint("tenant_id", "metric_name", name=op.f("pk_metric_catalog")),
        comment="Metrics of a tenant with their unit and plausible range.",
    )
    op.create_index(op.f("ix_metric_catalog_unit_id"), "metric_catalog", ["unit_id"], unique=False)
    op.create_trigger("set_updated_at", "metric_catalog", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "metric_catalog", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "metric_mappings",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("raw_metric", sa.Text(), nullable=False, comment="As devices send it."),
        sa.Column("metric_name", sa.Text(), nullable=False),
        sa.Column("multiplier", sa.Double(), server_default=sa.text("1"), nullable=False,
            comment="value = raw * multiplier + offset_value"),
        sa.Column("offset_value", sa.Double(), server_default=sa.text("0"), nullable=False,
            comment="In the unit of the metric."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("raw_metric <> ''", name=op.f("ck_metric_mappings_raw_metric_not_empty")),
        sa.CheckConstraint("multiplier <> 0", name=op.f("ck_metric_mappings_multiplier")),
        sa.ForeignKeyConstraint(["tenant_id", "metric_name"],
            ["metric_catalog.tenant_id", "metric_catalog.metric_name"], name=op.f("fk_metric_mappings_metric_name"),
            ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_metric_mappings_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "raw_metric", name=op.f("pk_metric_mappings")),
        comment="Metric names in messages of devices, and the metrics that they stand for.",
    )
    op.create_index(
        op.f("ix_metric_mappings_metric_name"), "metric_mappings", ["tenant_id", "metric_name"], unique=False,
    )
    op.create_trigger("set_updated_at", "metric_mappings", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "metric_mappings", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )
    op.create_rollup(
        "telemetry_daily",
        (
            "SELECT t.tenant_id, t.device_id, m.key AS metric, time_bucket('1 day', t.ts) AS bucket,\n"
            "       avg(m.value::double precision) AS avg,\n"
            "       min(m.value::double precision) AS min,\n"
            "       max(m.value::double precision) AS max,\n"
            "       count(*) AS count\n"
            "  FROM timeseries.telemetry t, LATERAL jsonb_each(t.metrics) m\n"
            " WHERE octet_length(m.key) <= 255\n"
            "   AND CASE WHEN jsonb_typeof(m.value) = 'number'\n"
            "            THEN m.value::numeric = 0 OR abs(m.value::numeric) BETWEEN 1e-100 AND 1e100\n"
            "            ELSE false END\n"
            " GROUP BY 1, 2, 3, 4"
        ),
        materialized_only=False, comment="Numeric metrics of devices by day.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
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
            "SELECT t.tenant_id, t.device_id, m.key AS metric, time_bucket('1 hour', t.ts) AS bucket,\n"
            "       avg(m.value::double precision) AS avg,\n"
            "       min(m.value::double precision) AS min,\n"
            "       max(m.value::double precision) AS max,\n"
            "       count(*) AS count\n"
            "  FROM timeseries.telemetry t, LATERAL jsonb_each(t.metrics) m\n"
            " WHERE octet_length(m.key) <= 255\n"
            "   AND CASE WHEN jsonb_typeof(m.value) = 'number'\n"
            "            THEN m.value::numeric = 0 OR abs(m.value::numeric) BETWEEN 1e-100 AND 1e100\n"
            "            ELSE false END\n"
            " GROUP BY 1, 2, 3, 4"
        ),
        materialized_only=False, comment="Numeric metrics of devices by hour.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
    )
    op.create_columnstore(
        "telemetry_hourly", segmentby="tenant_id,device_id,metric", orderby="bucket DESC", after="30 days", rollup=True,
        schema="timeseries",
    )
    op.create_retention_policy("telemetry_hourly", drop_after="1 year", schema="timeseries")
    op.create_refresh_policy(
        "telemetry_hourly", start_offset="3 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.create_function(
        "notify_telemetry", "tenants uuid[]", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  named uuid[] := array(\n"
            "    select distinct t from unnest(tenants) t where t is not null\n"
            "     limit 201);\n"
            "begin\n"
            "  if cardinality(named) > 200 then\n"
            "    perform pg_notify('telemetry', '*');\n"
            "  else\n"
            "    perform pg_notify('telemetry', t::text) from unnest(named) t;\n"
            "  end if;\n"
            "end"
        ),
        comment="NOTIFY telemetry at commit, once for each tenant; * for more than 200.",
        grants={"fleet_ingest": "execute"},
    )
    op.create_view(
        "telemetry_daily",
        (
            "SELECT tenant_id, device_id, metric, bucket, avg, min, max, count\n"
            "  FROM timeseries.telemetry_daily\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        comment="Numeric metrics of devices by day. Only rows of the current tenant.", grants={"fleet_app": "select"},
    )
    op.create_view(
        "telemetry_hourly",
        (
            "SELECT tenant_id, device_id, metric, bucket, avg, min, max, count\n"
            "  FROM timeseries.telemetry_hourly\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        comment="Numeric metrics of devices by hour. Only rows of the current tenant.", grants={"fleet_app": "select"},
    )


def downgrade() -> None:
    op.drop_view("telemetry_hourly")
    op.drop_view("telemetry_daily")
    op.drop_function("notify_telemetry", "tenants uuid[]")
    op.drop_rollup("telemetry_hourly", schema="timeseries")
    op.drop_rollup("telemetry_daily", schema="timeseries")
    op.drop_table("metric_mappings")
    op.drop_table("metric_catalog")
    op.drop_view("telemetry")
    op.drop_hypertable("telemetry", schema="timeseries")
    op.drop_table("telemetry", schema="timeseries")
    op.drop_function("notify_own_telemetry")
