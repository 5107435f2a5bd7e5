"""store no moments ahead in any series

Revision 0079, after 0078; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0079"
down_revision = "0078"


def upgrade() -> None:
    op.add_constraint(
        "audit_events", "ck_audit_events_ts_not_ahead", "CHECK (ts <= now() + interval '1 day') NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "notification_log", "ck_notification_log_ts_not_ahead", "CHECK (ts <= now() + interval '1 day') NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "quarantine_events", "ck_quarantine_events_ts_not_ahead", "CHECK (ts <= now() + interval '1 day') NOT VALID",
        schema="timeseries",
    )


def downgrade() -> None:
    op.remove_constraint("quarantine_events", "ck_quarantine_events_ts_not_ahead", schema="timeseries")
    op.remove_constraint("notification_log", "ck_notification_log_ts_not_ahead", schema="timeseries")
    op.remove_constraint("audit_events", "ck_audit_events_ts_not_ahead", schema="timeseries")
