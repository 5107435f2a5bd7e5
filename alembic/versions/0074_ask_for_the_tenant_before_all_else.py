"""ask for the tenant before all else

Revision 0074, after 0073; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0074"
down_revision = "0073"

NOW = "(tenant_id, true) = (SELECT current_tenant(), true)"
BEFORE = "tenant_id = (SELECT current_tenant())"
TABLES = (
    "alert_digest_settings", "alert_events", "alert_maintenance_targets",
    "alert_maintenance_windows", "alert_rule_conditions", "alert_rule_targets", "alert_rules",
    "api_keys", "carrier_integrations", "chart_configs", "chart_folders", "connections",
    "dashboard_configs", "dashboard_folders", "dashboard_widgets", "data_retention_policies",
    "dead_letter_messages", "dependency_suggestions", "device_activations", "device_api_tokens",
    "device_certificates", "device_commands", "device_extended_attributes",
    "device_group_members", "device_groups", "device_job_executions", "device_jobs",
    "device_modules", "device_registry", "device_sensors", "device_state", "device_tags",
    "device_templates", "device_transports", "eip_device_cache", "eip_tag_cache",
    "endpoint_alert_policies", "endpoint_certificates", "endpoint_credentials",
    "endpoint_dependencies", "endpoint_status", "endpoints", "escalation_levels",
    "escalation_policies", "export_jobs", "firmware_versions", "fleet_alert", "incident_alerts",
    "incident_events", "incident_links", "incident_postmortems", "incidents", "invitations",
    "jobs", "message_routes", "metric_catalog", "metric_mappings", "mqtt_connections",
    "mqtt_credential_groups", "mqtt_device_topics", "mqtt_devices", "mqtt_field_mappings",
    "mqtt_message_buffer", "mqtt_publisher_tag_refs", "mqtt_publishers", "mqtt_subscriptions",
    "notification_channels", "notification_jobs", "notification_routing_rules", "oncall_layers",
    "oncall_overrides", "oncall_responders", "oncall_schedules", "ota_campaigns",
    "ota_device_status", "projects", "rate_limits", "report_runs", "role_permissions", "roles",
    "sites", "sparkplug_configs", "sparkplug_discovery", "sparkplug_metric_mappings",
    "subscription_audit", "subscription_notifications", "subscription_tier_allocations",
    "subscriptions", "tag_metadata", "template_commands", "template_metrics",
    "template_slot_compat", "template_slots", "tenant_members", "tenant_settings",
    "usage_counters", "user_permissions", "user_preferences", "user_roles",
)


# accept ban-drop-view: each is created again below, in the same transaction


def upgrade() -> None:
    op.drop_view("telemetry_hourly")
    op.drop_view("telemetry_daily")
    op.drop_view("tag_values_hourly")
    op.drop_view("quarantine_counters_minute")
    op.drop_view("health_checks_hourly")
    op.drop_view("health_checks_daily")
    op.drop_view("device_health_hourly")
    for table in TABLES:
        op.alter_policy(
            "tenant_isolation", table, to="fleet_app", command="all", using=NOW, check=NOW,
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
    for table in TABLES:
        op.alter_policy(
            "tenant_isolation", table, to="fleet_app", command="all", using=BEFORE, check=BEFORE,
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
