"""record the state of devices at less cost

Revision 0038, after 0037; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    # accept ban-drop-view: replaced in the same transaction
    op.drop_view("device_metrics")
    op.alter_column(
        "device_state", "state_times", existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="When values in state were measured, in seconds since 1970; what is not here was measured at"
            " last_telemetry_at.",
        existing_comment="When each value in state was measured, in seconds since 1970.", existing_nullable=False,
        existing_server_default=sa.text("'{}'::jsonb"),
    )
    op.replace_function(
        "record_devices",
        "tenants uuid[], devices text[], statuses text[], seen timestamptz[], newest timestamptz[], oldest"
            " timestamptz[], states jsonb[], times jsonb[]",
        returns="void", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  taken bigint[];\n"
            "begin\n"
            "  perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))\n"
            "     from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;\n"
            "  with newer as (\n"
            "    update public.device_state s\n"
            "       set status = case when n.status <> 'stale'\n"
            "                        and coalesce(n.seen, n.newest) > coalesce(s.last_seen_at, '-infinity')\n"
            "                       then n.status else s.status end,\n"
            "           last_seen_at = greatest(s.last_seen_at, coalesce(n.seen, n.newest)),\n"
            "           last_telemetry_at = n.newest,\n"
            "           state = s.state || n.state,\n"
            "           state_times = case\n"
            "             when s.state || n.state = n.state then coalesce(n.times, '{}')\n"
            "             else (coalesce((select jsonb_object_agg(k, extract(epoch from s.last_telemetry_at))\n"
            "               from jsonb_object_keys(s.state) k), '{}')\n"
            "             || coalesce(s.state_times, '{}')) - array(select jsonb_object_keys(n.state))\n"
            "                  || coalesce(n.times, '{}') end\n"
            "      from unnest(tenants, devices, statuses, seen, newest, oldest, states, times)\n"
            "           with ordinality\n"
            "           as n (tenant_id, device_id, status, seen, newest, oldest, state, times, number)\n"
            "     where s.tenant_id = n.tenant_id and s.device_id = n.device_id\n"
            "       and coalesce(n.oldest, n.newest) > coalesce(s.last_telemetry_at, '-infinity')\n"
            "       and n.state || s.state = s.state\n"
            "    returning n.number)\n"
            "  select array_agg(number) into taken from newer;\n"
            "  if cardinality(taken) = cardinality(devices) then\n"
            "    return;\n"
            "  end if;\n"
            "  with n as materialized (\n"
            "    select n.tenant_id, n.device_id, n.status, n.seen, n.newest, n.state,\n"
            "           coalesce((select jsonb_object_agg(k, extract(epoch from n.newest))\n"
            "               from jsonb_object_keys(n.state) k), '{}')\n"
            "             || coalesce(n.times, '{}') as times,\n"
            "           s.state as known, coalesce((select jsonb_object_agg(k, extract(epoch from"
            " s.last_telemetry_at))\n"
            "               from jsonb_object_keys(s.state) k), '{}')\n"
            "             || coalesce(s.state_times, '{}') as known_times\n"
            "      from unnest(tenants, devices, statuses, seen, newest, states, times) with ordinality\n"
            "           as n (tenant_id, device_id, status, seen, newest, state, times, number)\n"
            "      left join public.device_state s using (tenant_id, device_id)\n"
            "     where n.number <> all (coalesce(taken, '{}'))\n"
            "  ), fresh as (\n"
            "    select n.tenant_id, n.device_id, n.status, n.seen, n.newest, n.known_times,\n"
            "           n.state - old.metrics as state, n.times - old.metrics as times\n"
            "      from n,\n"
            "           lateral (select array(\n"
            "             select t.metric from jsonb_each(n.times) as t (metric, at)\n"
            "              where case when n.known_times ? t.metric\n"
            "                         then n.known_times -> t.metric >= t.at\n"
            "                         else pg_column_size(n.known_times) > 65536 end)) as old (metrics)\n"
            "     where n.known is not null\n"
            "  ), sensors as (\n"
            "    insert into public.device_sensors\n"
            "           (tenant_id, device_id, metric_key, display_name, source)\n"
            "    select n.tenant_id, n.device_id, m.metric, m.metric, 'unmodeled'\n"
            "      from n, lateral jsonb_object_keys(n.state) as m (metric)\n"
            "     where m.metric <> '' and not coalesce(n.known ? m.metric, false)\n"
            "       and pg_column_size(n.known_times) < 65536\n"
            "     order by 1, 2, 3\n"
            "    on conflict do nothing\n"
            "  ), known as (\n"
            "    update public.device_state s\n"
            "       set status = case when n.status <> 'stale'\n"
            "                        and coalesce(n.seen, n.newest) > coalesce(s.last_seen_at, '-infinity')\n"
            "                       then n.status else s.status end,\n"
            "           last_seen_at = greatest(s.last_seen_at, coalesce(n.seen, n.newest)),\n"
            "           last_telemetry_at = greatest(s.last_telemetry_at, n.newest),\n"
            "           state = s.state || n.state, state_times = n.known_times || n.times\n"
            "      from fresh n\n"
            "     where s.tenant_id = n.tenant_id and s.device_id = n.device_id\n"
            "       and (coalesce(n.seen, n.newest) > coalesce(s.last_seen_at, '-infinity')\n"
            "            or n.newest > coalesce(s.last_telemetry_at, '-infinity')\n"
            "            or n.times <> '{}'))\n"
            "  insert into public.device_state\n"
            "         (tenant_id, device_id, status, last_seen_at, last_telemetry_at, state, state_times)\n"
            "  select n.tenant_id, n.device_id, n.status, coalesce(n.seen, n.newest), n.newest, n.state,\n"
            "         n.times\n"
            "    from n where n.known is null\n"
            "   order by 1, 2\n"
            "  on conflict do nothing;\n"
            "end"
        ),
        comment="Takes in what a batch says of its devices, an element of each array per device: status (stale:"
            " nothing is said of it), when it was seen (NULL: newest), time of its newest telemetry and of the oldest"
            " value in states (NULL: newest), newest value of each metric and its time in seconds since 1970 (what is"
            " not there: newest). What is older than what is known changes nothing; new metrics become sensors.",
    )
    op.create_view(
        "device_metrics",
        (
            "SELECT s.tenant_id, s.device_id, m.key AS metric, m.value,\n"
            "       coalesce(to_timestamp((s.state_times ->> m.key)::double precision),\n"
            "                s.last_telemetry_at) AS ts\n"
            "  FROM device_state s, LATERAL jsonb_each(s.state) m"
        ),
        security_invoker=True, comment="The newest value of each metric of each device, and when it was measured.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )


def downgrade() -> None:
    # The function and the view of before expect a time for each value.
    op.execute(
        "UPDATE device_state s SET state_times = s.state_times || coalesce((SELECT jsonb_object_agg(k, extract(epoch"
        " FROM s.last_telemetry_at)) FROM jsonb_object_keys(s.state - array(SELECT jsonb_object_keys(s.state_times)))"
        " k), '{}') WHERE s.state <> '{}'"
    )
    op.drop_view("device_metrics")
    op.replace_function(
        "record_devices",
        "tenants uuid[], devices text[], statuses text[], seen timestamp with time zone[], newest timestamp with time"
            " zone[], oldest timestamp with time zone[], states jsonb[], times jsonb[]",
        returns="void", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  updated bigint;\n"
            "begin\n"
            "  perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))\n"
            "     from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;\n"
            "  insert into public.device_sensors\n"
            "         (tenant_id, device_id, metric_key, display_name, source)\n"
            "  select n.tenant_id, n.device_id, m.metric, m.metric, 'unmodeled'\n"
            "    from (select n.tenant_id, n.device_id, n.state, s.state as known\n"
            "            from unnest(tenants, devices, states) as n (tenant_id, device_id, state)\n"
            "            left join public.device_state s using (tenant_id, device_id)\n"
            "           where not coalesce(s.state ?& array(select jsonb_object_keys(n.state)), false)\n"
            "             and coalesce(pg_column_size(s.state_times || '{}') < 65536, true)\n"
            "          offset 0) n,\n"
            "         lateral jsonb_object_keys(n.state) as m (metric)\n"
            "   where m.metric <> '' and not coalesce(n.known ? m.metric, false)\n"
            "   order by 1, 2, 3\n"
            "  on conflict do nothing;\n"
            "  update public.device_state s\n"
            "     set status = case when n.status <> 'stale'\n"
            "                        and n.seen > coalesce(s.last_seen_at, '-infinity')\n"
            "                       then n.status else s.status end,\n"
            "         last_seen_at = greatest(s.last_seen_at, n.seen),\n"
            "         last_telemetry_at = greatest(s.last_telemetry_at, n.newest),\n"
            "         state = s.state || case\n"
            "           when n.oldest > coalesce(s.last_telemetry_at, '-infinity')\n"
            "                and pg_column_size(s.state_times || '{}') < 65536 then n.state else n.state - array(\n"
            "       select t.metric from jsonb_each(n.times) as t (metric, at)\n"
            "        where case when s.state_times ? t.metric then s.state_times -> t.metric >= t.at\n"
            "                   else pg_column_size(s.state_times || '{}') > 65536 end) end,\n"
            "         state_times = s.state_times || case\n"
            "           when n.oldest > coalesce(s.last_telemetry_at, '-infinity')\n"
            "                and pg_column_size(s.state_times || '{}') < 65536 then n.times else n.times - array(\n"
            "       select t.metric from jsonb_each(n.times) as t (metric, at)\n"
            "        where case when s.state_times ? t.metric then s.state_times -> t.metric >= t.at\n"
            "                   else pg_column_size(s.state_times || '{}') > 65536 end) end\n"
            "    from unnest(tenants, devices, statuses, seen, newest, oldest, states, times)\n"
            "         as n (tenant_id, device_id, status, seen, newest, oldest, state, times)\n"
            "   where s.tenant_id = n.tenant_id and s.device_id = n.device_id\n"
            "     and (n.seen > coalesce(s.last_seen_at, '-infinity')\n"
            "          or n.newest > coalesce(s.last_telemetry_at, '-infinity')\n"
            "          or n.times - array(\n"
            "       select t.metric from jsonb_each(n.times) as t (metric, at)\n"
            "        where case when s.state_times ? t.metric then s.state_times -> t.metric >= t.at\n"
            "                   else pg_column_size(s.state_times || '{}') > 65536 end) <> '{}');\n"
            "  get diagnostics updated = row_count;\n"
            "  if updated < cardinality(devices) then\n"
            "    insert into public.device_state\n"
            "           (tenant_id, device_id, status, last_seen_at, last_telemetry_at, state,\n"
            "            state_times)\n"
            "    select n.tenant_id, n.device_id, n.status, n.seen, n.newest, n.state, n.times\n"
            "      from unnest(tenants, devices, statuses, seen, newest, states, times)\n"
            "           as n (tenant_id, device_id, status, seen, newest, state, times)\n"
            "     order by 1, 2\n"
            "    on conflict do nothing;\n"
            "  end if;\n"
            "end"
        ),
        comment="Takes in what a batch says of its devices, an element of each array per device: status (stale:"
            " nothing is said of it), when it was seen, time of its newest telemetry and of the oldest value in"
            " states, newest value of each metric and its time in seconds since 1970. What is older than what is"
            " known changes nothing; new metrics become sensors.",
    )
    op.alter_column(
        "device_state", "state_times", existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="When each value in state was measured, in seconds since 1970.",
        existing_comment="When values in state were measured, in seconds since 1970; what is not here was measured at"
            " last_telemetry_at.",
        existing_nullable=False, existing_server_default=sa.text("'{}'::jsonb"),
    )
    op.create_view(
        "device_metrics",
        (
            "SELECT s.tenant_id,\n"
            "   s.device_id,\n"
            "   m.key AS metric,\n"
            "   m.value,\n"
            "   to_timestamp(((s.state_times ->> m.key))::double precision) AS ts\n"
            "  FROM public.device_state s,\n"
            "   LATERAL jsonb_each(s.state) m(key, value)"
        ),
        security_invoker=True, comment="The newest value of each metric of each device, and when it was measured.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
