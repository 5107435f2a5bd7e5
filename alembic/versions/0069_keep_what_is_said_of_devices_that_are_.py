"""keep what is said of devices that are held

Revision 0069, after 0068; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0069"
down_revision = "0068"


def upgrade() -> None:
    # accept ban-drop-function: they get further arguments and columns; only the ingest calls them
    op.drop_trigger("set_updated_at", "device_state")
    op.drop_function(
        "record_devices",
        "tenants uuid[], devices text[], statuses text[], seen timestamp with time zone[], newest timestamp with time"
            " zone[], oldest timestamp with time zone[], states jsonb[], times jsonb[]",
    )
    op.drop_function("metrics_stored_otherwise", "tenants uuid[], devices text[], states jsonb[], times jsonb[]")

    op.create_table(
        "device_state_backlog",
        sa.Column("of_tenant", sa.Uuid(), nullable=False,
            comment="The tenant. No foreign keys: they would wait for what a tenant holds."),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="As in device_state; stale: nothing is said of it."),
        sa.Column("last_seen_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen_as_sent", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_telemetry_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("state", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("state_times", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="When each value in state was measured."),
        sa.Column("noted_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(state) = 'object'", name=op.f("ck_device_state_backlog_state_object")),
        sa.CheckConstraint("jsonb_typeof(state_times) = 'object'",
            name=op.f("ck_device_state_backlog_state_times_object")),
        sa.CheckConstraint("status IN ('online', 'stale', 'offline')", name=op.f("ck_device_state_backlog_status")),
        sa.PrimaryKeyConstraint("of_tenant", "device_id", name=op.f("pk_device_state_backlog")),
        comment="What batches say of devices whose rows of device_state another transaction held. The next batch of"
            " the tenant takes it in, or operations maintain.",
    )
    op.grant(
        "device_state_backlog",
        {"fleet_ingest": "delete, insert, select, update", "fleet_operator, fleet_operator_read": "select"},
    )
    op.add_column(
        "device_state",
        sa.Column("last_seen_as_sent", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="The same by the clock of the sender, where that is ahead of the server's: of two such moments the"
                " later one counts."),
    )
    op.add_constraint(
        "device_state", "ck_device_state_last_seen_as_sent_happened",
        "CHECK (isfinite(last_seen_as_sent) AND last_seen_as_sent <= now() + interval '1 day') NOT VALID",
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
        "mark_silent_devices", "stale_after interval DEFAULT '15 minutes', offline_after interval DEFAULT '1 day'",
        returns="bigint", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH silent AS (\n"
            "    SELECT tenant_id, device_id\n"
            "      FROM device_state\n"
            "     WHERE (status = 'online' AND coalesce(last_seen_at, last_state_change_at) < now() - stale_after)\n"
            "        OR (status = 'stale' AND coalesce(last_seen_at, last_state_change_at) < now() - offline_after)\n"
            "       FOR NO KEY UPDATE SKIP LOCKED\n"
            "  ), marked AS (\n"
            "    UPDATE device_state s\n"
            "       SET status = CASE WHEN coalesce(s.last_seen_at, s.last_state_change_at) < now() - offline_after\n"
            "                         THEN 'offline' ELSE 'stale' END\n"
            "      FROM silent n\n"
            "     WHERE s.tenant_id = n.tenant_id AND s.device_id = n.device_id\n"
            "    RETURNING 1\n"
            "  )\n"
            "  SELECT count(*) FROM marked;\n"
            "END"
        ),
        comment="Marks devices that were not seen for some time as stale, later as offline; returns how many. For a"
            " worker, every minute; as an operator, of all tenants.",
    )
    op.create_function(
        "merge_device_states",
        "tenants uuid[], devices text[], statuses text[], seen timestamptz[], sent timestamptz[], newest"
            " timestamptz[], oldest timestamptz[], states jsonb[], times jsonb[]",
        returns="void", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  taken bigint[];\n"
            "  free bigint[];\n"
            "  tenant uuid;\n"
            "  patience constant text := current_setting('lock_timeout');\n"
            "begin\n"
            "  perform set_config('lock_timeout', '100ms', true);\n"
            "  with newer as (\n"
            "    update public.device_state s\n"
            "       set status = case when n.status <> 'stale' and coalesce(n.sent, coalesce(n.seen, n.newest)) >"
            " coalesce(case when n.sent is not null\n"
            "            then s.last_seen_as_sent end, s.last_seen_at, '-infinity') then n.status else s.status end,\n"
            "           last_seen_at = greatest(s.last_seen_at, coalesce(n.seen, n.newest)),\n"
            "           last_seen_as_sent = case when coalesce(n.sent, coalesce(n.seen, n.newest)) > coalesce(case"
            " when n.sent is not null\n"
            "            then s.last_seen_as_sent end, s.last_seen_at, '-infinity') then n.sent else"
            " s.last_seen_as_sent end,\n"
            "           last_telemetry_at = n.newest,\n"
            "           updated_at = now(),  -- spares the trigger\n"
            "           state = s.state || n.state,\n"
            "           state_times = case\n"
            "             when s.state || n.state = n.state then coalesce(n.times, '{}')\n"
            "             else (coalesce((select jsonb_object_agg(k, extract(epoch from s.last_telemetry_at))\n"
            "               from jsonb_object_keys(s.state) k), '{}')\n"
            "             || coalesce(s.state_times, '{}')) - array(select jsonb_object_keys(n.state))\n"
            "                  || coalesce(n.times, '{}') end\n"
            "      from unnest(tenants, devices, statuses, seen, sent, newest, oldest, states, times)\n"
            "             with ordinality as n (tenant_id, device_id, status, seen, sent, newest, oldest, state,"
            " times, number)\n"
            "     where s.tenant_id = n.tenant_id and s.device_id = n.device_id\n"
            "       and coalesce(n.oldest, n.newest) > coalesce(s.last_telemetry_at, '-infinity')\n"
            "       and n.state || s.state = s.state\n"
            "    returning n.number)\n"
            "  select array_agg(number) into taken from newer;\n"
            "  if cardinality(taken) = cardinality(devices) then\n"
            "    perform set_config('lock_timeout', patience, true);\n"
            "    return;\n"
            "  end if;\n"
            "  with n as materialized (\n"
            "    select n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest, n.state,\n"
            "           coalesce((select jsonb_object_agg(k, extract(epoch from n.newest))\n"
            "               from jsonb_object_keys(n.state) k), '{}')\n"
            "             || coalesce(n.times, '{}') as times, s.state as known, coalesce((select jsonb_object_agg(k,"
            " extract(epoch from s.last_telemetry_at))\n"
            "               from jsonb_object_keys(s.state) k), '{}')\n"
            "             || coalesce(s.state_times, '{}') as known_times\n"
            "      from unnest(tenants, devices, statuses, seen, sent, newest, oldest, states, times)\n"
            "             with ordinality as n (tenant_id, device_id, status, seen, sent, newest, oldest, state,"
            " times, number)\n"
            "      left join public.device_state s using (tenant_id, device_id)\n"
            "     where n.number <> all (coalesce(taken, '{}'))\n"
            "  ), told as materialized (\n"
            "    select n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest, n.known,\n"
            "           n.known_times, n.state - ignored.metrics as state,\n"
            "           n.times - ignored.metrics as times, asked.times as asked\n"
            "      from n,\n"
            "           lateral (select coalesce(array_agg(t.metric), '{}') as metrics\n"
            "                      from jsonb_each(n.times) as t (metric, at)\n"
            "                     where case when n.known_times ? t.metric\n"
            "                                then n.known_times -> t.metric > t.at\n"
            "                                     or n.known_times -> t.metric = t.at\n"
            "                                        and n.known -> t.metric = n.state -> t.metric\n"
            "                                else pg_column_size(n.known_times) > 65536\n"
            "                                end) as ignored,\n"
            "           lateral (select jsonb_object_agg(t.metric, t.at) as times\n"
            "                      from jsonb_each(n.times) as t (metric, at)\n"
            "                     where n.known_times -> t.metric = t.at\n"
            "                       and n.known -> t.metric <> n.state -> t.metric) as asked\n"
            "  ), otherwise as (\n"
            "    select o.tenant_id, o.device_id, o.metrics\n"
            "      from (select array_agg(t.tenant_id) as tenants, array_agg(t.device_id) as devices,\n"
            "                   array_agg(t.state) as states, array_agg(t.asked) as times\n"
            "              from told t where t.asked <> '{}' having count(*) > 0) as a,\n"
            "           lateral public.metrics_stored_otherwise(\n"
            "                     a.tenants, a.devices, a.states, a.times) as o\n"
            "  ), fresh as materialized (\n"
            "    select t.tenant_id, t.device_id, t.status, t.seen, t.sent, t.newest, t.known,\n"
            "           t.known_times, t.state - coalesce(o.metrics, '{}') as state,\n"
            "           t.times - coalesce(o.metrics, '{}') as times\n"
            "      from told t left join otherwise o using (tenant_id, device_id)\n"
            "  ), sensors as (\n"
            "    insert into public.device_sensors\n"
            "           (tenant_id, device_id, metric_key, display_name, source)\n"
            "    select n.tenant_id, n.device_id, m.metric, m.metric, 'unmodeled'\n"
            "      from fresh n, lateral jsonb_object_keys(n.state) as m (metric)\n"
            "     where not coalesce(n.known ? m.metric, false)\n"
            "       and pg_column_size(n.known_times) < 65536\n"
            "     order by 1, 2, 3\n"
            "    on conflict do nothing\n"
            "  ), known as (\n"
            "    update public.device_state s\n"
            "       set status = case when n.status <> 'stale' and coalesce(n.sent, coalesce(n.seen, n.newest)) >"
            " coalesce(case when n.sent is not null\n"
            "            then s.last_seen_as_sent end, s.last_seen_at, '-infinity') then n.status else s.status end,\n"
            "           last_seen_at = greatest(s.last_seen_at, coalesce(n.seen, n.newest)),\n"
            "           last_seen_as_sent = case when coalesce(n.sent, coalesce(n.seen, n.newest)) > coalesce(case"
            " when n.sent is not null\n"
            "            then s.last_seen_as_sent end, s.last_seen_at, '-infinity') then n.sent else"
            " s.last_seen_as_sent end,\n"
            "           last_telemetry_at = greatest(s.last_telemetry_at, n.newest),\n"
            "           state = s.state || n.state, state_times = n.known_times || n.times\n"
            "      from fresh n\n"
            "     where s.tenant_id = n.tenant_id and s.device_id = n.device_id\n"
            "       and n.known is not null\n"
            "       and (coalesce(n.sent, coalesce(n.seen, n.newest)) > coalesce(case when n.sent is not null\n"
            "            then s.last_seen_as_sent end, s.last_seen_at, '-infinity')\n"
            "            or coalesce(n.seen, n.newest) > coalesce(s.last_seen_at, '-infinity')\n"
            "            or n.newest > coalesce(s.last_telemetry_at, '-infinity')\n"
            "            or n.times <> '{}'))\n"
            "  insert into public.device_state\n"
            "         (tenant_id, device_id, status, last_seen_at, last_seen_as_sent,\n"
            "          last_telemetry_at, state, state_times)\n"
            "  select n.tenant_id, n.device_id, n.status, coalesce(n.seen, n.newest), n.sent, n.newest, n.state,"
            " n.times\n"
            "    from fresh n where n.known is null\n"
            "   order by 1, 2\n"
            "  on conflict do nothing;\n"
            "  perform set_config('lock_timeout', patience, true);\n"
            "exception when lock_not_available then\n"
            "  select array_agg(n.number) into free\n"
            "    from unnest(tenants, devices) with ordinality as n (tenant_id, device_id, number)\n"
            "    left join (select s.tenant_id, s.device_id\n"
            "                 from public.device_state s\n"
            "                 join unnest(tenants, devices) as n (tenant_id, device_id)\n"
            "                      using (tenant_id, device_id)\n"
            "                order by 1, 2\n"
            "                  for no key update of s skip locked) as f using (tenant_id, device_id)\n"
            "    left join public.device_state s using (tenant_id, device_id)\n"
            "   where f.device_id is not null or s.device_id is null;\n"
            "  if cardinality(free) = cardinality(devices) and tenants[1] = all (tenants) then\n"
            "    free := null;  -- It is a new row of a device or sensor that somebody holds.\n"
            "  end if;\n"
            "  insert into public.device_state_backlog as b\n"
            "         (of_tenant, device_id, status, last_seen_at, last_seen_as_sent,\n"
            "          last_telemetry_at, state, state_times)\n"
            "  select n.tenant_id, n.device_id, n.status, coalesce(n.seen, n.newest), n.sent, n.newest, n.state,\n"
            "         coalesce((select jsonb_object_agg(k, extract(epoch from n.newest))\n"
            "               from jsonb_object_keys(n.state) k), '{}')\n"
            "             || coalesce(n.times, '{}')\n"
            "    from unnest(tenants, devices, statuses, seen, sent, newest, oldest, states, times)\n"
            "             with ordinality as n (tenant_id, device_id, status, seen, sent, newest, oldest, state,"
            " times, number)\n"
            "   where n.number <> all (coalesce(free, '{}'))\n"
            "   order by 1, 2\n"
            "  on conflict (of_tenant, device_id) do update\n"
            "     set status = case when excluded.status <> 'stale' and coalesce(excluded.last_seen_as_sent,"
            " excluded.last_seen_at) > coalesce(case when excluded.last_seen_as_sent is not null\n"
            "            then b.last_seen_as_sent end, b.last_seen_at, '-infinity')\n"
            "                       then excluded.status else b.status end,\n"
            "         last_seen_at = greatest(b.last_seen_at, excluded.last_seen_at),\n"
            "         last_seen_as_sent = case when coalesce(excluded.last_seen_as_sent, excluded.last_seen_at) >"
            " coalesce(case when excluded.last_seen_as_sent is not null\n"
            "            then b.last_seen_as_sent end, b.last_seen_at, '-infinity')\n"
            "                                  then excluded.last_seen_as_sent\n"
            "                                  else b.last_seen_as_sent end,\n"
            "         last_telemetry_at = greatest(b.last_telemetry_at, excluded.last_telemetry_at),\n"
            "         (state, state_times) = (\n"
            "           select b.state || (excluded.state - ignored.metrics),\n"
            "                  b.state_times || (excluded.state_times - ignored.metrics)\n"
            "             from (select coalesce(array_agg(t.metric), '{}') as metrics\n"
            "                     from jsonb_each(excluded.state_times) as t (metric, at)\n"
            "                    where case when b.state_times ? t.metric\n"
            "                               then b.state_times -> t.metric > t.at\n"
            "                                    or b.state_times -> t.metric = t.at and (\n"
            "                                       b.state -> t.metric = excluded.state -> t.metric\n"
            "                                       or exists (\n"
            "                                         select from public.metrics_stored_otherwise(\n"
            "                                                  array[excluded.of_tenant],\n"
            "                                                  array[excluded.device_id],\n"
            "                                                  array[excluded.state],\n"
            "                                                  array[jsonb_build_object(t.metric,\n"
            "                                                                           t.at)])))\n"
            "                               else pg_column_size(b.state_times) > 65536\n"
            "                               end) as ignored);\n"
            "  for tenant in select distinct unnest(tenants) order by 1 loop\n"
            "    perform public.merge_device_states(\n"
            "              array_agg(n.tenant_id), array_agg(n.device_id), array_agg(n.status),\n"
            "              array_agg(n.seen), array_agg(n.sent), array_agg(n.newest),\n"
            "              array_agg(n.oldest), array_agg(n.state), array_agg(n.times))\n"
            "       from unnest(tenants, devices, statuses, seen, sent, newest, oldest, states, times)\n"
            "             with ordinality as n (tenant_id, device_id, status, seen, sent, newest, oldest, state,"
            " times, number)\n"
            "      where n.tenant_id = tenant and n.number = any (free)\n"
            "     having count(*) > 0;\n"
            "  end loop;\n"
            "end"
        ),
        comment="Takes in what is said of devices, an element of each array per device: status (stale: nothing is said"
            " of it), when it was seen (NULL: newest), the same as sent, if that was ahead of the clock, time of its"
            " newest telemetry and of the oldest value in states (NULL: newest; -infinity: not known), newest value"
            " of each metric and its time in seconds since 1970 (what is not there: newest). What is older than what"
            " is known changes nothing, and of values of one moment that with the highest seq counts; new metrics"
            " become sensors. What is said of rows that other transactions hold goes to device_state_backlog.",
        grants={"fleet_ingest": "execute"},
    )
    op.create_function(
        "metrics_stored_otherwise", "tenants uuid[], devices text[], states jsonb[], times jsonb[]",
        returns="TABLE(number bigint, tenant_id uuid, device_id text, metrics text[])", language="plpgsql",
        volatility="stable", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "#variable_conflict use_column\n"
            "begin\n"
            "  return query\n"
            "    with given as materialized (\n"
            "      select n.number, n.tenant_id, n.device_id, g.key as metric,\n"
            "             n.state -> g.key as value, to_timestamp(g.value::double precision) as ts\n"
            "        from unnest(tenants, devices, states, times) with ordinality\n"
            "               as n (tenant_id, device_id, state, times, number),\n"
            "             lateral jsonb_each_text(n.times) as g\n"
            "    ), stored as (\n"
            "      select distinct on (n.tenant_id, n.device_id, n.ts, m.key)\n"
            "             n.tenant_id, n.device_id, n.ts, m.key as metric, m.value\n"
            "        from (select distinct g.tenant_id, g.device_id, g.ts from given g) as n,\n"
            "             lateral (\n"
            "               select t.metrics as metrics, t.seq, t.msg_type\n"
            "                 from timeseries.telemetry t\n"
            "                where t.tenant_id = n.tenant_id and t.device_id = n.device_id\n"
            "                  and t.ts = n.ts\n"
            "               offset 0) as t,\n"
            "             lateral jsonb_each(t.metrics) as m\n"
            "       order by n.tenant_id, n.device_id, n.ts, m.key,\n"
            '                t.seq desc, t.msg_type collate "C" desc\n'
            "    )\n"
            "    select g.number, g.tenant_id, g.device_id, array_agg(g.metric)\n"
            "      from given g\n"
            "      left join stored s using (tenant_id, device_id, ts, metric)\n"
            "     where s.value is distinct from g.value\n"
            "     group by 1, 2, 3;\n"
            "end"
        ),
        comment="Which of the metrics of devices, given with their times in seconds since 1970, have another value in"
            " the stored message of that moment with the highest seq, or none; number is that of the element.",
        grants={"fleet_ingest": "execute"},
    )
    op.create_function(
        "record_devices",
        "tenants uuid[], devices text[], statuses text[], seen timestamptz[], sent timestamptz[], newest"
            " timestamptz[], oldest timestamptz[], states jsonb[], times jsonb[]",
        returns="void", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))\n"
            "     from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;\n"
            "  if exists (select from public.device_state_backlog b\n"
            "              where b.of_tenant = any (tenants)) then\n"
            "    perform public.take_in_device_states(tenants);\n"
            "  end if;\n"
            "  perform public.merge_device_states(tenants, devices, statuses, seen, sent, newest, oldest, states,"
            " times);\n"
            "end"
        ),
        comment="Takes in what a batch says of its devices, as merge_device_states(), after what earlier ones left in"
            " device_state_backlog.",
        grants={"fleet_ingest": "execute"},
    )
    op.create_function(
        "take_in_device_states", "tenants uuid[]", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  kept record;\n"
            "begin\n"
            "  perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))\n"
            "     from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;\n"
            "  with free as materialized (\n"
            "    select s.tenant_id, s.device_id\n"
            "      from public.device_state s\n"
            "      join public.device_state_backlog b\n"
            "           on b.of_tenant = s.tenant_id and b.device_id = s.device_id\n"
            "     where b.of_tenant = any (tenants)\n"
            "     order by 1, 2\n"
            "       for no key update of s skip locked\n"
            "  ), taken as (\n"
            "    delete from public.device_state_backlog b\n"
            "     where b.of_tenant = any (tenants)\n"
            "       and ((b.of_tenant, b.device_id) in (select f.tenant_id, f.device_id from free f)\n"
            "            or not exists (select from public.device_state s\n"
            "                            where s.tenant_id = b.of_tenant and s.device_id = b.device_id))\n"
            "    returning b.*\n"
            "  )\n"
            "  select array_agg(t.of_tenant) as of_tenants, array_agg(t.device_id) as devices,\n"
            "         array_agg(t.status) as statuses, array_agg(t.last_seen_at) as seen,\n"
            "         array_agg(t.last_seen_as_sent) as sent, array_agg(t.last_telemetry_at) as newest,\n"
            "         array_agg(timestamptz '-infinity') as oldest, array_agg(t.state) as states,\n"
            "         array_agg(t.state_times) as times\n"
            "    into kept\n"
            "    from taken t join public.device_registry r\n"
            "         on r.tenant_id = t.of_tenant and r.device_id = t.device_id;\n"
            "  if kept.devices is not null then\n"
            "    perform public.merge_device_states(kept.of_tenants, kept.devices, kept.statuses,\n"
            "                                       kept.seen, kept.sent, kept.newest, kept.oldest,\n"
            "                                       kept.states, kept.times);\n"
            "  end if;\n"
            "end"
        ),
        comment="Takes what batches left in device_state_backlog into device_state, but for rows that another"
            " transaction still holds.",
        grants={"fleet_ingest": "execute"},
    )
    op.create_trigger(
        "set_updated_at", "device_state", "before", "update", level="row", function="set_updated_at()",
        when="new.updated_at IS DISTINCT FROM now()",
    )
    op.grant(
        "device_state",
        {
            "fleet_ingest": "insert (last_seen_as_sent), select (last_seen_as_sent), update (last_seen_as_sent,"
                " updated_at)",
        },
    )


def downgrade() -> None:
    op.revoke(
        "device_state",
        {
            "fleet_ingest": "insert (last_seen_as_sent), select (last_seen_as_sent), update (last_seen_as_sent,"
                " updated_at)",
        },
    )
    op.drop_trigger("set_updated_at", "device_state")
    op.drop_function("take_in_device_states", "tenants uuid[]")
    op.drop_function(
        "record_devices",
        "tenants uuid[], devices text[], statuses text[], seen timestamptz[], sent timestamptz[], newest"
            " timestamptz[], oldest timestamptz[], states jsonb[], times jsonb[]",
    )
    op.drop_function("metrics_stored_otherwise", "tenants uuid[], devices text[], states jsonb[], times jsonb[]")
    op.drop_function(
        "merge_device_states",
        "tenants uuid[], devices text[], statuses text[], seen timestamptz[], sent timestamptz[], newest"
            " timestamptz[], oldest timestamptz[], states jsonb[], times jsonb[]",
    )
    op.replace_function(
        "mark_silent_devices",
        "stale_after interval DEFAULT '00:15:00'::interval, offline_after interval DEFAULT '1 day'::interval",
        returns="bigint", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            " WITH silent AS (\n"
            "          SELECT device_state.tenant_id,\n"
            "             device_state.device_id\n"
            "            FROM public.device_state\n"
            "           WHERE (((device_state.status = 'online'::text) AND (device_state.last_seen_at < (now() -"
            " mark_silent_devices.stale_after))) OR ((device_state.status = 'stale'::text) AND"
            " (device_state.last_seen_at < (now() - mark_silent_devices.offline_after))))\n"
            "          FOR NO KEY UPDATE OF device_state SKIP LOCKED\n"
            "         ), marked AS (\n"
            "          UPDATE public.device_state s SET status =\n"
            "                 CASE\n"
            "                     WHEN (s.last_seen_at < (now() - mark_silent_devices.offline_after)) THEN"
            " 'offline'::text\n"
            "                     ELSE 'stale'::text\n"
            "                 END\n"
            "            FROM silent n\n"
            "           WHERE ((s.tenant_id = n.tenant_id) AND (s.device_id = n.device_id))\n"
            '           RETURNING 1 AS "?column?"\n'
            "         )\n"
            "  SELECT count(*) AS count\n"
            "    FROM marked;\n"
            "END"
        ),
        comment="Marks devices that were not seen for some time as stale, later as offline; returns how many. For a"
            " worker, every minute; as an operator, of all tenants.",
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
    op.remove_constraint("device_state", "ck_device_state_last_seen_as_sent_happened")
    op.drop_column("device_state", "last_seen_as_sent")
    op.drop_table("device_state_backlog")
    op.create_function(
        "metrics_stored_otherwise", "tenants uuid[], devices text[], states jsonb[], times jsonb[]",
        returns="TABLE(tenant_id uuid, device_id text, metrics text[])", language="plpgsql", volatility="stable",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "#variable_conflict use_column\n"
            "begin\n"
            "  return query\n"
            "    with given as materialized (\n"
            "      select n.tenant_id, n.device_id, g.key as metric, n.state -> g.key as value,\n"
            "             to_timestamp(g.value::double precision) as ts\n"
            "        from unnest(tenants, devices, states, times)\n"
            "               as n (tenant_id, device_id, state, times),\n"
            "             lateral jsonb_each_text(n.times) as g\n"
            "    ), stored as (\n"
            "      select distinct on (n.tenant_id, n.device_id, n.ts, m.key)\n"
            "             n.tenant_id, n.device_id, n.ts, m.key as metric, m.value\n"
            "        from (select distinct g.tenant_id, g.device_id, g.ts from given g) as n,\n"
            "             lateral (\n"
            "               select t.metrics as metrics, t.seq, t.msg_type\n"
            "                 from timeseries.telemetry t\n"
            "                where t.tenant_id = n.tenant_id and t.device_id = n.device_id\n"
            "                  and t.ts = n.ts\n"
            "               offset 0) as t,\n"
            "             lateral jsonb_each(t.metrics) as m\n"
            "       order by n.tenant_id, n.device_id, n.ts, m.key,\n"
            '                t.seq desc, t.msg_type collate "C" desc\n'
            "    )\n"
            "    select g.tenant_id, g.device_id, array_agg(g.metric)\n"
            "      from given g\n"
            "      left join stored s using (tenant_id, device_id, ts, metric)\n"
            "     where s.value is distinct from g.value\n"
            "     group by 1, 2;\n"
            "end"
        ),
        comment="Which of the metrics of devices, given with their times in seconds since 1970, have another value in"
            " the stored message of that moment with the highest seq, or none.",
        grants={"fleet_ingest": "execute"},
    )
    op.create_function(
        "record_devices",
        "tenants uuid[], devices text[], statuses text[], seen timestamp with time zone[], newest timestamp with time"
            " zone[], oldest timestamp with time zone[], states jsonb[], times jsonb[]",
        returns="void", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  taken bigint[];\n"
            "  free bigint[];\n"
            "  tenant uuid;\n"
            "  patience constant text := current_setting('lock_timeout');\n"
            "begin\n"
            "  perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))\n"
            "     from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;\n"
            "  begin\n"
            "    perform set_config('lock_timeout', '100ms', true);\n"
            "    with newer as (\n"
            "      update public.device_state s\n"
            "         set status = case when n.status <> 'stale'\n"
            "                        and coalesce(n.seen, n.newest) > coalesce(s.last_seen_at, '-infinity')\n"
            "                       then n.status else s.status end,\n"
            "             last_seen_at = greatest(s.last_seen_at, coalesce(n.seen, n.newest)),\n"
            "             last_telemetry_at = n.newest,\n"
            "             state = s.state || n.state,\n"
            "             state_times = case\n"
            "               when s.state || n.state = n.state then coalesce(n.times, '{}')\n"
            "               else (coalesce((select jsonb_object_agg(k, extract(epoch from s.last_telemetry_at))\n"
            "               from jsonb_object_keys(s.state) k), '{}')\n"
            "             || coalesce(s.state_times, '{}')) - array(select jsonb_object_keys(n.state))\n"
            "                    || coalesce(n.times, '{}') end\n"
            "        from unnest(tenants, devices, statuses, seen, newest, oldest, states, times)\n"
            "             with ordinality\n"
            "             as n (tenant_id, device_id, status, seen, newest, oldest, state, times, number)\n"
            "       where s.tenant_id = n.tenant_id and s.device_id = n.device_id\n"
            "         and coalesce(n.oldest, n.newest) > coalesce(s.last_telemetry_at, '-infinity')\n"
            "         and n.state || s.state = s.state\n"
            "      returning n.number)\n"
            "    select array_agg(number) into taken from newer;\n"
            "    if cardinality(taken) = cardinality(devices) then\n"
            "      perform set_config('lock_timeout', patience, true);\n"
            "      return;\n"
            "    end if;\n"
            "    with n as materialized (\n"
            "      select n.tenant_id, n.device_id, n.status, n.seen, n.newest, n.state,\n"
            "             n.oldest = '-infinity' as doubtful, coalesce((select jsonb_object_agg(k, extract(epoch from"
            " n.newest))\n"
            "               from jsonb_object_keys(n.state) k), '{}')\n"
            "             || coalesce(n.times, '{}') as times,\n"
            "             s.state as known, coalesce((select jsonb_object_agg(k, extract(epoch from"
            " s.last_telemetry_at))\n"
            "               from jsonb_object_keys(s.state) k), '{}')\n"
            "             || coalesce(s.state_times, '{}') as known_times\n"
            "        from unnest(tenants, devices, statuses, seen, newest, oldest, states, times)\n"
            "             with ordinality\n"
            "             as n (tenant_id, device_id, status, seen, newest, oldest, state, times, number)\n"
            "        left join public.device_state s using (tenant_id, device_id)\n"
            "       where n.number <> all (coalesce(taken, '{}'))\n"
            "    ), told as materialized (\n"
            "      select n.tenant_id, n.device_id, n.status, n.seen, n.newest, n.known, n.known_times,\n"
            "             n.state - ignored.metrics as state, n.times - ignored.metrics as times,\n"
            "             case when n.doubtful then n.times - ignored.metrics\n"
            "                  else asked.times end as asked\n"
            "        from n,\n"
            "             lateral (select coalesce(array_agg(t.metric), '{}') as metrics\n"
            "                        from jsonb_each(n.times) as t (metric, at)\n"
            "                       where case when n.known_times ? t.metric\n"
            "                                  then n.known_times -> t.metric > t.at\n"
            "                                       or n.known_times -> t.metric = t.at\n"
            "                                          and n.known -> t.metric = n.state -> t.metric\n"
            "                                  else pg_column_size(n.known_times) > 65536\n"
            "                                  end) as ignored,\n"
            "             lateral (select jsonb_object_agg(t.metric, t.at) as times\n"
            "                        from jsonb_each(n.times) as t (metric, at)\n"
            "                       where n.known_times -> t.metric = t.at\n"
            "                         and n.known -> t.metric <> n.state -> t.metric) as asked\n"
            "    ), otherwise as (\n"
            "      select o.tenant_id, o.device_id, o.metrics\n"
            "        from (select array_agg(t.tenant_id) as tenants, array_agg(t.device_id) as devices,\n"
            "                     array_agg(t.state) as states, array_agg(t.asked) as times\n"
            "                from told t where t.asked <> '{}' having count(*) > 0) as a,\n"
            "             lateral public.metrics_stored_otherwise(\n"
            "                       a.tenants, a.devices, a.states, a.times) as o\n"
            "    ), fresh as materialized (\n"
            "      select t.tenant_id, t.device_id, t.status, t.seen, t.newest, t.known, t.known_times,\n"
            "             t.state - coalesce(o.metrics, '{}') as state,\n"
            "             t.times - coalesce(o.metrics, '{}') as times\n"
            "        from told t left join otherwise o using (tenant_id, device_id)\n"
            "    ), sensors as (\n"
            "      insert into public.device_sensors\n"
            "             (tenant_id, device_id, metric_key, display_name, source)\n"
            "      select n.tenant_id, n.device_id, m.metric, m.metric, 'unmodeled'\n"
            "        from fresh n, lateral jsonb_object_keys(n.state) as m (metric)\n"
            "       where m.metric <> '' and not coalesce(n.known ? m.metric, false)\n"
            "         and pg_column_size(n.known_times) < 65536\n"
            "       order by 1, 2, 3\n"
            "      on conflict do nothing\n"
            "    ), known as (\n"
            "      update public.device_state s\n"
            "         set status = case when n.status <> 'stale'\n"
            "                        and coalesce(n.seen, n.newest) > coalesce(s.last_seen_at, '-infinity')\n"
            "                       then n.status else s.status end,\n"
            "             last_seen_at = greatest(s.last_seen_at, coalesce(n.seen, n.newest)),\n"
            "             last_telemetry_at = greatest(s.last_telemetry_at, n.newest),\n"
            "             state = s.state || n.state, state_times = n.known_times || n.times\n"
            "        from fresh n\n"
            "       where s.tenant_id = n.tenant_id and s.device_id = n.device_id\n"
            "         and n.known is not null\n"
            "         and (coalesce(n.seen, n.newest) > coalesce(s.last_seen_at, '-infinity')\n"
            "              or n.newest > coalesce(s.last_telemetry_at, '-infinity')\n"
            "              or n.times <> '{}'))\n"
            "    insert into public.device_state\n"
            "           (tenant_id, device_id, status, last_seen_at, last_telemetry_at, state,\n"
            "            state_times)\n"
            "    select n.tenant_id, n.device_id, n.status, coalesce(n.seen, n.newest), n.newest,\n"
            "           n.state, n.times\n"
            "      from fresh n where n.known is null\n"
            "     order by 1, 2\n"
            "    on conflict do nothing;\n"
            "    perform set_config('lock_timeout', patience, true);\n"
            "  exception when lock_not_available then\n"
            "    select array_agg(n.number) into free\n"
            "      from unnest(tenants, devices) with ordinality as n (tenant_id, device_id, number)\n"
            "      left join (select s.tenant_id, s.device_id\n"
            "                   from public.device_state s\n"
            "                   join unnest(tenants, devices) as n (tenant_id, device_id)\n"
            "                        using (tenant_id, device_id)\n"
            "                  order by 1, 2\n"
            "                    for no key update of s skip locked) as f using (tenant_id, device_id)\n"
            "      left join public.device_state s using (tenant_id, device_id)\n"
            "     where f.device_id is not null or s.device_id is null;\n"
            "    if cardinality(free) = cardinality(devices)\n"
            "       and tenants[1] = all (tenants) then\n"
            "      return;  -- It is a new row of a device or sensor that somebody holds.\n"
            "    end if;\n"
            "    for tenant in select distinct unnest(tenants) order by 1 loop\n"
            "      perform public.record_devices(\n"
            "                array_agg(n.tenant_id), array_agg(n.device_id), array_agg(n.status),\n"
            "                array_agg(n.seen), array_agg(n.newest), array_agg(n.oldest),\n"
            "                array_agg(n.state), array_agg(n.times))\n"
            "         from unnest(tenants, devices, statuses, seen, newest, oldest, states, times)\n"
            "              with ordinality\n"
            "              as n (tenant_id, device_id, status, seen, newest, oldest, state, times,\n"
            "                    number)\n"
            "        where n.tenant_id = tenant and n.number = any (free)\n"
            "       having count(*) > 0;\n"
            "    end loop;\n"
            "  end;\n"
            "end"
        ),
        comment="Takes in what a batch says of its devices, an element of each array per device: status (stale:"
            " nothing is said of it), when it was seen (NULL: newest), time of its newest telemetry and of the oldest"
            " value in states (NULL: newest; -infinity: believe no value that is not stored), newest value of each"
            " metric and its time in seconds since 1970 (what is not there: newest). What is older than what is known"
            " changes nothing, and of values of one moment that with the highest seq counts; new metrics become"
            " sensors. Rows that other transactions hold are left as they are.",
        grants={"fleet_ingest": "execute"},
    )
    op.create_trigger(
        "set_updated_at", "device_state", "before", "update", level="row", function="public.set_updated_at()",
    )
