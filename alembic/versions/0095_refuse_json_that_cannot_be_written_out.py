"""refuse JSON that cannot be written out

Revision 0095, after 0094; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0095"
down_revision = "0094"

# Their columns of JSON that have no such CHECK yet.
TABLES = {
    "account_tiers": "features limits support", "alert_events": "details", "alert_rules": "actions",
    "carrier_integrations": "config", "chart_configs": "options", "connections": "config_data",
    "dashboard_configs": "layout options", "dashboard_widgets": "config position",
    "dead_letter_messages": "destination_config payload", "device_commands": "ack_details command_params",
    "device_extended_attributes": "attributes", "device_groups": "query_filter",
    "device_job_executions": "status_details", "device_jobs": "document_params", "device_modules": "metric_key_map",
    "device_plans": "features limits", "device_registry": "metadata",
    "device_state": "desired_state reported_state state_times state", "device_state_backlog": "state_times state",
    "device_templates": "metadata transport_defaults", "device_transports": "connectivity_config protocol_config",
    "export_jobs": "filters", "fleet_alert": "details", "incident_events": "attachment", "jobs": "progress result",
    "maintenance_log": "details", "message_routes": "destination_config payload_filter",
    "mqtt_message_buffer": "payload", "notification_channels": "config", "report_runs": "parameters summary",
    "service_health": "details", "sparkplug_discovery": "birth_payload metrics", "stripe_events": "payload_summary",
    "subscription_audit": "details new_state previous_state", "system_settings": "value", "tag_metadata": "metadata",
    "template_commands": "parameters_schema response_schema", "template_metrics": "enum_values",
    "tenant_settings": "value", "tenants": "metadata", "user_preferences": "notification_prefs",
}
SERIES = {
    "audit_events": "details", "device_connection_events": "details", "device_health_telemetry": "extra",
    "quarantine_events": "payload", "system_metrics": "labels", "tag_values": "v_json", "telemetry": "metrics",
}


def upgrade() -> None:
    op.drop_view("telemetry_to_store")
    op.drop_view("tag_values_to_store")
    op.drop_view("device_health_telemetry_to_store")
    op.drop_view("device_connection_events_to_store")
    op.drop_view("audit_events_to_store")
    op.replace_function(
        "quarantine", "series text, reason text, at timestamptz, sent jsonb", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  whole boolean;\n"
            "begin\n"
            "  -- What the server cannot write out it could neither keep nor look at.\n"
            "  select jsonb_object_agg(one.key, case when NOT jsonb_path_exists(one.value, 'strict $.** ? (@.type() =="
            " \"number\" && (exists(@.double())) is unknown)') then one.value\n"
            "           else to_jsonb('number beyond double precision, hash '\n"
            "                         || jsonb_hash_extended(one.value, 0)) end)\n"
            "    into sent from jsonb_each(sent) as one;\n"
            "  whole := octet_length(sent::text) <= 131072;\n"
            "  insert into timeseries.quarantine_events\n"
            "         (tenant_id, ts, id, reason, detail, topic, claimed_tenant, device_id, site_id,\n"
            "          msg_type, event_ts, payload, payload_raw)\n"
            "  values (coalesce((select t.tenant_id from public.tenants t\n"
            "                     where t.tenant_id = (sent ->> 'tenant_id')::uuid\n"
            "                       and t.status <> 'deleted'), '00000000-0000-0000-0000-000000000000'),\n"
            "          case when at between now() - interval '1 day' and now() + interval '1 day'\n"
            "               then at else date_trunc('day', now(), 'UTC') end,\n"
            "          md5(series || ' ' || sent::text)::uuid, reason,\n"
            "          'written with SQL into ingest.' || series || case when whole then '' else\n"
            "            format('; of %s bytes (SHA-256 %s) the first are kept',\n"
            "                   octet_length(sent::text),\n"
            "                   encode(sha256(convert_to(sent::text, 'UTF8')), 'hex')) end,\n"
            "          '', sent ->> 'tenant_id', nullif(left(sent ->> 'device_id', 1000), ''), nullif(left(sent ->>"
            " 'site_id', 1000), ''),\n"
            "          case when sent ? 'msg_type' then nullif(left(sent ->> 'msg_type', 1000), '') else series end,\n"
            "          case when (at >= timestamptz '0001-01-01 00:00+00' and at < '10000-01-01 00:00+00') then at"
            " end,\n"
            "          case when whole then sent end,\n"
            "          case when not whole\n"
            "               then substr(convert_to(sent::text, 'UTF8'), 1, 131072) end)\n"
            "  on conflict do nothing;\n"
            "end"
        ),
        comment="Keeps a row that may not be stored, with the reason.",
    )
    for table, columns in TABLES.items():
        for column in columns.split():
            op.add_constraint(
                table, f"ck_{table}_{column}_written_out",
                f"CHECK (NOT jsonb_path_exists({column}, 'strict $.** ? (@.type() == \"number\" &&"
                f" (exists(@.double())) is unknown)') AND octet_length(CAST({column} AS text)) <= 16777216) NOT VALID",
            )
    for table, column in SERIES.items():
        op.add_constraint(
            table, f"ck_{table}_{column}_written_out",
            f"CHECK (octet_length(CAST({column} AS text)) <= 524288) NOT VALID", schema="timeseries",
        )
    op.replace_function(
        "judge_device_connection_events", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  new.\"details\" := coalesce(new.\"details\", '{}');\n"
            "  select case when new.tenant_id is null then 'bad_tenant_id'\n"
            "         when not exists (select from public.tenants t where t.tenant_id = new.tenant_id and t.status <>"
            " 'deleted') then 'unknown_tenant'\n"
            '         when new."device_id" is null or length(new."device_id") not between 1 and 255 then'
            " 'bad_device_id'\n"
            "         when not exists (select from public.device_registry r\n"
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')) then 'unknown_device'\n"
            "         when public.reason_against('device_connection_events', '90 days', new.tenant_id, new.\"ts\") is"
            " not null then public.reason_against('device_connection_events', '90 days', new.tenant_id, new.\"ts\")\n"
            "         when new.\"seq\" is null then 'bad_seq'\n"
            "         when new.\"event\" is null then 'bad_event'\n"
            "         when length(new.\"event\") > 65536 then 'bad_event'\n"
            "         when not (event IN ('connected', 'disconnected', 'connection_lost')) then 'bad_event'\n"
            "         when new.\"details\" is null then 'bad_details'\n"
            "         when not (NOT jsonb_path_exists(new.\"details\", 'strict $.** ? (@.type() == \"number\" &&"
            " (exists(@.double())) is unknown)')) then 'bad_details'\n"
            "         when jsonb_typeof(new.\"details\") <> 'object' then 'bad_details'\n"
            '         when length(new."details"::text) > 65536 and length(regexp_replace(new."details"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'bad_details' end\n"
            '    into reason from (select new."event" as event) as r;\n'
            "  if reason is not null then\n"
            "    perform public.quarantine('device_connection_events', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.device_connection_events\n"
            "         (tenant_id, ts, device_id, seq, event, details)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."seq", new."event", new."details")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of device_connection_events, or keeps it in quarantine.",
    )
    op.replace_function(
        "judge_device_health_telemetry", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  new.\"extra\" := coalesce(new.\"extra\", '{}');\n"
            "  select case when new.tenant_id is null then 'bad_tenant_id'\n"
            "         when not exists (select from public.tenants t where t.tenant_id = new.tenant_id and t.status <>"
            " 'deleted') then 'unknown_tenant'\n"
            '         when new."device_id" is null or length(new."device_id") not between 1 and 255 then'
            " 'bad_device_id'\n"
            "         when not exists (select from public.device_registry r\n"
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')) then 'unknown_device'\n"
            "         when public.reason_against('device_health_telemetry', '90 days', new.tenant_id, new.\"ts\") is not"
            " null then public.reason_against('device_health_telemetry', '90 days', new.tenant_id, new.\"ts\")\n"
            "         when length(new.\"network_type\") > 65536 then 'bad_network_type'\n"
            "         when length(new.\"cell_id\") > 65536 then 'bad_cell_id'\n"
            "         when length(new.\"mcc_mnc\") > 65536 then 'bad_mcc_mnc'\n"
            "         when length(new.\"power_source\") > 65536 then 'bad_power_source'\n"
            "         when new.\"extra\" is null then 'bad_extra'\n"
            "         when not (NOT jsonb_path_exists(new.\"extra\", 'strict $.** ? (@.type() == \"number\" &&"
            " (exists(@.double())) is unknown)')) then 'bad_extra'\n"
            "         when jsonb_typeof(new.\"extra\") <> 'object' then 'bad_extra'\n"
            '         when length(new."extra"::text) > 65536 and length(regexp_replace(new."extra"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'bad_extra' end\n"
            "    into reason;\n"
            "  if reason is not null then\n"
            "    perform public.quarantine('device_health_telemetry', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.device_health_telemetry\n"
            "         (tenant_id, ts, device_id, rssi, rsrp, rsrq, sinr, signal_quality, network_type, cell_id,"
            " mcc_mnc, battery_pct, battery_voltage, power_source, charging, cpu_temp_c, memory_used_pct,"
            " storage_used_pct, uptime_seconds, reboot_count, error_count, data_tx_bytes, data_rx_bytes,"
            " data_session_bytes, gps_lat, gps_lon, gps_accuracy_m, gps_fix, extra)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."rssi", new."rsrp", new."rsrq", new."sinr",'
            ' new."signal_quality", new."network_type", new."cell_id", new."mcc_mnc", new."battery_pct",'
            ' new."battery_voltage", new."power_source", new."charging", new."cpu_temp_c", new."memory_used_pct",'
            ' new."storage_used_pct", new."uptime_seconds", new."reboot_count", new."error_count",'
            ' new."data_tx_bytes", new."data_rx_bytes", new."data_session_bytes", new."gps_lat", new."gps_lon",'
            ' new."gps_accuracy_m", new."gps_fix", new."extra")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of device_health_telemetry, or keeps it in quarantine.",
    )
    op.replace_function(
        "judge_system_metrics", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  new.\"labels\" := coalesce(new.\"labels\", '{}');\n"
            "  select case when public.reason_against('system_metrics', '30 days', NULL, new.\"ts\") is not null then"
            " public.reason_against('system_metrics', '30 days', NULL, new.\"ts\")\n"
            "         when new.\"metric_name\" is null then 'bad_metric_name'\n"
            "         when length(new.\"metric_name\") > 255 then 'bad_metric_name'\n"
            "         when not (metric_name <> '') then 'bad_metric_name'\n"
            "         when new.\"service\" is null then 'bad_service'\n"
            "         when length(new.\"service\") > 255 then 'bad_service'\n"
            "         when new.\"labels\" is null then 'bad_labels'\n"
            "         when not (NOT jsonb_path_exists(new.\"labels\", 'strict $.** ? (@.type() == \"number\" &&"
            " (exists(@.double())) is unknown)')) then 'bad_labels'\n"
            "         when jsonb_typeof(new.\"labels\") <> 'object' then 'bad_labels'\n"
            '         when length(new."labels"::text) > 65536 and length(regexp_replace(new."labels"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'bad_labels'\n"
            "         when new.\"value\" is null then 'bad_value' end\n"
            '    into reason from (select new."metric_name" as metric_name) as r;\n'
            "  if reason is not null then\n"
            "    perform public.quarantine('system_metrics', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.system_metrics\n"
            "         (ts, metric_name, service, labels, value)\n"
            '  values (new."ts", new."metric_name", new."service", new."labels", new."value")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of system_metrics, or keeps it in quarantine.",
    )
    op.replace_function(
        "judge_tag_values", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            '  new."connection_id" := coalesce(new."connection_id", (select r.connection_id from public.tag_metadata'
            " r\n"
            "            where r.tenant_id = new.tenant_id and r.tag_id = new.\"tag_id\" and r.status <> 'deleted'));\n"
            "  select case when new.tenant_id is null then 'bad_tenant_id'\n"
            "         when not exists (select from public.tenants t where t.tenant_id = new.tenant_id and t.status <>"
            " 'deleted') then 'unknown_tenant'\n"
            "         when new.\"tag_id\" is null then 'bad_tag_id'\n"
            "         when not exists (select from public.tag_metadata r\n"
            "            where r.tenant_id = new.tenant_id and r.tag_id = new.\"tag_id\" and r.status <> 'deleted') then"
            " 'unknown_tag'\n"
            "         when new.\"connection_id\" is null then 'bad_connection_id'\n"
            "         when not exists (select from public.connections r\n"
            '            where r.tenant_id = new.tenant_id and r.id = new."connection_id") then'
            " 'unknown_connection'\n"
            "         when public.reason_against('tag_values', '30 days', new.tenant_id, new.\"ts\") is not null then"
            " public.reason_against('tag_values', '30 days', new.tenant_id, new.\"ts\")\n"
            "         when length(new.\"v_text\") > 65536 then 'bad_value'\n"
            "         when not (NOT jsonb_path_exists(new.\"v_json\", 'strict $.** ? (@.type() == \"number\" &&"
            " (exists(@.double())) is unknown)')) then 'bad_value'\n"
            '         when length(new."v_json"::text) > 65536 and length(regexp_replace(new."v_json"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'bad_value'\n"
            "         when not (num_nonnulls(v_num, v_text, v_bool, v_json) <= 1) then 'bad_value'\n"
            "         when not (jsonb_typeof(v_json) <> 'null') then 'bad_value' end\n"
            '    into reason from (select new."v_num" as v_num, new."v_text" as v_text, new."v_bool" as v_bool,'
            ' new."v_json" as v_json) as r;\n'
            "  if reason is not null then\n"
            "    perform public.quarantine('tag_values', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.tag_values\n"
            "         (tenant_id, ts, tag_id, connection_id, quality, v_num, v_text, v_bool, v_json)\n"
            '  values (new."tenant_id", new."ts", new."tag_id", new."connection_id", new."quality", new."v_num",'
            ' new."v_text", new."v_bool", new."v_json")\n'
            "  on conflict do nothing;\n"
            '  changed := found or public.correct_tag_values(array[new."tenant_id"], array[new."tag_id"],'
            ' array[new."connection_id"], array[new."ts"], array[new."v_num"], array[new."v_text"],'
            ' array[new."v_bool"], array[new."v_json"], array[new."quality"]) > 0;\n'
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of tag_values, or keeps it in quarantine.",
    )
    op.replace_function(
        "judge_telemetry", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            '  new."site_id" := coalesce(new."site_id", (select r.site_id from public.device_registry r\n'
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')));\n"
            "  select case when new.tenant_id is null then 'bad_tenant_id'\n"
            "         when not exists (select from public.tenants t where t.tenant_id = new.tenant_id and t.status <>"
            " 'deleted') then 'unknown_tenant'\n"
            '         when new."device_id" is null or length(new."device_id") not between 1 and 255 then'
            " 'bad_device_id'\n"
            "         when not exists (select from public.device_registry r\n"
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')) then 'unknown_device'\n"
            "         when public.reason_against('telemetry', '400 days', new.tenant_id, new.\"ts\") is not null then"
            " public.reason_against('telemetry', '400 days', new.tenant_id, new.\"ts\")\n"
            "         when new.\"msg_type\" is null then 'bad_msg_type'\n"
            "         when length(new.\"msg_type\") > 100 then 'bad_msg_type'\n"
            "         when not (msg_type <> '') then 'bad_msg_type'\n"
            "         when new.\"seq\" is null then 'bad_seq'\n"
            "         when new.\"metrics\" is null then 'bad_metrics'\n"
            "         when not (NOT jsonb_path_exists(new.\"metrics\", 'strict $.** ? (@.type() == \"number\" &&"
            " (exists(@.double())) is unknown)')) then 'bad_metrics'\n"
            "         when jsonb_typeof(new.\"metrics\") <> 'object' then 'bad_metrics'\n"
            "         when new.\"metrics\" ? '' then 'bad_metrics'\n"
            '         when length(new."metrics"::text) > 65536 and length(regexp_replace(new."metrics"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'metrics_too_large' end\n"
            '    into reason from (select new."msg_type" as msg_type) as r;\n'
            "  if reason is not null then\n"
            "    perform public.quarantine('telemetry', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.telemetry\n"
            "         (tenant_id, ts, device_id, msg_type, seq, site_id, metrics)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."msg_type", new."seq", new."site_id",'
            ' new."metrics")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of telemetry, or keeps it in quarantine.",
    )
    op.create_view(
        "audit_events_to_store",
        (
            "SELECT tenant_id, ts, id, action, outcome, category, severity, actor_type, actor_id, actor_name,"
            " entity_type, entity_id, entity_name, message, source_service, ip_address, request_id, duration_ms,"
            " details, recorded_at\n"
            "  FROM timeseries.audit_events\n"
            " WHERE ts >= now() - make_interval(secs => extract(epoch FROM interval '400 days'))\n"
            "   AND (coalesce(octet_length(action), 0) + coalesce(octet_length(outcome), 0) +"
            " coalesce(octet_length(category), 0) + coalesce(octet_length(severity), 0) +"
            " coalesce(octet_length(actor_type), 0) + coalesce(octet_length(actor_id), 0) +"
            " coalesce(octet_length(actor_name), 0) + coalesce(octet_length(entity_type), 0) +"
            " coalesce(octet_length(entity_id), 0) + coalesce(octet_length(entity_name), 0) +"
            " coalesce(octet_length(message), 0) + coalesce(octet_length(source_service), 0) +"
            " coalesce(octet_length(request_id), 0) + coalesce(octet_length(CAST(details AS text)), 0) <= 308 OR"
            " coalesce(NOT jsonb_path_exists(details, 'strict $.** ? (@.type() == \"number\" && (exists(@.double())) is"
            " unknown)'), true) AND coalesce(octet_length(action), 0) + coalesce(octet_length(outcome), 0) +"
            " coalesce(octet_length(category), 0) + coalesce(octet_length(severity), 0) +"
            " coalesce(octet_length(actor_type), 0) + coalesce(octet_length(actor_id), 0) +"
            " coalesce(octet_length(actor_name), 0) + coalesce(octet_length(entity_type), 0) +"
            " coalesce(octet_length(entity_id), 0) + coalesce(octet_length(entity_name), 0) +"
            " coalesce(octet_length(message), 0) + coalesce(octet_length(source_service), 0) +"
            " coalesce(octet_length(request_id), 0) + coalesce(greatest(pg_column_size(details || '{}'),"
            " octet_length(CAST(details AS text))), 0) <= 524288)\n"
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
            "   AND (coalesce(octet_length(event), 0) + coalesce(octet_length(CAST(details AS text)), 0) <= 308 OR"
            " coalesce(NOT jsonb_path_exists(details, 'strict $.** ? (@.type() == \"number\" && (exists(@.double())) is"
            " unknown)'), true) AND coalesce(octet_length(event), 0) + coalesce(greatest(pg_column_size(details ||"
            " '{}'), octet_length(CAST(details AS text))), 0) <= 524288)\n"
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
            "   AND (coalesce(octet_length(network_type), 0) + coalesce(octet_length(cell_id), 0) +"
            " coalesce(octet_length(mcc_mnc), 0) + coalesce(octet_length(power_source), 0) +"
            " coalesce(octet_length(CAST(extra AS text)), 0) <= 308 OR coalesce(NOT jsonb_path_exists(extra, 'strict"
            " $.** ? (@.type() == \"number\" && (exists(@.double())) is unknown)'), true) AND"
            " coalesce(octet_length(network_type), 0) + coalesce(octet_length(cell_id), 0) +"
            " coalesce(octet_length(mcc_mnc), 0) + coalesce(octet_length(power_source), 0) +"
            " coalesce(greatest(pg_column_size(extra || '{}'), octet_length(CAST(extra AS text))), 0) <= 524288)\n"
            "   AND tenant_id = (SELECT current_tenant())"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Radio, power and position of devices. To append many rows; device_health_telemetry is faster to read.",
        grants={"fleet_app": "insert, select"},
    )
    op.create_view(
        "tag_values_to_store",
        (
            "SELECT tenant_id, ts, tag_id, connection_id, quality, v_num, v_text, v_bool, v_json\n"
            "  FROM timeseries.tag_values\n"
            " WHERE ts >= now() - make_interval(secs => extract(epoch FROM interval '30 days'))\n"
            "   AND (coalesce(octet_length(v_text), 0) + coalesce(octet_length(CAST(v_json AS text)), 0) <= 308 OR"
            " coalesce(NOT jsonb_path_exists(v_json, 'strict $.** ? (@.type() == \"number\" && (exists(@.double())) is"
            " unknown)'), true) AND coalesce(octet_length(v_text), 0) + coalesce(greatest(pg_column_size(v_json ||"
            " '{}'), octet_length(CAST(v_json AS text))), 0) <= 524288)\n"
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
            "   AND (coalesce(octet_length(CAST(metrics AS text)), 0) <= 308 OR coalesce(NOT"
            " jsonb_path_exists(metrics, 'strict $.** ? (@.type() == \"number\" && (exists(@.double())) is unknown)'),"
            " true) AND coalesce(greatest(pg_column_size(metrics || '{}'), octet_length(CAST(metrics AS text))), 0) <="
            " 524288)\n"
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
    op.drop_view("device_health_telemetry_to_store")
    op.drop_view("device_connection_events_to_store")
    op.drop_view("audit_events_to_store")
    op.replace_function(
        "judge_telemetry", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            '  new."site_id" := coalesce(new."site_id", (select r.site_id from public.device_registry r\n'
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')));\n"
            "  select case when new.tenant_id is null then 'bad_tenant_id'\n"
            "         when not exists (select from public.tenants t where t.tenant_id = new.tenant_id and t.status <>"
            " 'deleted') then 'unknown_tenant'\n"
            '         when new."device_id" is null or length(new."device_id") not between 1 and 255 then'
            " 'bad_device_id'\n"
            "         when not exists (select from public.device_registry r\n"
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')) then 'unknown_device'\n"
            "         when public.reason_against('telemetry', '400 days', new.tenant_id, new.\"ts\") is not null then"
            " public.reason_against('telemetry', '400 days', new.tenant_id, new.\"ts\")\n"
            "         when new.\"msg_type\" is null then 'bad_msg_type'\n"
            "         when length(new.\"msg_type\") > 100 then 'bad_msg_type'\n"
            "         when not (msg_type <> '') then 'bad_msg_type'\n"
            "         when new.\"seq\" is null then 'bad_seq'\n"
            "         when new.\"metrics\" is null then 'bad_metrics'\n"
            "         when jsonb_typeof(new.\"metrics\") <> 'object' then 'bad_metrics'\n"
            "         when new.\"metrics\" ? '' then 'bad_metrics'\n"
            '         when length(new."metrics"::text) > 65536 and length(regexp_replace(new."metrics"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'metrics_too_large' end\n"
            '    into reason from (select new."msg_type" as msg_type) as r;\n'
            "  if reason is not null then\n"
            "    perform public.quarantine('telemetry', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.telemetry\n"
            "         (tenant_id, ts, device_id, msg_type, seq, site_id, metrics)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."msg_type", new."seq", new."site_id",'
            ' new."metrics")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of telemetry, or keeps it in quarantine.",
    )
    op.replace_function(
        "judge_tag_values", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            '  new."connection_id" := coalesce(new."connection_id", (select r.connection_id from public.tag_metadata'
            " r\n"
            "            where r.tenant_id = new.tenant_id and r.tag_id = new.\"tag_id\" and r.status <> 'deleted'));\n"
            "  select case when new.tenant_id is null then 'bad_tenant_id'\n"
            "         when not exists (select from public.tenants t where t.tenant_id = new.tenant_id and t.status <>"
            " 'deleted') then 'unknown_tenant'\n"
            "         when new.\"tag_id\" is null then 'bad_tag_id'\n"
            "         when not exists (select from public.tag_metadata r\n"
            "            where r.tenant_id = new.tenant_id and r.tag_id = new.\"tag_id\" and r.status <> 'deleted') then"
            " 'unknown_tag'\n"
            "         when new.\"connection_id\" is null then 'bad_connection_id'\n"
            "         when not exists (select from public.connections r\n"
            '            where r.tenant_id = new.tenant_id and r.id = new."connection_id") then'
            " 'unknown_connection'\n"
            "         when public.reason_against('tag_values', '30 days', new.tenant_id, new.\"ts\") is not null then"
            " public.reason_against('tag_values', '30 days', new.tenant_id, new.\"ts\")\n"
            "         when length(new.\"v_text\") > 65536 then 'bad_value'\n"
            '         when length(new."v_json"::text) > 65536 and length(regexp_replace(new."v_json"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'bad_value'\n"
            "         when not (num_nonnulls(v_num, v_text, v_bool, v_json) <= 1) then 'bad_value'\n"
            "         when not (jsonb_typeof(v_json) <> 'null') then 'bad_value' end\n"
            '    into reason from (select new."v_num" as v_num, new."v_text" as v_text, new."v_bool" as v_bool,'
            ' new."v_json" as v_json) as r;\n'
            "  if reason is not null then\n"
            "    perform public.quarantine('tag_values', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.tag_values\n"
            "         (tenant_id, ts, tag_id, connection_id, quality, v_num, v_text, v_bool, v_json)\n"
            '  values (new."tenant_id", new."ts", new."tag_id", new."connection_id", new."quality", new."v_num",'
            ' new."v_text", new."v_bool", new."v_json")\n'
            "  on conflict do nothing;\n"
            '  changed := found or public.correct_tag_values(array[new."tenant_id"], array[new."tag_id"],'
            ' array[new."connection_id"], array[new."ts"], array[new."v_num"], array[new."v_text"],'
            ' array[new."v_bool"], array[new."v_json"], array[new."quality"]) > 0;\n'
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of tag_values, or keeps it in quarantine.",
    )
    op.replace_function(
        "judge_system_metrics", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  new.\"labels\" := coalesce(new.\"labels\", '{}');\n"
            "  select case when public.reason_against('system_metrics', '30 days', NULL, new.\"ts\") is not null then"
            " public.reason_against('system_metrics', '30 days', NULL, new.\"ts\")\n"
            "         when new.\"metric_name\" is null then 'bad_metric_name'\n"
            "         when length(new.\"metric_name\") > 255 then 'bad_metric_name'\n"
            "         when not (metric_name <> '') then 'bad_metric_name'\n"
            "         when new.\"service\" is null then 'bad_service'\n"
            "         when length(new.\"service\") > 255 then 'bad_service'\n"
            "         when new.\"labels\" is null then 'bad_labels'\n"
            "         when jsonb_typeof(new.\"labels\") <> 'object' then 'bad_labels'\n"
            '         when length(new."labels"::text) > 65536 and length(regexp_replace(new."labels"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'bad_labels'\n"
            "         when new.\"value\" is null then 'bad_value' end\n"
            '    into reason from (select new."metric_name" as metric_name) as r;\n'
            "  if reason is not null then\n"
            "    perform public.quarantine('system_metrics', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.system_metrics\n"
            "         (ts, metric_name, service, labels, value)\n"
            '  values (new."ts", new."metric_name", new."service", new."labels", new."value")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of system_metrics, or keeps it in quarantine.",
    )
    op.replace_function(
        "judge_device_health_telemetry", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  new.\"extra\" := coalesce(new.\"extra\", '{}');\n"
            "  select case when new.tenant_id is null then 'bad_tenant_id'\n"
            "         when not exists (select from public.tenants t where t.tenant_id = new.tenant_id and t.status <>"
            " 'deleted') then 'unknown_tenant'\n"
            '         when new."device_id" is null or length(new."device_id") not between 1 and 255 then'
            " 'bad_device_id'\n"
            "         when not exists (select from public.device_registry r\n"
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')) then 'unknown_device'\n"
            "         when public.reason_against('device_health_telemetry', '90 days', new.tenant_id, new.\"ts\") is not"
            " null then public.reason_against('device_health_telemetry', '90 days', new.tenant_id, new.\"ts\")\n"
            "         when length(new.\"network_type\") > 65536 then 'bad_network_type'\n"
            "         when length(new.\"cell_id\") > 65536 then 'bad_cell_id'\n"
            "         when length(new.\"mcc_mnc\") > 65536 then 'bad_mcc_mnc'\n"
            "         when length(new.\"power_source\") > 65536 then 'bad_power_source'\n"
            "         when new.\"extra\" is null then 'bad_extra'\n"
            "         when jsonb_typeof(new.\"extra\") <> 'object' then 'bad_extra'\n"
            '         when length(new."extra"::text) > 65536 and length(regexp_replace(new."extra"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'bad_extra' end\n"
            "    into reason;\n"
            "  if reason is not null then\n"
            "    perform public.quarantine('device_health_telemetry', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.device_health_telemetry\n"
            "         (tenant_id, ts, device_id, rssi, rsrp, rsrq, sinr, signal_quality, network_type, cell_id,"
            " mcc_mnc, battery_pct, battery_voltage, power_source, charging, cpu_temp_c, memory_used_pct,"
            " storage_used_pct, uptime_seconds, reboot_count, error_count, data_tx_bytes, data_rx_bytes,"
            " data_session_bytes, gps_lat, gps_lon, gps_accuracy_m, gps_fix, extra)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."rssi", new."rsrp", new."rsrq", new."sinr",'
            ' new."signal_quality", new."network_type", new."cell_id", new."mcc_mnc", new."battery_pct",'
            ' new."battery_voltage", new."power_source", new."charging", new."cpu_temp_c", new."memory_used_pct",'
            ' new."storage_used_pct", new."uptime_seconds", new."reboot_count", new."error_count",'
            ' new."data_tx_bytes", new."data_rx_bytes", new."data_session_bytes", new."gps_lat", new."gps_lon",'
            ' new."gps_accuracy_m", new."gps_fix", new."extra")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of device_health_telemetry, or keeps it in quarantine.",
    )
    op.replace_function(
        "judge_device_connection_events", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  new.\"details\" := coalesce(new.\"details\", '{}');\n"
            "  select case when new.tenant_id is null then 'bad_tenant_id'\n"
            "         when not exists (select from public.tenants t where t.tenant_id = new.tenant_id and t.status <>"
            " 'deleted') then 'unknown_tenant'\n"
            '         when new."device_id" is null or length(new."device_id") not between 1 and 255 then'
            " 'bad_device_id'\n"
            "         when not exists (select from public.device_registry r\n"
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')) then 'unknown_device'\n"
            "         when public.reason_against('device_connection_events', '90 days', new.tenant_id, new.\"ts\") is"
            " not null then public.reason_against('device_connection_events', '90 days', new.tenant_id, new.\"ts\")\n"
            "         when new.\"seq\" is null then 'bad_seq'\n"
            "         when new.\"event\" is null then 'bad_event'\n"
            "         when length(new.\"event\") > 65536 then 'bad_event'\n"
            "         when not (event IN ('connected', 'disconnected', 'connection_lost')) then 'bad_event'\n"
            "         when new.\"details\" is null then 'bad_details'\n"
            "         when jsonb_typeof(new.\"details\") <> 'object' then 'bad_details'\n"
            '         when length(new."details"::text) > 65536 and length(regexp_replace(new."details"::text,'
            " '(\"(?:[^\"\\\\]|\\\\.)*\")|([:,]) ', '\\1\\2', 'g')) > 65536 then 'bad_details' end\n"
            '    into reason from (select new."event" as event) as r;\n'
            "  if reason is not null then\n"
            "    perform public.quarantine('device_connection_events', reason, new.\"ts\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.device_connection_events\n"
            "         (tenant_id, ts, device_id, seq, event, details)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."seq", new."event", new."details")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of device_connection_events, or keeps it in quarantine.",
    )
    for table, column in SERIES.items():
        op.remove_constraint(table, f"ck_{table}_{column}_written_out", schema="timeseries")
    for table, columns in TABLES.items():
        for column in columns.split():
            op.remove_constraint(table, f"ck_{table}_{column}_written_out")
    op.replace_function(
        "quarantine", "series text, reason text, at timestamp with time zone, sent jsonb", returns="void",
        language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  whole constant boolean := octet_length(sent::text) <= 131072;\n"
            "begin\n"
            "  insert into timeseries.quarantine_events\n"
            "         (tenant_id, ts, id, reason, detail, topic, claimed_tenant, device_id, site_id,\n"
            "          msg_type, event_ts, payload, payload_raw)\n"
            "  values (coalesce((select t.tenant_id from public.tenants t\n"
            "                     where t.tenant_id = (sent ->> 'tenant_id')::uuid\n"
            "                       and t.status <> 'deleted'), '00000000-0000-0000-0000-000000000000'),\n"
            "          case when at between now() - interval '1 day' and now() + interval '1 day'\n"
            "               then at else date_trunc('day', now(), 'UTC') end,\n"
            "          md5(series || ' ' || sent::text)::uuid, reason,\n"
            "          'written with SQL into ingest.' || series || case when whole then '' else\n"
            "            format('; of %s bytes (SHA-256 %s) the first are kept',\n"
            "                   octet_length(sent::text),\n"
            "                   encode(sha256(convert_to(sent::text, 'UTF8')), 'hex')) end,\n"
            "          '', sent ->> 'tenant_id', nullif(left(sent ->> 'device_id', 1000), ''), nullif(left(sent ->>"
            " 'site_id', 1000), ''),\n"
            "          case when sent ? 'msg_type' then nullif(left(sent ->> 'msg_type', 1000), '') else series end,\n"
            "          case when (at >= timestamptz '0001-01-01 00:00+00' and at < '10000-01-01 00:00+00') then at"
            " end,\n"
            "          case when whole then sent end,\n"
            "          case when not whole\n"
            "               then substr(convert_to(sent::text, 'UTF8'), 1, 131072) end)\n"
            "  on conflict do nothing;\n"
            "end"
        ),
        comment="Keeps a row that may not be stored, with the reason.",
    )
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
            " precision))) AND ((((((((((((((COALESCE(octet_length(action), 0) + COALESCE(octet_length(outcome), 0)) +"
            " COALESCE(octet_length(category), 0)) + COALESCE(octet_length(severity), 0)) +"
            " COALESCE(octet_length(actor_type), 0)) + COALESCE(octet_length(actor_id), 0)) +"
            " COALESCE(octet_length(actor_name), 0)) + COALESCE(octet_length(entity_type), 0)) +"
            " COALESCE(octet_length(entity_id), 0)) + COALESCE(octet_length(entity_name), 0)) +"
            " COALESCE(octet_length(message), 0)) + COALESCE(octet_length(source_service), 0)) +"
            " COALESCE(octet_length(request_id), 0)) + COALESCE(pg_column_size((details || '{}'::jsonb)), 0)) <="
            " 524288) AND (tenant_id = ( SELECT public.current_tenant() AS current_tenant)))"
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
            " precision))) AND ((COALESCE(octet_length(event), 0) + COALESCE(pg_column_size((details || '{}'::jsonb)),"
            " 0)) <= 524288) AND (tenant_id = ( SELECT public.current_tenant() AS current_tenant)))"
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
            " precision))) AND (((((COALESCE(octet_length(network_type), 0) + COALESCE(octet_length(cell_id), 0)) +"
            " COALESCE(octet_length(mcc_mnc), 0)) + COALESCE(octet_length(power_source), 0)) +"
            " COALESCE(pg_column_size((extra || '{}'::jsonb)), 0)) <= 524288) AND (tenant_id = ( SELECT"
            " public.current_tenant() AS current_tenant)))"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Radio, power and position of devices. To append many rows; device_health_telemetry is faster to read.",
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
            " precision))) AND ((COALESCE(octet_length(v_text), 0) + COALESCE(pg_column_size((v_json || '{}'::jsonb)),"
            " 0)) <= 524288) AND (tenant_id = ( SELECT public.current_tenant() AS current_tenant)))"
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
            " precision))) AND (COALESCE(pg_column_size((metrics || '{}'::jsonb)), 0) <= 524288) AND (tenant_id = ("
            " SELECT public.current_tenant() AS current_tenant)))"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Messages of devices, one row each with all its metrics. To append many rows; telemetry is faster to"
            " read.",
        grants={"fleet_app": "insert (device_id, metrics, msg_type, seq, site_id, tenant_id, ts), select"},
    )
