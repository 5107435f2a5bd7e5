"""device state from the ingest

Revision 0035, after 0034; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.drop_trigger("device_state_is_kept", "device_state")
    op.set_table_options("device_state", set={"fillfactor": "50"})
    op.alter_column(
        "device_sensors", "last_value", existing_type=sa.NUMERIC(),
        comment="In unit_id. For sensors without telemetry; device_metrics has what devices sent.",
        existing_comment="In unit_id.", existing_nullable=True,
    )
    op.alter_column(
        "device_state", "last_seen_at", existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Time of the last message of any kind, never ahead of the server's clock.",
        existing_comment="Time of the last message of any kind.", existing_nullable=True,
    )
    op.alter_column(
        "device_state", "last_telemetry_at", existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Time of the newest telemetry, according to the device.", existing_nullable=True,
    )
    op.alter_column(
        "device_state", "state", existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="Latest value of each metric; the ingest writes it with each batch.",
        existing_comment="Latest value of each metric.", existing_nullable=False,
        existing_server_default=sa.text("'{}'::jsonb"),
    )
    op.create_trigger(
        "device_state_is_kept", "device_state", "before", "update", level="row", function="keep_device_state()",
        when="old.status IS DISTINCT FROM new.status OR old.desired_state IS DISTINCT FROM new.desired_state OR"
            " old.desired_version IS DISTINCT FROM new.desired_version OR old.reported_state IS DISTINCT FROM"
            " new.reported_state OR old.reported_version IS DISTINCT FROM new.reported_version",
    )
    op.create_policy("ingest_access", "device_state", to="fleet_ingest", command="all", using="true", check="true")
    op.add_column(
        "device_state",
        sa.Column("state_times", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="When each value in state was measured, in seconds since 1970."),
    )
    op.grant(
        "device_state",
        {
            "fleet_ingest": "insert (device_id, last_seen_at, last_telemetry_at, state, state_times, status,"
                " tenant_id), select (device_id, last_seen_at, last_telemetry_at, state, state_times, status,"
                " tenant_id), update (last_seen_at, last_telemetry_at, state, state_times, status)",
        },
    )
    # accept constraint-missing-not-valid: the column is new, so all rows have its default
    op.add_constraint(
        "device_state", "ck_device_state_state_times_object", "CHECK (jsonb_typeof(state_times) = 'object')",
    )
    op.create_function(
        "record_devices",
        "tenants uuid[], devices text[], statuses text[], seen timestamptz[], newest timestamptz[], oldest"
            " timestamptz[], states jsonb[], times jsonb[]",
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
            " nothing is said of it), when it was seen, time of its newest telemetry and of the oldest value in states,"
            " newest value of each metric and its time in seconds since 1970. What is older than what is known"
            " changes nothing; new metrics become sensors.",
        grants={"fleet_ingest": "execute"},
    )
    op.create_policy("ingest_access", "device_sensors", to="fleet_ingest", command="all", using="true", check="true")
    op.create_view(
        "device_metrics",
        (
            "SELECT s.tenant_id, s.device_id, m.key AS metric, m.value,\n"
            "       to_timestamp((s.state_times ->> m.key)::double precision) AS ts\n"
            "  FROM device_state s, LATERAL jsonb_each(s.state) m"
        ),
        security_invoker=True, comment="The newest value of each metric of each device, and when it was measured.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )
    op.grant("device_sensors", {"fleet_ingest": "insert (device_id, display_name, metric_key, source, tenant_id)"})


def downgrade() -> None:
    op.revoke("device_sensors", {"fleet_ingest": "insert (device_id, display_name, metric_key, source, tenant_id)"})
    op.drop_view("device_metrics")
    op.drop_policy("ingest_access", "device_sensors")
    op.drop_function(
        "record_devices",
        "tenants uuid[], devices text[], statuses text[], seen timestamptz[], newest timestamptz[], oldest"
            " timestamptz[], states jsonb[], times jsonb[]",
    )
    op.remove_constraint("device_state", "ck_device_state_state_times_object")
    op.revoke(
        "device_state",
        {
            "fleet_ingest": "insert (device_id, last_seen_at, last_telemetry_at, state, state_times, status,"
                " tenant_id), select (device_id, last_seen_at, last_telemetry_at, state, state_times, status,"
                " tenant_id), update (last_seen_at, last_telemetry_at, state, state_times, status)",
        },
    )
    op.drop_column("device_state", "state_times")
    op.drop_policy("ingest_access", "device_state")
    op.drop_trigger("device_state_is_kept", "device_state")
    op.alter_column(
        "device_state", "state", existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="Latest value of each metric.",
        existing_comment="Latest value of each metric; the ingest writes it with each batch.", existing_nullable=False,
        existing_server_default=sa.text("'{}'::jsonb"),
    )
    op.alter_column(
        "device_state", "last_telemetry_at", existing_type=postgresql.TIMESTAMP(timezone=True), comment=None,
        existing_comment="Time of the newest telemetry, according to the device.", existing_nullable=True,
    )
    op.alter_column(
        "device_state", "last_seen_at", existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Time of the last message of any kind.",
        existing_comment="Time of the last message of any kind, never ahead of the server's clock.",
        existing_nullable=True,
    )
    op.alter_column(
        "device_sensors", "last_value", existing_type=sa.NUMERIC(), comment="In unit_id.",
        existing_comment="In unit_id. For sensors without telemetry; device_metrics has what devices sent.",
        existing_nullable=True,
    )
    op.set_table_options("device_state", reset=["fillfactor"])
    op.create_trigger(
        "device_state_is_kept", "device_state", "before", "update", level="row", function="public.keep_device_state()",
    )
