"""device parts and links

Revision 0008, after 0007; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_function(
        "keep_device_state", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if new.status is distinct from old.status then\n"
            "    new.last_state_change_at := now();\n"
            "  end if;\n"
            "  if new.desired_state is distinct from old.desired_state then\n"
            "    new.desired_version := old.desired_version + 1;\n"
            "    new.shadow_updated_at := now();\n"
            "  elsif new.desired_version <> old.desired_version then\n"
            "    raise exception 'desired_version of device % is set by the database', new.device_id\n"
            "      using errcode = 'check_violation', table = tg_table_name, column = 'desired_version',\n"
            "            hint = 'Change desired_state, which increments the version.';\n"
            "  end if;\n"
            "  if new.reported_version < old.reported_version then\n"
            "    raise exception 'device % reported version % after version %', new.device_id,\n"
            "        new.reported_version, old.reported_version\n"
            "      using errcode = 'check_violation', table = tg_table_name, column = 'reported_version',\n"
            "            hint = 'Use report_state(), which ignores late reports.';\n"
            "  end if;\n"
            "  if new.reported_state is distinct from old.reported_state then\n"
            "    new.shadow_updated_at := now();\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: sets versions and times of a device shadow.",
    )

    op.create_table(
        "carrier_integrations",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("carrier_name", sa.Text(), nullable=False, comment="Identifier of the carrier in the application."),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("api_base_url", sa.Text(), nullable=True),
        sa.Column("account_id", sa.Text(), nullable=True, comment="Account number at the carrier."),
        sa.Column("secret_ref", sa.Text(), nullable=True, comment="Name of the credentials in the secret store."),
        sa.Column("config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Additional settings; no credentials."),
        sa.Column("sync_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("sync_interval_minutes", sa.Integer(), server_default=sa.text("60"), nullable=False),
        sa.Column("last_sync_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_sync_status", sa.Text(), server_default="never", nullable=False),
        sa.Column("last_sync_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("carrier_name <> ''", name=op.f("ck_carrier_integrations_carrier_name_not_empty")),
        sa.CheckConstraint("jsonb_typeof(config) = 'object'", name=op.f("ck_carrier_integrations_config_object")),
        sa.CheckConstraint("last_sync_status IN ('never', 'success', 'partial', 'error')",
            name=op.f("ck_carrier_integrations_last_sync_status")),
        sa.CheckConstraint("sync_interval_minutes > 0", name=op.f("ck_carrier_integrations_sync_interval_minutes")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_carrier_integrations_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_carrier_integrations")),
        sa.UniqueConstraint("tenant_id", "carrier_name", name=op.f("uq_carrier_integrations_carrier_name")),
        comment="Accounts of tenants at mobile carriers.",
    )
    op.create_index(
        "ix_carrier_integrations_due", "carrier_integrations", ["last_sync_at"], unique=False,
        postgresql_where=sa.text("enabled AND sync_enabled"),
    )
    op.create_trigger(
        "set_updated_at", "carrier_integrations", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "carrier_integrations", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "device_modules",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("slot_key", sa.Text(), nullable=False, comment="template_slots.slot_key of the device's template."),
        sa.Column("bus_address", sa.Text(), nullable=True,
            comment="Distinguishes modules on the same bus; NULL if only one fits."),
        sa.Column("module_template_id", sa.Uuid(), nullable=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=True),
        sa.Column("metric_key_map", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Key sent by the module to metric key."),
        sa.Column("installed_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False,
            comment="removed: kept as history, its slot is free."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(metric_key_map) = 'object'",
            name=op.f("ck_device_modules_metric_key_map_object")),
        sa.CheckConstraint("slot_key <> ''", name=op.f("ck_device_modules_slot_key_not_empty")),
        sa.CheckConstraint("status IN ('active', 'inactive', 'removed')", name=op.f("ck_device_modules_status")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_modules_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "module_template_id"],
            ["device_templates.tenant_id", "device_templates.id"], name=op.f("fk_device_modules_module_template_id"),
            ondelete="SET NULL (module_template_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_modules_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_device_modules")),
        comment="Modules of devices, including removed ones.",
    )
    op.create_index(op.f("ix_device_modules_device_id"), "device_modules", ["tenant_id", "device_id"], unique=False)
    op.create_index(
        op.f("ix_device_modules_module_template_id"), "device_modules", ["tenant_id", "module_template_id"],
        unique=False,
    )
    op.create_index(
        "uq_device_modules_slot_key_bus_address", "device_modules",
        ["tenant_id", "device_id", "slot_key", sa.literal_column("coalesce(bus_address, '')")], unique=True,
        postgresql_where=sa.text("status <> 'removed'"),
    )
    op.create_function(
        "reject_unfit_module", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  template uuid;\n"
            "  slot record;\n"
            "  plugged bigint;\n"
            "begin\n"
            "  select d.template_id into template from public.device_registry d\n"
            "   where d.tenant_id = new.tenant_id and d.device_id = new.device_id for no key update;\n"
            "  if template is null or not exists (\n"
            "       select from public.template_slots s\n"
            "        where s.tenant_id = new.tenant_id and s.template_id = template) then\n"
            "    return null;\n"
            "  end if;\n"
            "  select s.max_devices into slot from public.template_slots s\n"
            "   where s.tenant_id = new.tenant_id and s.template_id = template\n"
            "     and s.slot_key = new.slot_key;\n"
            "  if not found then\n"
            "    raise exception 'device % has no slot %', new.device_id, new.slot_key\n"
            "      using errcode = 'check_violation', table = tg_table_name, constraint = tg_name,\n"
            "            column = 'slot_key', hint = 'Use a slot of its template: see template_slots.';\n"
            "  end if;\n"
            "  select count(*) into plugged from public.device_modules m\n"
            "   where m.tenant_id = new.tenant_id and m.device_id = new.device_id\n"
            "     and m.slot_key = new.slot_key and m.status <> 'removed';\n"
            "  if plugged > slot.max_devices then\n"
            "    raise exception 'slot % of device % holds at most % modules, found %',\n"
            "        new.slot_key, new.device_id, slot.max_devices, plugged\n"
            "      using errcode = 'check_violation', table = tg_table_name, constraint = tg_name,\n"
            "            hint = 'Set the status of another module to removed first.';\n"
            "  end if;\n"
            "  if new.module_template_id is not null and exists (\n"
            "       select from public.template_slot_compat c\n"
            "        where c.tenant_id = new.tenant_id and c.template_id = template\n"
            "          and c.slot_key = new.slot_key)\n"
            "     and not exists (\n"
            "       select from public.template_slot_compat c\n"
            "        where c.tenant_id = new.tenant_id and c.template_id = template\n"
            "          and c.slot_key = new.slot_key\n"
            "          and c.module_template_id = new.module_template_id) then\n"
            "    raise exception 'module template % does not fit slot % of device %',\n"
            "        new.module_template_id, new.slot_key, new.device_id\n"
            "      using errcode = 'check_violation', table = tg_table_name, constraint = tg_name,\n"
            "            hint = 'Use a module listed in template_slot_compat.';\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: rejects modules whose slot does not exist, is full, or does not fit.",
    )
    op.create_trigger(
        "modules_fit_their_slot", "device_modules", "after",
        "insert or update of device_id, slot_key, module_template_id, status", level="row",
        function="reject_unfit_module()", when="new.status <> 'removed'",
    )
    op.create_trigger("set_updated_at", "device_modules", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "device_modules", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )
    op.create_trigger(
        "device_state_is_kept", "device_state", "before", "update", level="row", function="keep_device_state()",
    )

    op.create_table(
        "device_transports",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("ingestion_protocol", sa.Text(), nullable=False),
        sa.Column("physical_connectivity", sa.Text(), nullable=True),
        sa.Column("protocol_config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Topic, port, addresses; no credentials."),
        sa.Column("connectivity_config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Settings of the medium; no credentials."),
        sa.Column("is_primary", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Used for commands; at most one per device."),
        sa.Column("status", sa.Text(), server_default="active", nullable=False,
            comment="failover: used only while no active transport works."),
        sa.Column("last_connected_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("carrier_integration_id", sa.Uuid(), nullable=True),
        sa.Column("carrier_device_id", sa.Text(), nullable=True, comment="Identifier of the SIM at the carrier."),
        sa.Column("sim_iccid", sa.Text(), nullable=True, comment="Serial number of the SIM card."),
        sa.Column("sim_status", sa.Text(), nullable=True),
        sa.Column("msisdn", sa.Text(), nullable=True, comment="Telephone number of the SIM card."),
        sa.Column("apn", sa.Text(), nullable=True, comment="Access point name."),
        sa.Column("carrier_plan_name", sa.Text(), nullable=True, comment="Plan at the carrier."),
        sa.Column("network_status", sa.Text(), nullable=True, comment="As reported by the carrier."),
        sa.Column("ip_address", postgresql.INET(), nullable=True),
        sa.Column("last_network_attach_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("data_limit_mb", sa.Numeric(), nullable=True, comment="Per billing cycle."),
        sa.Column("data_used_mb", sa.Numeric(), nullable=True, comment="In this billing cycle."),
        sa.Column("data_used_updated_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("billing_cycle_day", sa.Integer(), nullable=True,
            comment="Day of the month on which data_used_mb is reset."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("ingestion_protocol IN ('mqtt_direct', 'http_api', 'lorawan', 'gateway_proxy', 'modbus_rtu')",
            name=op.f("ck_device_transports_ingestion_protocol")),
        sa.CheckConstraint("jsonb_typeof(connectivity_config) = 'object'",
            name=op.f("ck_device_transports_connectivity_config_object")),
        sa.CheckConstraint("jsonb_typeof(protocol_config) = 'object'",
            name=op.f("ck_device_transports_protocol_config_object")),
        sa.CheckConstraint("physical_connectivity IN ('cellular', 'ethernet', 'wifi', 'satellite', 'lora', 'other')",
            name=op.f("ck_device_transports_physical_connectivity")),
        sa.CheckConstraint("sim_status IN ('ready', 'active', 'suspended', 'deactivated')",
            name=op.f("ck_device_transports_sim_status")),
        sa.CheckConstraint("status IN ('active', 'inactive', 'failover')", name=op.f("ck_device_transports_status")),
        sa.CheckConstraint("billing_cycle_day BETWEEN 1 AND 31", name=op.f("ck_device_transports_billing_cycle_day")),
        sa.CheckConstraint("data_limit_mb >= 0 AND data_used_mb >= 0", name=op.f("ck_device_transports_data")),
        sa.ForeignKeyConstraint(["tenant_id", "carrier_integration_id"],
            ["carrier_integrations.tenant_id", "carrier_integrations.id"],
            name=op.f("fk_device_transports_carrier_integration_id"), ondelete="SET NULL (carrier_integration_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_transports_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_transports_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_device_transports")),
        sa.UniqueConstraint("tenant_id", "device_id", "ingestion_protocol",
            name=op.f("uq_device_transports_device_id_ingestion_protocol")),
        comment="Transports of devices, with SIM cards and data usage.",
    )
    op.create_index(
        op.f("ix_device_transports_carrier_integration_id"), "device_transports",
        ["tenant_id", "carrier_integration_id"], unique=False,
    )
    op.create_index(
        op.f("ix_device_transports_ingestion_protocol"), "device_transports", ["tenant_id", "ingestion_protocol"],
        unique=False,
    )
    op.create_index(
        "uq_device_transports_primary", "device_transports", ["tenant_id", "device_id"], unique=True,
        postgresql_where=sa.text("is_primary"),
    )
    op.create_trigger(
        "set_updated_at", "device_transports", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "device_transports", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "device_sensors",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("metric_key", sa.Text(), nullable=False, comment="Key in the telemetry of the device."),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("template_id", sa.Uuid(), nullable=True,
            comment="With template_metric_key: the template metric that it was created from."),
        sa.Column("template_metric_key", sa.Text(), nullable=True),
        sa.Column("device_module_id", sa.Uuid(), nullable=True,
            comment="The module that it belongs to; NULL: the device itself."),
        sa.Column("unit_id", sa.Integer(), nullable=True),
        sa.Column("min_range", sa.Numeric(), nullable=True, comment="In unit_id."),
        sa.Column("max_range", sa.Numeric(), nullable=True, comment="In unit_id."),
        sa.Column("precision_digits", sa.Integer(), server_default=sa.text("2"), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False,
            comment="error: the last value was invalid."),
        sa.Column("source", sa.Text(), server_default="required", nullable=False,
            comment="Origin: required or optional in the template, or discovered in telemetry."),
        sa.Column("last_value", sa.Numeric(), nullable=True, comment="In unit_id."),
        sa.Column("last_value_text", sa.Text(), nullable=True, comment="The value if it is not a number."),
        sa.Column("last_seen_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("metric_key <> ''", name=op.f("ck_device_sensors_metric_key_not_empty")),
        sa.CheckConstraint("source IN ('required', 'optional', 'unmodeled')", name=op.f("ck_device_sensors_source")),
        sa.CheckConstraint("status IN ('active', 'inactive', 'error')", name=op.f("ck_device_sensors_status")),
        sa.CheckConstraint("(template_id IS NULL) = (template_metric_key IS NULL)",
            name=op.f("ck_device_sensors_template_metric")),
        sa.CheckConstraint("min_range <= max_range", name=op.f("ck_device_sensors_range")),
        sa.CheckConstraint("precision_digits BETWEEN 0 AND 15", name=op.f("ck_device_sensors_precision_digits")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_sensors_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "device_module_id"], ["device_modules.tenant_id", "device_modules.id"],
            name=op.f("fk_device_sensors_device_module_id"), ondelete="SET NULL (device_module_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "template_id", "template_metric_key"],
            ["template_metrics.tenant_id", "template_metrics.template_id", "template_metrics.metric_key"],
            name=op.f("fk_device_sensors_template_id_template_metric_key"),
            ondelete="SET NULL (template_id, template_metric_key)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_sensors_tenant_id")),
        sa.ForeignKeyConstraint(["unit_id"], ["units_of_measure.id"], name=op.f("fk_device_sensors_unit_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_device_sensors")),
        sa.UniqueConstraint("tenant_id", "device_id", "metric_key",
            name=op.f("uq_device_sensors_device_id_metric_key")),
        comment="Sensors of devices, with their latest value.",
    )
    op.create_index(
        op.f("ix_device_sensors_device_module_id"), "device_sensors", ["tenant_id", "device_module_id"], unique=False,
    )
    op.create_index(op.f("ix_device_sensors_status"), "device_sensors", ["tenant_id", "status"], unique=False)
    op.create_index(
        op.f("ix_device_sensors_template_id_template_metric_key"), "device_sensors",
        ["tenant_id", "template_id", "template_metric_key"], unique=False,
    )
    op.create_index(op.f("ix_device_sensors_unit_id"), "device_sensors", ["unit_id"], unique=False)
    op.create_trigger("set_updated_at", "device_sensors", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "device_sensors", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )
    op.create_function(
        "report_state", "device text, report jsonb, of_version integer", returns="boolean", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  UPDATE device_state\n"
            "     SET reported_state = reported_state || report, reported_version = of_version\n"
            "   WHERE tenant_id = current_tenant() AND device_id = device\n"
            "     AND reported_version <= of_version AND of_version <= desired_version\n"
            "  RETURNING true;\n"
            "END"
        ),
        comment="Merges into the reported state of a device; returns NULL, without a change, for a report older than"
            " the last one, or for a version that does not exist.",
        grants={"fleet_app": "execute"},
    )
    op.create_function(
        "set_desired_state", "device text, wanted jsonb, seen_version integer DEFAULT NULL", returns="integer",
        language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  UPDATE device_state SET desired_state = desired_state || wanted\n"
            "   WHERE tenant_id = current_tenant() AND device_id = device\n"
            "     AND (seen_version IS NULL OR desired_version = seen_version)\n"
            "  RETURNING desired_version;\n"
            "END"
        ),
        comment="Merges into the desired state of a device; returns the new version, or NULL if another session has"
            " changed it since seen_version.",
        grants={"fleet_app": "execute"},
    )


def downgrade() -> None:
    op.drop_function("set_desired_state", "device text, wanted jsonb, seen_version integer")
    op.drop_function("report_state", "device text, report jsonb, of_version integer")
    op.drop_table("device_sensors")
    op.drop_table("device_transports")
    op.drop_trigger("device_state_is_kept", "device_state")
    op.drop_trigger("modules_fit_their_slot", "device_modules")
    op.drop_function("reject_unfit_module")
    op.drop_table("device_modules")
    op.drop_table("carrier_integrations")
    op.drop_function("keep_device_state")
