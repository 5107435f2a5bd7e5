"""retention policies

Revision 0030, after 0029; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.create_table(
        "data_retention_policies",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False,
            comment="Hypertable or rollup in schema timeseries, e.g. telemetry."),
        sa.Column("retention_days", sa.Integer(), nullable=False,
            comment="At most the retention of the relation itself, and at least the refresh window of the rollups over"
                " it: deleting rows in that window would erase them from the rollup."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "CASE relation WHEN 'audit_events' THEN retention_days BETWEEN 1 AND 400 WHEN 'device_connection_events'"
                " THEN retention_days BETWEEN 1 AND 90 WHEN 'device_health_hourly' THEN retention_days BETWEEN 3 AND"
                " 365 WHEN 'device_health_telemetry' THEN retention_days BETWEEN 3 AND 90 WHEN 'health_checks' THEN"
                " retention_days BETWEEN 7 AND 30 WHEN 'health_checks_daily' THEN retention_days BETWEEN 7 AND 365"
                " WHEN 'health_checks_hourly' THEN retention_days BETWEEN 3 AND 30 WHEN 'notification_log' THEN"
                " retention_days BETWEEN 1 AND 90 WHEN 'quarantine_counters_minute' THEN retention_days BETWEEN 1 AND"
                " 90 WHEN 'quarantine_events' THEN retention_days BETWEEN 1 AND 30 WHEN 'tag_values' THEN"
                " retention_days BETWEEN 3 AND 30 WHEN 'tag_values_hourly' THEN retention_days BETWEEN 3 AND 365 WHEN"
                " 'telemetry' THEN retention_days BETWEEN 7 AND 400 WHEN 'telemetry_daily' THEN retention_days"
                " BETWEEN 7 AND 1825 WHEN 'telemetry_hourly' THEN retention_days BETWEEN 3 AND 365 ELSE false END",
            name=op.f("ck_data_retention_policies_bounds")),
        sa.CheckConstraint("relation <> ''", name=op.f("ck_data_retention_policies_relation_not_empty")),
        sa.CheckConstraint("retention_days >= 1", name=op.f("ck_data_retention_policies_retention_days")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_data_retention_policies_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "relation", name=op.f("pk_data_retention_policies")),
        comment="Shorter retention for single tenants, applied by operations maintain to each chunk as soon as the"
            " whole chunk is old enough.",
    )
    op.create_trigger(
        "set_updated_at", "data_retention_policies", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "data_retention_policies", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )


def downgrade() -> None:
    op.drop_table("data_retention_policies")
