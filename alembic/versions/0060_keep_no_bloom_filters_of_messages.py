"""Keep no bloom filters of messages

Revision 0060, after 0059; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0059"


def upgrade() -> None:
    op.alter_columnstore(
        "telemetry", segmentby="tenant_id,device_id,msg_type", orderby="ts DESC,seq", after="7 days",
        sparse_index="minmax(ingested_at)", schema="timeseries",
    )


def downgrade() -> None:
    op.alter_columnstore(
        "telemetry", segmentby="tenant_id,device_id,msg_type", orderby="ts DESC,seq", after="7 days",
        schema="timeseries",
    )
