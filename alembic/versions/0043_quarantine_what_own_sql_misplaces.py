"""quarantine what own sql misplaces

Revision 0043, after 0042; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    # accept ban-drop-constraint: it returns below, with an exception for rows that a trigger moves
    op.remove_constraint("device_connection_events", "ck_device_connection_events_ts_not_ahead", schema="timeseries")
    op.remove_constraint("device_health_telemetry", "ck_device_health_telemetry_ts_not_ahead", schema="timeseries")
    op.remove_constraint("health_checks", "ck_health_checks_checked_at_not_ahead", schema="timeseries")
    op.remove_constraint("tag_values", "ck_tag_values_ts_not_ahead", schema="timeseries")
    op.remove_constraint("telemetry", "ck_telemetry_ts_not_ahead", schema="timeseries")
    op.create_function(
        "quarantine_misplaced", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  moment constant text := tg_argv[0];\n"
            "  retention constant text := tg_argv[1];\n"
            "  reference constant text := tg_argv[2];\n"
            "  grouped text;\n"
            "  found jsonb;\n"
            "begin\n"
            "  if reference = '' then\n"
            "    grouped := format($query$\n"
            "      select null::uuid as tenant, null as key, null as reason,\n"
            "             now() - interval %2$L as oldest, min(%1$I) as first, max(%1$I) as last\n"
            "        from new_rows\n"
            "      $query$, moment, retention);\n"
            "  else\n"
            "    grouped := format($query$\n"
            "      select n.tenant, n.id::text as key,\n"
            "             case when t.tenant_id is null then 'unknown_tenant'\n"
            "                  when r.tenant_id is null then %7$L end as reason,\n"
            "             now() - least(interval %2$L, make_interval(days => p.retention_days))\n"
            "               as oldest,\n"
            "             n.first, n.last\n"
            "        from (select tenant_id as tenant, %3$I as id,\n"
            "                     min(%1$I) as first, max(%1$I) as last\n"
            "                from new_rows group by 1, 2) as n\n"
            "        left join public.tenants t\n"
            "               on t.tenant_id = n.tenant and t.status <> 'deleted'\n"
            "        left join public.%4$I r on r.tenant_id = n.tenant and r.%5$I = n.id\n"
            "        left join public.data_retention_policies p\n"
            "               on p.tenant_id = n.tenant and p.relation = %6$L\n"
            "      $query$, moment, retention, reference, tg_argv[3], tg_argv[4], tg_table_name,\n"
            "      'unknown_' || regexp_replace(reference, '_id$', ''));\n"
            "  end if;\n"
            "  execute format($query$\n"
            "    select jsonb_agg(to_jsonb(m)) from (%s) as m\n"
            "     where m.reason <> '' or m.first < m.oldest or m.last > now() + interval '1 day'\n"
            "    $query$, grouped) into found;\n"
            "  perform set_config('fleetschema.misplaced', coalesce(found::text, ''), true);\n"
            "  if found is null then\n"
            "    return null;\n"
            "  end if;\n"
            "  execute format($query$\n"
            "    insert into timeseries.quarantine_events\n"
            "           (tenant_id, ts, id, reason, detail, topic, claimed_tenant, device_id,\n"
            "            site_id, msg_type, event_ts, payload)\n"
            "    select case when m.tenant is null or m.reason = 'unknown_tenant'\n"
            "                then '00000000-0000-0000-0000-000000000000' else m.tenant end,\n"
            "           case when n.%1$I between now() - interval '1 day' and now() + interval '1 day' then n.%1$I\n"
            "                else date_trunc('day', now(), 'UTC') end,\n"
            "           md5(%2$L || (to_jsonb(n) - 'ingested_at')::text)::uuid,\n"
            "           case when m.reason <> '' then m.reason\n"
            "                when n.%1$I < m.oldest then 'expired_ts' else 'future_ts' end,\n"
            "           case when m.reason = 'unknown_tenant' then\n"
            "                  format('there is no tenant %%s', m.tenant)\n"
            "                when m.reason <> '' then\n"
            "                  format('expected %%s of a row in %%s, found %%s', %3$L, %4$L, m.key)\n"
            "                when n.%1$I < m.oldest then\n"
            "                  format('expected at least %%s, found %%s', m.oldest, n.%1$I)\n"
            "                else format('expected at most %%s, found %%s', now() + interval '1 day', n.%1$I) end,\n"
            "           '', m.tenant, to_jsonb(n) ->> 'device_id', to_jsonb(n) ->> 'site_id',\n"
            "           coalesce(to_jsonb(n) ->> 'msg_type', %2$L), n.%1$I, to_jsonb(n)\n"
            "      from new_rows n, jsonb_to_recordset($1) as m (tenant uuid, key text, reason text, oldest"
            " timestamptz,\n"
            "                                        first timestamptz, last timestamptz)\n"
            "     where %5$s and (m.reason <> '' or n.%1$I < m.oldest or n.%1$I > now() + interval '1 day')\n"
            "    on conflict do nothing\n"
            "    $query$, moment, tg_table_name, reference, tg_argv[3],\n"
            "    case when reference = '' then 'true' else\n"
            "      format('n.tenant_id = m.tenant and n.%I::text = m.key', reference) end)\n"
            "  using found;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger of a hypertable: rows of the ingest whose tenant or device does not exist, or whose moment is"
            " ahead or beyond the retention, go to quarantine_events.",
    )
    op.create_function(
        "remove_misplaced", returns="trigger", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  found constant jsonb := nullif(current_setting('fleetschema.misplaced', true), '');\n"
            "  same text;\n"
            "  m record;\n"
            "begin\n"
            "  if found is null then\n"
            "    return null;\n"
            "  end if;\n"
            "  perform set_config('fleetschema.misplaced', '', true);\n"
            "  select string_agg(format('h.%1$I = n.%1$I', a.attname), ' and ') into same\n"
            "    from pg_catalog.pg_index i\n"
            "    join pg_catalog.pg_attribute a\n"
            "      on a.attrelid = i.indrelid and a.attnum = any (i.indkey)\n"
            "   where i.indrelid = tg_relid and i.indisprimary;\n"
            "  for m in select * from jsonb_to_recordset(found) as m (tenant uuid, key text, reason text, oldest"
            " timestamptz,\n"
            "                                        first timestamptz, last timestamptz)\n"
            "  loop\n"
            "    execute format($query$\n"
            "      delete from %1$I.%2$I h\n"
            "       where %3$s and h.%4$I between %5$L and %6$L\n"
            "         and (%7$L <> '' or h.%4$I < %8$L or h.%4$I > now() + interval '1 day')\n"
            "         and exists (select from new_rows n where %9$s)\n"
            "      $query$, tg_table_schema, tg_table_name,\n"
            "      case when tg_argv[2] = '' then 'true'\n"
            "           else format('h.tenant_id = %L and h.%I = %L', m.tenant, tg_argv[2], m.key)\n"
            "      end, tg_argv[0], m.first, m.last, coalesce(m.reason, ''), m.oldest, same);\n"
            "  end loop;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger of a hypertable: removes the rows of this statement that have gone to quarantine.",
    )
    op.add_constraint(
        "device_connection_events", "ck_device_connection_events_ts_not_ahead",
        "CHECK (ts <= now() + interval '1 day' OR pg_has_role('fleet_ingest', 'USAGE') AND NOT"
            " pg_has_role('fleet_operator', 'USAGE')) NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "device_health_telemetry", "ck_device_health_telemetry_ts_not_ahead",
        "CHECK (ts <= now() + interval '1 day' OR pg_has_role('fleet_ingest', 'USAGE') AND NOT"
            " pg_has_role('fleet_operator', 'USAGE')) NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "health_checks", "ck_health_checks_checked_at_not_ahead",
        "CHECK (checked_at <= now() + interval '1 day' OR pg_has_role('fleet_ingest', 'USAGE') AND NOT"
            " pg_has_role('fleet_operator', 'USAGE')) NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "system_metrics", "ck_system_metrics_ts_not_ahead",
        "CHECK (ts <= now() + interval '1 day' OR pg_has_role('fleet_ingest', 'USAGE') AND NOT"
            " pg_has_role('fleet_operator', 'USAGE')) NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "tag_values", "ck_tag_values_ts_not_ahead",
        "CHECK (ts <= now() + interval '1 day' OR pg_has_role('fleet_ingest', 'USAGE') AND NOT"
            " pg_has_role('fleet_operator', 'USAGE')) NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "telemetry", "ck_telemetry_ts_not_ahead",
        "CHECK (ts <= now() + interval '1 day' OR pg_has_role('fleet_ingest', 'USAGE') AND NOT"
            " pg_has_role('fleet_operator', 'USAGE')) NOT VALID",
        schema="timeseries",
    )
    op.create_trigger(
        "quarantine_misplaced", "device_connection_events", "after", "insert", level="statement",
        function="quarantine_misplaced('ts', '90 days', 'device_id', 'device_registry', 'device_id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "remove_misplaced", "device_connection_events", "after", "insert", level="statement",
        function="remove_misplaced('ts', '90 days', 'device_id', 'device_registry', 'device_id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "quarantine_misplaced", "device_health_telemetry", "after", "insert", level="statement",
        function="quarantine_misplaced('ts', '90 days', 'device_id', 'device_registry', 'device_id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "remove_misplaced", "device_health_telemetry", "after", "insert", level="statement",
        function="remove_misplaced('ts', '90 days', 'device_id', 'device_registry', 'device_id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "quarantine_misplaced", "health_checks", "after", "insert", level="statement",
        function="quarantine_misplaced('checked_at', '30 days', 'endpoint_id', 'endpoints', 'id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "remove_misplaced", "health_checks", "after", "insert", level="statement",
        function="remove_misplaced('checked_at', '30 days', 'endpoint_id', 'endpoints', 'id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "quarantine_misplaced", "system_metrics", "after", "insert", level="statement",
        function="quarantine_misplaced('ts', '30 days', '', '', '')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "remove_misplaced", "system_metrics", "after", "insert", level="statement",
        function="remove_misplaced('ts', '30 days', '', '', '')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "quarantine_misplaced", "tag_values", "after", "insert", level="statement",
        function="quarantine_misplaced('ts', '30 days', 'tag_id', 'tag_metadata', 'tag_id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "remove_misplaced", "tag_values", "after", "insert", level="statement",
        function="remove_misplaced('ts', '30 days', 'tag_id', 'tag_metadata', 'tag_id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "quarantine_misplaced", "telemetry", "after", "insert", level="statement",
        function="quarantine_misplaced('ts', '400 days', 'device_id', 'device_registry', 'device_id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_trigger(
        "remove_misplaced", "telemetry", "after", "insert", level="statement",
        function="remove_misplaced('ts', '400 days', 'device_id', 'device_registry', 'device_id')",
        when="pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')",
        new_table="new_rows", schema="timeseries",
    )
    op.create_policy("ingest_access", "data_retention_policies", to="fleet_ingest", command="select", using="true")
    op.grant("data_retention_policies", {"fleet_ingest": "select (relation, retention_days, tenant_id)"})


def downgrade() -> None:
    op.revoke("data_retention_policies", {"fleet_ingest": "select (relation, retention_days, tenant_id)"})
    op.drop_policy("ingest_access", "data_retention_policies")
    op.drop_trigger("remove_misplaced", "telemetry", schema="timeseries")
    op.drop_trigger("quarantine_misplaced", "telemetry", schema="timeseries")
    op.drop_trigger("remove_misplaced", "tag_values", schema="timeseries")
    op.drop_trigger("quarantine_misplaced", "tag_values", schema="timeseries")
    op.drop_trigger("remove_misplaced", "system_metrics", schema="timeseries")
    op.drop_trigger("quarantine_misplaced", "system_metrics", schema="timeseries")
    op.drop_trigger("remove_misplaced", "health_checks", schema="timeseries")
    op.drop_trigger("quarantine_misplaced", "health_checks", schema="timeseries")
    op.drop_trigger("remove_misplaced", "device_health_telemetry", schema="timeseries")
    op.drop_trigger("quarantine_misplaced", "device_health_telemetry", schema="timeseries")
    op.drop_trigger("remove_misplaced", "device_connection_events", schema="timeseries")
    op.drop_trigger("quarantine_misplaced", "device_connection_events", schema="timeseries")
    op.remove_constraint("telemetry", "ck_telemetry_ts_not_ahead", schema="timeseries")
    op.remove_constraint("tag_values", "ck_tag_values_ts_not_ahead", schema="timeseries")
    op.remove_constraint("system_metrics", "ck_system_metrics_ts_not_ahead", schema="timeseries")
    op.remove_constraint("health_checks", "ck_health_checks_checked_at_not_ahead", schema="timeseries")
    op.remove_constraint("device_health_telemetry", "ck_device_health_telemetry_ts_not_ahead", schema="timeseries")
    op.remove_constraint("device_connection_events", "ck_device_connection_events_ts_not_ahead", schema="timeseries")
    op.drop_function("remove_misplaced")
    op.drop_function("quarantine_misplaced")
    op.add_constraint(
        "telemetry", "ck_telemetry_ts_not_ahead", "CHECK ((ts <= (now() + '1 day'::interval))) NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "tag_values", "ck_tag_values_ts_not_ahead", "CHECK ((ts <= (now() + '1 day'::interval))) NOT VALID",
        schema="timeseries",
    )
    op.add_constraint(
        "health_checks", "ck_health_checks_checked_at_not_ahead",
        "CHECK ((checked_at <= (now() + '1 day'::interval))) NOT VALID", schema="timeseries",
    )
    op.add_constraint(
        "device_health_telemetry", "ck_device_health_telemetry_ts_not_ahead",
        "CHECK ((ts <= (now() + '1 day'::interval))) NOT VALID", schema="timeseries",
    )
    op.add_constraint(
        "device_connection_events", "ck_device_connection_events_ts_not_ahead",
        "CHECK ((ts <= (now() + '1 day'::interval))) NOT VALID", schema="timeseries",
    )
