"""Put the condition of tenant views first

Revision 0054, after 0053; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0053"


def upgrade() -> None:
    # accept ban-drop-view: all of them are created again below, in the same transaction
    op.drop_view("telemetry_hourly")
    op.drop_view("telemetry_daily")
    op.drop_view("telemetry")
    op.drop_view("tag_values_hourly")
    op.drop_view("tag_values")
    op.drop_view("quarantine_events")
    op.drop_view("quarantine_counters_minute")
    op.drop_view("notification_log")
    op.drop_view("health_checks_hourly")
    op.drop_view("health_checks_daily")
    op.drop_view("health_checks")
    op.drop_view("device_health_telemetry")
    op.drop_view("device_health_hourly")
    op.drop_view("device_connection_events")
    op.drop_view("data_horizons")
    op.drop_view("audit_events")
    op.create_function(
        "conditions_in_order", returns="TABLE(tenant_id uuid)", language="sql", volatility="stable", parallel="safe",
        body=(
            "BEGIN ATOMIC\n"
            "SELECT t.tenant_id FROM tenants t;\n"
            "END"
        ),
        comment="The tenants that the caller sees. Tenant views name it so that their condition comes before those of"
            " the query, and never read it.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "execute"},
    )
    op.create_function(
        "insert_audit_events", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into public.audit_events_to_store (tenant_id, ts, id, action, outcome, category, severity,"
            " actor_type, actor_id, actor_name, entity_type, entity_id, entity_name, message, source_service,"
            " ip_address, request_id, duration_ms, details)\n"
            '  values (new."tenant_id", new."ts", new."id", new."action", new."outcome", new."category",'
            ' new."severity", new."actor_type", new."actor_id", new."actor_name", new."entity_type", new."entity_id",'
            ' new."entity_name", new."message", new."source_service", new."ip_address", new."request_id",'
            ' new."duration_ms", new."details")\n'
            "  on conflict do nothing;\n"
            "  if not found then\n"
            "    return null;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: stores a row of audit_events, unless it is there already.",
    )
    op.create_function(
        "insert_device_connection_events", returns="trigger", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into public.device_connection_events_to_store (tenant_id, ts, device_id, seq, event, details)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."seq", new."event", new."details")\n'
            "  on conflict do nothing;\n"
            "  if not found then\n"
            "    return null;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: stores a row of device_connection_events, unless it is there already.",
    )
    op.create_function(
        "insert_device_health_telemetry", returns="trigger", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into public.device_health_telemetry_to_store (tenant_id, ts, device_id, rssi, rsrp, rsrq, sinr,"
            " signal_quality, network_type, cell_id, mcc_mnc, battery_pct, battery_voltage, power_source, charging,"
            " cpu_temp_c, memory_used_pct, storage_used_pct, uptime_seconds, reboot_count, error_count, data_tx_bytes,"
            " data_rx_bytes, data_session_bytes, gps_lat, gps_lon, gps_accuracy_m, gps_fix, extra)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."rssi", new."rsrp", new."rsrq", new."sinr",'
            ' new."signal_quality", new."network_type", new."cell_id", new."mcc_mnc", new."battery_pct",'
            ' new."battery_voltage", new."power_source", new."charging", new."cpu_temp_c", new."memory_used_pct",'
            ' new."storage_used_pct", new."uptime_seconds", new."reboot_count", new."error_count",'
            ' new."data_tx_bytes", new."data_rx_bytes", new."data_session_bytes", new."gps_lat", new."gps_lon",'
            ' new."gps_accuracy_m", new."gps_fix", new."extra")\n'
            "  on conflict do nothing;\n"
            "  if not found then\n"
            "    return null;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: stores a row of device_health_telemetry, unless it is there already.",
    )
    op.create_function(
        "insert_health_checks", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into public.health_checks_to_store (tenant_id, checked_at, endpoint_id, ok, status_code,"
            " response_ms, dns_ms, connect_ms, ttfb_ms, error)\n"
            '  values (new."tenant_id", new."checked_at", new."endpoint_id", new."ok", new."status_code",'
            ' new."response_ms", new."dns_ms", new."connect_ms", new."ttfb_ms", new."error")\n'
            "  on conflict do nothing;\n"
            "  if not found then\n"
            "    return null;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: stores a row of health_checks, unless it is there already.",
    )
    op.create_function(
        "insert_tag_values", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into public.tag_values_to_store (tenant_id, ts, tag_id, connection_id, quality, v_num, v_text,"
            " v_bool, v_json)\n"
            '  values (new."tenant_id", new."ts", new."tag_id", new."connection_id", new."quality", new."v_num",'
            ' new."v_text", new."v_bool", new."v_json")\n'
            "  on conflict do nothing;\n"
            "  if not found then\n"
            "    return null;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: stores a row of tag_values, unless it is there already.",
    )
    op.create_function(
        "insert_telemetry", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into public.telemetry_to_store (tenant_id, ts, device_id, msg_type, seq, site_id, metrics,"
            " ingested_at)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."msg_type", new."seq", new."site_id",'
            ' new."metrics", new."ingested_at")\n'
            "  on conflict do nothing;\n"
            "  if not found then\n"
            "    return null;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: stores a row of telemetry, unless it is there already.",
    )
    op.create_view(
        "audit_events",
        (
            "SELECT s.tenant_id, s.ts, s.id, s.action, s.outcome, s.category, s.severity, s.actor_type, s.actor_id,"
            " s.actor_name, s.entity_type, s.entity_id, s.entity_name, s.message, s.source_service, s.ip_address,"
            " s.request_id, s.duration_ms, s.details, s.recorded_at\n"
            "  FROM timeseries.audit_events s\n"
            "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id\n"
            " WHERE CASE WHEN s.tenant_id = ANY (ARRAY[(SELECT current_tenant())]) THEN true ELSE false END\n"
            "   AND s.tenant_id = (SELECT current_tenant())"
        ),
        comment="Actions performed or denied in a tenant, and who requested them. Only rows of the current tenant.",
        defaults=[
            "actor_type SET DEFAULT 'system'", "details SET DEFAULT '{}'::jsonb", "outcome SET DEFAULT 'success'",
            "recorded_at SET DEFAULT now()", "severity SET DEFAULT 'info'",
        ],
        grants={
            "fleet_app": "insert (action, actor_id, actor_name, actor_type, category, details, duration_ms, entity_id,"
                " entity_name, entity_type, id, ip_address, message, outcome, request_id, severity, source_service,"
                " tenant_id, ts), select",
            "fleet_operator, fleet_operator_read": "select",
        },
    )
    op.create_trigger(
        "insert_audit_events", "audit_events", "instead of", "insert", level="row", function="insert_audit_events()",
    )
    op.create_view(
        "audit_events_to_store",
        (
            "SELECT tenant_id, ts, id, action, outcome, category, severity, actor_type, actor_id, actor_name,"
            " entity_type, entity_id, entity_name, message, source_service, ip_address, request_id, duration_ms,"
            " details, recorded_at\n"
            "  FROM timeseries.audit_events\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Actions performed or denied in a tenant, and who requested them. To append many rows; audit_events is"
            " faster to read.",
        grants={
            "fleet_app": "insert (action, actor_id, actor_name, actor_type, category, details, duration_ms, entity_id,"
                " entity_name, entity_type, id, ip_address, message, outcome, request_id, severity, source_service,"
                " tenant_id, ts), select",
        },
    )
    op.create_view(
        "data_horizons",
        (
            "SELECT relation, max(complete_from) AS complete_from\n"
            "  FROM raw_data_horizons\n"
            " WHERE of_tenant IN (current_tenant(), 'ffffffff-ffff-ffff-ffff-ffffffffffff')\n"
            " GROUP BY relation"
        ),
        security_barrier=True,
        comment="From when on a series or rollup has all rows of the current tenant, if its retention does not say so.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "device_connection_events",
        (
            "SELECT s.tenant_id, s.ts, s.device_id, s.seq, s.event, s.details\n"
            "  FROM timeseries.device_connection_events s\n"
            "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id\n"
            " WHERE CASE WHEN s.tenant_id = ANY (ARRAY[(SELECT current_tenant())]) THEN true ELSE false END\n"
            "   AND s.tenant_id = (SELECT current_tenant())"
        ),
        comment="Connects and disconnects of devices. Only rows of the current tenant.",
        defaults=["details SET DEFAULT '{}'::jsonb", "seq SET DEFAULT 0"],
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
    )
    op.create_trigger(
        "insert_device_connection_events", "device_connection_events", "instead of", "insert", level="row",
        function="insert_device_connection_events()",
    )
    op.create_view(
        "device_connection_events_to_store",
        (
            "SELECT tenant_id, ts, device_id, seq, event, details\n"
            "  FROM timeseries.device_connection_events\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Connects and disconnects of devices. To append many rows; device_connection_events is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "device_health_hourly",
        (
            "SELECT s.tenant_id, s.device_id, s.bucket, s.avg_rssi, s.avg_signal_quality, s.min_signal_quality,"
            " s.avg_battery_pct, s.min_battery_pct, s.avg_battery_voltage, s.avg_cpu_temp_c, s.max_cpu_temp_c,"
            " s.max_memory_used_pct, s.max_storage_used_pct, s.reboot_count, s.error_count, s.data_tx_bytes,"
            " s.data_rx_bytes, s.count\n"
            "  FROM timeseries.device_health_hourly s\n"
            " WHERE s.tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True,
        comment="Radio, power and load of devices by hour; of counters the maximum. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "device_health_telemetry",
        (
            "SELECT s.tenant_id, s.ts, s.device_id, s.rssi, s.rsrp, s.rsrq, s.sinr, s.signal_quality, s.network_type,"
            " s.cell_id, s.mcc_mnc, s.battery_pct, s.battery_voltage, s.power_source, s.charging, s.cpu_temp_c,"
            " s.memory_used_pct, s.storage_used_pct, s.uptime_seconds, s.reboot_count, s.error_count, s.data_tx_bytes,"
            " s.data_rx_bytes, s.data_session_bytes, s.gps_lat, s.gps_lon, s.gps_accuracy_m, s.gps_fix, s.extra\n"
            "  FROM timeseries.device_health_telemetry s\n"
            "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id\n"
            " WHERE CASE WHEN s.tenant_id = ANY (ARRAY[(SELECT current_tenant())]) THEN true ELSE false END\n"
            "   AND s.tenant_id = (SELECT current_tenant())"
        ),
        comment="Radio, power and position of devices. Only rows of the current tenant.",
        defaults="extra SET DEFAULT '{}'::jsonb",
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
    )
    op.create_trigger(
        "insert_device_health_telemetry", "device_health_telemetry", "instead of", "insert", level="row",
        function="insert_device_health_telemetry()",
    )
    op.create_view(
        "device_health_telemetry_to_store",
        (
            "SELECT tenant_id, ts, device_id, rssi, rsrp, rsrq, sinr, signal_quality, network_type, cell_id, mcc_mnc,"
            " battery_pct, battery_voltage, power_source, charging, cpu_temp_c, memory_used_pct, storage_used_pct,"
            " uptime_seconds, reboot_count, error_count, data_tx_bytes, data_rx_bytes, data_session_bytes, gps_lat,"
            " gps_lon, gps_accuracy_m, gps_fix, extra\n"
            "  FROM timeseries.device_health_telemetry\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Radio, power and position of devices. To append many rows; device_health_telemetry is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "health_checks",
        (
            "SELECT s.tenant_id, s.checked_at, s.endpoint_id, s.ok, s.status_code, s.response_ms, s.dns_ms,"
            " s.connect_ms, s.ttfb_ms, s.error\n"
            "  FROM timeseries.health_checks s\n"
            "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id\n"
            " WHERE CASE WHEN s.tenant_id = ANY (ARRAY[(SELECT current_tenant())]) THEN true ELSE false END\n"
            "   AND s.tenant_id = (SELECT current_tenant())"
        ),
        comment="Checks of endpoints. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
    )
    op.create_trigger(
        "insert_health_checks", "health_checks", "instead of", "insert", level="row", function="insert_health_checks()",
    )
    op.create_view(
        "health_checks_daily",
        (
            "SELECT s.tenant_id, s.endpoint_id, s.bucket, s.count, s.failures, s.avg_ms, s.min_ms, s.max_ms,"
            " s.below_10_ms, s.below_25_ms, s.below_50_ms, s.below_100_ms, s.below_250_ms, s.below_500_ms,"
            " s.below_1000_ms, s.below_2500_ms, s.below_5000_ms, s.below_10000_ms, s.from_10000_ms\n"
            "  FROM timeseries.health_checks_daily s\n"
            " WHERE s.tenant_id = (SELECT current_tenant())"
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
            " WHERE s.tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True,
        comment="Checks of endpoints by hour, with a latency histogram whose counts can be summed. Only rows of the"
            " current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "health_checks_to_store",
        (
            "SELECT tenant_id, checked_at, endpoint_id, ok, status_code, response_ms, dns_ms, connect_ms, ttfb_ms,"
            " error\n"
            "  FROM timeseries.health_checks\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Checks of endpoints. To append many rows; health_checks is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "notification_log",
        (
            "SELECT s.tenant_id, s.ts, s.id, s.channel_id, s.job_id, s.alert_id, s.incident_id, s.event, s.attempt,"
            " s.success, s.error, s.duration_ms\n"
            "  FROM timeseries.notification_log s\n"
            "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id\n"
            " WHERE CASE WHEN s.tenant_id = ANY (ARRAY[(SELECT current_tenant())]) THEN true ELSE false END\n"
            "   AND s.tenant_id = (SELECT current_tenant())"
        ),
        comment="Attempts to deliver notifications. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "quarantine_counters_minute",
        (
            "SELECT s.tenant_id, s.reason, s.bucket, s.count\n"
            "  FROM timeseries.quarantine_counters_minute s\n"
            " WHERE s.tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, comment="Rejected messages by minute and reason. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "quarantine_events",
        (
            "SELECT s.tenant_id, s.ts, s.id, s.reason, s.detail, s.topic, s.claimed_tenant, s.device_id, s.site_id,"
            " s.msg_type, s.event_ts, s.payload, s.payload_raw, s.envelope_version, s.ingested_at\n"
            "  FROM timeseries.quarantine_events s\n"
            "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id\n"
            " WHERE CASE WHEN s.tenant_id = ANY (ARRAY[(SELECT current_tenant())]) THEN true ELSE false END\n"
            "   AND s.tenant_id = (SELECT current_tenant())"
        ),
        comment="Rejected messages, as received. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "tag_values",
        (
            "SELECT s.tenant_id, s.ts, s.tag_id, s.connection_id, s.quality, s.v_num, s.v_text, s.v_bool, s.v_json\n"
            "  FROM timeseries.tag_values s\n"
            "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id\n"
            " WHERE CASE WHEN s.tenant_id = ANY (ARRAY[(SELECT current_tenant())]) THEN true ELSE false END\n"
            "   AND s.tenant_id = (SELECT current_tenant())"
        ),
        comment="Samples of tags; each row has a value of one type. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
    )
    op.create_trigger(
        "insert_tag_values", "tag_values", "instead of", "insert", level="row", function="insert_tag_values()",
    )
    op.create_view(
        "tag_values_hourly",
        (
            "SELECT s.tenant_id, s.tag_id, s.bucket, s.avg, s.min, s.max, s.count\n"
            "  FROM timeseries.tag_values_hourly s\n"
            " WHERE s.tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, comment="Numeric samples of tags by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "tag_values_to_store",
        (
            "SELECT tenant_id, ts, tag_id, connection_id, quality, v_num, v_text, v_bool, v_json\n"
            "  FROM timeseries.tag_values\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Samples of tags; each row has a value of one type. To append many rows; tag_values is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "telemetry",
        (
            "SELECT s.tenant_id, s.ts, s.device_id, s.msg_type, s.seq, s.site_id, s.metrics, s.ingested_at\n"
            "  FROM timeseries.telemetry s\n"
            "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id\n"
            " WHERE CASE WHEN s.tenant_id = ANY (ARRAY[(SELECT current_tenant())]) THEN true ELSE false END\n"
            "   AND s.tenant_id = (SELECT current_tenant())"
        ),
        comment="Messages of devices, one row each with all its metrics. Only rows of the current tenant.",
        defaults=[
            "ingested_at SET DEFAULT now()", "metrics SET DEFAULT '{}'::jsonb", "msg_type SET DEFAULT 'telemetry'",
            "seq SET DEFAULT 0",
        ],
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
    )
    op.create_trigger(
        "insert_telemetry", "telemetry", "instead of", "insert", level="row", function="insert_telemetry()",
    )
    op.create_view(
        "telemetry_daily",
        (
            "SELECT s.tenant_id, s.device_id, s.metric, s.bucket, s.avg, s.min, s.max, s.count\n"
            "  FROM timeseries.telemetry_daily s\n"
            " WHERE s.tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, comment="Numeric metrics of devices by day. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "telemetry_hourly",
        (
            "SELECT s.tenant_id, s.device_id, s.metric, s.bucket, s.avg, s.min, s.max, s.count\n"
            "  FROM timeseries.telemetry_hourly s\n"
            " WHERE s.tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, comment="Numeric metrics of devices by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "telemetry_to_store",
        (
            "SELECT tenant_id, ts, device_id, msg_type, seq, site_id, metrics, ingested_at\n"
            "  FROM timeseries.telemetry\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Messages of devices, one row each with all its metrics. To append many rows; telemetry is faster to"
            " read.",
        grants={"fleet_app": "insert, select"},
    )


def downgrade() -> None:
    op.drop_view("telemetry_to_store")
    op.drop_view("telemetry_hourly")
    op.drop_view("telemetry_daily")
    op.drop_view("telemetry")
    op.drop_view("tag_values_to_store")
    op.drop_view("tag_values_hourly")
    op.drop_view("tag_values")
    op.drop_view("quarantine_events")
    op.drop_view("quarantine_counters_minute")
    op.drop_view("notification_log")
    op.drop_view("health_checks_to_store")
    op.drop_view("health_checks_hourly")
    op.drop_view("health_checks_daily")
    op.drop_view("health_checks")
    op.drop_view("device_health_telemetry_to_store")
    op.drop_view("device_health_telemetry")
    op.drop_view("device_health_hourly")
    op.drop_view("device_connection_events_to_store")
    op.drop_view("device_connection_events")
    op.drop_view("data_horizons")
    op.drop_view("audit_events_to_store")
    op.drop_view("audit_events")
    op.drop_function("insert_telemetry")
    op.drop_function("insert_tag_values")
    op.drop_function("insert_health_checks")
    op.drop_function("insert_device_health_telemetry")
    op.drop_function("insert_device_connection_events")
    op.drop_function("insert_audit_events")
    op.drop_function("conditions_in_order")
    op.create_view(
        "audit_events",
        (
            "SELECT tenant_id,\n"
            "   ts,\n"
            "   id,\n"
            "   action,\n"
            "   outcome,\n"
            "   category,\n"
            "   severity,\n"
            "   actor_type,\n"
            "   actor_id,\n"
            "   actor_name,\n"
            "   entity_type,\n"
            "   entity_id,\n"
            "   entity_name,\n"
            "   message,\n"
            "   source_service,\n"
            "   ip_address,\n"
            "   request_id,\n"
            "   duration_ms,\n"
            "   details,\n"
            "   recorded_at\n"
            "  FROM timeseries.audit_events\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        check_option="cascaded",
        comment="Actions performed or denied in a tenant, and who requested them. Only rows of the current tenant.",
        grants={
            "fleet_app": "insert (action, actor_id, actor_name, actor_type, category, details, duration_ms, entity_id,"
                " entity_name, entity_type, id, ip_address, message, outcome, request_id, severity, source_service,"
                " tenant_id, ts), select",
            "fleet_operator, fleet_operator_read": "select",
        },
    )
    op.create_view(
        "data_horizons",
        (
            "SELECT relation,\n"
            "   max(complete_from) AS complete_from\n"
            "  FROM public.raw_data_horizons\n"
            " WHERE (of_tenant = ANY (ARRAY[public.current_tenant(), 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid]))\n"
            " GROUP BY relation"
        ),
        comment="From when on a series or rollup has all rows of the current tenant, if its retention does not say so.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "device_connection_events",
        (
            "SELECT tenant_id,\n"
            "   ts,\n"
            "   device_id,\n"
            "   seq,\n"
            "   event,\n"
            "   details\n"
            "  FROM timeseries.device_connection_events\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        check_option="cascaded", comment="Connects and disconnects of devices. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
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
            "  FROM timeseries.device_health_hourly\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        comment="Radio, power and load of devices by hour; of counters the maximum. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "device_health_telemetry",
        (
            "SELECT tenant_id,\n"
            "   ts,\n"
            "   device_id,\n"
            "   rssi,\n"
            "   rsrp,\n"
            "   rsrq,\n"
            "   sinr,\n"
            "   signal_quality,\n"
            "   network_type,\n"
            "   cell_id,\n"
            "   mcc_mnc,\n"
            "   battery_pct,\n"
            "   battery_voltage,\n"
            "   power_source,\n"
            "   charging,\n"
            "   cpu_temp_c,\n"
            "   memory_used_pct,\n"
            "   storage_used_pct,\n"
            "   uptime_seconds,\n"
            "   reboot_count,\n"
            "   error_count,\n"
            "   data_tx_bytes,\n"
            "   data_rx_bytes,\n"
            "   data_session_bytes,\n"
            "   gps_lat,\n"
            "   gps_lon,\n"
            "   gps_accuracy_m,\n"
            "   gps_fix,\n"
            "   extra\n"
            "  FROM timeseries.device_health_telemetry\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        check_option="cascaded", comment="Radio, power and position of devices. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "health_checks",
        (
            "SELECT tenant_id,\n"
            "   checked_at,\n"
            "   endpoint_id,\n"
            "   ok,\n"
            "   status_code,\n"
            "   response_ms,\n"
            "   dns_ms,\n"
            "   connect_ms,\n"
            "   ttfb_ms,\n"
            "   error\n"
            "  FROM timeseries.health_checks\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        check_option="cascaded", comment="Checks of endpoints. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
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
            "  FROM timeseries.health_checks_daily\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
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
            "  FROM timeseries.health_checks_hourly\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        comment="Checks of endpoints by hour, with a latency histogram whose counts can be summed. Only rows of the"
            " current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "notification_log",
        (
            "SELECT tenant_id,\n"
            "   ts,\n"
            "   id,\n"
            "   channel_id,\n"
            "   job_id,\n"
            "   alert_id,\n"
            "   incident_id,\n"
            "   event,\n"
            "   attempt,\n"
            "   success,\n"
            "   error,\n"
            "   duration_ms\n"
            "  FROM timeseries.notification_log\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        check_option="cascaded", comment="Attempts to deliver notifications. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "quarantine_counters_minute",
        (
            "SELECT tenant_id,\n"
            "   reason,\n"
            "   bucket,\n"
            "   count\n"
            "  FROM timeseries.quarantine_counters_minute\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        comment="Rejected messages by minute and reason. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "quarantine_events",
        (
            "SELECT tenant_id,\n"
            "   ts,\n"
            "   id,\n"
            "   reason,\n"
            "   detail,\n"
            "   topic,\n"
            "   claimed_tenant,\n"
            "   device_id,\n"
            "   site_id,\n"
            "   msg_type,\n"
            "   event_ts,\n"
            "   payload,\n"
            "   payload_raw,\n"
            "   envelope_version,\n"
            "   ingested_at\n"
            "  FROM timeseries.quarantine_events\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        check_option="cascaded", comment="Rejected messages, as received. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "tag_values",
        (
            "SELECT tenant_id,\n"
            "   ts,\n"
            "   tag_id,\n"
            "   connection_id,\n"
            "   quality,\n"
            "   v_num,\n"
            "   v_text,\n"
            "   v_bool,\n"
            "   v_json\n"
            "  FROM timeseries.tag_values\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        check_option="cascaded",
        comment="Samples of tags; each row has a value of one type. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
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
            "  FROM timeseries.tag_values_hourly\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        comment="Numeric samples of tags by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.create_view(
        "telemetry",
        (
            "SELECT tenant_id,\n"
            "   ts,\n"
            "   device_id,\n"
            "   msg_type,\n"
            "   seq,\n"
            "   site_id,\n"
            "   metrics,\n"
            "   ingested_at\n"
            "  FROM timeseries.telemetry\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        check_option="cascaded",
        comment="Messages of devices, one row each with all its metrics. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select", "fleet_operator, fleet_operator_read": "select"},
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
            "  FROM timeseries.telemetry_daily\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        comment="Numeric metrics of devices by day. Only rows of the current tenant.",
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
            "  FROM timeseries.telemetry_hourly\n"
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        comment="Numeric metrics of devices by hour. Only rows of the current tenant.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
