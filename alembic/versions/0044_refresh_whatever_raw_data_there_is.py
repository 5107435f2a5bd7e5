"""refresh whatever raw data there is

Revision 0044, after 0043; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"


def upgrade() -> None:
    op.alter_refresh_policy(
        "device_health_hourly", start_offset="91 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.alter_refresh_policy(
        "health_checks_daily", start_offset="31 days", end_offset="1 day", every="6 hours", schema="timeseries",
    )
    op.alter_refresh_policy(
        "health_checks_hourly", start_offset="30 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.alter_refresh_policy(
        "quarantine_counters_minute", start_offset="31 days", end_offset="1 minute", every="5 minutes",
        schema="timeseries",
    )
    op.alter_refresh_policy(
        "system_metrics_hourly", start_offset="31 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.alter_refresh_policy(
        "tag_values_hourly", start_offset="31 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.alter_refresh_policy(
        "telemetry_daily", start_offset="401 days", end_offset="1 day", every="6 hours", schema="timeseries",
    )
    op.alter_refresh_policy(
        "telemetry_hourly", start_offset="1 year", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )


def downgrade() -> None:
    op.alter_refresh_policy(
        "telemetry_hourly", start_offset="30 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "telemetry_daily", start_offset="90 days", end_offset="1 day", every="06:00:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "tag_values_hourly", start_offset="28 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "system_metrics_hourly", start_offset="7 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "quarantine_counters_minute", start_offset="14 days", end_offset="00:01:00", every="00:05:00",
        schema="timeseries",
    )
    op.alter_refresh_policy(
        "health_checks_hourly", start_offset="7 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "health_checks_daily", start_offset="28 days", end_offset="1 day", every="06:00:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "device_health_hourly", start_offset="30 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
