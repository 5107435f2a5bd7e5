"""judge rows of the ingest

Revision 0052, after 0051; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0052"
down_revision = "0051"


def upgrade() -> None:
    op.create_schema("ingest")
    op.create_function(
        "quarantine", "series text, reason text, at timestamptz, sent jsonb", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
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
        comment="Keeps a row that may not be stored, with the reason.", grants={"fleet_ingest": "execute"},
    )
    op.create_function(
        "reason_against", "series text, kept interval, of_tenant uuid, at timestamptz", returns="text",
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
        grants={"fleet_ingest": "execute"},
    )
    op.create_function(
        "require_judgement", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if current_setting('fleetschema.judged', true) = 'on'\n"
            "     or not pg_has_role(current_user, 'fleet_ingest', 'usage')\n"
            "     or pg_has_role(current_user, (select c.relowner from pg_class c\n"
            "                                    where c.oid = tg_relid), 'usage') then\n"
            "    return null;\n"
            "  end if;\n"
            "  raise exception 'fleet_ingest cannot insert into %.% directly', tg_table_schema,\n"
            "      tg_table_name\n"
            "    using errcode = 'insufficient_privilege',\n"
            "          hint = format('Insert into ingest.%I, which judges each row, or call ingest().',\n"
            "                        tg_table_name);\n"
            "end"
        ),
        comment="Trigger: refuses rows of fleet_ingest that nothing has judged.",
    )
    op.create_function(
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
    op.create_function(
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
    op.create_function(
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
    op.create_function(
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
    op.create_function(
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
    op.create_function(
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
    op.create_trigger(
        "require_judgement", "device_connection_events", "before", "insert", level="statement",
        function="require_judgement()", schema="timeseries",
    )
    op.create_trigger(
        "require_judgement", "device_health_telemetry", "before", "insert", level="statement",
        function="require_judgement()", schema="timeseries",
    )
    op.create_trigger(
        "require_judgement", "health_checks", "before", "insert", level="statement", function="require_judgement()",
        schema="timeseries",
    )
    op.create_trigger(
        "require_judgement", "system_metrics", "before", "insert", level="statement", function="require_judgement()",
        schema="timeseries",
    )
    op.create_trigger(
        "require_judgement", "tag_values", "before", "insert", level="statement", function="require_judgement()",
        schema="timeseries",
    )
    op.create_trigger(
        "require_judgement", "telemetry", "before", "insert", level="statement", function="require_judgement()",
        schema="timeseries",
    )
    op.create_view(
        "device_connection_events",
        (
            "SELECT tenant_id, ts, device_id, seq, event, details\n"
            "  FROM timeseries.device_connection_events"
        ),
        security_invoker=True,
        comment="Connects and disconnects of devices. What may not be stored goes to quarantine.",
        defaults=["details SET DEFAULT '{}'::jsonb", "seq SET DEFAULT 0"], grants={"fleet_ingest": "insert"},
        schema="ingest",
    )
    op.create_trigger(
        "judge_device_connection_events", "device_connection_events", "instead of", "insert", level="row",
        function="judge_device_connection_events()", schema="ingest",
    )
    op.create_view(
        "device_health_telemetry",
        (
            "SELECT tenant_id, ts, device_id, rssi, rsrp, rsrq, sinr, signal_quality, network_type, cell_id, mcc_mnc,"
            " battery_pct, battery_voltage, power_source, charging, cpu_temp_c, memory_used_pct, storage_used_pct,"
            " uptime_seconds, reboot_count, error_count, data_tx_bytes, data_rx_bytes, data_session_bytes, gps_lat,"
            " gps_lon, gps_accuracy_m, gps_fix, extra\n"
            "  FROM timeseries.device_health_telemetry"
        ),
        security_invoker=True,
        comment="Radio, power and position of devices. What may not be stored goes to quarantine.",
        defaults="extra SET DEFAULT '{}'::jsonb", grants={"fleet_ingest": "insert"}, schema="ingest",
    )
    op.create_trigger(
        "judge_device_health_telemetry", "device_health_telemetry", "instead of", "insert", level="row",
        function="judge_device_health_telemetry()", schema="ingest",
    )
    op.create_view(
        "health_checks",
        (
            "SELECT tenant_id, checked_at, endpoint_id, ok, status_code, response_ms, dns_ms, connect_ms, ttfb_ms,"
            " error\n"
            "  FROM timeseries.health_checks"
        ),
        security_invoker=True, comment="Checks of endpoints. What may not be stored goes to quarantine.",
        grants={"fleet_ingest": "insert"}, schema="ingest",
    )
    op.create_trigger(
        "judge_health_checks", "health_checks", "instead of", "insert", level="row", function="judge_health_checks()",
        schema="ingest",
    )
    op.create_view(
        "system_metrics",
        (
            "SELECT ts, metric_name, service, labels, value\n"
            "  FROM timeseries.system_metrics"
        ),
        security_invoker=True,
        comment="Metrics of the platform's own services. What may not be stored goes to quarantine.",
        defaults=["labels SET DEFAULT '{}'::jsonb", "service SET DEFAULT ''"], grants={"fleet_ingest": "insert"},
        schema="ingest",
    )
    op.create_trigger(
        "judge_system_metrics", "system_metrics", "instead of", "insert", level="row",
        function="judge_system_metrics()", schema="ingest",
    )
    op.create_view(
        "tag_values",
        (
            "SELECT tenant_id, ts, tag_id, connection_id, quality, v_num, v_text, v_bool, v_json\n"
            "  FROM timeseries.tag_values"
        ),
        security_invoker=True,
        comment="Samples of tags; each row has a value of one type. What may not be stored goes to quarantine.",
        grants={"fleet_ingest": "insert"}, schema="ingest",
    )
    op.create_trigger(
        "judge_tag_values", "tag_values", "instead of", "insert", level="row", function="judge_tag_values()",
        schema="ingest",
    )
    op.create_view(
        "telemetry",
        (
            "SELECT tenant_id, ts, device_id, msg_type, seq, site_id, metrics\n"
            "  FROM timeseries.telemetry"
        ),
        security_invoker=True,
        comment="Messages of devices, one row each with all its metrics. What may not be stored goes to quarantine.",
        defaults=["metrics SET DEFAULT '{}'::jsonb", "msg_type SET DEFAULT 'telemetry'", "seq SET DEFAULT 0"],
        grants={"fleet_ingest": "insert"}, schema="ingest",
    )
    op.create_trigger(
        "judge_telemetry", "telemetry", "instead of", "insert", level="row", function="judge_telemetry()",
        schema="ingest",
    )
    op.grant("schema ingest", {"fleet_ingest": "usage"})


def downgrade() -> None:
    op.revoke("schema ingest", {"fleet_ingest": "usage"})
    op.drop_view("telemetry", schema="ingest")
    op.drop_view("tag_values", schema="ingest")
    op.drop_view("system_metrics", schema="ingest")
    op.drop_view("health_checks", schema="ingest")
    op.drop_view("device_health_telemetry", schema="ingest")
    op.drop_view("device_connection_events", schema="ingest")
    op.drop_trigger("require_judgement", "telemetry", schema="timeseries")
    op.drop_trigger("require_judgement", "tag_values", schema="timeseries")
    op.drop_trigger("require_judgement", "system_metrics", schema="timeseries")
    op.drop_trigger("require_judgement", "health_checks", schema="timeseries")
    op.drop_trigger("require_judgement", "device_health_telemetry", schema="timeseries")
    op.drop_trigger("require_judgement", "device_connection_events", schema="timeseries")
    op.drop_function("judge_telemetry")
    op.drop_function("judge_tag_values")
    op.drop_function("judge_system_metrics")
    op.drop_function("judge_health_checks")
    op.drop_function("judge_device_health_telemetry")
    op.drop_function("judge_device_connection_events")
    op.drop_function("require_judgement")
    op.drop_function("reason_against", "series text, kept interval, of_tenant uuid, at timestamptz")
    op.drop_function("quarantine", "series text, reason text, at timestamptz, sent jsonb")
    op.drop_schema("ingest")
