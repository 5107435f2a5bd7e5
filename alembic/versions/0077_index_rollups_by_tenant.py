"""index rollups by tenant

Revision 0077, after 0076; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0077"
down_revision = "0076"


def upgrade() -> None:
    op.alter_rollup(
        "device_health_hourly", materialized_only=False,
        indexes=["tenant_id,bucket DESC", "tenant_id,device_id,bucket DESC"],
        comment="Radio, power and load of devices by hour; of counters the maximum.", schema="timeseries",
    )
    op.alter_rollup(
        "health_checks_daily", materialized_only=False,
        indexes=["tenant_id,bucket DESC", "tenant_id,endpoint_id,bucket DESC"],
        comment="Checks of endpoints by day, with a latency histogram whose counts can be summed.", schema="timeseries",
    )
    op.alter_rollup(
        "health_checks_hourly", materialized_only=False,
        indexes=["tenant_id,bucket DESC", "tenant_id,endpoint_id,bucket DESC"],
        comment="Checks of endpoints by hour, with a latency histogram whose counts can be summed.",
        schema="timeseries",
    )
    op.alter_rollup(
        "quarantine_counters_minute", materialized_only=False,
        indexes=["tenant_id,bucket DESC", "tenant_id,reason,bucket DESC"],
        comment="Rejected messages by minute and reason.", schema="timeseries",
    )
    op.alter_rollup(
        "system_metrics_hourly", materialized_only=False,
        indexes=["bucket DESC", "metric_name,service,labels_hash,bucket DESC"],
        comment="Metrics of the platform's own services by hour.", schema="timeseries",
    )
    op.alter_rollup(
        "tag_values_hourly", materialized_only=False, indexes=["tenant_id,bucket DESC", "tenant_id,tag_id,bucket DESC"],
        comment="Numeric samples of tags by hour.", schema="timeseries",
    )
    op.alter_rollup(
        "telemetry_daily", materialized_only=False,
        indexes=["tenant_id,bucket DESC", "tenant_id,device_id,metric,bucket DESC"],
        comment="Numeric metrics of devices by day.", schema="timeseries",
    )
    op.alter_rollup(
        "telemetry_hourly", materialized_only=False,
        indexes=["tenant_id,bucket DESC", "tenant_id,device_id,metric,bucket DESC"],
        comment="Numeric metrics of devices by hour.", schema="timeseries",
    )


def downgrade() -> None:
    op.alter_rollup(
        "telemetry_hourly", materialized_only=False,
        indexes=["bucket DESC", "device_id,bucket DESC", "metric,bucket DESC", "tenant_id,bucket DESC"],
        comment="Numeric metrics of devices by hour.", schema="timeseries",
    )
    op.alter_rollup(
        "telemetry_daily", materialized_only=False,
        indexes=["bucket DESC", "device_id,bucket DESC", "metric,bucket DESC", "tenant_id,bucket DESC"],
        comment="Numeric metrics of devices by day.", schema="timeseries",
    )
    op.alter_rollup(
        "tag_values_hourly", materialized_only=False,
        indexes=["bucket DESC", "tag_id,bucket DESC", "tenant_id,bucket DESC"],
        comment="Numeric samples of tags by hour.", schema="timeseries",
    )
    op.alter_rollup(
        "system_metrics_hourly", materialized_only=False,
        indexes=["bucket DESC", "labels_hash,bucket DESC", "metric_name,bucket DESC", "service,bucket DESC"],
        comment="Metrics of the platform's own services by hour.", schema="timeseries",
    )
    op.alter_rollup(
        "quarantine_counters_minute", materialized_only=False,
        indexes=["bucket DESC", "reason,bucket DESC", "tenant_id,bucket DESC"],
        comment="Rejected messages by minute and reason.", schema="timeseries",
    )
    op.alter_rollup(
        "health_checks_hourly", materialized_only=False,
        indexes=["bucket DESC", "endpoint_id,bucket DESC", "tenant_id,bucket DESC"],
        comment="Checks of endpoints by hour, with a latency histogram whose counts can be summed.",
        schema="timeseries",
    )
    op.alter_rollup(
        "health_checks_daily", materialized_only=False,
        indexes=["bucket DESC", "endpoint_id,bucket DESC", "tenant_id,bucket DESC"],
        comment="Checks of endpoints by day, with a latency histogram whose counts can be summed.", schema="timeseries",
    )
    op.alter_rollup(
        "device_health_hourly", materialized_only=False,
        indexes=["bucket DESC", "device_id,bucket DESC", "tenant_id,bucket DESC"],
        comment="Radio, power and load of devices by hour; of counters the maximum.", schema="timeseries",
    )
