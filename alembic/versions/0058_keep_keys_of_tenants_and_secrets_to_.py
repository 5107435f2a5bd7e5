"""keep keys of tenants and secrets to themselves

Revision 0058, after 0057; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0058"
down_revision = "0057"


def upgrade() -> None:
    op.revoke("device_activations", {"fleet_operator_read": "select"})
    op.replace_function(
        "notify_own_telemetry", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if public.current_tenant() is not null then\n"
            "    perform pg_notify('telemetry', public.tenant_pseudonym(public.current_tenant()));\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY telemetry for the tenant of the transaction, if one is set.",
    )
    op.replace_function(
        "notify_tenants", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  changed text := 'select distinct tenant_id from new_rows';\n"
            "  changed_tenants uuid[];\n"
            "begin\n"
            "  if tg_op = 'DELETE' then\n"
            "    changed := 'select distinct tenant_id from old_rows';\n"
            "  elsif tg_op = 'UPDATE' then\n"
            "    changed := format('select distinct tenant_id from (select tenant_id, %1$s from new_rows'\n"
            "      ' except all select tenant_id, %1$s from old_rows) as different', tg_argv[1]);\n"
            "  end if;\n"
            "  execute format('select array_agg(tenant_id) from (%s limit 201)'\n"
            "    ' as named', changed) into changed_tenants;\n"
            "  if cardinality(changed_tenants) > 200 then\n"
            "    perform pg_notify(tg_argv[0], '*');\n"
            "  else\n"
            "    perform pg_notify(tg_argv[0], public.tenant_pseudonym(one))\n"
            "       from unnest(changed_tenants) as one;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY the given channel with the pseudonym of each tenant whose rows changed in the given"
            " columns.",
    )
    op.create_function(
        "tenant_pseudonym", "tenant uuid", returns="text", language="sql", volatility="immutable", parallel="safe",
        body="RETURN left(encode(sha256(uuid_send(tenant)), 'hex'), 32)",
        comment="By what notifications name a tenant: who knows the tenant can compute it, and nobody else can tell"
            " whose it is.",
        grants={"fleet_app, fleet_auth, fleet_ingest, fleet_operator, fleet_operator_read": "execute"},
    )
    op.add_constraint(
        "alert_rules", "ck_alert_rules_actions_without_secrets",
        "CHECK (NOT jsonb_path_exists(actions, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(actions, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.add_constraint(
        "carrier_integrations", "ck_carrier_integrations_api_base_url_without_password",
        "CHECK (api_base_url !~ '://[^/?#@]*:[^/?#@]+@') NOT VALID",
    )
    op.add_constraint(
        "carrier_integrations", "ck_carrier_integrations_config_without_secrets",
        "CHECK (NOT jsonb_path_exists(config, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(config, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.add_constraint(
        "chart_configs", "ck_chart_configs_options_without_secrets",
        "CHECK (NOT jsonb_path_exists(options, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(options, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.add_constraint(
        "dashboard_configs", "ck_dashboard_configs_options_without_secrets",
        "CHECK (NOT jsonb_path_exists(options, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(options, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.add_constraint(
        "dashboard_widgets", "ck_dashboard_widgets_config_without_secrets",
        "CHECK (NOT jsonb_path_exists(config, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(config, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.add_constraint(
        "device_templates", "ck_device_templates_image_url_without_password",
        "CHECK (image_url !~ '://[^/?#@]*:[^/?#@]+@') NOT VALID",
    )
    op.add_constraint(
        "device_templates", "ck_device_templates_transport_defaults_without_secrets",
        "CHECK (NOT jsonb_path_exists(transport_defaults, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key"
            " like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(transport_defaults, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.add_constraint(
        "device_transports", "ck_device_transports_connectivity_config_without_secrets",
        "CHECK (NOT jsonb_path_exists(connectivity_config, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key"
            " like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(connectivity_config, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.add_constraint(
        "device_transports", "ck_device_transports_protocol_config_without_secrets",
        "CHECK (NOT jsonb_path_exists(protocol_config, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(protocol_config, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.add_constraint(
        "export_jobs", "ck_export_jobs_callback_url_without_password",
        "CHECK (callback_url !~ '://[^/?#@]*:[^/?#@]+@') NOT VALID",
    )
    op.add_constraint(
        "firmware_versions", "ck_firmware_versions_file_url_without_password",
        "CHECK (file_url !~ '://[^/?#@]*:[^/?#@]+@') NOT VALID",
    )
    op.add_constraint(
        "system_settings", "ck_system_settings_value_without_secrets",
        "CHECK (NOT jsonb_path_exists(value, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(value, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.add_constraint(
        "tenant_settings", "ck_tenant_settings_value_without_secrets",
        "CHECK (NOT jsonb_path_exists(value, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
            " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(value, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)) NOT VALID",
    )
    op.replace_function(
        "announce_alerts", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    perform pg_notify('fleet_alert', public.tenant_pseudonym(n.tenant_id))\n"
            "       from (select distinct tenant_id from new_rows) as n;\n"
            "  else\n"
            "    perform pg_notify('fleet_alert', public.tenant_pseudonym(c.tenant_id))\n"
            "       from (select distinct n.tenant_id\n"
            "               from new_rows n\n"
            "               join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id\n"
            "              where (n.status, n.severity, n.escalation_level, n.silenced_until) is distinct from"
            " (o.status, o.severity, o.escalation_level, o.silenced_until)) as c;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY fleet_alert once per statement and tenant whose alerts changed.",
    )
    op.replace_function(
        "announce_notification_jobs", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    perform pg_notify('notification_jobs', public.tenant_pseudonym(n.tenant_id))\n"
            "       from (select distinct tenant_id from new_rows where status = 'pending') as n;\n"
            "  else\n"
            "    perform pg_notify('notification_jobs', public.tenant_pseudonym(c.tenant_id))\n"
            "       from (select distinct n.tenant_id\n"
            "               from new_rows n\n"
            "               join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id\n"
            "              where n.status = 'pending'\n"
            "                and (n.status, n.next_run_at) is distinct from (o.status, o.next_run_at)) as c;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY notification_jobs once per statement and tenant with new or rescheduled pending jobs.",
    )
    op.replace_function(
        "notify_telemetry", "tenants uuid[]", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  named uuid[] := array(\n"
            "    select distinct t from unnest(tenants) t where t is not null\n"
            "     limit 201);\n"
            "begin\n"
            "  if cardinality(named) > 200 then\n"
            "    perform pg_notify('telemetry', '*');\n"
            "  else\n"
            "    perform pg_notify('telemetry', public.tenant_pseudonym(t)) from unnest(named) t;\n"
            "  end if;\n"
            "end"
        ),
        comment="NOTIFY telemetry at commit, once for each tenant; * for more than 200.",
    )
    op.grant(
        "device_activations",
        {"fleet_operator_read": "select (created_at, device_id, expires_at, site_id, tenant_id, updated_at, used_at)"},
    )


def downgrade() -> None:
    op.revoke(
        "device_activations",
        {"fleet_operator_read": "select (created_at, device_id, expires_at, site_id, tenant_id, updated_at, used_at)"},
    )
    op.replace_function(
        "notify_telemetry", "tenants uuid[]", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  named uuid[] := array(\n"
            "    select distinct t from unnest(tenants) t where t is not null\n"
            "     limit 201);\n"
            "begin\n"
            "  if cardinality(named) > 200 then\n"
            "    perform pg_notify('telemetry', '*');\n"
            "  else\n"
            "    perform pg_notify('telemetry', t::text) from unnest(named) t;\n"
            "  end if;\n"
            "end"
        ),
        comment="NOTIFY telemetry at commit, once for each tenant; * for more than 200.",
    )
    op.replace_function(
        "announce_notification_jobs", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    perform pg_notify('notification_jobs', n.tenant_id::text)\n"
            "       from (select distinct tenant_id from new_rows where status = 'pending') as n;\n"
            "  else\n"
            "    perform pg_notify('notification_jobs', c.tenant_id::text)\n"
            "       from (select distinct n.tenant_id\n"
            "               from new_rows n\n"
            "               join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id\n"
            "              where n.status = 'pending'\n"
            "                and (n.status, n.next_run_at) is distinct from (o.status, o.next_run_at)) as c;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY notification_jobs once per statement and tenant with new or rescheduled pending jobs.",
    )
    op.replace_function(
        "announce_alerts", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    perform pg_notify('fleet_alert', n.tenant_id::text)\n"
            "       from (select distinct tenant_id from new_rows) as n;\n"
            "  else\n"
            "    perform pg_notify('fleet_alert', c.tenant_id::text)\n"
            "       from (select distinct n.tenant_id\n"
            "               from new_rows n\n"
            "               join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id\n"
            "              where (n.status, n.severity, n.escalation_level, n.silenced_until) is distinct from"
            " (o.status, o.severity, o.escalation_level, o.silenced_until)) as c;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY fleet_alert once per statement and tenant whose alerts changed.",
    )
    op.remove_constraint("tenant_settings", "ck_tenant_settings_value_without_secrets")
    op.remove_constraint("system_settings", "ck_system_settings_value_without_secrets")
    op.remove_constraint("firmware_versions", "ck_firmware_versions_file_url_without_password")
    op.remove_constraint("export_jobs", "ck_export_jobs_callback_url_without_password")
    op.remove_constraint("device_transports", "ck_device_transports_protocol_config_without_secrets")
    op.remove_constraint("device_transports", "ck_device_transports_connectivity_config_without_secrets")
    op.remove_constraint("device_templates", "ck_device_templates_transport_defaults_without_secrets")
    op.remove_constraint("device_templates", "ck_device_templates_image_url_without_password")
    op.remove_constraint("dashboard_widgets", "ck_dashboard_widgets_config_without_secrets")
    op.remove_constraint("dashboard_configs", "ck_dashboard_configs_options_without_secrets")
    op.remove_constraint("chart_configs", "ck_chart_configs_options_without_secrets")
    op.remove_constraint("carrier_integrations", "ck_carrier_integrations_config_without_secrets")
    op.remove_constraint("carrier_integrations", "ck_carrier_integrations_api_base_url_without_password")
    op.remove_constraint("alert_rules", "ck_alert_rules_actions_without_secrets")
    op.drop_function("tenant_pseudonym", "tenant uuid")
    op.replace_function(
        "notify_tenants", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  changed text := 'select distinct tenant_id from new_rows';\n"
            "  changed_tenants uuid[];\n"
            "begin\n"
            "  if tg_op = 'DELETE' then\n"
            "    changed := 'select distinct tenant_id from old_rows';\n"
            "  elsif tg_op = 'UPDATE' then\n"
            "    changed := format('select distinct tenant_id from (select tenant_id, %1$s from new_rows'\n"
            "      ' except all select tenant_id, %1$s from old_rows) as different', tg_argv[1]);\n"
            "  end if;\n"
            "  execute format('select array_agg(tenant_id) from (%s limit 201)'\n"
            "    ' as named', changed) into changed_tenants;\n"
            "  if cardinality(changed_tenants) > 200 then\n"
            "    perform pg_notify(tg_argv[0], '*');\n"
            "  else\n"
            "    perform pg_notify(tg_argv[0], one::text) from unnest(changed_tenants) as one;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY the given channel with each tenant whose rows changed in the given columns.",
    )
    op.replace_function(
        "notify_own_telemetry", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if public.current_tenant() is not null then\n"
            "    perform pg_notify('telemetry', public.current_tenant()::text);\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY telemetry for the tenant of the transaction, if one is set.",
    )
    op.grant("device_activations", {"fleet_operator_read": "select"})
