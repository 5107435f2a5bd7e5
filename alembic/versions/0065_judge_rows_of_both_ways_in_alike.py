"""judge rows of both ways in alike

Revision 0065, after 0064; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0065"
down_revision = "0064"


def upgrade() -> None:
    op.replace_function(
        "quarantine", "series text, reason text, at timestamptz, sent jsonb", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  whole constant boolean := octet_length(sent::text) <= 1048576;\n"
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
            "               then substr(convert_to(sent::text, 'UTF8'), 1, 1048576) end)\n"
            "  on conflict do nothing;\n"
            "end"
        ),
        comment="Keeps a row that may not be stored, with the reason.",
    )
    op.replace_function(
        "reason_against", "series text, kept interval, of_tenant uuid, at timestamptz", returns="text",
        language="plpgsql", volatility="stable", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if (at >= timestamptz '0001-01-01 00:00+00' and at < '10000-01-01 00:00+00') is not true then\n"
            "    return 'bad_ts';\n"
            "  elsif at > now() + interval '24 hours' then\n"
            "    return 'future_ts';\n"
            "  elsif at < now() - make_interval(secs => extract(epoch from least(kept, (\n"
            "               select make_interval(days => p.retention_days)\n"
            "                 from public.data_retention_policies p\n"
            "                where p.tenant_id = of_tenant and p.relation = series)))) then\n"
            "    return 'expired_ts';\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Why a row of that moment may not be stored in a series that is kept so long, or shorter for that"
            " tenant; NULL if it may.",
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
        "judge_health_checks", returns="trigger", language="plpgsql",
        settings=["row_security=on", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  select case when new.tenant_id is null then 'bad_tenant_id'\n"
            "         when not exists (select from public.tenants t where t.tenant_id = new.tenant_id and t.status <>"
            " 'deleted') then 'unknown_tenant'\n"
            "         when new.\"endpoint_id\" is null then 'bad_endpoint_id'\n"
            "         when not exists (select from public.endpoints r\n"
            "            where r.tenant_id = new.tenant_id and r.id = new.\"endpoint_id\") then 'unknown_endpoint'\n"
            "         when public.reason_against('health_checks', '30 days', new.tenant_id, new.\"checked_at\") is not"
            " null then public.reason_against('health_checks', '30 days', new.tenant_id, new.\"checked_at\")\n"
            "         when new.\"ok\" is null then 'bad_ok'\n"
            "         when not (response_ms >= 0) then 'bad_response_ms'\n"
            "         when length(new.\"error\") > 65536 then 'bad_error' end\n"
            '    into reason from (select new."response_ms" as response_ms) as r;\n'
            "  if reason is not null then\n"
            "    perform public.quarantine('health_checks', reason, new.\"checked_at\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.health_checks\n"
            "         (tenant_id, checked_at, endpoint_id, ok, status_code, response_ms, dns_ms, connect_ms, ttfb_ms,"
            " error)\n"
            '  values (new."tenant_id", new."checked_at", new."endpoint_id", new."ok", new."status_code",'
            ' new."response_ms", new."dns_ms", new."connect_ms", new."ttfb_ms", new."error")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of health_checks, or keeps it in quarantine.",
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


def downgrade() -> None:
    op.replace_function(
        "judge_telemetry", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            '  new."site_id" := coalesce(new."site_id", (select r.site_id from public.device_registry r\n'
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')));\n"
            "  reason := coalesce(\n"
            "    public.reason_against('telemetry', '400 days', new.tenant_id, new.\"ts\"),\n"
            "    case when not exists (select from public.device_registry r\n"
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')) then 'unknown_device' end);\n"
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
        "judge_tag_values", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            '  new."connection_id" := coalesce(new."connection_id", (select r.connection_id from public.tag_metadata'
            " r\n"
            "            where r.tenant_id = new.tenant_id and r.tag_id = new.\"tag_id\" and r.status <> 'deleted'));\n"
            "  reason := coalesce(\n"
            "    public.reason_against('tag_values', '30 days', new.tenant_id, new.\"ts\"),\n"
            "    case when not exists (select from public.tag_metadata r\n"
            "            where r.tenant_id = new.tenant_id and r.tag_id = new.\"tag_id\" and r.status <> 'deleted') then"
            " 'unknown_tag' end,\n"
            "    case when not exists (select from public.connections r\n"
            "            where r.tenant_id = new.tenant_id and r.id = new.\"connection_id\") then 'unknown_connection'"
            " end);\n"
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
        "judge_system_metrics", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  reason := coalesce(\n"
            "    case when new.\"ts\" > now() + interval '1 day' then 'future_ts'\n"
            "         when new.\"ts\" < now() - interval '30 days' then 'expired_ts' end);\n"
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
        "judge_health_checks", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  reason := coalesce(\n"
            "    public.reason_against('health_checks', '30 days', new.tenant_id, new.\"checked_at\"),\n"
            "    case when not exists (select from public.endpoints r\n"
            "            where r.tenant_id = new.tenant_id and r.id = new.\"endpoint_id\") then 'unknown_endpoint'"
            " end);\n"
            "  if reason is not null then\n"
            "    perform public.quarantine('health_checks', reason, new.\"checked_at\", sent);\n"
            "    return null;\n"
            "  end if;\n"
            "  -- By SET of the function only a superuser could create it.\n"
            "  perform set_config('fleetschema.judged', 'on', true);\n"
            "  insert into timeseries.health_checks\n"
            "         (tenant_id, checked_at, endpoint_id, ok, status_code, response_ms, dns_ms, connect_ms, ttfb_ms,"
            " error)\n"
            '  values (new."tenant_id", new."checked_at", new."endpoint_id", new."ok", new."status_code",'
            ' new."response_ms", new."dns_ms", new."connect_ms", new."ttfb_ms", new."error")\n'
            "  on conflict do nothing;\n"
            "  changed := found;\n"
            "  perform set_config('fleetschema.judged', before, true);\n"
            "  return case when changed then new end;\n"
            "end"
        ),
        comment="Trigger: stores a row of health_checks, or keeps it in quarantine.",
    )
    op.replace_function(
        "judge_device_health_telemetry", returns="trigger", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  reason := coalesce(\n"
            "    public.reason_against('device_health_telemetry', '90 days', new.tenant_id, new.\"ts\"),\n"
            "    case when not exists (select from public.device_registry r\n"
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')) then 'unknown_device' end);\n"
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
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  sent jsonb := to_jsonb(new);\n"
            "  before text := coalesce(current_setting('fleetschema.judged', true), '');\n"
            "  reason text;\n"
            "  changed boolean;\n"
            "begin\n"
            "  reason := coalesce(\n"
            "    public.reason_against('device_connection_events', '90 days', new.tenant_id, new.\"ts\"),\n"
            "    case when not exists (select from public.device_registry r\n"
            '            where r.tenant_id = new.tenant_id and r.device_id = new."device_id" and r.status NOT IN'
            " ('suspended', 'revoked')) then 'unknown_device' end);\n"
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
        "reason_against", "series text, kept interval, of_tenant uuid, at timestamp with time zone", returns="text",
        language="plpgsql", volatility="stable", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if not exists (select from public.tenants t\n"
            "                  where t.tenant_id = of_tenant and t.status <> 'deleted') then\n"
            "    return 'unknown_tenant';\n"
            "  elsif at > now() + interval '1 day' then\n"
            "    return 'future_ts';\n"
            "  elsif at < now() - least(kept, (select make_interval(days => p.retention_days)\n"
            "                                    from public.data_retention_policies p\n"
            "                                   where p.tenant_id = of_tenant\n"
            "                                     and p.relation = series)) then\n"
            "    return 'expired_ts';\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Why a row of that tenant and moment may not be stored in a series that is kept so long; NULL if it"
            " may.",
    )
    op.replace_function(
        "quarantine", "series text, reason text, at timestamp with time zone, sent jsonb", returns="void",
        language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into timeseries.quarantine_events\n"
            "         (tenant_id, ts, id, reason, detail, topic, claimed_tenant, device_id, site_id,\n"
            "          msg_type, event_ts, payload)\n"
            "  values (coalesce((select t.tenant_id from public.tenants t\n"
            "                     where t.tenant_id = (sent ->> 'tenant_id')::uuid\n"
            "                       and t.status <> 'deleted'), '00000000-0000-0000-0000-000000000000'),\n"
            "          case when at between now() - interval '1 day' and now() + interval '1 day'\n"
            "               then at else date_trunc('day', now(), 'UTC') end,\n"
            "          md5(series || ' ' || sent::text)::uuid, reason,\n"
            "          'written with SQL into ingest.' || series, '', sent ->> 'tenant_id',\n"
            "          sent ->> 'device_id', sent ->> 'site_id', coalesce(sent ->> 'msg_type', series),\n"
            "          case when isfinite(at) then at end, sent)\n"
            "  on conflict do nothing;\n"
            "end"
        ),
        comment="Keeps a row that may not be stored, with the reason.",
    )
