"""mark devices that fell silent

Revision 0056, after 0055; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0056"
down_revision = "0055"


def upgrade() -> None:
    op.create_function(
        "mark_silent_devices", "stale_after interval DEFAULT '15 minutes', offline_after interval DEFAULT '1 day'",
        returns="bigint", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH silent AS (\n"
            "    SELECT tenant_id, device_id\n"
            "      FROM device_state\n"
            "     WHERE (status = 'online' AND last_seen_at < now() - stale_after)\n"
            "        OR (status = 'stale' AND last_seen_at < now() - offline_after)\n"
            "       FOR NO KEY UPDATE SKIP LOCKED\n"
            "  ), marked AS (\n"
            "    UPDATE device_state s\n"
            "       SET status = CASE WHEN s.last_seen_at < now() - offline_after THEN 'offline'\n"
            "                         ELSE 'stale' END\n"
            "      FROM silent n\n"
            "     WHERE s.tenant_id = n.tenant_id AND s.device_id = n.device_id\n"
            "    RETURNING 1\n"
            "  )\n"
            "  SELECT count(*) FROM marked;\n"
            "END"
        ),
        comment="Marks devices that were not seen for some time as stale, later as offline; returns how many. For a"
            " worker, every minute; as an operator, of all tenants.",
        grants={"fleet_app, fleet_operator": "execute"},
    )


def downgrade() -> None:
    op.drop_function("mark_silent_devices", "stale_after interval, offline_after interval")
