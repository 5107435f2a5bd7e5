"""sites and device templates

Revision 0006, after 0005; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "device_templates",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False, comment="Name in URLs; sync_tenant() identifies templates by it."),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("manufacturer", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("firmware_version_pattern", sa.Text(), nullable=True,
            comment="Regular expression for the firmware versions that this template applies to."),
        sa.Column("is_locked", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Applications do not edit it until it is unlocked."),
        sa.Column("source", sa.Text(), server_default="tenant", nullable=False,
            comment="system: copied from a built-in template; set by operators only."),
        sa.Column("transport_defaults", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Initial settings for device_transports of such devices."),
        sa.Column("metadata", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Attributes without a column of their own."),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("category IN ('gateway', 'edge_device', 'standalone_sensor', 'controller', 'expansion_module')",
            name=op.f("ck_device_templates_category")),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name=op.f("ck_device_templates_metadata_object")),
        sa.CheckConstraint("jsonb_typeof(transport_defaults) = 'object'",
            name=op.f("ck_device_templates_transport_defaults_object")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_device_templates_name_not_empty")),
        sa.CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name=op.f("ck_device_templates_slug")),
        sa.CheckConstraint("source IN ('system', 'tenant')", name=op.f("ck_device_templates_source")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_templates_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_device_templates")),
        sa.UniqueConstraint("tenant_id", "slug", name=op.f("uq_device_templates_slug")),
        comment="Kinds of devices and expansion modules.",
    )
    op.create_index(op.f("ix_device_templates_category"), "device_templates", ["tenant_id", "category"], unique=False)
    op.create_trigger(
        "set_updated_at", "device_templates", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "device_templates", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert (category, created_at, description, firmware_version_pattern, id, image_url,"
                " is_locked, manufacturer, metadata, model, name, slug, tenant_id, transport_defaults, updated_at),"
                " select, update (category, created_at, description, firmware_version_pattern, id, image_url,"
                " is_locked, manufacturer, metadata, model, name, slug, tenant_id, transport_defaults, updated_at)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "sites",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=True, comment="Address or directions, as text."),
        sa.Column("latitude", sa.Double(), nullable=True, comment="Degrees north, WGS 84."),
        sa.Column("longitude", sa.Double(), nullable=True, comment="Degrees east, WGS 84."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_sites_name_not_empty")),
        sa.CheckConstraint("(latitude IS NULL) = (longitude IS NULL)", name=op.f("ck_sites_both_coordinates")),
        sa.CheckConstraint("latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180",
            name=op.f("ck_sites_coordinates")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_sites_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "site_id", name=op.f("pk_sites")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_sites_name")),
        comment="Locations where tenants have devices.",
    )
    op.create_trigger("set_updated_at", "sites", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "sites", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "template_commands",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("template_id", sa.Uuid(), nullable=False),
        sa.Column("command_key", sa.Text(), nullable=False, comment="device_commands.command_type"),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("parameters_schema", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="JSON Schema of the parameters."),
        sa.Column("response_schema", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="JSON Schema of the acknowledgement."),
        sa.Column("sort_order", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("command_key <> ''", name=op.f("ck_template_commands_command_key_not_empty")),
        sa.CheckConstraint("jsonb_typeof(parameters_schema) = 'object'",
            name=op.f("ck_template_commands_parameters_schema_object")),
        sa.CheckConstraint("jsonb_typeof(response_schema) = 'object'",
            name=op.f("ck_template_commands_response_schema_object")),
        sa.ForeignKeyConstraint(["tenant_id", "template_id"], ["device_templates.tenant_id", "device_templates.id"],
            name=op.f("fk_template_commands_template_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_template_commands_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "template_id", "command_key", name=op.f("pk_template_commands")),
        comment="Commands of device templates.",
    )
    op.create_trigger(
        "set_updated_at", "template_commands", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "template_commands", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "template_metrics",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("template_id", sa.Uuid(), nullable=False),
        sa.Column("metric_key", sa.Text(), nullable=False, comment="Key in the telemetry of the device."),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=True, comment="Symbol, as the manufacturer writes it."),
        sa.Column("min_value", sa.Numeric(), nullable=True, comment="Lowest value, in unit."),
        sa.Column("max_value", sa.Numeric(), nullable=True, comment="Highest value, in unit."),
        sa.Column("precision_digits", sa.Integer(), server_default=sa.text("2"), nullable=False,
            comment="Decimal places to display."),
        sa.Column("is_required", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="True: every such device has a sensor for it."),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("enum_values", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="The possible values of an enum metric, in order."),
        sa.Column("sort_order", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(data_type = 'enum') = (enum_values IS NOT NULL)", name=op.f("ck_template_metrics_enum")),
        sa.CheckConstraint("data_type IN ('float', 'integer', 'boolean', 'string', 'enum')",
            name=op.f("ck_template_metrics_data_type")),
        sa.CheckConstraint("jsonb_typeof(enum_values) = 'array'", name=op.f("ck_template_metrics_enum_values_array")),
        sa.CheckConstraint("metric_key <> ''", name=op.f("ck_template_metrics_metric_key_not_empty")),
        sa.CheckConstraint("min_value <= max_value", name=op.f("ck_template_metrics_range")),
        sa.CheckConstraint("precision_digits BETWEEN 0 AND 15", name=op.f("ck_template_metrics_precision_digits")),
        sa.ForeignKeyConstraint(["tenant_id", "template_id"], ["device_templates.tenant_id", "device_templates.id"],
            name=op.f("fk_template_metrics_template_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_template_metrics_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "template_id", "metric_key", name=op.f("pk_template_metrics")),
        comment="Metrics of device templates.",
    )
    op.create_trigger(
        "set_updated_at", "template_metrics", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "template_metrics", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "template_slots",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("template_id", sa.Uuid(), nullable=False),
        sa.Column("slot_key", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("slot_type", sa.Text(), nullable=False, comment="Kind of module that fits."),
        sa.Column("interface_type", sa.Text(), nullable=False, comment="Electrical or radio interface."),
        sa.Column("max_devices", sa.Integer(), server_default=sa.text("1"), nullable=True,
            comment="Largest number of modules; NULL: unlimited."),
        sa.Column("is_required", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("sort_order", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("interface_type IN ('analog', 'rs485', 'i2c', 'spi', '1-wire', 'fsk', 'ble', 'lora', 'gpio', 'usb')",
            name=op.f("ck_template_slots_interface_type")),
        sa.CheckConstraint("slot_key <> ''", name=op.f("ck_template_slots_slot_key_not_empty")),
        sa.CheckConstraint("slot_type IN ('expansion', 'sensor', 'accessory')",
            name=op.f("ck_template_slots_slot_type")),
        sa.CheckConstraint("max_devices > 0", name=op.f("ck_template_slots_max_devices")),
        sa.ForeignKeyConstraint(["tenant_id", "template_id"], ["device_templates.tenant_id", "device_templates.id"],
            name=op.f("fk_template_slots_template_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_template_slots_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "template_id", "slot_key", name=op.f("pk_template_slots")),
        comment="Ports and buses of device templates.",
    )
    op.create_trigger("set_updated_at", "template_slots", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "template_slots", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "template_slot_compat",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("template_id", sa.Uuid(), nullable=False),
        sa.Column("slot_key", sa.Text(), nullable=False),
        sa.Column("module_template_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "module_template_id"],
            ["device_templates.tenant_id", "device_templates.id"],
            name=op.f("fk_template_slot_compat_module_template_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "template_id", "slot_key"],
            ["template_slots.tenant_id", "template_slots.template_id", "template_slots.slot_key"],
            name=op.f("fk_template_slot_compat_template_id_slot_key"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_template_slot_compat_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "template_id", "slot_key", "module_template_id",
            name=op.f("pk_template_slot_compat")),
        comment="Modules that fit a slot; a slot without rows accepts any.",
    )
    op.create_index(
        op.f("ix_template_slot_compat_module_template_id"), "template_slot_compat", ["tenant_id", "module_template_id"],
        unique=False,
    )
    op.set_row_level_security(
        "template_slot_compat", enable=True, force=True,
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


def downgrade() -> None:
    op.drop_table("template_slot_compat")
    op.drop_table("template_slots")
    op.drop_table("template_metrics")
    op.drop_table("template_commands")
    op.drop_table("sites")
    op.drop_table("device_templates")
