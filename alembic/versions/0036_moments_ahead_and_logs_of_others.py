"""moments ahead and logs of others

Revision 0036, after 0035; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.revoke("audit_events", {"fleet_ingest": "insert"}, schema="timeseries")
    op.revoke("notification_log", {"fleet_ingest": "insert"}, schema="timeseries")
    op.add_constraint(
        "device_connection_events", "ck_device_connection_events_ts_not_ahead",
        "CHECK (ts <= now() + interval '1 day') NOT VALID", schema="timeseries",
    )
    op.add_constraint(
        "device_health_telemetry", "ck_device_health_telemetry_ts_not_ahead",
        "CHECK (ts <= now() + interval '1 day') NOT VALID", schema="timeseries",
    )
    op.add_constraint(
        "health_checks", "ck_health_checks_checked_at_not_ahead",
        "CHECK (checked_at <= now() + interval '1 day') NOT VALID", schema="timeseries",
    )
    op.add_constraint(
        "tag_values", "ck_tag_values_ts_not_ahead", "CHECK (ts <= now() + interval '1 day') NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "telemetry", "ck_telemetry_ts_not_ahead", "CHECK (ts <= now() + interval '1 day') NOT VALID",
        schema="timeseries",
    )


def downgrade() -> None:
    op.remove_constraint("telemetry", "ck_telemetry_ts_not_ahead", schema="timeseries")
    op.remove_constraint("tag_values", "ck_tag_values_ts_not_ahead", schema="timeseries")
    op.remove_constraint("health_checks", "ck_health_checks_checked_at_not_ahead", schema="timeseries")
    op.remove_constraint("device_health_telemetry", "ck_device_health_telemetry_ts_not_ahead", schema="timeseries")
    op.remove_constraint("device_connection_events", "ck_device_connection_events_ts_not_ahead", schema="timeseries")
    op.grant("notification_log", {"fleet_ingest": "insert"}, schema="timeseries")
    op.grant("audit_events", {"fleet_ingest": "insert"}, schema="timeseries")
