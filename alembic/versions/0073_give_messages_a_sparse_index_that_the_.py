"""give messages a sparse index that the server survives

Revision 0073, after 0072; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0073"
down_revision = "0072"


def upgrade() -> None:
    op.alter_columnstore(
        "telemetry", segmentby="tenant_id,device_id,msg_type", orderby="ts DESC,seq", after="7 days",
        sparse_index="minmax(ingested_at)", schema="timeseries",
    )


def downgrade() -> None:
    op.alter_columnstore(
        "telemetry", segmentby="tenant_id,device_id,msg_type", orderby="ts DESC,seq", after="7 days", sparse_index="",
        schema="timeseries",
    )
