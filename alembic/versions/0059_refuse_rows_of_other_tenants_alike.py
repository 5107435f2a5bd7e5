"""refuse rows of other tenants alike

Revision 0059, after 0058; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0059"
down_revision = "0058"


def upgrade() -> None:
    op.replace_function(
        "insert_audit_events", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if new.tenant_id is distinct from public.current_tenant() then\n"
            "    raise exception 'new row violates check option for view \"%\"', tg_table_name\n"
            "      using errcode = 'with_check_option_violation';\n"
            "  end if;\n"
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
    op.replace_function(
        "insert_device_connection_events", returns="trigger", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if new.tenant_id is distinct from public.current_tenant() then\n"
            "    raise exception 'new row violates check option for view \"%\"', tg_table_name\n"
            "      using errcode = 'with_check_option_violation';\n"
            "  end if;\n"
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
    op.replace_function(
        "insert_device_health_telemetry", returns="trigger", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if new.tenant_id is distinct from public.current_tenant() then\n"
            "    raise exception 'new row violates check option for view \"%\"', tg_table_name\n"
            "      using errcode = 'with_check_option_violation';\n"
            "  end if;\n"
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
    op.replace_function(
        "insert_health_checks", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if new.tenant_id is distinct from public.current_tenant() then\n"
            "    raise exception 'new row violates check option for view \"%\"', tg_table_name\n"
            "      using errcode = 'with_check_option_violation';\n"
            "  end if;\n"
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
    op.replace_function(
        "insert_tag_values", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if new.tenant_id is distinct from public.current_tenant() then\n"
            "    raise exception 'new row violates check option for view \"%\"', tg_table_name\n"
            "      using errcode = 'with_check_option_violation';\n"
            "  end if;\n"
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
    op.replace_function(
        "insert_telemetry", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if new.tenant_id is distinct from public.current_tenant() then\n"
            "    raise exception 'new row violates check option for view \"%\"', tg_table_name\n"
            "      using errcode = 'with_check_option_violation';\n"
            "  end if;\n"
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


def downgrade() -> None:
    op.replace_function(
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
    op.replace_function(
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
    op.replace_function(
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
    op.replace_function(
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
    op.replace_function(
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
    op.replace_function(
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
