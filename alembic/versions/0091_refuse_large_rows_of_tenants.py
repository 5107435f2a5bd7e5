"""refuse large rows of tenants

Revision 0091, after 0090; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0091"
down_revision = "0090"


def upgrade() -> None:
    op.drop_view("telemetry_to_store")
    op.drop_view("tag_values_to_store")
    op.drop_view("health_checks_to_store")
    op.drop_view("device_health_telemetry_to_store")
    op.drop_view("device_connection_events_to_store")
    op.drop_view("audit_events_to_store")
    op.create_view(
        "audit_events_to_store",
        (
            "SELECT tenant_id, ts, id, action, outcome, category, severity, actor_type, actor_id, actor_name,"
            " entity_type, entity_id, entity_name, message, source_service, ip_address, request_id, duration_ms,"
            " details, recorded_at\n"
            "  FROM timeseries.audit_events\n"
            " WHERE ts >= now() - make_interval(secs => extract(epoch FROM interval '400 days'))\n"
            "   AND coalesce(octet_length(action), 0) + coalesce(octet_length(outcome), 0) +"
            " coalesce(octet_length(category), 0) + coalesce(octet_length(severity), 0) +"
            " coalesce(octet_length(actor_type), 0) + coalesce(octet_length(actor_id), 0) +"
            " coalesce(octet_length(actor_name), 0) + coalesce(octet_length(entity_type), 0) +"
            " coalesce(octet_length(entity_id), 0) + coalesce(octet_length(entity_name), 0) +"
            " coalesce(octet_length(message), 0) + coalesce(octet_length(source_service), 0) +"
            " coalesce(octet_length(request_id), 0) + coalesce(pg_column_size(details || '{}'), 0) <= 524288\n"
            "   AND tenant_id = (SELECT current_tenant())"
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
        "device_connection_events_to_store",
        (
            "SELECT tenant_id, ts, device_id, seq, event, details\n"
            "  FROM timeseries.device_connection_events\n"
            " WHERE ts >= now() - make_interval(secs => extract(epoch FROM interval '90 days'))\n"
            "   AND coalesce(octet_length(event), 0) + coalesce(pg_column_size(details || '{}'), 0) <= 524288\n"
            "   AND tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Connects and disconnects of devices. To append many rows; device_connection_events is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "device_health_telemetry_to_store",
        (
            "SELECT tenant_id, ts, device_id, rssi, rsrp, rsrq, sinr, signal_quality, network_type, cell_id, mcc_mnc,"
            " battery_pct, battery_voltage, power_source, charging, cpu_temp_c, memory_used_pct, storage_used_pct,"
            " uptime_seconds, reboot_count, error_count, data_tx_bytes, data_rx_bytes, data_session_bytes, gps_lat,"
            " gps_lon, gps_accuracy_m, gps_fix, extra\n"
            "  FROM timeseries.device_health_telemetry\n"
            " WHERE ts >= now() - make_interval(secs => extract(epoch FROM interval '90 days'))\n"
            "   AND coalesce(octet_length(network_type), 0) + coalesce(octet_length(cell_id), 0) +"
            " coalesce(octet_length(mcc_mnc), 0) + coalesce(octet_length(power_source), 0) +"
            " coalesce(pg_column_size(extra || '{}'), 0) <= 524288\n"
            "   AND tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Radio, power and position of devices. To append many rows; device_health_telemetry is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "health_checks_to_store",
        (
            "SELECT tenant_id, checked_at, endpoint_id, ok, status_code, response_ms, dns_ms, connect_ms, ttfb_ms,"
            " error\n"
            "  FROM timeseries.health_checks\n"
            " WHERE checked_at >= now() - make_interval(secs => extract(epoch FROM interval '30 days'))\n"
            "   AND coalesce(octet_length(error), 0) <= 524288\n"
            "   AND tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Checks of endpoints. To append many rows; health_checks is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "tag_values_to_store",
        (
            "SELECT tenant_id, ts, tag_id, connection_id, quality, v_num, v_text, v_bool, v_json\n"
            "  FROM timeseries.tag_values\n"
            " WHERE ts >= now() - make_interval(secs => extract(epoch FROM interval '30 days'))\n"
            "   AND coalesce(octet_length(v_text), 0) + coalesce(pg_column_size(v_json || '{}'), 0) <= 524288\n"
            "   AND tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Samples of tags; each row has a value of one type. To append many rows; tag_values is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "telemetry_to_store",
        (
            "SELECT tenant_id, ts, device_id, msg_type, seq, site_id, metrics, ingested_at\n"
            "  FROM timeseries.telemetry\n"
            " WHERE ts >= now() - make_interval(secs => extract(epoch FROM interval '400 days'))\n"
            "   AND coalesce(pg_column_size(metrics || '{}'), 0) <= 524288\n"
            "   AND tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Messages of devices, one row each with all its metrics. To append many rows; telemetry is faster to"
            " read.",
        grants={"fleet_app": "insert (device_id, metrics, msg_type, seq, site_id, tenant_id, ts), select"},
    )


def downgrade() -> None:
    op.drop_view("telemetry_to_store")
    op.drop_view("tag_values_to_store")
    op.drop_view("health_checks_to_store")
    op.drop_view("device_health_telemetry_to_store")
    op.drop_view("device_connection_events_to_store")
    op.drop_view("audit_events_to_store")
    op.create_view(
        "audit_events_to_store",
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
            " WHERE ((ts >= (now() - make_interval(secs => (EXTRACT(epoch FROM '400 days'::interval))::double"
            " precision))) AND (tenant_id = ( SELECT public.current_tenant() AS current_tenant)))"
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
        "device_connection_events_to_store",
        (
            "SELECT tenant_id,\n"
            "   ts,\n"
            "   device_id,\n"
            "   seq,\n"
            "   event,\n"
            "   details\n"
            "  FROM timeseries.device_connection_events\n"
            " WHERE ((ts >= (now() - make_interval(secs => (EXTRACT(epoch FROM '90 days'::interval))::double"
            " precision))) AND (tenant_id = ( SELECT public.current_tenant() AS current_tenant)))"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Connects and disconnects of devices. To append many rows; device_connection_events is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "device_health_telemetry_to_store",
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
            " WHERE ((ts >= (now() - make_interval(secs => (EXTRACT(epoch FROM '90 days'::interval))::double"
            " precision))) AND (tenant_id = ( SELECT public.current_tenant() AS current_tenant)))"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Radio, power and position of devices. To append many rows; device_health_telemetry is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "health_checks_to_store",
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
            " WHERE ((checked_at >= (now() - make_interval(secs => (EXTRACT(epoch FROM '30 days'::interval))::double"
            " precision))) AND (tenant_id = ( SELECT public.current_tenant() AS current_tenant)))"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Checks of endpoints. To append many rows; health_checks is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "tag_values_to_store",
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
            " WHERE ((ts >= (now() - make_interval(secs => (EXTRACT(epoch FROM '30 days'::interval))::double"
            " precision))) AND (tenant_id = ( SELECT public.current_tenant() AS current_tenant)))"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Samples of tags; each row has a value of one type. To append many rows; tag_values is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "telemetry_to_store",
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
            " WHERE ((ts >= (now() - make_interval(secs => (EXTRACT(epoch FROM '400 days'::interval))::double"
            " precision))) AND (tenant_id = ( SELECT public.current_tenant() AS current_tenant)))"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Messages of devices, one row each with all its metrics. To append many rows; telemetry is faster to"
            " read.",
        grants={"fleet_app": "insert (device_id, metrics, msg_type, seq, site_id, tenant_id, ts), select"},
    )
