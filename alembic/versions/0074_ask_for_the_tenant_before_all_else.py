"""ask for the tenant before all else

Revision 0074, after 0073; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0074"
down_revision = "0073"


# accept ban-drop-view: each is created again below, in the same transaction


def upgrade() -> None:
    op.drop_view("telemetry_hourly")
    op.drop_view("telemetry_daily")
    op.drop_view("tag_values_hourly")
    op.drop_view("quarantine_counters_minute")
    op.drop_view("health_checks_hourly")
    op.drop_view("health_checks_daily")
    op.drop_view("device_health_hourly")
    op.alter_policy(
        "tenant_isolation", "alert_digest_settings", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "alert_events", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "alert_maintenance_targets", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "alert_maintenance_windows", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "alert_rule_conditions", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "alert_rule_targets", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "alert_rules", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "api_keys", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "carrier_integrations", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "chart_configs", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "chart_folders", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "connections", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "dashboard_configs", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "dashboard_folders", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "dashboard_widgets", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "data_retention_policies", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "dead_letter_messages", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "dependency_suggestions", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_activations", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_api_tokens", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_certificates", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_commands", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_extended_attributes", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_group_members", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_groups", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_job_executions", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_jobs", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_modules", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_registry", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_sensors", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_state", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_tags", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_templates", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "device_transports", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "eip_device_cache", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "eip_tag_cache", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_alert_policies", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_certificates", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_credentials", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_dependencies", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_status", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "endpoints", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "escalation_levels", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "escalation_policies", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "export_jobs", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "firmware_versions", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "fleet_alert", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "incident_alerts", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "incident_events", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "incident_links", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "incident_postmortems", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "incidents", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "invitations", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "jobs", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "message_routes", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "metric_catalog", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "metric_mappings", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_connections", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_credential_groups", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_device_topics", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_devices", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_field_mappings", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_message_buffer", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_publisher_tag_refs", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_publishers", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_subscriptions", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "notification_channels", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "notification_jobs", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "notification_routing_rules", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "oncall_layers", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "oncall_overrides", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "oncall_responders", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "oncall_schedules", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "ota_campaigns", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "ota_device_status", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "projects", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "rate_limits", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "report_runs", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "role_permissions", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "roles", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "sites", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "sparkplug_configs", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "sparkplug_discovery", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "sparkplug_metric_mappings", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "subscription_audit", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "subscription_notifications", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "subscription_tier_allocations", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "subscriptions", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "tag_metadata", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "template_commands", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "template_metrics", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "template_slot_compat", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "template_slots", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "tenant_members", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "tenant_settings", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "own_profile", "tenants", to="fleet_app", command="update",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "own_row", "tenants", to="fleet_app", command="select",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "usage_counters", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "user_permissions", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "user_preferences", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.alter_policy(
        "tenant_isolation", "user_roles", to="fleet_app", command="all",
        using="(tenant_id, true) = (SELECT current_tenant(), true)",
        check="(tenant_id, true) = (SELECT current_tenant(), true)",
    )
    op.create_view(
        "device_health_hourly",
        (
            "SELECT s.tenant_id, s.device_id, s.bucket, s.avg_rssi, s.avg_signal_quality, s.min_signal_quality,"
            " s.avg_battery_pct, s.min_battery_pct, s.avg_battery_voltage, s.avg_cpu_temp_c, s.max_cpu_temp_c,"
            " s.max_memory_used_pct, s.max_storage_used_pct, s.reboot_count, s.error_count, s.data_tx_bytes,"
            " s.data_rx_bytes, s.count\n"
            "  FROM timeseries.device_health_hourly s\n"
            " WHERE (s.tenant_id, true) = (SELECT current_tenant(), true)"
        ),
        security_barrier=True,
        comment="Radio, power and load of devices by hour; of counters the maximum. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "health_checks_daily",
        (
            "SELECT s.tenant_id, s.endpoint_id, s.bucket, s.count, s.failures, s.avg_ms, s.min_ms, s.max_ms,"
            " s.below_10_ms, s.below_25_ms, s.below_50_ms, s.below_100_ms, s.below_250_ms, s.below_500_ms,"
            " s.below_1000_ms, s.below_2500_ms, s.below_5000_ms, s.below_10000_ms, s.from_10000_ms\n"
            "  FROM timeseries.health_checks_daily s\n"
            " WHERE (s.tenant_id, true) = (SELECT current_tenant(), true)"
        ),
        security_barrier=True,
        comment="Checks of endpoints by day, with a latency histogram whose counts can be summed. Only rows of the"
            " current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "health_checks_hourly",
        (
            "SELECT s.tenant_id, s.endpoint_id, s.bucket, s.count, s.failures, s.avg_ms, s.min_ms, s.max_ms,"
            " s.below_10_ms, s.below_25_ms, s.below_50_ms, s.below_100_ms, s.below_250_ms, s.below_500_ms,"
            " s.below_1000_ms, s.below_2500_ms, s.below_5000_ms, s.below_10000_ms, s.from_10000_ms\n"
            "  FROM timeseries.health_checks_hourly s\n"
            " WHERE (s.tenant_id, true) = (SELECT current_tenant(), true)"
        ),
        security_barrier=True,
        comment="Checks of endpoints by hour, with a latency histogram whose counts can be summed. Only rows of the"
            " current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "quarantine_counters_minute",
        (
            "SELECT s.tenant_id, s.reason, s.bucket, s.count\n"
            "  FROM timeseries.quarantine_counters_minute s\n"
            " WHERE (s.tenant_id, true) = (SELECT current_tenant(), true)"
        ),
        security_barrier=True, comment="Rejected messages by minute and reason. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "tag_values_hourly",
        (
            "SELECT s.tenant_id, s.tag_id, s.bucket, s.avg, s.min, s.max, s.count\n"
            "  FROM timeseries.tag_values_hourly s\n"
            " WHERE (s.tenant_id, true) = (SELECT current_tenant(), true)"
        ),
        security_barrier=True, comment="Numeric samples of tags by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "telemetry_daily",
        (
            "SELECT s.tenant_id, s.device_id, s.metric, s.bucket, s.avg, s.min, s.max, s.count\n"
            "  FROM timeseries.telemetry_daily s\n"
            " WHERE (s.tenant_id, true) = (SELECT current_tenant(), true)"
        ),
        security_barrier=True, comment="Numeric metrics of devices by day. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "telemetry_hourly",
        (
            "SELECT s.tenant_id, s.device_id, s.metric, s.bucket, s.avg, s.min, s.max, s.count\n"
            "  FROM timeseries.telemetry_hourly s\n"
            " WHERE (s.tenant_id, true) = (SELECT current_tenant(), true)"
        ),
        security_barrier=True, comment="Numeric metrics of devices by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_view("telemetry_hourly")
    op.drop_view("telemetry_daily")
    op.drop_view("tag_values_hourly")
    op.drop_view("quarantine_counters_minute")
    op.drop_view("health_checks_hourly")
    op.drop_view("health_checks_daily")
    op.drop_view("device_health_hourly")
    op.alter_policy(
        "tenant_isolation", "user_roles", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "user_preferences", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "user_permissions", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "usage_counters", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "own_row", "tenants", to="fleet_app", command="select",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "own_profile", "tenants", to="fleet_app", command="update",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "tenant_settings", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "tenant_members", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "template_slots", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "template_slot_compat", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "template_metrics", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "template_commands", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "tag_metadata", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "subscriptions", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "subscription_tier_allocations", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "subscription_notifications", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "subscription_audit", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "sparkplug_metric_mappings", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "sparkplug_discovery", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "sparkplug_configs", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "sites", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "roles", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "role_permissions", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "report_runs", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "rate_limits", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "projects", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "ota_device_status", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "ota_campaigns", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "oncall_schedules", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "oncall_responders", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "oncall_overrides", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "oncall_layers", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "notification_routing_rules", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "notification_jobs", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "notification_channels", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_subscriptions", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_publishers", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_publisher_tag_refs", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_message_buffer", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_field_mappings", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_devices", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_device_topics", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_credential_groups", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "mqtt_connections", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "metric_mappings", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "metric_catalog", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "message_routes", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "jobs", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "invitations", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "incidents", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "incident_postmortems", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "incident_links", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "incident_events", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "incident_alerts", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "fleet_alert", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "firmware_versions", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "export_jobs", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "escalation_policies", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "escalation_levels", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "endpoints", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_status", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_dependencies", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_credentials", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_certificates", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "endpoint_alert_policies", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "eip_tag_cache", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "eip_device_cache", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_transports", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_templates", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_tags", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_state", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_sensors", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_registry", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_modules", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_jobs", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_job_executions", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_groups", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_group_members", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_extended_attributes", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_commands", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_certificates", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_api_tokens", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "device_activations", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "dependency_suggestions", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "dead_letter_messages", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "data_retention_policies", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "dashboard_widgets", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "dashboard_folders", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "dashboard_configs", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "connections", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "chart_folders", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "chart_configs", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "carrier_integrations", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "api_keys", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "alert_rules", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "alert_rule_targets", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "alert_rule_conditions", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "alert_maintenance_windows", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "alert_maintenance_targets", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "alert_events", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.alter_policy(
        "tenant_isolation", "alert_digest_settings", to="fleet_app", command="all",
        using="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
        check="(tenant_id = ( SELECT public.current_tenant() AS current_tenant))",
    )
    op.create_view(
        "device_health_hourly",
        (
            "SELECT tenant_id,\n"
            "   device_id,\n"
            "   bucket,\n"
            "   avg_rssi,\n"
            "   avg_signal_quality,\n"
            "   min_signal_quality,\n"
            "   avg_battery_pct,\n"
            "   min_battery_pct,\n"
            "   avg_battery_voltage,\n"
            "   avg_cpu_temp_c,\n"
            "   max_cpu_temp_c,\n"
            "   max_memory_used_pct,\n"
            "   max_storage_used_pct,\n"
            "   reboot_count,\n"
            "   error_count,\n"
            "   data_tx_bytes,\n"
            "   data_rx_bytes,\n"
            "   count\n"
            "  FROM timeseries.device_health_hourly s\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        security_barrier=True,
        comment="Radio, power and load of devices by hour; of counters the maximum. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "health_checks_daily",
        (
            "SELECT tenant_id,\n"
            "   endpoint_id,\n"
            "   bucket,\n"
            "   count,\n"
            "   failures,\n"
            "   avg_ms,\n"
            "   min_ms,\n"
            "   max_ms,\n"
            "   below_10_ms,\n"
            "   below_25_ms,\n"
            "   below_50_ms,\n"
            "   below_100_ms,\n"
            "   below_250_ms,\n"
            "   below_500_ms,\n"
            "   below_1000_ms,\n"
            "   below_2500_ms,\n"
            "   below_5000_ms,\n"
            "   below_10000_ms,\n"
            "   from_10000_ms\n"
            "  FROM timeseries.health_checks_daily s\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        security_barrier=True,
        comment="Checks of endpoints by day, with a latency histogram whose counts can be summed. Only rows of the"
            " current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "health_checks_hourly",
        (
            "SELECT tenant_id,\n"
            "   endpoint_id,\n"
            "   bucket,\n"
            "   count,\n"
            "   failures,\n"
            "   avg_ms,\n"
            "   min_ms,\n"
            "   max_ms,\n"
            "   below_10_ms,\n"
            "   below_25_ms,\n"
            "   below_50_ms,\n"
            "   below_100_ms,\n"
            "   below_250_ms,\n"
            "   below_500_ms,\n"
            "   below_1000_ms,\n"
            "   below_2500_ms,\n"
            "   below_5000_ms,\n"
            "   below_10000_ms,\n"
            "   from_10000_ms\n"
            "  FROM timeseries.health_checks_hourly s\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        security_barrier=True,
        comment="Checks of endpoints by hour, with a latency histogram whose counts can be summed. Only rows of the"
            " current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "quarantine_counters_minute",
        (
            "SELECT tenant_id,\n"
            "   reason,\n"
            "   bucket,\n"
            "   count\n"
            "  FROM timeseries.quarantine_counters_minute s\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        security_barrier=True, comment="Rejected messages by minute and reason. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "tag_values_hourly",
        (
            "SELECT tenant_id,\n"
            "   tag_id,\n"
            "   bucket,\n"
            "   avg,\n"
            "   min,\n"
            "   max,\n"
            "   count\n"
            "  FROM timeseries.tag_values_hourly s\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        security_barrier=True, comment="Numeric samples of tags by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "telemetry_daily",
        (
            "SELECT tenant_id,\n"
            "   device_id,\n"
            "   metric,\n"
            "   bucket,\n"
            "   avg,\n"
            "   min,\n"
            "   max,\n"
            "   count\n"
            "  FROM timeseries.telemetry_daily s\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        security_barrier=True, comment="Numeric metrics of devices by day. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "telemetry_hourly",
        (
            "SELECT tenant_id,\n"
            "   device_id,\n"
            "   metric,\n"
            "   bucket,\n"
            "   avg,\n"
            "   min,\n"
            "   max,\n"
            "   count\n"
            "  FROM timeseries.telemetry_hourly s\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        security_barrier=True, comment="Numeric metrics of devices by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
