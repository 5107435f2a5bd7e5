"""platform

Revision 0027, after 0026; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.create_table(
        "broadcasts",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), server_default="info", nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="Shown first."),
        sa.Column("is_banner", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Shown as a banner on every page."),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("body <> ''", name=op.f("ck_broadcasts_body_not_empty")),
        sa.CheckConstraint("title <> ''", name=op.f("ck_broadcasts_title_not_empty")),
        sa.CheckConstraint("type IN ('info', 'warning', 'update')", name=op.f("ck_broadcasts_type")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_broadcasts_expires_at")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broadcasts")),
        comment="Announcements of the platform to all tenants.",
    )
    op.create_index(
        op.f("ix_broadcasts_created_at"), "broadcasts", ["created_at"], unique=False,
        postgresql_where=sa.text("active"),
    )
    op.create_trigger("set_updated_at", "broadcasts", "before", "update", level="row", function="set_updated_at()")
    op.grant(
        "broadcasts", {"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "maintenance_log",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("job_name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("rows_affected", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Rows by relation and tenant."),
        sa.CheckConstraint("(status = 'running') = (completed_at IS NULL)", name=op.f("ck_maintenance_log_running")),
        sa.CheckConstraint("job_name <> ''", name=op.f("ck_maintenance_log_job_name_not_empty")),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name=op.f("ck_maintenance_log_details_object")),
        sa.CheckConstraint("status IN ('running', 'completed', 'failed')", name=op.f("ck_maintenance_log_status")),
        sa.CheckConstraint("completed_at >= started_at", name=op.f("ck_maintenance_log_completed_at")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_maintenance_log")),
        comment="Runs of maintenance tasks of the platform.",
    )
    op.create_index(
        op.f("ix_maintenance_log_job_name_started_at"), "maintenance_log", ["job_name", "started_at"], unique=False,
    )
    op.grant("maintenance_log", {"fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"})

    op.create_table(
        "service_health",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Details of the check."),
        sa.Column("checked_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name=op.f("ck_service_health_details_object")),
        sa.CheckConstraint("service <> ''", name=op.f("ck_service_health_service_not_empty")),
        sa.CheckConstraint("status IN ('healthy', 'degraded', 'down', 'unknown')",
            name=op.f("ck_service_health_status")),
        sa.CheckConstraint("latency_ms >= 0", name=op.f("ck_service_health_latency_ms")),
        sa.PrimaryKeyConstraint("service", name=op.f("pk_service_health")),
        comment="Latest health check of each service of the platform.",
    )
    op.grant("service_health", {"fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"})

    op.create_table(
        "system_settings",
        sa.Column("key", sa.Text(), nullable=False, comment="E.g. mqtt_require_auth."),
        sa.Column("value", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False,
            comment="Any JSON except null."),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=True, comment="Name of the operator."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(value) <> 'null'", name=op.f("ck_system_settings_value_value")),
        sa.CheckConstraint("key <> ''", name=op.f("ck_system_settings_key_not_empty")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_system_settings")),
        comment="Settings of the platform, written by operators only.",
    )
    op.create_trigger("set_updated_at", "system_settings", "before", "update", level="row", function="set_updated_at()")
    op.grant("system_settings", {"fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"})

    op.create_table(
        "rate_limits",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("window_start", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.CheckConstraint("action <> ''", name=op.f("ck_rate_limits_action_not_empty")),
        sa.CheckConstraint("hits > 0", name=op.f("ck_rate_limits_hits")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_rate_limits_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "action", "window_start", name=op.f("pk_rate_limits")),
        comment="Counters of rate limits, one row per action and window.",
        prefixes=["UNLOGGED"],
    )
    op.create_index(op.f("ix_rate_limits_window_start"), "rate_limits", ["window_start"], unique=False)
    op.create_function(
        "hit_rate_limit", "what text, most integer, per interval", returns="boolean", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  INSERT INTO rate_limits AS r (tenant_id, action, window_start, hits)\n"
            "  VALUES (current_tenant(), what,\n"
            "          date_bin(per, now(), timestamptz '2000-01-01 00:00:00+00'), 1)\n"
            "  ON CONFLICT (tenant_id, action, window_start)\n"
            "  DO UPDATE SET hits = r.hits + 1\n"
            "  RETURNING r.hits <= most;\n"
            "END"
        ),
        comment="Counts one use of an action by the current tenant; false if there were more than most in the current"
            " window of length per.",
        grants={"fleet_app": "execute"},
    )
    op.set_row_level_security(
        "rate_limits", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "insert, select, update",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )


def downgrade() -> None:
    op.drop_function("hit_rate_limit", "what text, most integer, per interval")
    op.drop_table("rate_limits")
    op.drop_table("system_settings")
    op.drop_table("service_health")
    op.drop_table("maintenance_log")
    op.drop_table("broadcasts")
