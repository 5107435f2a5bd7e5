"""mqtt and sparkplug

Revision 0015, after 0014; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "mqtt_credential_groups",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("credential_hash", sa.Text(), nullable=False, comment="Hash of the password."),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("timeout_seconds", sa.Integer(), server_default=sa.text("600"), nullable=False,
            comment="A client without messages for longer counts as disconnected."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("credential_hash <> ''", name=op.f("ck_mqtt_credential_groups_credential_hash_not_empty")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_mqtt_credential_groups_name_not_empty")),
        sa.CheckConstraint("username <> ''", name=op.f("ck_mqtt_credential_groups_username_not_empty")),
        sa.CheckConstraint("timeout_seconds > 0", name=op.f("ck_mqtt_credential_groups_timeout_seconds")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_mqtt_credential_groups_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_mqtt_credential_groups")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_mqtt_credential_groups_name")),
        sa.UniqueConstraint("tenant_id", "username", name=op.f("uq_mqtt_credential_groups_username")),
        comment="Credentials that several MQTT clients share.",
    )
    op.create_trigger(
        "set_updated_at", "mqtt_credential_groups", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "mqtt_credential_groups", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select (created_at, enabled, id, name, tenant_id, timeout_seconds,"
                " updated_at, username), update",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select (created_at, enabled, id, name, tenant_id, timeout_seconds, updated_at,"
                " username)",
        },
    )

    op.create_table(
        "mqtt_connections",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("broker_type", sa.Text(), server_default="external", nullable=False,
            comment="internal: the platform's own."),
        sa.Column("broker_host", sa.Text(), nullable=False),
        sa.Column("broker_port", sa.Integer(), server_default=sa.text("1883"), nullable=False),
        sa.Column("protocol", sa.Text(), server_default="mqtt", nullable=False, comment="Format of its messages."),
        sa.Column("use_tls", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("tls_verify_cert", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("tls_ca_cert", sa.Text(), nullable=True, comment="PEM; certificates are public."),
        sa.Column("tls_client_cert", sa.Text(), nullable=True, comment="PEM."),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("secret_ref", sa.Text(), nullable=True,
            comment="Name of password and client key in the secret store."),
        sa.Column("client_id_prefix", sa.Text(), server_default="fleet", nullable=False),
        sa.Column("keep_alive_s", sa.Integer(), server_default=sa.text("60"), nullable=False),
        sa.Column("clean_session", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("reconnect_period_ms", sa.Integer(), server_default=sa.text("5000"), nullable=False),
        sa.Column("connect_timeout_ms", sa.Integer(), server_default=sa.text("30000"), nullable=False),
        sa.Column("is_system", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Created by the platform; tenants cannot change it."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("broker_host <> ''", name=op.f("ck_mqtt_connections_broker_host_not_empty")),
        sa.CheckConstraint("broker_type IN ('internal', 'external')", name=op.f("ck_mqtt_connections_broker_type")),
        sa.CheckConstraint("protocol IN ('mqtt', 'sparkplug')", name=op.f("ck_mqtt_connections_protocol")),
        sa.CheckConstraint("broker_port BETWEEN 1 AND 65535", name=op.f("ck_mqtt_connections_broker_port")),
        sa.CheckConstraint("connect_timeout_ms > 0", name=op.f("ck_mqtt_connections_connect_timeout_ms")),
        sa.CheckConstraint("keep_alive_s >= 0", name=op.f("ck_mqtt_connections_keep_alive_s")),
        sa.CheckConstraint("reconnect_period_ms > 0", name=op.f("ck_mqtt_connections_reconnect_period_ms")),
        sa.CheckConstraint("use_tls OR tls_client_cert IS NULL", name=op.f("ck_mqtt_connections_tls")),
        sa.ForeignKeyConstraint(["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"],
            name=op.f("fk_mqtt_connections_connection_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_mqtt_connections_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", name=op.f("pk_mqtt_connections")),
        comment="Brokers behind connections of type mqtt.",
    )
    op.create_trigger(
        "notify_connections_of_delete", "mqtt_connections", "after", "delete", level="statement",
        function="notify_tenants('connections', 'broker_host, broker_port, protocol, use_tls, secret_ref')",
        old_table="old_rows",
    )
    op.create_trigger(
        "notify_connections_of_insert", "mqtt_connections", "after", "insert", level="statement",
        function="notify_tenants('connections', 'broker_host, broker_port, protocol, use_tls, secret_ref')",
        new_table="new_rows",
    )
    op.create_trigger(
        "notify_connections_of_update", "mqtt_connections", "after", "update", level="statement",
        function="notify_tenants('connections', 'broker_host, broker_port, protocol, use_tls, secret_ref')",
        old_table="old_rows", new_table="new_rows",
    )
    op.create_trigger(
        "set_updated_at", "mqtt_connections", "before", "update", level="row", function="set_updated_at()",
    )
    op.create_trigger(
        "system_brokers_stay", "mqtt_connections", "before", "update or delete", level="row",
        function="reject_system_row_change()", when="old.is_system",
    )
    op.set_row_level_security(
        "mqtt_connections", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert (broker_host, broker_port, broker_type, clean_session, client_id_prefix,"
                " connect_timeout_ms, connection_id, created_at, keep_alive_s, protocol, reconnect_period_ms,"
                " secret_ref, tenant_id, tls_ca_cert, tls_client_cert, tls_verify_cert, updated_at, use_tls,"
                " username), select, update (broker_host, broker_port, broker_type, clean_session, client_id_prefix,"
                " connect_timeout_ms, connection_id, created_at, keep_alive_s, protocol, reconnect_period_ms,"
                " secret_ref, tenant_id, tls_ca_cert, tls_client_cert, tls_verify_cert, updated_at, use_tls, username)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "mqtt_devices",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("credential_group_id", sa.Uuid(), nullable=True,
            comment="The shared credential it connects with, if any."),
        sa.Column("device_api_token_id", sa.Uuid(), nullable=True,
            comment="The token of its own it connects with, if any."),
        sa.Column("device_id", sa.Text(), nullable=True, comment="The registered device, if known."),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("first_seen", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("client_id <> ''", name=op.f("ck_mqtt_devices_client_id_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "credential_group_id"],
            ["mqtt_credential_groups.tenant_id", "mqtt_credential_groups.id"],
            name=op.f("fk_mqtt_devices_credential_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "device_api_token_id"],
            ["device_api_tokens.tenant_id", "device_api_tokens.id"], name=op.f("fk_mqtt_devices_device_api_token_id"),
            ondelete="SET NULL (device_api_token_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_mqtt_devices_device_id"), ondelete="SET NULL (device_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_mqtt_devices_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_mqtt_devices")),
        sa.UniqueConstraint("tenant_id", "client_id", name=op.f("uq_mqtt_devices_client_id")),
        comment="MQTT clients seen by the broker.",
    )
    op.create_index(
        op.f("ix_mqtt_devices_credential_group_id"), "mqtt_devices", ["tenant_id", "credential_group_id"], unique=False,
    )
    op.create_index(
        op.f("ix_mqtt_devices_device_api_token_id"), "mqtt_devices", ["tenant_id", "device_api_token_id"], unique=False,
    )
    op.create_index(op.f("ix_mqtt_devices_device_id"), "mqtt_devices", ["tenant_id", "device_id"], unique=False)
    op.create_trigger("set_updated_at", "mqtt_devices", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "mqtt_devices", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "mqtt_publishers",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("publish_mode", sa.Text(), nullable=False),
        sa.Column("interval_ms", sa.Integer(), nullable=True, comment="NULL: sent on change only."),
        sa.Column("min_interval_ms", sa.Integer(), server_default=sa.text("500"), nullable=False,
            comment="Changes within this time are sent together."),
        sa.Column("mqtt_topic", sa.Text(), nullable=True, comment="NULL: the topic follows from Sparkplug."),
        sa.Column("payload_format", sa.Text(), server_default="json", nullable=False),
        sa.Column("payload_template", sa.Text(), nullable=True,
            comment="With placeholders, which mqtt_publisher_tag_refs maps to tags."),
        sa.Column("qos", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retain", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(publish_mode = 'on_change') = (interval_ms IS NULL)",
            name=op.f("ck_mqtt_publishers_interval")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_mqtt_publishers_name_not_empty")),
        sa.CheckConstraint("payload_format = 'sparkplug' OR mqtt_topic IS NOT NULL",
            name=op.f("ck_mqtt_publishers_topic_given")),
        sa.CheckConstraint("payload_format IN ('json', 'raw', 'sparkplug')",
            name=op.f("ck_mqtt_publishers_payload_format")),
        sa.CheckConstraint("publish_mode IN ('on_change', 'interval', 'both')",
            name=op.f("ck_mqtt_publishers_publish_mode")),
        sa.CheckConstraint("interval_ms > 0 AND min_interval_ms >= 0", name=op.f("ck_mqtt_publishers_intervals")),
        sa.CheckConstraint("qos BETWEEN 0 AND 2", name=op.f("ck_mqtt_publishers_qos")),
        sa.ForeignKeyConstraint(["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"],
            name=op.f("fk_mqtt_publishers_connection_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_mqtt_publishers_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_mqtt_publishers")),
        sa.UniqueConstraint("tenant_id", "connection_id", "name", name=op.f("uq_mqtt_publishers_connection_id_name")),
        comment="Messages published to MQTT brokers.",
    )
    op.create_trigger(
        "notify_connections_of_delete", "mqtt_publishers", "after", "delete", level="statement",
        function="notify_tenants('connections', 'name, publish_mode, interval_ms, mqtt_topic, enabled')",
        old_table="old_rows",
    )
    op.create_trigger(
        "notify_connections_of_insert", "mqtt_publishers", "after", "insert", level="statement",
        function="notify_tenants('connections', 'name, publish_mode, interval_ms, mqtt_topic, enabled')",
        new_table="new_rows",
    )
    op.create_trigger(
        "notify_connections_of_update", "mqtt_publishers", "after", "update", level="statement",
        function="notify_tenants('connections', 'name, publish_mode, interval_ms, mqtt_topic, enabled')",
        old_table="old_rows", new_table="new_rows",
    )
    op.create_trigger("set_updated_at", "mqtt_publishers", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "mqtt_publishers", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "mqtt_subscriptions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False, comment="May contain the MQTT wildcards + and #."),
        sa.Column("qos", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tag_prefix", sa.Text(), nullable=True, comment="Prefix of the names of its tags."),
        sa.Column("payload_format", sa.Text(), server_default="json", nullable=False),
        sa.Column("value_path", sa.Text(), nullable=True, comment="Path in a JSON payload."),
        sa.Column("timestamp_path", sa.Text(), nullable=True),
        sa.Column("quality_path", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("message_buffer_size", sa.Integer(), server_default=sa.text("100"), nullable=False,
            comment="Number of recent messages kept for inspection."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("payload_format IN ('json', 'raw', 'sparkplug')",
            name=op.f("ck_mqtt_subscriptions_payload_format")),
        sa.CheckConstraint("topic <> ''", name=op.f("ck_mqtt_subscriptions_topic_not_empty")),
        sa.CheckConstraint("message_buffer_size BETWEEN 0 AND 10000",
            name=op.f("ck_mqtt_subscriptions_message_buffer_size")),
        sa.CheckConstraint("qos BETWEEN 0 AND 2", name=op.f("ck_mqtt_subscriptions_qos")),
        sa.ForeignKeyConstraint(["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"],
            name=op.f("fk_mqtt_subscriptions_connection_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_mqtt_subscriptions_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_mqtt_subscriptions")),
        sa.UniqueConstraint("tenant_id", "connection_id", "topic",
            name=op.f("uq_mqtt_subscriptions_connection_id_topic")),
        comment="Subscribed topics.",
    )
    op.create_trigger(
        "notify_connections_of_delete", "mqtt_subscriptions", "after", "delete", level="statement",
        function="notify_tenants('connections', 'topic, qos, payload_format, enabled')", old_table="old_rows",
    )
    op.create_trigger(
        "notify_connections_of_insert", "mqtt_subscriptions", "after", "insert", level="statement",
        function="notify_tenants('connections', 'topic, qos, payload_format, enabled')", new_table="new_rows",
    )
    op.create_trigger(
        "notify_connections_of_update", "mqtt_subscriptions", "after", "update", level="statement",
        function="notify_tenants('connections', 'topic, qos, payload_format, enabled')", old_table="old_rows",
        new_table="new_rows",
    )
    op.create_trigger(
        "set_updated_at", "mqtt_subscriptions", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "mqtt_subscriptions", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "sparkplug_discovery",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("edge_node_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=True, comment="NULL: the node itself."),
        sa.Column("birth_payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False,
            comment="Payload of the latest birth message."),
        sa.Column("metrics", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"), nullable=False, comment="Metrics listed in the birth message."),
        sa.Column("seq_num", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Sequence number of the last message."),
        sa.Column("is_online", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("last_birth_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_death_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_seen_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("edge_node_id <> ''", name=op.f("ck_sparkplug_discovery_edge_node_id_not_empty")),
        sa.CheckConstraint("group_id <> ''", name=op.f("ck_sparkplug_discovery_group_id_not_empty")),
        sa.CheckConstraint("jsonb_typeof(birth_payload) = 'object'",
            name=op.f("ck_sparkplug_discovery_birth_payload_object")),
        sa.CheckConstraint("jsonb_typeof(metrics) = 'array'", name=op.f("ck_sparkplug_discovery_metrics_array")),
        sa.CheckConstraint("seq_num BETWEEN 0 AND 255", name=op.f("ck_sparkplug_discovery_seq_num")),
        sa.ForeignKeyConstraint(["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"],
            name=op.f("fk_sparkplug_discovery_connection_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_sparkplug_discovery_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_sparkplug_discovery")),
        sa.UniqueConstraint("tenant_id", "connection_id", "group_id", "edge_node_id", "device_id",
            name="uq_sparkplug_discovery_node", postgresql_nulls_not_distinct=True),
        comment="Discovered Sparkplug nodes and devices.",
    )
    op.create_trigger(
        "set_updated_at", "sparkplug_discovery", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "sparkplug_discovery", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "mqtt_device_topics",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("mqtt_device_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("topic <> ''", name=op.f("ck_mqtt_device_topics_topic_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "mqtt_device_id"], ["mqtt_devices.tenant_id", "mqtt_devices.id"],
            name=op.f("fk_mqtt_device_topics_mqtt_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_mqtt_device_topics_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "mqtt_device_id", "topic", name=op.f("pk_mqtt_device_topics")),
        comment="Topics on which MQTT clients have published.",
    )
    op.create_trigger(
        "set_updated_at", "mqtt_device_topics", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "mqtt_device_topics", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "mqtt_message_buffer",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="The payload if it is JSON."),
        sa.Column("payload_raw", sa.LargeBinary(), nullable=True, comment="The payload if it is not JSON."),
        sa.Column("qos", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retained", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("received_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(payload) <> 'null'", name=op.f("ck_mqtt_message_buffer_payload_value")),
        sa.CheckConstraint("num_nonnulls(payload, payload_raw) = 1", name=op.f("ck_mqtt_message_buffer_one_payload")),
        sa.CheckConstraint("qos BETWEEN 0 AND 2", name=op.f("ck_mqtt_message_buffer_qos")),
        sa.ForeignKeyConstraint(["tenant_id", "subscription_id"],
            ["mqtt_subscriptions.tenant_id", "mqtt_subscriptions.id"],
            name=op.f("fk_mqtt_message_buffer_subscription_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_mqtt_message_buffer_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_mqtt_message_buffer")),
        comment="The most recent messages of each subscription.",
    )
    op.create_index(
        op.f("ix_mqtt_message_buffer_subscription_id"), "mqtt_message_buffer",
        ["tenant_id", "subscription_id", sa.literal_column("received_at DESC")], unique=False,
    )
    op.create_function(
        "trim_message_buffer", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  delete from public.mqtt_message_buffer b\n"
            "   using (select m.tenant_id, m.id,\n"
            "                 row_number() over (partition by m.tenant_id, m.subscription_id\n"
            "                   order by m.received_at desc, m.id desc) as number,\n"
            "                 s.message_buffer_size as kept\n"
            "            from public.mqtt_message_buffer m\n"
            "            join public.mqtt_subscriptions s\n"
            "              on s.tenant_id = m.tenant_id and s.id = m.subscription_id\n"
            "           where (m.tenant_id, m.subscription_id) in (\n"
            "                   select tenant_id, subscription_id from new_rows)) ranked\n"
            "   where b.tenant_id = ranked.tenant_id and b.id = ranked.id\n"
            "     and ranked.number > ranked.kept;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: deletes messages beyond the buffer size of their subscription.",
    )
    op.create_trigger(
        "message_buffer_is_trimmed", "mqtt_message_buffer", "after", "insert", level="statement",
        function="trim_message_buffer()", new_table="new_rows",
    )
    op.set_row_level_security(
        "mqtt_message_buffer", enable=True, force=True,
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
        "sparkplug_configs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("publisher_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("edge_node_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=True, comment="NULL: the node itself."),
        sa.Column("auto_birth", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("birth_debounce_ms", sa.Integer(), server_default=sa.text("1000"), nullable=False),
        sa.Column("death_timeout_ms", sa.Integer(), server_default=sa.text("5000"), nullable=False),
        sa.Column("seq_num", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Sequence number of the last message."),
        sa.Column("last_birth_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_death_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("edge_node_id <> ''", name=op.f("ck_sparkplug_configs_edge_node_id_not_empty")),
        sa.CheckConstraint("group_id <> ''", name=op.f("ck_sparkplug_configs_group_id_not_empty")),
        sa.CheckConstraint("birth_debounce_ms >= 0 AND death_timeout_ms > 0", name=op.f("ck_sparkplug_configs_times")),
        sa.CheckConstraint("seq_num BETWEEN 0 AND 255", name=op.f("ck_sparkplug_configs_seq_num")),
        sa.ForeignKeyConstraint(["tenant_id", "publisher_id"], ["mqtt_publishers.tenant_id", "mqtt_publishers.id"],
            name=op.f("fk_sparkplug_configs_publisher_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_sparkplug_configs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_sparkplug_configs")),
        sa.UniqueConstraint("tenant_id", "group_id", "edge_node_id", "device_id",
            name=op.f("uq_sparkplug_configs_group_id_edge_node_id_device_id"), postgresql_nulls_not_distinct=True),
        sa.UniqueConstraint("tenant_id", "publisher_id", name=op.f("uq_sparkplug_configs_publisher_id")),
        comment="Publishers as Sparkplug edge nodes.",
    )
    op.create_trigger(
        "set_updated_at", "sparkplug_configs", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "sparkplug_configs", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "mqtt_field_mappings",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False, comment="Topic of the messages it applies to."),
        sa.Column("field_path", sa.Text(), nullable=False),
        sa.Column("tag_name", sa.Text(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), nullable=True, comment="NULL: the tag is not created yet."),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("type_strictness", sa.Text(), server_default="strict", nullable=False,
            comment="coerce: convert values that can be converted without loss."),
        sa.Column("on_failure", sa.Text(), server_default="skip", nullable=False,
            comment="What to store if the field cannot be read."),
        sa.Column("default_value", sa.Text(), nullable=True),
        sa.Column("value_expression", sa.Text(), nullable=True, comment="Expression applied to the value."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("data_type IN ('real', 'int', 'text', 'bool', 'json')",
            name=op.f("ck_mqtt_field_mappings_data_type")),
        sa.CheckConstraint("field_path <> ''", name=op.f("ck_mqtt_field_mappings_field_path_not_empty")),
        sa.CheckConstraint("on_failure <> 'default' OR default_value IS NOT NULL",
            name=op.f("ck_mqtt_field_mappings_default")),
        sa.CheckConstraint("on_failure IN ('skip', 'default')", name=op.f("ck_mqtt_field_mappings_on_failure")),
        sa.CheckConstraint("tag_name <> ''", name=op.f("ck_mqtt_field_mappings_tag_name_not_empty")),
        sa.CheckConstraint("type_strictness IN ('strict', 'coerce')",
            name=op.f("ck_mqtt_field_mappings_type_strictness")),
        sa.ForeignKeyConstraint(["tenant_id", "subscription_id"],
            ["mqtt_subscriptions.tenant_id", "mqtt_subscriptions.id"],
            name=op.f("fk_mqtt_field_mappings_subscription_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "tag_id"], ["tag_metadata.tenant_id", "tag_metadata.tag_id"],
            name=op.f("fk_mqtt_field_mappings_tag_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_mqtt_field_mappings_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_mqtt_field_mappings")),
        sa.UniqueConstraint("tenant_id", "subscription_id", "tag_name",
            name=op.f("uq_mqtt_field_mappings_subscription_id_tag_name")),
        sa.UniqueConstraint("tenant_id", "tag_id", name=op.f("uq_mqtt_field_mappings_tag_id")),
        comment="Fields of payloads, and the tags that store them.",
    )
    op.create_trigger(
        "set_updated_at", "mqtt_field_mappings", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "mqtt_field_mappings", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "mqtt_publisher_tag_refs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("publisher_id", sa.Uuid(), nullable=False),
        sa.Column("placeholder", sa.Text(), nullable=False, comment="As written in the template."),
        sa.Column("tag_id", sa.BigInteger(), nullable=True, comment="NULL after the tag was deleted."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("placeholder <> ''", name=op.f("ck_mqtt_publisher_tag_refs_placeholder_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "publisher_id"], ["mqtt_publishers.tenant_id", "mqtt_publishers.id"],
            name=op.f("fk_mqtt_publisher_tag_refs_publisher_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "tag_id"], ["tag_metadata.tenant_id", "tag_metadata.tag_id"],
            name=op.f("fk_mqtt_publisher_tag_refs_tag_id"), ondelete="SET NULL (tag_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_mqtt_publisher_tag_refs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_mqtt_publisher_tag_refs")),
        sa.UniqueConstraint("tenant_id", "publisher_id", "placeholder",
            name=op.f("uq_mqtt_publisher_tag_refs_publisher_id_placeholder")),
        comment="Placeholders of payload templates.",
    )
    op.create_index(
        op.f("ix_mqtt_publisher_tag_refs_tag_id"), "mqtt_publisher_tag_refs", ["tenant_id", "tag_id"], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "mqtt_publisher_tag_refs", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "mqtt_publisher_tag_refs", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "sparkplug_metric_mappings",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("sparkplug_config_id", sa.Uuid(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.Column("metric_name", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=True, comment="As named by the specification."),
        sa.Column("engineering_units", sa.Text(), nullable=True),
        sa.Column("include_in_birth", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("metric_name <> ''", name=op.f("ck_sparkplug_metric_mappings_metric_name_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "sparkplug_config_id"],
            ["sparkplug_configs.tenant_id", "sparkplug_configs.id"],
            name=op.f("fk_sparkplug_metric_mappings_sparkplug_config_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "tag_id"], ["tag_metadata.tenant_id", "tag_metadata.tag_id"],
            name=op.f("fk_sparkplug_metric_mappings_tag_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_sparkplug_metric_mappings_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_sparkplug_metric_mappings")),
        sa.UniqueConstraint("tenant_id", "sparkplug_config_id", "metric_name",
            name=op.f("uq_sparkplug_metric_mappings_sparkplug_config_id_metric_name")),
        comment="Tags as Sparkplug metrics.",
    )
    op.create_index(
        op.f("ix_sparkplug_metric_mappings_tag_id"), "sparkplug_metric_mappings", ["tenant_id", "tag_id"], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "sparkplug_metric_mappings", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "sparkplug_metric_mappings", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_table("sparkplug_metric_mappings")
    op.drop_table("mqtt_publisher_tag_refs")
    op.drop_table("mqtt_field_mappings")
    op.drop_table("sparkplug_configs")
    op.drop_trigger("message_buffer_is_trimmed", "mqtt_message_buffer")
    op.drop_function("trim_message_buffer")
    op.drop_table("mqtt_message_buffer")
    op.drop_table("mqtt_device_topics")
    op.drop_table("sparkplug_discovery")
    op.drop_table("mqtt_subscriptions")
    op.drop_table("mqtt_publishers")
    op.drop_table("mqtt_devices")
    op.drop_table("mqtt_connections")
    op.drop_table("mqtt_credential_groups")
