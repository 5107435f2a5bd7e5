"""keep the backlog of states as other tables

Revision 0071, after 0070; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0071"
down_revision = "0070"


def upgrade() -> None:
    # accept renaming-column: only functions of the ingest write it, and leave it to its default
    op.alter_column("device_state_backlog", "noted_at", new_column_name="created_at")
    op.alter_column(
        "device_state_backlog", "state", existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="Newest value of each metric.", existing_nullable=False, existing_server_default=sa.text("'{}'::jsonb"),
    )
    op.add_column(
        "device_state_backlog",
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_trigger(
        "set_updated_at", "device_state_backlog", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "device_state_backlog", enable=True, force=True,
        policies={
            "ingest_access": "FOR ALL TO fleet_ingest USING (true) WITH CHECK (true)",
            "operator_access": "FOR SELECT TO fleet_operator USING (true)",
            "operator_read_access": "FOR SELECT TO fleet_operator_read USING (true)",
        },
    )


def downgrade() -> None:
    op.drop_policy("operator_read_access", "device_state_backlog")
    op.drop_policy("operator_access", "device_state_backlog")
    op.drop_policy("ingest_access", "device_state_backlog")
    op.set_row_level_security("device_state_backlog", enable=False, force=False)
    op.drop_trigger("set_updated_at", "device_state_backlog")
    op.drop_column("device_state_backlog", "updated_at")
    op.alter_column(
        "device_state_backlog", "state", existing_type=postgresql.JSONB(astext_type=sa.Text()), comment=None,
        existing_comment="Newest value of each metric.", existing_nullable=False,
        existing_server_default=sa.text("'{}'::jsonb"),
    )
    op.alter_column("device_state_backlog", "created_at", new_column_name="noted_at")
