"""let the ingest know policies of tenants

Revision 0043, after 0042; CONTRIBUTING.md says what to look for when reading it.
"""

from alembic import op

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    op.add_constraint(
        "system_metrics", "ck_system_metrics_ts_not_ahead", "CHECK (ts <= now() + interval '1 day') NOT VALID",
        schema="timeseries",
    )
    op.create_policy("ingest_access", "data_retention_policies", to="fleet_ingest", command="select", using="true")
    op.grant("data_retention_policies", {"fleet_ingest": "select (relation, retention_days, tenant_id)"})


def downgrade() -> None:
    op.revoke("data_retention_policies", {"fleet_ingest": "select (relation, retention_days, tenant_id)"})
    op.drop_policy("ingest_access", "data_retention_policies")
    op.remove_constraint("system_metrics", "ck_system_metrics_ts_not_ahead", schema="timeseries")
