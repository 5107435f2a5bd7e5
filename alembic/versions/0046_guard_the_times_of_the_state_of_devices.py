"""guard the times of the state of devices

Revision 0046, after 0045; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"


def upgrade() -> None:
    op.revoke("device_state", {"fleet_app": "insert, update"})
    op.grant(
        "device_state",
        {
            "fleet_app": "insert (created_at, desired_state, desired_version, device_id, last_heartbeat_at,"
                " last_seen_at, last_state_change_at, last_telemetry_at, reported_state, reported_version,"
                " shadow_updated_at, state, status, tenant_id, updated_at), update (created_at, desired_state,"
                " desired_version, device_id, last_heartbeat_at, last_seen_at, last_state_change_at,"
                " last_telemetry_at, reported_state, reported_version, shadow_updated_at, state, status, tenant_id,"
                " updated_at)",
        },
    )


def downgrade() -> None:
    op.revoke(
        "device_state",
        {
            "fleet_app": "insert (created_at, desired_state, desired_version, device_id, last_heartbeat_at,"
                " last_seen_at, last_state_change_at, last_telemetry_at, reported_state, reported_version,"
                " shadow_updated_at, state, status, tenant_id, updated_at), update (created_at, desired_state,"
                " desired_version, device_id, last_heartbeat_at, last_seen_at, last_state_change_at,"
                " last_telemetry_at, reported_state, reported_version, shadow_updated_at, state, status, tenant_id,"
                " updated_at)",
        },
    )
    op.grant("device_state", {"fleet_app": "insert, update"})
