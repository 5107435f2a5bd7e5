"""connections and tags

Revision 0014, after 0013; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "poll_groups",
        sa.Column("group_id", sa.Integer(), autoincrement=False, nullable=False,
            comment="Assigned by the reference data."),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("poll_rate_ms", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False,
            comment="False: no longer offered; tags that use it keep it."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_poll_groups_name_not_empty")),
        sa.CheckConstraint("poll_rate_ms > 0", name=op.f("ck_poll_groups_poll_rate_ms")),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_poll_groups")),
        sa.UniqueConstraint("name", name=op.f("uq_poll_groups_name")),
        sa.UniqueConstraint("poll_rate_ms", name=op.f("uq_poll_groups_poll_rate_ms")),
        comment="Catalogue of polling rates.",
    )
    op.create_trigger("set_updated_at", "poll_groups", "before", "update", level="row", function="set_updated_at()")
    op.grant(
        "poll_groups", {"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "eip_device_cache",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False, comment="Name or address."),
        sa.Column("vendor", sa.Text(), nullable=True),
        sa.Column("product_name", sa.Text(), nullable=True),
        sa.Column("product_code", sa.Integer(), nullable=True),
        sa.Column("product_family", sa.Text(), nullable=True),
        sa.Column("serial", sa.Text(), nullable=True),
        sa.Column("revision_major", sa.Integer(), nullable=True),
        sa.Column("revision_minor", sa.Integer(), nullable=True),
        sa.Column("max_cip_connections", sa.Integer(), server_default=sa.text("8"), nullable=False,
            comment="Connections that it serves at the same time."),
        sa.Column("discovered_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("host <> ''", name=op.f("ck_eip_device_cache_host_not_empty")),
        sa.CheckConstraint("max_cip_connections > 0", name=op.f("ck_eip_device_cache_max_cip_connections")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_eip_device_cache_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "host", name=op.f("pk_eip_device_cache")),
        comment="Discovered controllers, as they describe themselves.",
    )
    op.create_index(op.f("ix_eip_device_cache_last_seen_at"), "eip_device_cache", ["last_seen_at"], unique=False)
    op.create_trigger(
        "set_updated_at", "eip_device_cache", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "eip_device_cache", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "connections",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False, comment="Protocol."),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("config_data", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="Address and options of the driver; no secrets."),
        sa.Column("secret_ref", sa.Text(), nullable=True, comment="Name of its credentials in the secret store."),
        sa.Column("is_system_connection", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Created by the platform; tenants can neither change nor delete it."),
        sa.Column("site_id", sa.Uuid(), nullable=True, comment="The site where it is installed."),
        sa.Column("device_id", sa.Text(), nullable=True, comment="The registered device that it belongs to, if any."),
        sa.Column("max_tags_per_group", sa.Integer(), server_default=sa.text("500"), nullable=False,
            comment="Largest number of tags read in one request."),
        sa.Column("max_concurrent_connections", sa.Integer(), server_default=sa.text("8"), nullable=False),
        sa.Column("deleted_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("is_system_connection = (type = 'system')", name=op.f("ck_connections_system")),
        sa.CheckConstraint("jsonb_typeof(config_data) = 'object'", name=op.f("ck_connections_config_data_object")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_connections_name_not_empty")),
        sa.CheckConstraint("type IN ('opcua-client', 'opcua-server', 's7', 'eip', 'mqtt', 'system')",
            name=op.f("ck_connections_type")),
        sa.CheckConstraint(
            "NOT jsonb_path_exists(config_data, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
                " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(config_data, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)",
            name=op.f("ck_connections_config_data_without_secrets")),
        sa.CheckConstraint("deleted_at IS NULL OR NOT enabled", name=op.f("ck_connections_deleted")),
        sa.CheckConstraint("max_concurrent_connections > 0", name=op.f("ck_connections_max_concurrent_connections")),
        sa.CheckConstraint("max_tags_per_group > 0", name=op.f("ck_connections_max_tags_per_group")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_connections_device_id"), ondelete="SET NULL (device_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "site_id"], ["sites.tenant_id", "sites.site_id"],
            name=op.f("fk_connections_site_id"), ondelete="SET NULL (site_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_connections_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_connections")),
        comment="Industrial data sources.",
    )
    op.create_index(op.f("ix_connections_device_id"), "connections", ["tenant_id", "device_id"], unique=False)
    op.create_index(op.f("ix_connections_site_id"), "connections", ["tenant_id", "site_id"], unique=False)
    op.create_index(op.f("ix_connections_type"), "connections", ["tenant_id", "type"], unique=False)
    op.create_index(
        "uq_connections_name_live", "connections", ["tenant_id", "name"], unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_trigger(
        "notify_connections_of_delete", "connections", "after", "delete", level="statement",
        function="notify_tenants('connections', 'name, type, enabled, config_data, secret_ref, deleted_at')",
        old_table="old_rows",
    )
    op.create_trigger(
        "notify_connections_of_insert", "connections", "after", "insert", level="statement",
        function="notify_tenants('connections', 'name, type, enabled, config_data, secret_ref, deleted_at')",
        new_table="new_rows",
    )
    op.create_trigger(
        "notify_connections_of_update", "connections", "after", "update", level="statement",
        function="notify_tenants('connections', 'name, type, enabled, config_data, secret_ref, deleted_at')",
        old_table="old_rows", new_table="new_rows",
    )
    op.create_trigger("set_updated_at", "connections", "before", "update", level="row", function="set_updated_at()")
    op.create_trigger(
        "system_connections_stay", "connections", "before", "update or delete", level="row",
        function="reject_system_row_change()", when="old.is_system_connection",
    )
    op.set_row_level_security(
        "connections", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert (config_data, created_at, deleted_at, device_id, enabled, id,"
                " max_concurrent_connections, max_tags_per_group, name, secret_ref, site_id, tenant_id, type,"
                " updated_at), select, update (config_data, created_at, deleted_at, device_id, enabled, id,"
                " max_concurrent_connections, max_tags_per_group, name, secret_ref, site_id, tenant_id, type,"
                " updated_at)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "eip_tag_cache",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("tag_path", sa.Text(), nullable=False),
        sa.Column("tag_name", sa.Text(), nullable=True),
        sa.Column("data_type", sa.Text(), nullable=True),
        sa.Column("data_type_name", sa.Text(), nullable=True, comment="Name of a structure type."),
        sa.Column("tag_type", sa.Text(), nullable=True, comment="A single value, or a structure."),
        sa.Column("dimensions", sa.ARRAY(sa.Integer()), nullable=True, comment="Lengths of an array, outermost first."),
        sa.Column("external_access", sa.Text(), nullable=True, comment="Access that the controller allows."),
        sa.Column("program", sa.Text(), nullable=True, comment="NULL: a tag of the controller itself."),
        sa.Column("is_alias", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("instance_id", sa.Integer(), nullable=True),
        sa.Column("cached_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("tag_type IN ('atomic', 'struct')", name=op.f("ck_eip_tag_cache_tag_type")),
        sa.ForeignKeyConstraint(["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"],
            name=op.f("fk_eip_tag_cache_connection_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_eip_tag_cache_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "tag_path", name=op.f("pk_eip_tag_cache")),
        comment="Tags as controllers list them.",
    )
    op.create_index(op.f("ix_eip_tag_cache_cached_at"), "eip_tag_cache", ["cached_at"], unique=False)
    op.create_trigger("set_updated_at", "eip_tag_cache", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "eip_tag_cache", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "tag_metadata",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("driver_type", sa.Text(), nullable=False, comment="The driver that interprets tag_path."),
        sa.Column("tag_path", sa.Text(), nullable=False, comment="Address of the tag in its source."),
        sa.Column("tag_name", sa.Text(), nullable=True, comment="Name for people."),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("data_type", sa.Text(), nullable=True, comment="As named by the driver."),
        sa.Column("unit_id", sa.Integer(), nullable=True),
        sa.Column("poll_group_id", sa.Integer(), server_default=sa.text("5"), nullable=False),
        sa.Column("sensor_id", sa.Uuid(), nullable=True, comment="The sensor that it represents, if any."),
        sa.Column("is_subscribed", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Whether it is being read."),
        sa.Column("original_subscribed", sa.Boolean(), nullable=True,
            comment="is_subscribed before deletion began, to restore if deletion is reverted."),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("delete_job_id", sa.Uuid(), nullable=True, comment="The background job that deletes it."),
        sa.Column("delete_started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("on_change_enabled", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Store only changed values."),
        sa.Column("on_change_deadband", sa.Double(), server_default=sa.text("0"), nullable=False,
            comment="Smaller changes are ignored."),
        sa.Column("on_change_deadband_type", sa.Text(), server_default="absolute", nullable=False,
            comment="absolute: in the unit of the tag; percent: of the value."),
        sa.Column("on_change_heartbeat_ms", sa.Integer(), server_default=sa.text("60000"), nullable=False,
            comment="Store at least this often, even without a change."),
        sa.Column("metadata", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Details that the driver found."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'deleted') = (deleted_at IS NOT NULL)", name=op.f("ck_tag_metadata_deleted_at")),
        sa.CheckConstraint("driver_type IN ('eip', 'opcua', 's7', 'mqtt', 'internal', 'system')",
            name=op.f("ck_tag_metadata_driver_type")),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name=op.f("ck_tag_metadata_metadata_object")),
        sa.CheckConstraint("on_change_deadband_type IN ('absolute', 'percent')",
            name=op.f("ck_tag_metadata_on_change_deadband_type")),
        sa.CheckConstraint("status = 'active' OR NOT is_subscribed", name=op.f("ck_tag_metadata_subscribed")),
        sa.CheckConstraint("status IN ('active', 'pending_delete', 'deleting', 'deleted')",
            name=op.f("ck_tag_metadata_status")),
        sa.CheckConstraint("tag_name <> ''", name=op.f("ck_tag_metadata_tag_name_not_empty")),
        sa.CheckConstraint("tag_path <> ''", name=op.f("ck_tag_metadata_tag_path_not_empty")),
        sa.CheckConstraint("on_change_deadband >= 0", name=op.f("ck_tag_metadata_on_change_deadband")),
        sa.CheckConstraint("on_change_heartbeat_ms > 0", name=op.f("ck_tag_metadata_on_change_heartbeat_ms")),
        sa.ForeignKeyConstraint(["poll_group_id"], ["poll_groups.group_id"],
            name=op.f("fk_tag_metadata_poll_group_id")),
        sa.ForeignKeyConstraint(["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"],
            name=op.f("fk_tag_metadata_connection_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "delete_job_id"], ["jobs.tenant_id", "jobs.id"],
            name=op.f("fk_tag_metadata_delete_job_id"), ondelete="SET NULL (delete_job_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "sensor_id"], ["device_sensors.tenant_id", "device_sensors.id"],
            name=op.f("fk_tag_metadata_sensor_id"), ondelete="SET NULL (sensor_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_tag_metadata_tenant_id")),
        sa.ForeignKeyConstraint(["unit_id"], ["units_of_measure.id"], name=op.f("fk_tag_metadata_unit_id")),
        sa.PrimaryKeyConstraint("tenant_id", "tag_id", name=op.f("pk_tag_metadata")),
        sa.UniqueConstraint("tenant_id", "connection_id", "tag_path", "driver_type",
            name=op.f("uq_tag_metadata_connection_id_tag_path_driver_type")),
        comment="Tags of industrial data sources.",
    )
    op.create_index(
        op.f("ix_tag_metadata_connection_id_poll_group_id"), "tag_metadata",
        ["tenant_id", "connection_id", "poll_group_id"], unique=False, postgresql_where=sa.text("is_subscribed"),
    )
    op.create_index(op.f("ix_tag_metadata_delete_job_id"), "tag_metadata", ["tenant_id", "delete_job_id"], unique=False)
    op.create_index(op.f("ix_tag_metadata_poll_group_id"), "tag_metadata", ["poll_group_id"], unique=False)
    op.create_index(op.f("ix_tag_metadata_sensor_id"), "tag_metadata", ["tenant_id", "sensor_id"], unique=False)
    op.create_index(op.f("ix_tag_metadata_unit_id"), "tag_metadata", ["unit_id"], unique=False)
    op.create_index(
        "uq_tag_metadata_tag_name", "tag_metadata", ["tenant_id", "connection_id", "tag_name"], unique=True,
        postgresql_where=sa.text("tag_name IS NOT NULL"),
    )
    op.create_trigger(
        "notify_tags_of_delete", "tag_metadata", "after", "delete", level="statement",
        function="notify_tenants('tags', 'connection_id, tag_path, is_subscribed, poll_group_id, status')",
        old_table="old_rows",
    )
    op.create_trigger(
        "notify_tags_of_insert", "tag_metadata", "after", "insert", level="statement",
        function="notify_tenants('tags', 'connection_id, tag_path, is_subscribed, poll_group_id, status')",
        new_table="new_rows",
    )
    op.create_trigger(
        "notify_tags_of_update", "tag_metadata", "after", "update", level="statement",
        function="notify_tenants('tags', 'connection_id, tag_path, is_subscribed, poll_group_id, status')",
        old_table="old_rows", new_table="new_rows",
    )
    op.create_trigger("set_updated_at", "tag_metadata", "before", "update", level="row", function="set_updated_at()")
    op.create_trigger(
        "system_tags_stay", "tag_metadata", "before", "update or delete", level="row",
        function="reject_system_row_change()", when="old.driver_type = 'system'",
    )
    op.create_trigger(
        "tag_metadata_status_transitions", "tag_metadata", "before", "update of status", level="row",
        function="check_status_transition('active > pending_delete', 'pending_delete > active', 'pending_delete >"
            " deleting', 'deleting > deleted', 'deleting > pending_delete', 'deleted > active')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.set_row_level_security(
        "tag_metadata", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_table("tag_metadata")
    op.drop_table("eip_tag_cache")
    op.drop_table("connections")
    op.drop_table("eip_device_cache")
    op.drop_table("poll_groups")
