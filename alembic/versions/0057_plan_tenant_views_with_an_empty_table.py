"""Plan tenant views with an empty table

Revision 0057, after 0056; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0057"
down_revision = "0056"


def upgrade() -> None:
    op.create_table(
        "order_of_conditions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_of_conditions")),
        comment="No rows. Row-level security of this table orders conditions of tenant views.",
    )
    op.set_row_level_security(
        "order_of_conditions", enable=True, force=True,
        policies={
            "app_access": "FOR SELECT TO fleet_app USING (true)",
            "operator_access": "FOR SELECT TO fleet_operator USING (true)",
            "operator_read_access": "FOR SELECT TO fleet_operator_read USING (true)",
        },
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.replace_function(
        "conditions_in_order", returns="TABLE(tenant_id uuid)", language="sql", volatility="stable", parallel="safe",
        body=(
            "BEGIN ATOMIC\n"
            "SELECT o.id AS tenant_id FROM order_of_conditions o;\n"
            "END"
        ),
        comment="No rows. Tenant views name it, so that their condition comes before all others.",
    )


def downgrade() -> None:
    op.replace_function(
        "conditions_in_order", returns="TABLE(tenant_id uuid)", language="sql", volatility="stable", parallel="safe",
        body=(
            "BEGIN ATOMIC\n"
            " SELECT t.tenant_id\n"
            "    FROM public.tenants t;\n"
            "END"
        ),
        comment="The tenants that the caller sees. Tenant views name it so that their condition comes before those of"
            " the query, and never read it.",
    )
    op.drop_table("order_of_conditions")
