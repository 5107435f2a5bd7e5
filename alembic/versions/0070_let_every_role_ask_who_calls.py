"""Let every role ask who calls

Revision 0070, after 0069; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0070"
down_revision = "0069"


def upgrade() -> None:
    op.grant(
        "function called_by_another()",
        {"fleet_app, fleet_auth, fleet_ingest, fleet_operator, fleet_operator_read": "execute"},
    )


def downgrade() -> None:
    op.revoke(
        "function called_by_another()",
        {"fleet_app, fleet_auth, fleet_ingest, fleet_operator, fleet_operator_read": "execute"},
    )
