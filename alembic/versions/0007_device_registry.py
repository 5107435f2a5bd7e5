"""device registry

Revision 0007, after 0006; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "device_groups",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), server_default="static", nullable=False,
            comment="static: members are listed; dynamic: found by query_filter."),
        sa.Column("query_filter", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Which devices belong to a dynamic group: status, tags, site_id."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(kind = 'dynamic') = (query_filter IS NOT NULL)",
            name=op.f("ck_device_groups_query_filter")),
        sa.CheckConstraint("jsonb_typeof(query_filter) = 'object'", name=op.f("ck_device_groups_query_filter_object")),
        sa.CheckConstraint("kind IN ('static', 'dynamic')", name=op.f("ck_device_groups_kind")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_device_groups_name_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_groups_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "group_id", name=op.f("pk_device_groups")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_device_groups_name")),
        comment="Groups of devices, static and dynamic.",
    )
    op.create_trigger("set_updated_at", "device_groups", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "device_groups", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "device_registry",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False, comment="Name by which the device identifies itself."),
        sa.Column("site_id", sa.Uuid(), nullable=True),
        sa.Column("template_id", sa.Uuid(), nullable=True),
        sa.Column("parent_device_id", sa.Text(), nullable=True,
            comment="The gateway through which it communicates; cycles are rejected."),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False,
            comment="pending: never activated; revoked: its credentials are invalid."),
        sa.Column("device_type", sa.Text(), nullable=True,
            comment="The tenant's own classification, used by rules and firmware."),
        sa.Column("provision_token_hash", sa.Text(), nullable=True,
            comment="Hash of the token with which the device registers."),
        sa.Column("sensor_limit", sa.Integer(), server_default=sa.text("20"), nullable=False,
            comment="Number of sensors that its plan allows; set by billing."),
        sa.Column("latitude", sa.Double(), nullable=True, comment="Degrees north, WGS 84."),
        sa.Column("longitude", sa.Double(), nullable=True, comment="Degrees east, WGS 84."),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("location_source", sa.Text(), server_default="auto", nullable=False,
            comment="auto: reported by the device; manual: entered by a person, not overwritten."),
        sa.Column("manufacturer", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("serial_number", sa.Text(), nullable=True),
        sa.Column("hw_revision", sa.Text(), nullable=True),
        sa.Column("board_revision", sa.Text(), nullable=True),
        sa.Column("chipset", sa.Text(), nullable=True),
        sa.Column("modem_model", sa.Text(), nullable=True),
        sa.Column("mac_address", sa.Text(), nullable=True),
        sa.Column("imei", sa.Text(), nullable=True, comment="Identity of the modem (3GPP)."),
        sa.Column("meid", sa.Text(), nullable=True, comment="Identity of the modem (3GPP2)."),
        sa.Column("iccid", sa.Text(), nullable=True, comment="Identity of the SIM card."),
        sa.Column("fw_version", sa.Text(), nullable=True),
        sa.Column("bootloader_version", sa.Text(), nullable=True),
        sa.Column("modem_fw_version", sa.Text(), nullable=True),
        sa.Column("batch_id", sa.Text(), nullable=True, comment="Production batch."),
        sa.Column("deployment_date", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("installation_notes", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="Small attributes, read together with the device."),
        sa.Column("decommissioned_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("search_vector", postgresql.TSVECTOR(),
            sa.Computed(
                "to_tsvector('simple'::regconfig, coalesce(device_id, '') || ' ' || coalesce(serial_number, '') || ' '"
                    " || coalesce(model, '') || ' ' || coalesce(manufacturer, '') || ' ' || coalesce(device_type, '')"
                    " || ' ' || coalesce(address, ''))",
                persisted=True,
            ), nullable=False, comment="Full-text index of the identifying columns."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'decommissioned') = (decommissioned_at IS NOT NULL)",
            name=op.f("ck_device_registry_decommissioned_at")),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name=op.f("ck_device_registry_metadata_object")),
        sa.CheckConstraint("location_source IN ('auto', 'manual')", name=op.f("ck_device_registry_location_source")),
        sa.CheckConstraint("status IN ('pending', 'active', 'inactive', 'suspended', 'revoked', 'decommissioned')",
            name=op.f("ck_device_registry_status")),
        sa.CheckConstraint("(latitude IS NULL) = (longitude IS NULL)",
            name=op.f("ck_device_registry_both_coordinates")),
        sa.CheckConstraint("latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180",
            name=op.f("ck_device_registry_coordinates")),
        sa.CheckConstraint("length(device_id) BETWEEN 1 AND 255", name=op.f("ck_device_registry_device_id")),
        sa.CheckConstraint("parent_device_id <> device_id", name=op.f("ck_device_registry_not_its_own_parent")),
        sa.CheckConstraint("sensor_limit >= 0", name=op.f("ck_device_registry_sensor_limit")),
        sa.ForeignKeyConstraint(["tenant_id", "parent_device_id"],
            ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_registry_parent_device_id"), ondelete="SET NULL (parent_device_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "site_id"], ["sites.tenant_id", "sites.site_id"],
            name=op.f("fk_device_registry_site_id"), ondelete="SET NULL (site_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "template_id"], ["device_templates.tenant_id", "device_templates.id"],
            name=op.f("fk_device_registry_template_id"), ondelete="SET NULL (template_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_registry_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", name=op.f("pk_device_registry")),
        comment="Devices; their measurements are in telemetry, their state in device_state.",
    )
    op.create_index(
        op.f("ix_device_registry_parent_device_id"), "device_registry", ["tenant_id", "parent_device_id"], unique=False,
    )
    op.create_index(
        op.f("ix_device_registry_provision_token_hash"), "device_registry", ["provision_token_hash"], unique=False,
        postgresql_where=sa.text("provision_token_hash IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_device_registry_search_vector"), "device_registry", ["search_vector"], unique=False,
        postgresql_using="gin",
    )
    op.create_index(op.f("ix_device_registry_site_id"), "device_registry", ["tenant_id", "site_id"], unique=False)
    op.create_index(op.f("ix_device_registry_status"), "device_registry", ["tenant_id", "status"], unique=False)
    op.create_index(
        op.f("ix_device_registry_template_id"), "device_registry", ["tenant_id", "template_id"], unique=False,
    )
    op.create_function(
        "reject_parent_cycle", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'UPDATE' then\n"
            "    perform from public.tenants where tenant_id = new.tenant_id for no key update;\n"
            "    if not found then\n"
            "      raise exception 'tenant % of device % is not visible to %',\n"
            "          new.tenant_id, new.device_id, current_user\n"
            "        using errcode = 'no_data_found', hint = 'Set app.tenant_id in this transaction.';\n"
            "    end if;\n"
            "  end if;\n"
            "  if exists (\n"
            "    with recursive above (device_id) as (\n"
            "      select new.parent_device_id\n"
            "      union  -- not UNION ALL: terminates even if there is a cycle already\n"
            "      select d.parent_device_id\n"
            "        from above join public.device_registry d\n"
            "          on d.tenant_id = new.tenant_id and d.device_id = above.device_id\n"
            "       where d.parent_device_id is not null\n"
            "    )\n"
            "    select from above where device_id = new.device_id\n"
            "  ) then\n"
            "    raise exception 'device % cannot have parent %: it would be its own ancestor',\n"
            "        new.device_id, new.parent_device_id\n"
            "      using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "            constraint = tg_name, column = 'parent_device_id';\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: rejects a parent that would make a device its own ancestor.",
    )
    op.create_trigger(
        "parents_form_no_cycle", "device_registry", "after", "insert or update of parent_device_id", level="row",
        function="reject_parent_cycle()", when="new.parent_device_id IS NOT NULL",
    )
    op.create_trigger("set_updated_at", "device_registry", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "device_registry", enable=True, force=True,
        policies={
            "ingest_access": "FOR SELECT TO fleet_ingest USING (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert (address, batch_id, board_revision, bootloader_version, chipset, created_at,"
                " decommissioned_at, deployment_date, device_id, device_type, fw_version, hw_revision, iccid, imei,"
                " installation_notes, latitude, location_source, longitude, mac_address, manufacturer, meid,"
                " metadata, model, modem_fw_version, modem_model, notes, parent_device_id, provision_token_hash,"
                " serial_number, site_id, status, template_id, tenant_id, updated_at), select (address, batch_id,"
                " board_revision, bootloader_version, chipset, created_at, decommissioned_at, deployment_date,"
                " device_id, device_type, fw_version, hw_revision, iccid, imei, installation_notes, latitude,"
                " location_source, longitude, mac_address, manufacturer, meid, metadata, model, modem_fw_version,"
                " modem_model, notes, parent_device_id, search_vector, sensor_limit, serial_number, site_id, status,"
                " template_id, tenant_id, updated_at), update (address, batch_id, board_revision, bootloader_version,"
                " chipset, created_at, decommissioned_at, deployment_date, device_id, device_type, fw_version,"
                " hw_revision, iccid, imei, installation_notes, latitude, location_source, longitude, mac_address,"
                " manufacturer, meid, metadata, model, modem_fw_version, modem_model, notes, parent_device_id,"
                " provision_token_hash, serial_number, site_id, status, template_id, tenant_id, updated_at)",
            "fleet_ingest": "select (device_id, provision_token_hash, site_id, status, tenant_id)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select (address, batch_id, board_revision, bootloader_version, chipset,"
                " created_at, decommissioned_at, deployment_date, device_id, device_type, fw_version, hw_revision,"
                " iccid, imei, installation_notes, latitude, location_source, longitude, mac_address, manufacturer,"
                " meid, metadata, model, modem_fw_version, modem_model, notes, parent_device_id, search_vector,"
                " sensor_limit, serial_number, site_id, status, template_id, tenant_id, updated_at)",
        },
    )

    op.create_table(
        "device_extended_attributes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("attributes", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Attribute name to any value."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(attributes) = 'object'",
            name=op.f("ck_device_extended_attributes_attributes_object")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_extended_attributes_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_device_extended_attributes_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", name=op.f("pk_device_extended_attributes")),
        comment="Large or rarely read attributes, stored apart from device_registry.",
    )
    op.create_trigger(
        "set_updated_at", "device_extended_attributes", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "device_extended_attributes", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "device_group_members",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("added_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_group_members_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "group_id"], ["device_groups.tenant_id", "device_groups.group_id"],
            name=op.f("fk_device_group_members_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_group_members_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "group_id", "device_id", name=op.f("pk_device_group_members")),
        comment="Members of groups. For a dynamic group, the latest result of its filter, so that readers can treat"
            " both kinds alike.",
    )
    op.create_index(
        op.f("ix_device_group_members_device_id"), "device_group_members", ["tenant_id", "device_id"], unique=False,
    )
    op.set_row_level_security(
        "device_group_members", enable=True, force=True,
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
        "device_state",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="offline", nullable=False,
            comment="stale: no message for longer than usual, but not yet offline."),
        sa.Column("last_heartbeat_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_telemetry_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_seen_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="Time of the last message of any kind."),
        sa.Column("last_state_change_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False,
            comment="When status last changed."),
        sa.Column("state", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Latest value of each metric."),
        sa.Column("desired_state", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Settings that the device should apply."),
        sa.Column("reported_state", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="Settings that the device reports as applied."),
        sa.Column("desired_version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("reported_version", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="The desired version that the device has applied."),
        sa.Column("shadow_updated_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="When desired_state or reported_state last changed."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(desired_state) = 'object'", name=op.f("ck_device_state_desired_state_object")),
        sa.CheckConstraint("jsonb_typeof(reported_state) = 'object'",
            name=op.f("ck_device_state_reported_state_object")),
        sa.CheckConstraint("jsonb_typeof(state) = 'object'", name=op.f("ck_device_state_state_object")),
        sa.CheckConstraint("status IN ('online', 'stale', 'offline')", name=op.f("ck_device_state_status")),
        sa.CheckConstraint("desired_version >= 0 AND reported_version >= 0", name=op.f("ck_device_state_versions")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_state_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_state_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", name=op.f("pk_device_state")),
        comment="Current status and shadow of devices, one row each.",
    )
    op.create_index(
        "ix_device_state_out_of_step", "device_state", ["tenant_id", "device_id"], unique=False,
        postgresql_where=sa.text("desired_version > reported_version"),
    )
    op.create_index(op.f("ix_device_state_status"), "device_state", ["tenant_id", "status"], unique=False)
    op.create_trigger(
        "notify_device_state_of_delete", "device_state", "after", "delete", level="statement",
        function="notify_tenants('device_state', 'status, desired_version, reported_version')", old_table="old_rows",
    )
    op.create_trigger(
        "notify_device_state_of_insert", "device_state", "after", "insert", level="statement",
        function="notify_tenants('device_state', 'status, desired_version, reported_version')", new_table="new_rows",
    )
    op.create_trigger(
        "notify_device_state_of_update", "device_state", "after", "update", level="statement",
        function="notify_tenants('device_state', 'status, desired_version, reported_version')", old_table="old_rows",
        new_table="new_rows",
    )
    op.create_trigger("set_updated_at", "device_state", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "device_state", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "device_tags",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True, comment="NULL for a tag without a value."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("tag <> ''", name=op.f("ck_device_tags_tag_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_tags_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_tags_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", "tag", name=op.f("pk_device_tags")),
        comment="Tags of devices, chosen freely by the tenant.",
    )
    op.create_index(op.f("ix_device_tags_tag_value"), "device_tags", ["tenant_id", "tag", "value"], unique=False)
    op.create_trigger("set_updated_at", "device_tags", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "device_tags", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_table("device_tags")
    op.drop_table("device_state")
    op.drop_table("device_group_members")
    op.drop_table("device_extended_attributes")
    op.drop_trigger("parents_form_no_cycle", "device_registry")
    op.drop_function("reject_parent_cycle")
    op.drop_table("device_registry")
    op.drop_table("device_groups")
