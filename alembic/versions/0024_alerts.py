"""alerts

Revision 0024, after 0023; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.create_table(
        "alert_maintenance_windows",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("window_id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("starts_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ends_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="NULL: until further notice."),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False,
            comment="IANA name of the time zone of a recurring window."),
        sa.Column("recur_weekdays", sa.ARRAY(sa.Integer()), nullable=True,
            comment="Days on which it begins, 1 (Monday) to 7; NULL: continuously from starts_at."),
        sa.Column("recur_start_minute", sa.Integer(), nullable=True, comment="Minutes after midnight in timezone."),
        sa.Column("recur_minutes", sa.Integer(), nullable=True, comment="Length in minutes, up to 1440."),
        sa.Column("target_all", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Covers the whole tenant. Having no targets does not mean this: targets are deleted with the"
                " object they name, and losing the last one must not cover everything."),
        sa.Column("created_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the window outlives the account."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_alert_maintenance_windows_name_not_empty")),
        sa.CheckConstraint("(to_timestamp(0) AT TIME ZONE timezone) IS NOT NULL",
            name=op.f("ck_alert_maintenance_windows_timezone")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_alert_maintenance_windows_ends_at")),
        sa.CheckConstraint("num_nulls(recur_weekdays, recur_start_minute, recur_minutes) IN (0, 3)",
            name=op.f("ck_alert_maintenance_windows_recurring")),
        sa.CheckConstraint("recur_minutes BETWEEN 1 AND 1440", name=op.f("ck_alert_maintenance_windows_recur_minutes")),
        sa.CheckConstraint("recur_start_minute BETWEEN 0 AND 1439",
            name=op.f("ck_alert_maintenance_windows_recur_start_minute")),
        sa.CheckConstraint("recur_weekdays <@ ARRAY[1, 2, 3, 4, 5, 6, 7] AND cardinality(recur_weekdays) > 0",
            name=op.f("ck_alert_maintenance_windows_recur_weekdays")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_alert_maintenance_windows_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "window_id", name=op.f("pk_alert_maintenance_windows")),
        comment="Windows in which no alerts are raised for their targets.",
    )
    op.create_index(
        op.f("ix_alert_maintenance_windows_starts_at"), "alert_maintenance_windows", ["tenant_id", "starts_at"],
        unique=False, postgresql_where=sa.text("enabled"),
    )
    op.create_trigger(
        "set_updated_at", "alert_maintenance_windows", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "alert_maintenance_windows", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "alert_digest_settings",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("frequency", sa.Text(), server_default="daily", nullable=False),
        sa.Column("email", sa.Text(), nullable=True, comment="NULL: the address of the account."),
        sa.Column("last_sent_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("frequency IN ('daily', 'weekly', 'disabled')",
            name=op.f("ck_alert_digest_settings_frequency")),
        sa.CheckConstraint("position('@' in email) > 1", name=op.f("ck_alert_digest_settings_email")),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_alert_digest_settings_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_alert_digest_settings_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_alert_digest_settings")),
        comment="Settings of each member for the summary of alerts by e-mail.",
    )
    op.create_index(
        op.f("ix_alert_digest_settings_frequency"), "alert_digest_settings",
        ["frequency", sa.literal_column("last_sent_at NULLS FIRST")], unique=False,
        postgresql_where=sa.text("frequency <> 'disabled'"),
    )
    op.create_trigger(
        "set_updated_at", "alert_digest_settings", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "alert_digest_settings", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "alert_rules",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("rule_id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("rule_type", sa.Text(), server_default="threshold", nullable=False,
            comment="threshold: latest values; window: aggregates; anomaly: deviation from the mean in standard"
                " deviations; the others: no data for for_seconds."),
        sa.Column("severity", sa.Integer(), server_default=sa.text("3"), nullable=False,
            comment="1 (for information) to 5 (critical)."),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("match_mode", sa.Text(), server_default="all", nullable=False,
            comment="Whether all conditions have to hold, or any of them."),
        sa.Column("for_seconds", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="How long the condition must last before an alert is raised."),
        sa.Column("target_all", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Applies to the whole tenant. Having no targets does not mean this: a rule whose last target is"
                " deleted must not suddenly apply to everything."),
        sa.Column("escalation_policy_id", sa.Uuid(), nullable=True,
            comment="NULL: the default policy of the tenant, if it has one."),
        sa.Column("actions", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"), nullable=False,
            comment="Actions besides notifications, e.g. device commands; an array of objects."),
        sa.Column("created_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the rule outlives the account."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("for_seconds >= CASE WHEN rule_type IN ('no_telemetry', 'heartbeat', 'gap') THEN 1 ELSE 0 END",
            name=op.f("ck_alert_rules_for_seconds")),
        sa.CheckConstraint("jsonb_typeof(actions) = 'array'", name=op.f("ck_alert_rules_actions_array")),
        sa.CheckConstraint("match_mode IN ('all', 'any')", name=op.f("ck_alert_rules_match_mode")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_alert_rules_name_not_empty")),
        sa.CheckConstraint("rule_type IN ('threshold', 'window', 'anomaly', 'no_telemetry', 'heartbeat', 'gap')",
            name=op.f("ck_alert_rules_rule_type")),
        sa.CheckConstraint("severity BETWEEN 1 AND 5", name=op.f("ck_alert_rules_severity")),
        sa.ForeignKeyConstraint(["tenant_id", "escalation_policy_id"],
            ["escalation_policies.tenant_id", "escalation_policies.id"],
            name=op.f("fk_alert_rules_escalation_policy_id"), ondelete="SET NULL (escalation_policy_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_alert_rules_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", name=op.f("pk_alert_rules")),
        comment="Rules that raise alerts; their conditions and targets are in tables of their own.",
    )
    op.create_index(
        op.f("ix_alert_rules_escalation_policy_id"), "alert_rules", ["tenant_id", "escalation_policy_id"], unique=False,
    )
    op.create_index(
        "ix_alert_rules_rule_type_enabled", "alert_rules", ["tenant_id", "rule_type"], unique=False,
        postgresql_where=sa.text("enabled"),
    )
    op.create_trigger("set_updated_at", "alert_rules", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "alert_rules", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "alert_maintenance_targets",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("window_id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=True, comment="Exactly one of these columns is set."),
        sa.Column("group_id", sa.Uuid(), nullable=True),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("device_type", sa.Text(), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True, comment="endpoints.id"),
        sa.CheckConstraint("device_type <> ''", name=op.f("ck_alert_maintenance_targets_device_type_not_empty")),
        sa.CheckConstraint("num_nonnulls(site_id, group_id, device_id, device_type, project_id, endpoint_id) = 1",
            name=op.f("ck_alert_maintenance_targets_one_target")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_alert_maintenance_targets_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_alert_maintenance_targets_endpoint_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "group_id"], ["device_groups.tenant_id", "device_groups.group_id"],
            name=op.f("fk_alert_maintenance_targets_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.id"],
            name=op.f("fk_alert_maintenance_targets_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "site_id"], ["sites.tenant_id", "sites.site_id"],
            name=op.f("fk_alert_maintenance_targets_site_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "window_id"],
            ["alert_maintenance_windows.tenant_id", "alert_maintenance_windows.window_id"],
            name=op.f("fk_alert_maintenance_targets_window_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_alert_maintenance_targets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alert_maintenance_targets")),
        sa.UniqueConstraint("tenant_id", "window_id", "site_id", "group_id", "device_id", "device_type", "project_id",
            "endpoint_id", name="uq_alert_maintenance_targets_target", postgresql_nulls_not_distinct=True),
        comment="Objects that maintenance windows cover, one per row.",
    )
    op.create_index(
        op.f("ix_alert_maintenance_targets_device_id"), "alert_maintenance_targets", ["tenant_id", "device_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_alert_maintenance_targets_device_type"), "alert_maintenance_targets", ["tenant_id", "device_type"],
        unique=False,
    )
    op.create_index(
        op.f("ix_alert_maintenance_targets_endpoint_id"), "alert_maintenance_targets", ["tenant_id", "endpoint_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_alert_maintenance_targets_group_id"), "alert_maintenance_targets", ["tenant_id", "group_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_alert_maintenance_targets_project_id"), "alert_maintenance_targets", ["tenant_id", "project_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_alert_maintenance_targets_site_id"), "alert_maintenance_targets", ["tenant_id", "site_id"],
        unique=False,
    )
    op.set_row_level_security(
        "alert_maintenance_targets", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "alert_rule_conditions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("rule_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False, comment="Display order, from 1."),
        sa.Column("metric", sa.Text(), nullable=False, comment="A metric key or the name of a tag."),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False,
            comment="In the unit of the metric; for anomaly rules in standard deviations."),
        sa.Column("aggregation", sa.Text(), nullable=True, comment="Over window_seconds; NULL: the latest value."),
        sa.Column("window_seconds", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("aggregation IN ('avg', 'min', 'max', 'count', 'sum')",
            name=op.f("ck_alert_rule_conditions_aggregation")),
        sa.CheckConstraint("metric <> ''", name=op.f("ck_alert_rule_conditions_metric_not_empty")),
        sa.CheckConstraint("operator IN ('gt', 'lt', 'gte', 'lte', 'eq', 'neq')",
            name=op.f("ck_alert_rule_conditions_operator")),
        sa.CheckConstraint("threshold > '-Infinity'::double precision AND threshold < 'Infinity'::double precision",
            name=op.f("ck_alert_rule_conditions_threshold")),
        sa.CheckConstraint("(aggregation IS NULL) = (window_seconds IS NULL)",
            name=op.f("ck_alert_rule_conditions_aggregation_has_a_window")),
        sa.CheckConstraint("ordinal > 0", name=op.f("ck_alert_rule_conditions_ordinal")),
        sa.CheckConstraint("window_seconds BETWEEN 60 AND 3600", name=op.f("ck_alert_rule_conditions_window_seconds")),
        sa.ForeignKeyConstraint(["tenant_id", "rule_id"], ["alert_rules.tenant_id", "alert_rules.rule_id"],
            name=op.f("fk_alert_rule_conditions_rule_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_alert_rule_conditions_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", "ordinal", name=op.f("pk_alert_rule_conditions")),
        comment="Conditions of alert rules, one comparison per row.",
    )
    op.create_trigger(
        "set_updated_at", "alert_rule_conditions", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "alert_rule_conditions", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "alert_rule_targets",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("rule_id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=True, comment="Exactly one of these columns is set."),
        sa.Column("group_id", sa.Uuid(), nullable=True,
            comment="Static or dynamic: device_group_members lists the devices of both."),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("sensor_id", sa.Uuid(), nullable=True),
        sa.Column("tag_id", sa.BigInteger(), nullable=True, comment="tag_metadata.tag_id"),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True, comment="endpoints.id"),
        sa.Column("device_type", sa.Text(), nullable=True),
        sa.CheckConstraint("device_type <> ''", name=op.f("ck_alert_rule_targets_device_type_not_empty")),
        sa.CheckConstraint("num_nonnulls(site_id, group_id, device_id, sensor_id, tag_id, endpoint_id, device_type) = 1",
            name=op.f("ck_alert_rule_targets_one_target")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_alert_rule_targets_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_alert_rule_targets_endpoint_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "group_id"], ["device_groups.tenant_id", "device_groups.group_id"],
            name=op.f("fk_alert_rule_targets_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "rule_id"], ["alert_rules.tenant_id", "alert_rules.rule_id"],
            name=op.f("fk_alert_rule_targets_rule_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "sensor_id"], ["device_sensors.tenant_id", "device_sensors.id"],
            name=op.f("fk_alert_rule_targets_sensor_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "site_id"], ["sites.tenant_id", "sites.site_id"],
            name=op.f("fk_alert_rule_targets_site_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "tag_id"], ["tag_metadata.tenant_id", "tag_metadata.tag_id"],
            name=op.f("fk_alert_rule_targets_tag_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_alert_rule_targets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alert_rule_targets")),
        sa.UniqueConstraint("tenant_id", "rule_id", "site_id", "group_id", "device_id", "sensor_id", "tag_id",
            "endpoint_id", "device_type", name="uq_alert_rule_targets_target", postgresql_nulls_not_distinct=True),
        comment="Objects that alert rules apply to, one per row.",
    )
    op.create_index(
        op.f("ix_alert_rule_targets_device_id"), "alert_rule_targets", ["tenant_id", "device_id"], unique=False,
    )
    op.create_index(
        op.f("ix_alert_rule_targets_device_type"), "alert_rule_targets", ["tenant_id", "device_type"], unique=False,
    )
    op.create_index(
        op.f("ix_alert_rule_targets_endpoint_id"), "alert_rule_targets", ["tenant_id", "endpoint_id"], unique=False,
    )
    op.create_index(
        op.f("ix_alert_rule_targets_group_id"), "alert_rule_targets", ["tenant_id", "group_id"], unique=False,
    )
    op.create_index(
        op.f("ix_alert_rule_targets_sensor_id"), "alert_rule_targets", ["tenant_id", "sensor_id"], unique=False,
    )
    op.create_index(op.f("ix_alert_rule_targets_site_id"), "alert_rule_targets", ["tenant_id", "site_id"], unique=False)
    op.create_index(op.f("ix_alert_rule_targets_tag_id"), "alert_rule_targets", ["tenant_id", "tag_id"], unique=False)
    op.set_row_level_security(
        "alert_rule_targets", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "fleet_alert",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False,
            comment="Identifies the problem when it is raised again, e.g. rule and device."),
        sa.Column("alert_type", sa.Text(), nullable=False, comment="E.g. threshold or no_heartbeat."),
        sa.Column("status", sa.Text(), server_default="open", nullable=False,
            comment="open, optionally acknowledged, then closed; never back."),
        sa.Column("severity", sa.Integer(), nullable=False,
            comment="1 (for information) to 5 (critical); the highest so far."),
        sa.Column("confidence", sa.Double(), server_default=sa.text("1"), nullable=False,
            comment="0 to 1, as estimated by the rule or service that raised it."),
        sa.Column("summary", sa.Text(), nullable=False, comment="One sentence for people to read."),
        sa.Column("details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="The values that raised it most recently."),
        sa.Column("device_id", sa.Text(), nullable=True, comment="NULL after the device was deleted."),
        sa.Column("site_id", sa.Uuid(), nullable=True, comment="The site at which it was raised."),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True, comment="endpoints.id"),
        sa.Column("tag_id", sa.BigInteger(), nullable=True, comment="tag_metadata.tag_id"),
        sa.Column("rule_id", sa.Uuid(), nullable=True, comment="NULL: raised without a rule, or the rule was deleted."),
        sa.Column("trigger_count", sa.BigInteger(), server_default=sa.text("1"), nullable=False,
            comment="How often it was raised before it was closed."),
        sa.Column("last_triggered_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("acknowledged_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="Set by the database, as closed_at is."),
        sa.Column("acknowledged_by", sa.Uuid(), nullable=True),
        sa.Column("closed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Uuid(), nullable=True, comment="NULL: closed automatically."),
        sa.Column("silenced_until", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="Until then it is neither notified nor escalated."),
        sa.Column("escalation_policy_id", sa.Uuid(), nullable=True,
            comment="Chosen when it was raised: that of its rule, or the default policy."),
        sa.Column("escalation_level", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="The level notified most recently; 0: none yet."),
        sa.Column("escalated_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("next_escalation_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="NULL: no further escalation, as after it is acknowledged."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "CASE status WHEN 'open' THEN acknowledged_at IS NULL AND closed_at IS NULL WHEN 'acknowledged' THEN"
                " acknowledged_at IS NOT NULL AND closed_at IS NULL ELSE closed_at >= created_at END",
            name=op.f("ck_fleet_alert_status_times")),
        sa.CheckConstraint("alert_type <> ''", name=op.f("ck_fleet_alert_alert_type_not_empty")),
        sa.CheckConstraint("fingerprint <> ''", name=op.f("ck_fleet_alert_fingerprint_not_empty")),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name=op.f("ck_fleet_alert_details_object")),
        sa.CheckConstraint("status = 'open' OR next_escalation_at IS NULL",
            name=op.f("ck_fleet_alert_next_escalation")),
        sa.CheckConstraint("status IN ('open', 'acknowledged', 'closed')", name=op.f("ck_fleet_alert_status")),
        sa.CheckConstraint("summary <> ''", name=op.f("ck_fleet_alert_summary_not_empty")),
        sa.CheckConstraint("acknowledged_by IS NULL OR acknowledged_at IS NOT NULL",
            name=op.f("ck_fleet_alert_acknowledged_by")),
        sa.CheckConstraint("closed_by IS NULL OR closed_at IS NOT NULL", name=op.f("ck_fleet_alert_closed_by")),
        sa.CheckConstraint("confidence BETWEEN 0 AND 1", name=op.f("ck_fleet_alert_confidence")),
        sa.CheckConstraint("escalation_level BETWEEN 0 AND 5", name=op.f("ck_fleet_alert_escalation_level")),
        sa.CheckConstraint("severity BETWEEN 1 AND 5", name=op.f("ck_fleet_alert_severity")),
        sa.CheckConstraint("trigger_count > 0", name=op.f("ck_fleet_alert_trigger_count")),
        sa.ForeignKeyConstraint(["tenant_id", "acknowledged_by"],
            ["tenant_members.tenant_id", "tenant_members.user_id"], name=op.f("fk_fleet_alert_acknowledged_by"),
            ondelete="SET NULL (acknowledged_by)"),
        sa.ForeignKeyConstraint(["tenant_id", "closed_by"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_fleet_alert_closed_by"), ondelete="SET NULL (closed_by)"),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_fleet_alert_device_id"), ondelete="SET NULL (device_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_fleet_alert_endpoint_id"), ondelete="SET NULL (endpoint_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "escalation_policy_id"],
            ["escalation_policies.tenant_id", "escalation_policies.id"],
            name=op.f("fk_fleet_alert_escalation_policy_id"), ondelete="SET NULL (escalation_policy_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "rule_id"], ["alert_rules.tenant_id", "alert_rules.rule_id"],
            name=op.f("fk_fleet_alert_rule_id"), ondelete="SET NULL (rule_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "site_id"], ["sites.tenant_id", "sites.site_id"],
            name=op.f("fk_fleet_alert_site_id"), ondelete="SET NULL (site_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "tag_id"], ["tag_metadata.tenant_id", "tag_metadata.tag_id"],
            name=op.f("fk_fleet_alert_tag_id"), ondelete="SET NULL (tag_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_fleet_alert_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_fleet_alert")),
        comment="Alerts, at most one per fingerprint that is not closed. NOTIFY fleet_alert sends the tenant when one"
            " of these changes: status, severity, escalation_level, silenced_until.",
    )
    op.create_index(
        op.f("ix_fleet_alert_acknowledged_by"), "fleet_alert", ["tenant_id", "acknowledged_by"], unique=False,
    )
    op.create_index(op.f("ix_fleet_alert_closed_by"), "fleet_alert", ["tenant_id", "closed_by"], unique=False)
    op.create_index(
        op.f("ix_fleet_alert_device_id"), "fleet_alert",
        ["tenant_id", "device_id", sa.literal_column("created_at DESC")], unique=False,
    )
    op.create_index(op.f("ix_fleet_alert_endpoint_id"), "fleet_alert", ["tenant_id", "endpoint_id"], unique=False)
    op.create_index(
        op.f("ix_fleet_alert_escalation_policy_id"), "fleet_alert", ["tenant_id", "escalation_policy_id"], unique=False,
    )
    op.create_index(
        op.f("ix_fleet_alert_next_escalation_at"), "fleet_alert", ["next_escalation_at"], unique=False,
        postgresql_where=sa.text("status = 'open' AND next_escalation_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_fleet_alert_rule_id"), "fleet_alert", ["tenant_id", "rule_id"], unique=False)
    op.create_index(op.f("ix_fleet_alert_site_id"), "fleet_alert", ["tenant_id", "site_id"], unique=False)
    op.create_index(
        op.f("ix_fleet_alert_status"), "fleet_alert", ["tenant_id", "status", sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_index(op.f("ix_fleet_alert_tag_id"), "fleet_alert", ["tenant_id", "tag_id"], unique=False)
    op.create_index(
        op.f("ix_fleet_alert_tenant_id"), "fleet_alert", ["tenant_id", sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_index(
        "uq_fleet_alert_fingerprint_open", "fleet_alert", ["tenant_id", "fingerprint"], unique=True,
        postgresql_where=sa.text("status <> 'closed'"),
    )
    op.create_function(
        "announce_alerts", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    perform pg_notify('fleet_alert', n.tenant_id::text)\n"
            "       from (select distinct tenant_id from new_rows) as n;\n"
            "  else\n"
            "    perform pg_notify('fleet_alert', c.tenant_id::text)\n"
            "       from (select distinct n.tenant_id\n"
            "               from new_rows n\n"
            "               join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id\n"
            "              where (n.status, n.severity, n.escalation_level, n.silenced_until) is distinct from"
            " (o.status, o.severity, o.escalation_level, o.silenced_until)) as c;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY fleet_alert once per statement and tenant whose alerts changed.",
    )
    op.create_function(
        "keep_alert_status", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  kept jsonb;\n"
            "  left_over jsonb;\n"
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    if new.status <> 'open' then\n"
            "      raise exception 'a new alert has status open, not %', new.status\n"
            "        using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "              constraint = tg_name, column = 'status';\n"
            "    end if;\n"
            "    new.acknowledged_at := null;\n"
            "    new.closed_at := null;\n"
            "    return new;\n"
            "  end if;\n"
            "  new.acknowledged_at := old.acknowledged_at;\n"
            "  new.closed_at := old.closed_at;\n"
            "  if new.status <> old.status then\n"
            "    if (old.status, new.status) not in\n"
            "       (('open', 'acknowledged'), ('open', 'closed'), ('acknowledged', 'closed')) then\n"
            "      raise exception 'alert % cannot go from % to %', old.id, old.status, new.status\n"
            "        using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "              constraint = tg_name, column = 'status',\n"
            "              hint = 'Allowed: open to acknowledged or closed, acknowledged to closed.';\n"
            "    end if;\n"
            "    if new.status = 'acknowledged' then\n"
            "      new.acknowledged_at := now();\n"
            "    else\n"
            "      new.closed_at := now();\n"
            "    end if;\n"
            "    new.next_escalation_at := null;\n"
            "  elsif old.status = 'closed' then\n"
            "    -- References may become NULL; everything else must stay as it was.\n"
            "    kept := to_jsonb(old);\n"
            "    left_over := to_jsonb(new);\n"
            "    if left_over - array['device_id', 'site_id', 'endpoint_id', 'tag_id', 'rule_id', 'acknowledged_by',"
            " 'closed_by', 'escalation_policy_id', 'updated_at'] <> kept - array['device_id', 'site_id',"
            " 'endpoint_id', 'tag_id', 'rule_id', 'acknowledged_by', 'closed_by', 'escalation_policy_id',"
            " 'updated_at']\n"
            "       or not jsonb_strip_nulls(left_over - 'details' - 'updated_at') <@ kept then\n"
            "      raise exception 'alert % is closed and can no longer be changed', old.id\n"
            "        using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "              constraint = tg_name, hint = 'Add a note in alert_events instead.';\n"
            "    end if;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: allows only open, acknowledged, closed in that order, and sets the times.",
    )
    op.create_function(
        "record_alert_event", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event)\n"
            "    values (new.tenant_id, new.id, 'opened');\n"
            "    return null;\n"
            "  end if;\n"
            "  if new.status <> old.status then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event, actor_id)\n"
            "    values (new.tenant_id, new.id, new.status,\n"
            "            case new.status when 'closed' then new.closed_by else new.acknowledged_by end);\n"
            "  end if;\n"
            "  if new.escalation_level <> old.escalation_level then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event, details)\n"
            "    values (new.tenant_id, new.id, 'escalated',\n"
            "            jsonb_build_object('level', new.escalation_level));\n"
            "  end if;\n"
            "  if new.silenced_until is distinct from old.silenced_until then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event, details)\n"
            "    values (new.tenant_id, new.id, 'silenced',\n"
            "            jsonb_build_object('until', new.silenced_until));\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: records changes of an alert in alert_events.",
    )
    op.create_function(
        "reject_manual_alert_event", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if pg_trigger_depth() < 2 then\n"
            "    raise exception 'event % can only be written by the database', new.event\n"
            "      using errcode = 'insufficient_privilege', table = tg_table_name,\n"
            "            hint = 'Change the alert, and the event is recorded. Only notes can be inserted.';\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: rejects events other than notes that are inserted directly.",
    )
    op.create_trigger(
        "alert_change_leaves_a_trail", "fleet_alert", "after", "update", level="row", function="record_alert_event()",
        when="(old.status, old.escalation_level, old.silenced_until) IS DISTINCT FROM (new.status,"
            " new.escalation_level, new.silenced_until)",
    )
    op.create_trigger(
        "alert_leaves_a_trail", "fleet_alert", "after", "insert", level="row", function="record_alert_event()",
    )
    op.create_trigger(
        "alert_status_transitions", "fleet_alert", "before", "insert or update", level="row",
        function="keep_alert_status()",
    )
    op.create_trigger(
        "announce_changed", "fleet_alert", "after", "update", level="statement", function="announce_alerts()",
        old_table="old_rows", new_table="new_rows",
    )
    op.create_trigger(
        "announce_new", "fleet_alert", "after", "insert", level="statement", function="announce_alerts()",
        new_table="new_rows",
    )
    op.create_trigger("set_updated_at", "fleet_alert", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "fleet_alert", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "insert (acknowledged_at, acknowledged_by, alert_type, closed_at, closed_by, confidence,"
                " details, device_id, endpoint_id, escalated_at, escalation_level, escalation_policy_id, fingerprint,"
                " last_triggered_at, next_escalation_at, rule_id, severity, silenced_until, site_id, status, summary,"
                " tag_id, tenant_id, trigger_count, updated_at), select, update (acknowledged_at, acknowledged_by,"
                " alert_type, closed_at, closed_by, confidence, details, device_id, endpoint_id, escalated_at,"
                " escalation_level, escalation_policy_id, fingerprint, last_triggered_at, next_escalation_at,"
                " rule_id, severity, silenced_until, site_id, status, summary, tag_id, tenant_id, trigger_count,"
                " updated_at)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "alert_events",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), server_default="note", nullable=False,
            comment="Written by the database, except for notes."),
        sa.Column("actor_id", sa.Uuid(), nullable=True,
            comment="The member who did it; NULL: no member, or one who has left."),
        sa.Column("at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="E.g. the level of an escalation."),
        sa.CheckConstraint("event <> 'note' OR note <> ''", name=op.f("ck_alert_events_note")),
        sa.CheckConstraint("event IN ('opened', 'acknowledged', 'closed', 'escalated', 'silenced', 'note')",
            name=op.f("ck_alert_events_event")),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name=op.f("ck_alert_events_details_object")),
        sa.ForeignKeyConstraint(["tenant_id", "actor_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_alert_events_actor_id"), ondelete="SET NULL (actor_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "alert_id"], ["fleet_alert.tenant_id", "fleet_alert.id"],
            name=op.f("fk_alert_events_alert_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_alert_events_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alert_events")),
        comment="What happened to each alert; append-only.",
    )
    op.create_index(op.f("ix_alert_events_actor_id"), "alert_events", ["tenant_id", "actor_id"], unique=False)
    op.create_index(op.f("ix_alert_events_alert_id_at"), "alert_events", ["tenant_id", "alert_id", "at"], unique=False)
    op.create_trigger(
        "only_notes_are_inserted", "alert_events", "before", "insert", level="row",
        function="reject_manual_alert_event()", when="new.event <> 'note'",
    )
    op.set_row_level_security(
        "alert_events", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "insert (actor_id, alert_id, details, event, id, note, tenant_id), select",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "incident_alerts",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "alert_id"], ["fleet_alert.tenant_id", "fleet_alert.id"],
            name=op.f("fk_incident_alerts_alert_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "incident_id"], ["incidents.tenant_id", "incidents.id"],
            name=op.f("fk_incident_alerts_incident_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_incident_alerts_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "incident_id", "alert_id", name=op.f("pk_incident_alerts")),
        comment="Alerts that belong to incidents.",
    )
    op.create_index(op.f("ix_incident_alerts_alert_id"), "incident_alerts", ["tenant_id", "alert_id"], unique=False)
    op.set_row_level_security(
        "incident_alerts", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )
    op.create_function(
        "take_due_escalations", "wanted integer DEFAULT 100",
        returns="TABLE(tenant_id uuid, alert_id bigint, severity integer, summary text, level integer, channel_id"
            " uuid, oncall_schedule_id uuid)",
        language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH due AS MATERIALIZED (\n"
            "    SELECT a.tenant_id, a.id, a.escalation_policy_id, a.escalation_level + 1 AS level\n"
            "      FROM fleet_alert AS a\n"
            "     WHERE a.status = 'open' AND a.next_escalation_at <= now()\n"
            "       AND (a.silenced_until IS NULL OR a.silenced_until <= now())\n"
            "     ORDER BY a.next_escalation_at\n"
            "     LIMIT take_due_escalations.wanted\n"
            "       FOR NO KEY UPDATE OF a SKIP LOCKED\n"
            "  ), moved AS (\n"
            "    UPDATE fleet_alert AS a\n"
            "       SET escalation_level = coalesce(l.level, a.escalation_level),\n"
            "           escalated_at = CASE WHEN l.level IS NULL THEN a.escalated_at ELSE now() END,\n"
            "           next_escalation_at = now() + make_interval(mins => n.delay_minutes)\n"
            "      FROM due AS d\n"
            "      LEFT JOIN escalation_levels AS l\n"
            "        ON l.tenant_id = d.tenant_id AND l.policy_id = d.escalation_policy_id\n"
            "       AND l.level = d.level\n"
            "      LEFT JOIN escalation_levels AS n\n"
            "        ON n.tenant_id = d.tenant_id AND n.policy_id = d.escalation_policy_id\n"
            "       AND n.level = d.level + 1\n"
            "     WHERE a.tenant_id = d.tenant_id AND a.id = d.id\n"
            "    RETURNING a.tenant_id, a.id, a.severity, a.summary, l.level, l.channel_id,\n"
            "              l.oncall_schedule_id\n"
            "  )\n"
            "  SELECT m.tenant_id, m.id, m.severity, m.summary, m.level, m.channel_id,\n"
            "         m.oncall_schedule_id\n"
            "    FROM moved AS m\n"
            "   WHERE m.level IS NOT NULL\n"
            "   ORDER BY m.severity DESC, m.id;\n"
            "END"
        ),
        comment="Moves due alerts to their next level and returns them, each to one caller only: those of all tenants"
            " to fleet_operator, those of the current tenant to fleet_app.",
        grants={"fleet_app, fleet_operator": "execute"},
    )
    op.create_function(
        "under_maintenance",
        "device_id text DEFAULT NULL, site_id uuid DEFAULT NULL, endpoint_id uuid DEFAULT NULL, project_id uuid"
            " DEFAULT NULL, moment timestamptz DEFAULT now(), tenant uuid DEFAULT current_tenant()",
        returns="boolean", language="sql", volatility="stable",
        body=(
            "RETURN EXISTS (\n"
            "  SELECT\n"
            "    FROM alert_maintenance_windows AS w,\n"
            "         LATERAL (SELECT under_maintenance.moment AT TIME ZONE w.timezone AS clock) AS there\n"
            "   WHERE w.tenant_id = under_maintenance.tenant\n"
            "     AND w.enabled\n"
            "     AND w.starts_at <= under_maintenance.moment\n"
            "     AND (w.ends_at IS NULL OR w.ends_at > under_maintenance.moment)\n"
            "     AND (w.recur_weekdays IS NULL OR EXISTS (\n"
            "           SELECT\n"
            "             FROM generate_series(0, 1) AS days(ago),\n"
            "                  LATERAL (SELECT date_trunc('day', there.clock)\n"
            "                                  - make_interval(days => days.ago) AS day) AS began,\n"
            "                  LATERAL (SELECT began.day + make_interval(mins => w.recur_start_minute)\n"
            "                                  AS at) AS first\n"
            "            WHERE extract(isodow FROM began.day)::integer = ANY (w.recur_weekdays)\n"
            "              AND there.clock >= first.at\n"
            "              AND there.clock < first.at + make_interval(mins => w.recur_minutes)))\n"
            "     AND (w.target_all OR EXISTS (\n"
            "           SELECT\n"
            "             FROM alert_maintenance_targets AS t\n"
            "             LEFT JOIN device_registry AS d\n"
            "               ON d.tenant_id = under_maintenance.tenant\n"
            "              AND d.device_id = under_maintenance.device_id\n"
            "            WHERE t.tenant_id = w.tenant_id AND t.window_id = w.window_id\n"
            "              AND (t.device_id = under_maintenance.device_id\n"
            "                   OR t.site_id IN (under_maintenance.site_id, d.site_id)\n"
            "                   OR t.device_type = d.device_type\n"
            "                   OR t.endpoint_id = under_maintenance.endpoint_id\n"
            "                   OR t.project_id = under_maintenance.project_id\n"
            "                   OR EXISTS (\n"
            "                        SELECT\n"
            "                          FROM device_group_members AS m\n"
            "                         WHERE m.tenant_id = t.tenant_id AND m.group_id = t.group_id\n"
            "                           AND m.device_id = d.device_id)))))"
        ),
        comment="Whether a window covers one of these objects at that moment: a device itself, its site, type or"
            " groups; an endpoint itself or the project that the caller passes.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "execute"},
    )
    op.create_function(
        "raise_alert",
        "fingerprint text, alert_type text, severity integer, summary text, device_id text DEFAULT NULL, site_id uuid"
            " DEFAULT NULL, rule_id uuid DEFAULT NULL, details jsonb DEFAULT '{}', confidence double precision"
            " DEFAULT 1, endpoint_id uuid DEFAULT NULL, tag_id bigint DEFAULT NULL, project_id uuid DEFAULT NULL,"
            " tenant uuid DEFAULT current_tenant()",
        returns="TABLE(alert_id bigint, is_new boolean, times bigint)", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  INSERT INTO fleet_alert AS a\n"
            "         (tenant_id, fingerprint, alert_type, severity, summary, details, confidence,\n"
            "          device_id, site_id, rule_id, endpoint_id, tag_id, escalation_policy_id,\n"
            "          next_escalation_at)\n"
            "  SELECT raise_alert.tenant, raise_alert.fingerprint, raise_alert.alert_type,\n"
            "         raise_alert.severity, raise_alert.summary, raise_alert.details,\n"
            "         raise_alert.confidence, raise_alert.device_id, place.site_id, raise_alert.rule_id,\n"
            "         raise_alert.endpoint_id, raise_alert.tag_id, policy.id,\n"
            "         now() + make_interval(mins => first.delay_minutes)\n"
            "    FROM (SELECT coalesce(raise_alert.site_id, (\n"
            "            SELECT d.site_id FROM device_registry AS d\n"
            "             WHERE d.tenant_id = raise_alert.tenant\n"
            "               AND d.device_id = raise_alert.device_id)) AS site_id) AS place\n"
            "    LEFT JOIN LATERAL (\n"
            "      SELECT p.id\n"
            "        FROM escalation_policies AS p\n"
            "        LEFT JOIN alert_rules AS r\n"
            "          ON r.tenant_id = p.tenant_id AND r.rule_id = raise_alert.rule_id\n"
            "         AND r.escalation_policy_id = p.id\n"
            "       WHERE p.tenant_id = raise_alert.tenant AND (p.is_default OR r.rule_id IS NOT NULL)\n"
            "       ORDER BY r.rule_id IS NULL\n"
            "       LIMIT 1) AS policy ON true\n"
            "    LEFT JOIN escalation_levels AS first\n"
            "      ON first.tenant_id = raise_alert.tenant AND first.policy_id = policy.id\n"
            "     AND first.level = 1\n"
            "   WHERE NOT under_maintenance(\n"
            "           device_id => raise_alert.device_id, site_id => place.site_id,\n"
            "           endpoint_id => raise_alert.endpoint_id, project_id => raise_alert.project_id,\n"
            "           tenant => raise_alert.tenant)\n"
            "      ON CONFLICT (tenant_id, fingerprint) WHERE status <> 'closed' DO UPDATE\n"
            "     SET trigger_count = a.trigger_count + 1,\n"
            "         last_triggered_at = greatest(a.last_triggered_at, excluded.last_triggered_at),\n"
            "         severity = greatest(a.severity, excluded.severity),\n"
            "         confidence = excluded.confidence,\n"
            "         summary = excluded.summary,\n"
            "         details = excluded.details\n"
            "  RETURNING a.id, a.trigger_count = 1, a.trigger_count;\n"
            "END"
        ),
        comment="Opens an alert, or increments the counter of the one with that fingerprint that is not closed;"
            " returns no row if a maintenance window covers it. project_id: that of endpoint_id.",
        grants={"fleet_app, fleet_operator": "execute"},
    )


def downgrade() -> None:
    op.drop_function(
        "raise_alert",
        "fingerprint text, alert_type text, severity integer, summary text, device_id text, site_id uuid, rule_id"
            " uuid, details jsonb, confidence double precision, endpoint_id uuid, tag_id bigint, project_id uuid,"
            " tenant uuid",
    )
    op.drop_function(
        "under_maintenance",
        "device_id text, site_id uuid, endpoint_id uuid, project_id uuid, moment timestamptz, tenant uuid",
    )
    op.drop_function("take_due_escalations", "wanted integer")
    op.drop_table("incident_alerts")
    op.drop_table("alert_events")
    op.drop_trigger("announce_new", "fleet_alert")
    op.drop_trigger("announce_changed", "fleet_alert")
    op.drop_trigger("alert_status_transitions", "fleet_alert")
    op.drop_trigger("alert_leaves_a_trail", "fleet_alert")
    op.drop_trigger("alert_change_leaves_a_trail", "fleet_alert")
    op.drop_function("reject_manual_alert_event")
    op.drop_function("record_alert_event")
    op.drop_function("keep_alert_status")
    op.drop_function("announce_alerts")
    op.drop_table("fleet_alert")
    op.drop_table("alert_rule_targets")
    op.drop_table("alert_rule_conditions")
    op.drop_table("alert_maintenance_targets")
    op.drop_table("alert_rules")
    op.drop_table("alert_digest_settings")
    op.drop_table("alert_maintenance_windows")
