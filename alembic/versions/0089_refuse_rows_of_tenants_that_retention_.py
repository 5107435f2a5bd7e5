"""refuse rows of tenants that retention would delete

Revision 0089, after 0088; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0089"
down_revision = "0088"


def upgrade() -> None:
    op.drop_view("telemetry_to_store")
    op.drop_view("tag_values_to_store")
    op.drop_view("health_checks_to_store")
    op.drop_view("device_health_telemetry_to_store")
    op.drop_view("device_connection_events_to_store")
    op.drop_view("audit_events_to_store")
    op.replace_function(
        "take_in_device_states", "tenants uuid[]", returns="bigint", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  ends constant timestamptz := clock_timestamp() + least(interval '500 ms', nullif(\n"
            "    current_setting('statement_timeout')::interval, interval '0') / 2);\n"
            "  tenant uuid;\n"
            "  device text;\n"
            "  listed uuid[];\n"
            "  kept record;\n"
            "  again boolean;\n"
            "  number bigint := 0;\n"
            "begin\n"
            "  perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))\n"
            "     from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;\n"
            "  for tenant in select distinct n.id from unnest(tenants) as n (id) order by 1 loop\n"
            "    device := '';\n"
            "    again := false;\n"
            "    while clock_timestamp() < ends loop\n"
            "      -- The first row of each of the next devices; others of theirs come when all have been\n"
            "      -- gone through. What is noted anew, since it is held, is for the next time.\n"
            "      with upcoming as materialized (\n"
            "        select distinct on (b.device_id) b.id, b.device_id\n"
            "          from public.device_state_backlog b\n"
            "         where b.of_tenant = tenant and b.device_id > device and b.created_at < now()\n"
            "         order by b.device_id, b.id limit 50\n"
            "      ), sized as (\n"
            "        select u.id, u.device_id, sum(pg_column_size(b.state || '{}'))\n"
            "                 over (order by u.device_id rows unbounded preceding exclude current row)\n"
            "                 as before\n"
            "          from upcoming u join public.device_state_backlog b using (id)\n"
            "      )\n"
            "      select array_agg(s.id), max(s.device_id) into listed, device\n"
            "        from sized s where coalesce(s.before, 0) < 65536;\n"
            "      if listed is null then\n"
            "        exit when not again;\n"
            "        again := false;\n"
            "        device := '';\n"
            "        continue;\n"
            "      end if;\n"
            "      with free as materialized (\n"
            "        select s.device_id\n"
            "          from public.device_state s\n"
            "          join public.device_state_backlog b\n"
            "               on b.of_tenant = s.tenant_id and b.device_id = s.device_id\n"
            "         where b.id = any (listed) and s.tenant_id = tenant\n"
            "         order by 1\n"
            "           for no key update of s skip locked\n"
            "      ), own as materialized (\n"
            "        select b.id, b.device_id from public.device_state_backlog b\n"
            "         where b.id = any (listed) for update skip locked\n"
            "      ), taken as (\n"
            "        delete from public.device_state_backlog b\n"
            "         using own o\n"
            "         where b.id = o.id\n"
            "           and (o.device_id in (select f.device_id from free f)\n"
            "                or not exists (select from public.device_state s\n"
            "                                where s.tenant_id = tenant\n"
            "                                  and s.device_id = o.device_id))\n"
            "        returning b.*\n"
            "      )\n"
            "      select count(*) as number,\n"
            "             array_agg(t.of_tenant) filter (where registered) as of_tenants,\n"
            "             array_agg(t.device_id) filter (where registered) as devices,\n"
            "             array_agg(t.status) filter (where registered) as statuses,\n"
            "             array_agg(t.last_seen_at) filter (where registered) as seen,\n"
            "             array_agg(t.last_seen_as_sent) filter (where registered) as sent,\n"
            "             array_agg(t.last_telemetry_at) filter (where registered) as newest,\n"
            "             array_agg(timestamptz '-infinity') filter (where registered) as oldest,\n"
            "             array_agg(t.state) filter (where registered) as states,\n"
            "             array_agg(t.state_times) filter (where registered) as times\n"
            "        into kept\n"
            "        from taken t,\n"
            "             lateral (select exists (\n"
            "               select from public.device_registry r\n"
            "                where r.tenant_id = t.of_tenant and r.device_id = t.device_id)) as r\n"
            "                     (registered);\n"
            "      number := number + kept.number;\n"
            "      again := again or kept.number > 0;\n"
            "      if kept.devices is not null then\n"
            "        perform public.merge_device_states(kept.of_tenants, kept.devices, kept.statuses,\n"
            "                                           kept.seen, kept.sent, kept.newest, kept.oldest,\n"
            "                                           kept.states, kept.times);\n"
            "      end if;\n"
            "    end loop;\n"
            "  end loop;\n"
            "  return number;\n"
            "end"
        ),
        comment="Takes what batches left in device_state_backlog into device_state, a few devices at a time and for"
            " 500 ms, but for rows that another transaction still holds; returns how many rows of the backlog it took.",
    )
    op.create_view(
        "audit_events_to_store",
        (
            "SELECT tenant_id, ts, id, action, outcome, category, severity, actor_type, actor_id, actor_name,"
            " entity_type, entity_id, entity_name, message, source_service, ip_address, request_id, duration_ms,"
            " details, recorded_at\n"
            "  FROM timeseries.audit_events\n"
            " WHERE ts >= now() - make_interval(secs => extract(epoch FROM interval '400 days'))\n"
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
    op.replace_function(
        "take_in_device_states", "tenants uuid[]", returns="bigint", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  ends constant timestamptz := clock_timestamp() + interval '500 ms';\n"
            "  tenant uuid;\n"
            "  device text;\n"
            "  listed uuid[];\n"
            "  kept record;\n"
            "  number bigint := 0;\n"
            "begin\n"
            "  perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))\n"
            "     from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;\n"
            "  for tenant in select distinct n.id from unnest(tenants) as n (id) order by 1 loop\n"
            "    device := '';\n"
            "    while clock_timestamp() < ends loop\n"
            "      -- The first row of each of the next devices; the others are for the next time.\n"
            "      with upcoming as materialized (\n"
            "        select distinct on (b.device_id)\n"
            "               b.id, b.device_id, pg_column_size(b.state || '{}') as bytes\n"
            "          from public.device_state_backlog b\n"
            "         where b.of_tenant = tenant and b.device_id > device\n"
            "         order by b.device_id, b.id limit 50\n"
            "      )\n"
            "      select array_agg(n.id), max(n.device_id) into listed, device\n"
            "        from (select n.*, sum(n.bytes) over (order by n.device_id) - n.bytes as before\n"
            "                from upcoming n) as n\n"
            "       where n.before < 65536;\n"
            "      exit when listed is null;\n"
            "      with free as materialized (\n"
            "        select s.device_id\n"
            "          from public.device_state s\n"
            "          join public.device_state_backlog b\n"
            "               on b.of_tenant = s.tenant_id and b.device_id = s.device_id\n"
            "         where b.id = any (listed) and s.tenant_id = tenant\n"
            "         order by 1\n"
            "           for no key update of s skip locked\n"
            "      ), own as materialized (\n"
            "        select b.id, b.device_id from public.device_state_backlog b\n"
            "         where b.id = any (listed) for update skip locked\n"
            "      ), taken as (\n"
            "        delete from public.device_state_backlog b\n"
            "         using own o\n"
            "         where b.id = o.id\n"
            "           and (o.device_id in (select f.device_id from free f)\n"
            "                or not exists (select from public.device_state s\n"
            "                                where s.tenant_id = tenant\n"
            "                                  and s.device_id = o.device_id))\n"
            "        returning b.*\n"
            "      )\n"
            "      select count(*) as number,\n"
            "             array_agg(t.of_tenant) filter (where registered) as of_tenants,\n"
            "             array_agg(t.device_id) filter (where registered) as devices,\n"
            "             array_agg(t.status) filter (where registered) as statuses,\n"
            "             array_agg(t.last_seen_at) filter (where registered) as seen,\n"
            "             array_agg(t.last_seen_as_sent) filter (where registered) as sent,\n"
            "             array_agg(t.last_telemetry_at) filter (where registered) as newest,\n"
            "             array_agg(timestamptz '-infinity') filter (where registered) as oldest,\n"
            "             array_agg(t.state) filter (where registered) as states,\n"
            "             array_agg(t.state_times) filter (where registered) as times\n"
            "        into kept\n"
            "        from taken t,\n"
            "             lateral (select exists (\n"
            "               select from public.device_registry r\n"
            "                where r.tenant_id = t.of_tenant and r.device_id = t.device_id)) as r\n"
            "                     (registered);\n"
            "      number := number + kept.number;\n"
            "      if kept.devices is not null then\n"
            "        perform public.merge_device_states(kept.of_tenants, kept.devices, kept.statuses,\n"
            "                                           kept.seen, kept.sent, kept.newest, kept.oldest,\n"
            "                                           kept.states, kept.times);\n"
            "      end if;\n"
            "    end loop;\n"
            "  end loop;\n"
            "  return number;\n"
            "end"
        ),
        comment="Takes what batches left in device_state_backlog into device_state, a few devices at a time and for"
            " 500 ms, but for rows that another transaction still holds; returns how many rows of the backlog it took.",
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
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
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
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
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
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
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
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
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
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
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
            " WHERE (tenant_id = ( SELECT public.current_tenant() AS current_tenant))"
        ),
        security_barrier=True, check_option="cascaded",
        comment="Messages of devices, one row each with all its metrics. To append many rows; telemetry is faster to"
            " read.",
        grants={"fleet_app": "insert (device_id, metrics, msg_type, seq, site_id, tenant_id, ts), select"},
    )
