"""Let the ingest know tags and endpoints

Revision 0039, after 0038; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    op.create_policy("ingest_access", "connections", to="fleet_ingest", command="select", using="true")
    op.create_policy("ingest_access", "endpoints", to="fleet_ingest", command="select", using="true")
    op.create_policy("ingest_access", "tag_metadata", to="fleet_ingest", command="select", using="true")
    op.grant("connections", {"fleet_ingest": "select (id, tenant_id)"})
    op.grant("endpoints", {"fleet_ingest": "select (id, tenant_id)"})
    op.grant("tag_metadata", {"fleet_ingest": "select (connection_id, status, tag_id, tenant_id)"})


def downgrade() -> None:
    op.revoke("tag_metadata", {"fleet_ingest": "select (connection_id, status, tag_id, tenant_id)"})
    op.revoke("endpoints", {"fleet_ingest": "select (id, tenant_id)"})
    op.revoke("connections", {"fleet_ingest": "select (id, tenant_id)"})
    op.drop_policy("ingest_access", "tag_metadata")
    op.drop_policy("ingest_access", "endpoints")
    op.drop_policy("ingest_access", "connections")
