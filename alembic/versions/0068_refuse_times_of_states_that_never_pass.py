"""refuse times of states that never pass

Revision 0068, after 0067; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0068"
down_revision = "0067"


def upgrade() -> None:
    op.revoke("telemetry", {"fleet_app": "insert"})
    op.revoke("telemetry_to_store", {"fleet_app": "insert"})
    op.add_constraint(
        "alert_digest_settings", "ck_alert_digest_settings_last_sent_at_happened",
        "CHECK (isfinite(last_sent_at) AND last_sent_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "api_keys", "ck_api_keys_last_used_at_happened",
        "CHECK (isfinite(last_used_at) AND last_used_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "carrier_integrations", "ck_carrier_integrations_last_sync_at_happened",
        "CHECK (isfinite(last_sync_at) AND last_sync_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_sensors", "ck_device_sensors_last_seen_at_happened",
        "CHECK (isfinite(last_seen_at) AND last_seen_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_state", "ck_device_state_last_heartbeat_at_happened",
        "CHECK (isfinite(last_heartbeat_at) AND last_heartbeat_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_state", "ck_device_state_last_seen_at_happened",
        "CHECK (isfinite(last_seen_at) AND last_seen_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_state", "ck_device_state_last_state_change_at_happened",
        "CHECK (isfinite(last_state_change_at) AND last_state_change_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_state", "ck_device_state_last_telemetry_at_happened",
        "CHECK (isfinite(last_telemetry_at) AND last_telemetry_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_state", "ck_device_state_shadow_updated_at_happened",
        "CHECK (isfinite(shadow_updated_at) AND shadow_updated_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_transports", "ck_device_transports_data_used_updated_at_happened",
        "CHECK (isfinite(data_used_updated_at) AND data_used_updated_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_transports", "ck_device_transports_last_connected_at_happened",
        "CHECK (isfinite(last_connected_at) AND last_connected_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_transports", "ck_device_transports_last_network_attach_at_happened",
        "CHECK (isfinite(last_network_attach_at) AND last_network_attach_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "eip_device_cache", "ck_eip_device_cache_last_seen_at_happened",
        "CHECK (isfinite(last_seen_at) AND last_seen_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "endpoint_certificates", "ck_endpoint_certificates_last_alerted_at_happened",
        "CHECK (isfinite(last_alerted_at) AND last_alerted_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "endpoint_certificates", "ck_endpoint_certificates_last_seen_at_happened",
        "CHECK (isfinite(last_seen_at) AND last_seen_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "endpoint_status", "ck_endpoint_status_last_checked_at_happened",
        "CHECK (isfinite(last_checked_at) AND last_checked_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "fleet_alert", "ck_fleet_alert_last_triggered_at_happened",
        "CHECK (isfinite(last_triggered_at) AND last_triggered_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "jobs", "ck_jobs_last_heartbeat_at_happened",
        "CHECK (isfinite(last_heartbeat_at) AND last_heartbeat_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "mqtt_device_topics", "ck_mqtt_device_topics_first_seen_happened",
        "CHECK (isfinite(first_seen) AND first_seen <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "mqtt_device_topics", "ck_mqtt_device_topics_last_seen_happened",
        "CHECK (isfinite(last_seen) AND last_seen <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "mqtt_devices", "ck_mqtt_devices_first_seen_happened",
        "CHECK (isfinite(first_seen) AND first_seen <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "mqtt_devices", "ck_mqtt_devices_last_seen_happened",
        "CHECK (isfinite(last_seen) AND last_seen <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "sparkplug_configs", "ck_sparkplug_configs_last_birth_at_happened",
        "CHECK (isfinite(last_birth_at) AND last_birth_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "sparkplug_configs", "ck_sparkplug_configs_last_death_at_happened",
        "CHECK (isfinite(last_death_at) AND last_death_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "sparkplug_discovery", "ck_sparkplug_discovery_last_birth_at_happened",
        "CHECK (isfinite(last_birth_at) AND last_birth_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "sparkplug_discovery", "ck_sparkplug_discovery_last_death_at_happened",
        "CHECK (isfinite(last_death_at) AND last_death_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "sparkplug_discovery", "ck_sparkplug_discovery_last_seen_at_happened",
        "CHECK (isfinite(last_seen_at) AND last_seen_at <= now() + interval '1 day') NOT VALID",
    )
    op.replace_function(
        "insert_telemetry", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if new.tenant_id is distinct from public.current_tenant() then\n"
            "    raise exception 'new row violates check option for view \"%\"', tg_table_name\n"
            "      using errcode = 'with_check_option_violation';\n"
            "  end if;\n"
            "  insert into public.telemetry_to_store (tenant_id, ts, device_id, msg_type, seq, site_id, metrics)\n"
            '  values (new."tenant_id", new."ts", new."device_id", new."msg_type", new."seq", new."site_id",'
            ' new."metrics")\n'
            "  on conflict do nothing;\n"
            "  if not found then\n"
            "    return null;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: stores a row of telemetry, unless it is there already.",
    )
    op.grant("telemetry", {"fleet_app": "insert (device_id, metrics, msg_type, seq, site_id, tenant_id, ts)"})
    op.grant("telemetry_to_store", {"fleet_app": "insert (device_id, metrics, msg_type, seq, site_id, tenant_id, ts)"})

    # Rows from before would fail each later UPDATE: of the ingest, of all tenants.
    op.execute(
        "DO $$\n"
        "declare\n"
        "  of_session text := current_setting('role');\n"
        "  mending text;\n"
        "begin\n"
        "  perform set_config('role', 'fleet_operator', true);\n"
        "  for mending in\n"
        "    select format('UPDATE %s SET %s WHERE %s', c.conrelid::regclass,\n"
        "                  string_agg(format('%1$I = CASE WHEN %2$s THEN %1$I %3$s END', a.attname, k.passes,\n"
        "                                    case when a.attnotnull then 'ELSE now()' else '' end), ', '),\n"
        "                  string_agg(format('NOT coalesce(%s, true)', k.passes), ' OR '))\n"
        "      from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1],\n"
        "           lateral (select format('(isfinite(%1$I) AND %1$I <= now() + interval ''1 day'')', a.attname))\n"
        "             as k (passes)\n"
        "     where c.connamespace = 'public'::regnamespace and c.conname like 'ck\\_%\\_happened'\n"
        "     group by c.conrelid\n"
        "  loop\n"
        "    execute mending;\n"
        "  end loop;\n"
        "  perform set_config('role', of_session, true);\n"
        "end $$"
    )


def downgrade() -> None:
    op.revoke("telemetry_to_store", {"fleet_app": "insert (device_id, metrics, msg_type, seq, site_id, tenant_id, ts)"})
    op.revoke("telemetry", {"fleet_app": "insert (device_id, metrics, msg_type, seq, site_id, tenant_id, ts)"})
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
    op.remove_constraint("sparkplug_discovery", "ck_sparkplug_discovery_last_seen_at_happened")
    op.remove_constraint("sparkplug_discovery", "ck_sparkplug_discovery_last_death_at_happened")
    op.remove_constraint("sparkplug_discovery", "ck_sparkplug_discovery_last_birth_at_happened")
    op.remove_constraint("sparkplug_configs", "ck_sparkplug_configs_last_death_at_happened")
    op.remove_constraint("sparkplug_configs", "ck_sparkplug_configs_last_birth_at_happened")
    op.remove_constraint("mqtt_devices", "ck_mqtt_devices_last_seen_happened")
    op.remove_constraint("mqtt_devices", "ck_mqtt_devices_first_seen_happened")
    op.remove_constraint("mqtt_device_topics", "ck_mqtt_device_topics_last_seen_happened")
    op.remove_constraint("mqtt_device_topics", "ck_mqtt_device_topics_first_seen_happened")
    op.remove_constraint("jobs", "ck_jobs_last_heartbeat_at_happened")
    op.remove_constraint("fleet_alert", "ck_fleet_alert_last_triggered_at_happened")
    op.remove_constraint("endpoint_status", "ck_endpoint_status_last_checked_at_happened")
    op.remove_constraint("endpoint_certificates", "ck_endpoint_certificates_last_seen_at_happened")
    op.remove_constraint("endpoint_certificates", "ck_endpoint_certificates_last_alerted_at_happened")
    op.remove_constraint("eip_device_cache", "ck_eip_device_cache_last_seen_at_happened")
    op.remove_constraint("device_transports", "ck_device_transports_last_network_attach_at_happened")
    op.remove_constraint("device_transports", "ck_device_transports_last_connected_at_happened")
    op.remove_constraint("device_transports", "ck_device_transports_data_used_updated_at_happened")
    op.remove_constraint("device_state", "ck_device_state_shadow_updated_at_happened")
    op.remove_constraint("device_state", "ck_device_state_last_telemetry_at_happened")
    op.remove_constraint("device_state", "ck_device_state_last_state_change_at_happened")
    op.remove_constraint("device_state", "ck_device_state_last_seen_at_happened")
    op.remove_constraint("device_state", "ck_device_state_last_heartbeat_at_happened")
    op.remove_constraint("device_sensors", "ck_device_sensors_last_seen_at_happened")
    op.remove_constraint("carrier_integrations", "ck_carrier_integrations_last_sync_at_happened")
    op.remove_constraint("api_keys", "ck_api_keys_last_used_at_happened")
    op.remove_constraint("alert_digest_settings", "ck_alert_digest_settings_last_sent_at_happened")
    op.grant("telemetry_to_store", {"fleet_app": "insert"})
    op.grant("telemetry", {"fleet_app": "insert"})
