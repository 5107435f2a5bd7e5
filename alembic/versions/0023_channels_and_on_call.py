"""channels and on call

Revision 0023, after 0022; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "escalation_policies",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Used for alerts whose rule names no policy; at most one."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_escalation_policies_name_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_escalation_policies_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_escalation_policies")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_escalation_policies_name")),
        comment="Escalation policies; their steps are in escalation_levels.",
    )
    op.create_index(
        "uq_escalation_policies_default", "escalation_policies", ["tenant_id"], unique=True,
        postgresql_where=sa.text("is_default"),
    )
    op.create_trigger(
        "set_updated_at", "escalation_policies", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "escalation_policies", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "notification_channels",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("channel_type", sa.Text(), nullable=False),
        sa.Column("config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="Address, headers and similar settings; secrets are in the secret store."),
        sa.Column("secret_ref", sa.Text(), nullable=True,
            comment="Name of passwords, tokens, keys or an incoming webhook in the secret store."),
        sa.Column("repeat_interval_minutes", sa.Integer(), nullable=True,
            comment="Interval of reminders while an alert is open; NULL: none."),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "channel_type IN ('email', 'webhook', 'slack', 'discord', 'teams', 'google_chat', 'pagerduty', 'http',"
                " 'snmp', 'mqtt')", name=op.f("ck_notification_channels_channel_type")),
        sa.CheckConstraint("jsonb_typeof(config) = 'object'", name=op.f("ck_notification_channels_config_object")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_notification_channels_name_not_empty")),
        sa.CheckConstraint("secret_ref <> ''", name=op.f("ck_notification_channels_secret_ref_not_empty")),
        sa.CheckConstraint(
            "NOT jsonb_path_exists(config, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
                " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(config, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)",
            name=op.f("ck_notification_channels_config_without_secrets")),
        sa.CheckConstraint("repeat_interval_minutes BETWEEN 1 AND 1440",
            name=op.f("ck_notification_channels_repeat_interval")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_notification_channels_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_notification_channels")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_notification_channels_name")),
        comment="Destinations of notifications.",
    )
    op.create_trigger(
        "set_updated_at", "notification_channels", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "notification_channels", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "oncall_schedules",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False,
            comment="IANA name; hand-offs happen in this time zone."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_oncall_schedules_name_not_empty")),
        sa.CheckConstraint("(to_timestamp(0) AT TIME ZONE timezone) IS NOT NULL",
            name=op.f("ck_oncall_schedules_timezone")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_oncall_schedules_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_oncall_schedules")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_oncall_schedules_name")),
        comment="On-call schedules.",
    )
    op.create_trigger(
        "set_updated_at", "oncall_schedules", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "oncall_schedules", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "escalation_levels",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False, comment="From 1."),
        sa.Column("level_below", sa.Integer(), sa.Computed("nullif(level - 1, 0)", persisted=True), nullable=True,
            comment="Must exist, so that there are no gaps; NULL for the first."),
        sa.Column("delay_minutes", sa.Integer(), server_default=sa.text("15"), nullable=False,
            comment="Minutes without a reaction since the alert, or since the level below."),
        sa.Column("channel_id", sa.Uuid(), nullable=False,
            comment="Where to notify. Neither channel nor schedule can be deleted while used."),
        sa.Column("oncall_schedule_id", sa.Uuid(), nullable=True,
            comment="Notify the person on call; NULL: everyone the channel reaches."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("delay_minutes BETWEEN 0 AND 10080", name=op.f("ck_escalation_levels_delay_minutes")),
        sa.CheckConstraint("level BETWEEN 1 AND 5", name=op.f("ck_escalation_levels_level")),
        sa.ForeignKeyConstraint(["tenant_id", "channel_id"],
            ["notification_channels.tenant_id", "notification_channels.id"],
            name=op.f("fk_escalation_levels_channel_id")),
        sa.ForeignKeyConstraint(["tenant_id", "oncall_schedule_id"],
            ["oncall_schedules.tenant_id", "oncall_schedules.id"],
            name=op.f("fk_escalation_levels_oncall_schedule_id")),
        sa.ForeignKeyConstraint(["tenant_id", "policy_id", "level_below"],
            ["escalation_levels.tenant_id", "escalation_levels.policy_id", "escalation_levels.level"],
            name=op.f("fk_escalation_levels_policy_id_level_below")),
        sa.ForeignKeyConstraint(["tenant_id", "policy_id"], ["escalation_policies.tenant_id", "escalation_policies.id"],
            name=op.f("fk_escalation_levels_policy_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_escalation_levels_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "policy_id", "level", name=op.f("pk_escalation_levels")),
        comment="Steps of escalation, 1 to 5 without gaps.",
    )
    op.create_index(
        op.f("ix_escalation_levels_channel_id"), "escalation_levels", ["tenant_id", "channel_id"], unique=False,
    )
    op.create_index(
        op.f("ix_escalation_levels_oncall_schedule_id"), "escalation_levels", ["tenant_id", "oncall_schedule_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_escalation_levels_policy_id_level_below"), "escalation_levels",
        ["tenant_id", "policy_id", "level_below"], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "escalation_levels", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "escalation_levels", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "notification_routing_rules",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("priority", sa.Integer(), server_default=sa.text("100"), nullable=False,
            comment="Lower first, among the rules of a channel."),
        sa.Column("min_severity", sa.Integer(), nullable=True, comment="1 to 5, as in fleet_alert.severity."),
        sa.Column("alert_types", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False,
            comment="Empty: all."),
        sa.Column("site_id", sa.Uuid(), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("device_tag", sa.Text(), nullable=True, comment="Only devices with this tag,"),
        sa.Column("device_tag_value", sa.Text(), nullable=True, comment="and with this value of it."),
        sa.Column("device_prefixes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False,
            comment="Prefixes of device_id. Empty: any."),
        sa.Column("deliver_on", sa.ARRAY(sa.Text()), server_default=sa.text("'{opened}'"), nullable=False,
            comment="Which of opened, acknowledged, escalated, closed."),
        sa.Column("throttle_minutes", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Minimum time between notifications of the same fingerprint and event."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cardinality(deliver_on) > 0 AND deliver_on <@ ARRAY['opened', 'acknowledged', 'escalated', 'closed']",
            name=op.f("ck_notification_routing_rules_deliver_on")),
        sa.CheckConstraint("device_tag <> ''", name=op.f("ck_notification_routing_rules_device_tag_not_empty")),
        sa.CheckConstraint("device_tag_value IS NULL OR device_tag IS NOT NULL",
            name=op.f("ck_notification_routing_rules_device_tag")),
        sa.CheckConstraint("min_severity BETWEEN 1 AND 5", name=op.f("ck_notification_routing_rules_min_severity")),
        sa.CheckConstraint("throttle_minutes BETWEEN 0 AND 10080",
            name=op.f("ck_notification_routing_rules_throttle_minutes")),
        sa.ForeignKeyConstraint(["tenant_id", "channel_id"],
            ["notification_channels.tenant_id", "notification_channels.id"],
            name=op.f("fk_notification_routing_rules_channel_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.id"],
            name=op.f("fk_notification_routing_rules_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "site_id"], ["sites.tenant_id", "sites.site_id"],
            name=op.f("fk_notification_routing_rules_site_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_notification_routing_rules_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_notification_routing_rules")),
        comment="Rules that route alerts to channels.",
    )
    op.create_index(
        op.f("ix_notification_routing_rules_channel_id"), "notification_routing_rules", ["tenant_id", "channel_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_notification_routing_rules_project_id"), "notification_routing_rules", ["tenant_id", "project_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_notification_routing_rules_site_id"), "notification_routing_rules", ["tenant_id", "site_id"],
        unique=False,
    )
    op.create_trigger(
        "set_updated_at", "notification_routing_rules", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "notification_routing_rules", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "oncall_layers",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), server_default="Layer 1", nullable=False),
        sa.Column("layer_order", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Order of calling: 0 first, then 1, ..."),
        sa.Column("rotation_type", sa.Text(), server_default="weekly", nullable=False),
        sa.Column("shift_duration_hours", sa.Integer(), server_default=sa.text("168"), nullable=False),
        sa.Column("handoff_day", sa.Integer(), server_default=sa.text("1"), nullable=False,
            comment="1 (Monday) to 7; used by weekly rotations."),
        sa.Column("handoff_hour", sa.Integer(), server_default=sa.text("9"), nullable=False,
            comment="In the time zone of the schedule."),
        sa.Column("starts_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False,
            comment="The first responder takes the shift that covers this moment."),
        sa.Column("ends_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="NULL: no end."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_oncall_layers_name_not_empty")),
        sa.CheckConstraint("rotation_type IN ('daily', 'weekly', 'custom')",
            name=op.f("ck_oncall_layers_rotation_type")),
        sa.CheckConstraint(
            "shift_duration_hours BETWEEN 1 AND 8784 AND CASE rotation_type WHEN 'daily' THEN shift_duration_hours ="
                " 24 WHEN 'weekly' THEN shift_duration_hours = 168 ELSE true END",
            name=op.f("ck_oncall_layers_shift_duration_hours")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_oncall_layers_ends_at")),
        sa.CheckConstraint("handoff_day BETWEEN 1 AND 7", name=op.f("ck_oncall_layers_handoff_day")),
        sa.CheckConstraint("handoff_hour BETWEEN 0 AND 23", name=op.f("ck_oncall_layers_handoff_hour")),
        sa.CheckConstraint("layer_order >= 0", name=op.f("ck_oncall_layers_layer_order")),
        sa.ForeignKeyConstraint(["tenant_id", "schedule_id"], ["oncall_schedules.tenant_id", "oncall_schedules.id"],
            name=op.f("fk_oncall_layers_schedule_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_oncall_layers_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_oncall_layers")),
        sa.UniqueConstraint("tenant_id", "schedule_id", "id", name=op.f("uq_oncall_layers_schedule_id_id")),
        comment="Rotations of a schedule.",
    )
    op.create_index(
        op.f("ix_oncall_layers_schedule_id_layer_order_starts_at"), "oncall_layers",
        ["tenant_id", "schedule_id", "layer_order", "starts_at"], unique=False,
    )
    op.create_function(
        "reject_overlapping_layer", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  other record;\n"
            "begin\n"
            "  perform from public.oncall_schedules\n"
            "    where tenant_id = new.tenant_id and id = new.schedule_id for no key update;\n"
            "  if not found then\n"
            "    raise exception 'on-call schedule % is not visible to %', new.schedule_id, current_user\n"
            "      using errcode = 'no_data_found', hint = 'Set app.tenant_id in this transaction.';\n"
            "  end if;\n"
            "  select l.starts_at, l.ends_at into other\n"
            "    from public.oncall_layers l\n"
            "   where l.tenant_id = new.tenant_id and l.schedule_id = new.schedule_id and l.id <> new.id\n"
            "     and l.layer_order = new.layer_order\n"
            "     and l.starts_at < coalesce(new.ends_at, 'infinity')\n"
            "     and coalesce(l.ends_at, 'infinity') > new.starts_at\n"
            "   order by l.starts_at limit 1;\n"
            "  if found then\n"
            "    raise exception 'layer % to % overlaps % to %', new.starts_at,\n"
            "        coalesce(new.ends_at, 'infinity'), other.starts_at,\n"
            "        coalesce(other.ends_at, 'infinity')\n"
            "      using errcode = 'exclusion_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "            constraint = tg_name, hint = 'Give it another layer_order, or end the other one first.';\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: rejects layers of the same order that overlap.",
    )
    op.create_trigger(
        "layers_do_not_overlap", "oncall_layers", "after",
        "insert or update of schedule_id, layer_order, starts_at, ends_at", level="row",
        function="reject_overlapping_layer()",
    )
    op.create_trigger("set_updated_at", "oncall_layers", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "oncall_layers", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "oncall_overrides",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("layer_id", sa.Uuid(), nullable=True, comment="NULL: replaces all layers of the schedule."),
        sa.Column("user_id", sa.Uuid(), nullable=False, comment="The member on call during the override."),
        sa.Column("starts_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ends_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_oncall_overrides_ends_at")),
        sa.ForeignKeyConstraint(["tenant_id", "schedule_id", "layer_id"],
            ["oncall_layers.tenant_id", "oncall_layers.schedule_id", "oncall_layers.id"],
            name=op.f("fk_oncall_overrides_schedule_id_layer_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "schedule_id"], ["oncall_schedules.tenant_id", "oncall_schedules.id"],
            name=op.f("fk_oncall_overrides_schedule_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_oncall_overrides_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_oncall_overrides_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_oncall_overrides")),
        comment="Temporary replacements in on-call schedules.",
    )
    op.create_index(
        op.f("ix_oncall_overrides_schedule_id_layer_id_starts_at"), "oncall_overrides",
        ["tenant_id", "schedule_id", "layer_id", "starts_at"], unique=False,
    )
    op.create_index(op.f("ix_oncall_overrides_user_id"), "oncall_overrides", ["tenant_id", "user_id"], unique=False)
    op.create_function(
        "reject_overlapping_override", returns="trigger", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  other record;\n"
            "begin\n"
            "  perform from public.oncall_schedules\n"
            "    where tenant_id = new.tenant_id and id = new.schedule_id for no key update;\n"
            "  if not found then\n"
            "    raise exception 'on-call schedule % is not visible to %', new.schedule_id, current_user\n"
            "      using errcode = 'no_data_found', hint = 'Set app.tenant_id in this transaction.';\n"
            "  end if;\n"
            "  select o.starts_at, o.ends_at into other\n"
            "    from public.oncall_overrides o\n"
            "   where o.tenant_id = new.tenant_id and o.schedule_id = new.schedule_id and o.id <> new.id\n"
            "     and (o.layer_id = new.layer_id or num_nulls(o.layer_id, new.layer_id) > 0)\n"
            "     and o.starts_at < new.ends_at and o.ends_at > new.starts_at\n"
            "   order by o.starts_at limit 1;\n"
            "  if found then\n"
            "    raise exception 'override % to % overlaps % to %', new.starts_at,\n"
            "        coalesce(new.ends_at, 'infinity'), other.starts_at,\n"
            "        coalesce(other.ends_at, 'infinity')\n"
            "      using errcode = 'exclusion_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "            constraint = tg_name, hint = 'End the other one earlier, or name a layer in both.';\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: rejects overrides that overlap in the same layer, or in all layers.",
    )
    op.create_trigger(
        "overrides_do_not_overlap", "oncall_overrides", "after",
        "insert or update of schedule_id, layer_id, starts_at, ends_at", level="row",
        function="reject_overlapping_override()",
    )
    op.create_trigger(
        "set_updated_at", "oncall_overrides", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "oncall_overrides", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "oncall_responders",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("layer_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False,
            comment="Order of the turns; may have gaps. A member may have several turns."),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("position >= 0", name=op.f("ck_oncall_responders_position")),
        sa.ForeignKeyConstraint(["tenant_id", "layer_id"], ["oncall_layers.tenant_id", "oncall_layers.id"],
            name=op.f("fk_oncall_responders_layer_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_oncall_responders_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_oncall_responders_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "layer_id", "position", name=op.f("pk_oncall_responders")),
        comment="Members of rotations.",
    )
    op.create_index(op.f("ix_oncall_responders_user_id"), "oncall_responders", ["tenant_id", "user_id"], unique=False)
    op.create_trigger(
        "set_updated_at", "oncall_responders", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "oncall_responders", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )
    op.create_function(
        "who_is_on_call", "schedule uuid, moment timestamptz DEFAULT now(), tenant uuid DEFAULT current_tenant()",
        returns="TABLE(layer_order integer, layer_id uuid, user_id uuid, override_id uuid)", language="sql",
        volatility="stable",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH layers AS (\n"
            "    SELECT l.id, l.layer_order, l.shift_duration_hours,\n"
            "           who_is_on_call.moment AT TIME ZONE s.timezone AS clock,\n"
            "           CASE l.rotation_type WHEN 'weekly' THEN interval '7 days'\n"
            "                                ELSE interval '1 day' END AS step,\n"
            "           CASE l.rotation_type\n"
            "             WHEN 'weekly' THEN\n"
            "               date_trunc('week', l.starts_at AT TIME ZONE s.timezone)\n"
            "               + make_interval(days => l.handoff_day - 1, hours => l.handoff_hour)\n"
            "             ELSE date_trunc('day', l.starts_at AT TIME ZONE s.timezone)\n"
            "                  + make_interval(hours => l.handoff_hour)\n"
            "           END AS handoff,\n"
            "           l.starts_at AT TIME ZONE s.timezone AS start\n"
            "      FROM oncall_schedules AS s\n"
            "      JOIN oncall_layers AS l ON l.tenant_id = s.tenant_id AND l.schedule_id = s.id\n"
            "     WHERE s.tenant_id = who_is_on_call.tenant AND s.id = who_is_on_call.schedule\n"
            "       AND l.starts_at <= who_is_on_call.moment\n"
            "       AND (l.ends_at IS NULL OR l.ends_at > who_is_on_call.moment)\n"
            "  ), turns AS (\n"
            "    SELECT l.id, l.layer_order,\n"
            "           -- When daylight saving ends, an hour repeats: local time may be before the start.\n"
            "           greatest(0, floor(extract(epoch FROM l.clock - (\n"
            "             CASE WHEN l.handoff > l.start THEN l.handoff - l.step ELSE l.handoff END))\n"
            "             / 3600 / l.shift_duration_hours))::bigint AS shift\n"
            "      FROM layers AS l\n"
            "  ), responders AS (\n"
            "    SELECT r.layer_id, r.user_id,\n"
            "           row_number() OVER (PARTITION BY r.layer_id ORDER BY r.position) - 1 AS turn,\n"
            "           count(*) OVER (PARTITION BY r.layer_id) AS people\n"
            "      FROM turns AS t\n"
            "      JOIN oncall_responders AS r\n"
            "        ON r.tenant_id = who_is_on_call.tenant AND r.layer_id = t.id\n"
            "      JOIN tenant_members AS m\n"
            "        ON m.tenant_id = r.tenant_id AND m.user_id = r.user_id AND m.status = 'active'\n"
            "  ), overrides AS (\n"
            "    SELECT o.id, o.layer_id, o.user_id\n"
            "      FROM oncall_overrides AS o\n"
            "      JOIN tenant_members AS m\n"
            "        ON m.tenant_id = o.tenant_id AND m.user_id = o.user_id AND m.status = 'active'\n"
            "     WHERE o.tenant_id = who_is_on_call.tenant AND o.schedule_id = who_is_on_call.schedule\n"
            "       AND o.starts_at <= who_is_on_call.moment AND o.ends_at > who_is_on_call.moment\n"
            "  )\n"
            "  SELECT 0 AS layer_order, NULL::uuid AS layer_id, o.user_id, o.id AS override_id\n"
            "    FROM overrides AS o\n"
            "   WHERE o.layer_id IS NULL\n"
            "  UNION ALL\n"
            "  SELECT t.layer_order, t.id, coalesce(o.user_id, r.user_id), o.id\n"
            "    FROM turns AS t\n"
            "    LEFT JOIN overrides AS o ON o.layer_id = t.id\n"
            "    LEFT JOIN responders AS r ON r.layer_id = t.id AND r.turn = t.shift % r.people\n"
            "   WHERE coalesce(o.user_id, r.user_id) IS NOT NULL\n"
            "     AND NOT EXISTS (SELECT FROM overrides AS a WHERE a.layer_id IS NULL)\n"
            "   ORDER BY 1;\n"
            "END"
        ),
        comment="Who is on call at that moment, in the order of calling: one person per layer, or one for all layers"
            " (layer_id NULL) during an override of the whole schedule.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "execute"},
    )


def downgrade() -> None:
    op.drop_function("who_is_on_call", "schedule uuid, moment timestamptz, tenant uuid")
    op.drop_table("oncall_responders")
    op.drop_trigger("overrides_do_not_overlap", "oncall_overrides")
    op.drop_function("reject_overlapping_override")
    op.drop_table("oncall_overrides")
    op.drop_trigger("layers_do_not_overlap", "oncall_layers")
    op.drop_function("reject_overlapping_layer")
    op.drop_table("oncall_layers")
    op.drop_table("notification_routing_rules")
    op.drop_table("escalation_levels")
    op.drop_table("oncall_schedules")
    op.drop_table("notification_channels")
    op.drop_table("escalation_policies")
