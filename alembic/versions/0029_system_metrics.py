"""system metrics

Revision 0029, after 0028; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.create_table(
        "system_metrics",
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="When it was measured."),
        sa.Column("metric_name", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), server_default="", nullable=False, comment="Empty: the platform as a whole."),
        sa.Column("labels_hash", sa.BigInteger(), sa.Computed("jsonb_hash_extended(labels, 0)", persisted=True),
            nullable=False,
            comment="Represents labels in the key, since their length may exceed the limit of an index."),
        sa.Column("labels", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="Label name to value, e.g. instance and queue."),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("ingested_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(labels) = 'object'", name=op.f("ck_system_metrics_labels_object")),
        sa.CheckConstraint("metric_name <> ''", name=op.f("ck_system_metrics_metric_name_not_empty")),
        sa.PrimaryKeyConstraint("metric_name", "service", "labels_hash", "ts", name=op.f("pk_system_metrics")),
        schema="timeseries",
        comment="Metrics of the platform's own services.",
    )
    op.create_hypertable("system_metrics", time_column="ts", chunk_interval="1 day", schema="timeseries")
    op.create_columnstore(
        "system_metrics", segmentby="metric_name,service", orderby="labels_hash,ts DESC", after="1 day",
        schema="timeseries",
    )
    op.create_retention_policy("system_metrics", drop_after="30 days", schema="timeseries")
    op.grant(
        "system_metrics", {"fleet_ingest": "insert", "fleet_operator, fleet_operator_read": "select"},
        schema="timeseries",
    )
    op.create_rollup(
        "system_metrics_hourly",
        (
            "SELECT metric_name, service, labels_hash, time_bucket('1 hour', ts) AS bucket,\n"
            "       min(labels::text)::jsonb AS labels,\n"
            "       avg(value) AS avg, min(value) AS min, max(value) AS max, count(*) AS count\n"
            "  FROM timeseries.system_metrics\n"
            " WHERE abs(value) <= 1e100\n"
            " GROUP BY 1, 2, 3, 4"
        ),
        materialized_only=False, comment="Metrics of the platform's own services by hour.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
    )
    op.create_columnstore(
        "system_metrics_hourly", segmentby="metric_name,service", orderby="labels_hash,bucket DESC", after="7 days",
        rollup=True, schema="timeseries",
    )
    op.create_retention_policy("system_metrics_hourly", drop_after="1 year", schema="timeseries")
    op.create_refresh_policy(
        "system_metrics_hourly", start_offset="3 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )


def downgrade() -> None:
    op.drop_rollup("system_metrics_hourly", schema="timeseries")
    op.drop_hypertable("system_metrics", schema="timeseries")
    op.drop_table("system_metrics", schema="timeseries")
