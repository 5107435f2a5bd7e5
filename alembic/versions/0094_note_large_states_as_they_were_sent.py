"""note large states as they were sent

Revision 0094, after 0093; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0094"
down_revision = "0093"

# accept require-concurrent-index-deletion: the backlog is empty, or nearly so
# accept require-concurrent-index-creation: the backlog is empty, or nearly so


def upgrade() -> None:
    op.remove_index("ix_device_state_backlog_of_tenant_device_id", "device_state_backlog")
    op.add_column(
        "device_state_backlog",
        sa.Column("state_bytes", sa.Integer(), nullable=True,
            comment="Of state, before it is compressed; NULL: not known, and nothing is merged with it."),
    )
    op.create_index(
        op.f("ix_device_state_backlog_of_tenant_device_id_id"), "device_state_backlog",
        ["of_tenant", "device_id", "id"], unique=False,
    )
    op.replace_function(
        "note_device_states",
        "tenants uuid[], devices text[], statuses text[], seen timestamptz[], sent timestamptz[], newest"
            " timestamptz[], oldest timestamptz[], states jsonb[], times jsonb[]",
        returns="void", language="plpgsql",
        settings=["plan_cache_mode=force_custom_plan", "search_path=pg_catalog, pg_temp"],
        body=(
            "begin\n"
            "  with n as materialized (\n"
            "    select s.id, n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest,\n"
            "           n.state, coalesce((select jsonb_object_agg(k, extract(epoch from n.newest))\n"
            "               from (select jsonb_object_keys(n.state)\n"
            "                     except select jsonb_object_keys(n.times)) as _ (k)), '{}')\n"
            "             || coalesce(n.times, '{}') as times, s.state as known, coalesce((select jsonb_object_agg(k,"
            " extract(epoch from s.last_telemetry_at))\n"
            "               from (select jsonb_object_keys(s.state)\n"
            "                     except select jsonb_object_keys(s.state_times)) as _ (k)), '{}')\n"
            "             || coalesce(s.state_times, '{}') as known_times\n"
            "      from unnest(tenants, devices, statuses, seen, sent, newest, oldest, states, times)\n"
            "             with ordinality as n (tenant_id, device_id, status, seen, sent, newest, oldest, state,"
            " times, number)\n"
            "      left join lateral (\n"
            "           select o.id, o.last_telemetry_at, o.state || '{}' as state,\n"
            "                  o.state_times || '{}' as state_times\n"
            "             from public.device_state_backlog o\n"
            "            where o.of_tenant = n.tenant_id\n"
            "              and o.device_id between n.device_id and n.device_id\n"
            "              and o.state_bytes <= 4096\n"
            "            order by o.device_id, o.id limit 1 for update skip locked) as s on true\n"
            "     where pg_column_size(n.state) <= 4096\n"
            "  ), told as materialized (\n"
            "    select n.id, n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest, n.known,\n"
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
            "  ), known as (\n"
            "    update public.device_state_backlog b\n"
            "       set status = case when n.status <> 'stale' and coalesce(n.sent, coalesce(n.seen, n.newest)) >"
            " coalesce(case when n.sent is not null\n"
            "            then b.last_seen_as_sent end, b.last_seen_at, '-infinity') then n.status\n"
            "                     else b.status end,\n"
            "           last_seen_at = greatest(b.last_seen_at, coalesce(n.seen, n.newest)),\n"
            "           last_seen_as_sent = case when coalesce(n.sent, coalesce(n.seen, n.newest)) > coalesce(case"
            " when n.sent is not null\n"
            "            then b.last_seen_as_sent end, b.last_seen_at, '-infinity') then n.sent\n"
            "                               else b.last_seen_as_sent end,\n"
            "           last_telemetry_at = greatest(b.last_telemetry_at, n.newest),\n"
            "           state = b.state || n.state, state_times = n.known_times || n.times,\n"
            "           state_bytes = pg_column_size(b.state || n.state)\n"
            "      from told n where b.id = n.id and n.asked is null)\n"
            "  insert into public.device_state_backlog\n"
            "         (of_tenant, device_id, status, last_seen_at, last_seen_as_sent,\n"
            "          last_telemetry_at, state, state_times, state_bytes)\n"
            "  select n.tenant_id, n.device_id, n.status, coalesce(n.seen, n.newest), n.sent, n.newest, n.state,"
            " n.times,\n"
            "         pg_column_size(n.state)\n"
            "    from told n where n.id is null or n.asked is not null;\n"
            "  insert into public.device_state_backlog\n"
            "         (of_tenant, device_id, status, last_seen_at, last_seen_as_sent,\n"
            "          last_telemetry_at, state, state_times)\n"
            "  select n.tenant_id, n.device_id, n.status, coalesce(n.seen, n.newest), n.sent, n.newest, n.state,\n"
            "         coalesce(n.times, '{}')\n"
            "    from unnest(tenants, devices, statuses, seen, sent, newest, oldest, states, times)\n"
            "             with ordinality as n (tenant_id, device_id, status, seen, sent, newest, oldest, state,"
            " times, number) where pg_column_size(n.state) > 4096;\n"
            "end"
        ),
        comment="Leaves in device_state_backlog what is said of devices, an element of each array per device: status"
            " (stale: nothing is said of it), when it was seen (NULL: newest), the same as sent, if that was ahead of"
            " the clock, time of its newest telemetry and of the oldest value in states (NULL: newest; -infinity: not"
            " known), newest value of each metric and its time in seconds since 1970 (what is not there: newest).",
    )


def downgrade() -> None:
    op.replace_function(
        "note_device_states",
        "tenants uuid[], devices text[], statuses text[], seen timestamp with time zone[], sent timestamp with time"
            " zone[], newest timestamp with time zone[], oldest timestamp with time zone[], states jsonb[], times"
            " jsonb[]",
        returns="void", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  with n as materialized (\n"
            "    select b.id, n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest,\n"
            "           n.state, coalesce((select jsonb_object_agg(k, extract(epoch from n.newest))\n"
            "               from (select jsonb_object_keys(n.state)\n"
            "                     except select jsonb_object_keys(n.times)) as _ (k)), '{}')\n"
            "             || coalesce(n.times, '{}') as times, b.state as known, b.state_times as known_times\n"
            "      from unnest(tenants, devices, statuses, seen, sent, newest, oldest, states, times)\n"
            "             with ordinality as n (tenant_id, device_id, status, seen, sent, newest, oldest, state,"
            " times, number)\n"
            "      left join lateral (\n"
            "           select o.id, o.state || '{}' as state, o.state_times || '{}' as state_times\n"
            "             from public.device_state_backlog o\n"
            "            where o.of_tenant = n.tenant_id and o.device_id = n.device_id\n"
            "            order by o.id limit 1 for update skip locked) as b on true\n"
            "  ), told as materialized (\n"
            "    select n.id, n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest, n.known,\n"
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
            "  ), known as (\n"
            "    update public.device_state_backlog b\n"
            "       set status = case when n.status <> 'stale' and coalesce(n.sent, coalesce(n.seen, n.newest)) >"
            " coalesce(case when n.sent is not null\n"
            "            then b.last_seen_as_sent end, b.last_seen_at, '-infinity') then n.status\n"
            "                     else b.status end,\n"
            "           last_seen_at = greatest(b.last_seen_at, coalesce(n.seen, n.newest)),\n"
            "           last_seen_as_sent = case when coalesce(n.sent, coalesce(n.seen, n.newest)) > coalesce(case"
            " when n.sent is not null\n"
            "            then b.last_seen_as_sent end, b.last_seen_at, '-infinity') then n.sent\n"
            "                               else b.last_seen_as_sent end,\n"
            "           last_telemetry_at = greatest(b.last_telemetry_at, n.newest),\n"
            "           state = b.state || n.state, state_times = n.known_times || n.times\n"
            "      from told n where b.id = n.id and n.asked is null)\n"
            "  insert into public.device_state_backlog\n"
            "         (of_tenant, device_id, status, last_seen_at, last_seen_as_sent,\n"
            "          last_telemetry_at, state, state_times)\n"
            "  select n.tenant_id, n.device_id, n.status, coalesce(n.seen, n.newest), n.sent, n.newest, n.state,"
            " n.times\n"
            "    from told n where n.id is null or n.asked is not null;\n"
            "end"
        ),
        comment="Leaves in device_state_backlog what is said of devices, an element of each array per device: status"
            " (stale: nothing is said of it), when it was seen (NULL: newest), the same as sent, if that was ahead of"
            " the clock, time of its newest telemetry and of the oldest value in states (NULL: newest; -infinity: not"
            " known), newest value of each metric and its time in seconds since 1970 (what is not there: newest).",
    )
    op.drop_index(op.f("ix_device_state_backlog_of_tenant_device_id_id"), table_name="device_state_backlog")
    op.drop_column("device_state_backlog", "state_bytes")
    op.add_index(
        "CREATE INDEX ix_device_state_backlog_of_tenant_device_id ON public.device_state_backlog USING btree"
            " (of_tenant, device_id)",
    )
