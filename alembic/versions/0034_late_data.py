"""late data

Revision 0034, after 0033; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.create_function(
        "keep_history", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  retention constant interval := nullif(tg_argv[0], '');\n"
            "  width constant interval := tg_argv[1];\n"
            "  source constant text := tg_argv[3];\n"
            "  rollup constant text := tg_argv[4];\n"
            "  bucket constant text := tg_argv[5];\n"
            "  tenant constant text := tg_argv[6];\n"
            "  given jsonb;\n"
            "  gap record;\n"
            "  kept timestamptz;\n"
            "begin\n"
            "  if tg_level = 'STATEMENT' then\n"
            "    for gap in\n"
            "      with chunk as (\n"
            "        select c.range_start, c.range_end\n"
            "          from timescaledb_information.continuous_aggregates a\n"
            "          join timescaledb_information.chunks c using (hypertable_schema, hypertable_name)\n"
            "         where (a.materialization_hypertable_schema, a.materialization_hypertable_name)\n"
            "             = (tg_table_schema, tg_table_name))\n"
            "      select coalesce(lag(range_end) over (order by range_start), '-infinity') as begins,\n"
            "             range_start as ends\n"
            "        from (select * from chunk\n"
            "               union all select '9999-01-01', '9999-01-01') as one\n"
            "       where tg_op = 'DELETE'\n"
            "       order by range_start desc\n"
            "    loop\n"
            "      exit when gap.ends <= now() - retention;\n"
            "      execute format('SELECT max(%1$I) FROM %2$I.%3$I WHERE %1$I <= $1 - $2',\n"
            "                     bucket, tg_table_schema, tg_table_name)\n"
            "         into kept using gap.ends, width;\n"
            "      if kept >= gap.begins then\n"
            "        insert into public.raw_data_horizons as h (relation, of_tenant, complete_from)\n"
            "        select source, 'ffffffff-ffff-ffff-ffff-ffffffffffff', least(gap.ends, kept + width)\n"
            "         where not exists (\n"
            "           select from public.raw_data_horizons o\n"
            "            where o.relation = source and o.of_tenant = 'ffffffff-ffff-ffff-ffff-ffffffffffff'\n"
            "              and o.complete_from >= least(gap.ends, kept + width))\n"
            "        on conflict (relation, of_tenant)\n"
            "          do update set complete_from = excluded.complete_from;\n"
            "        exit;\n"
            "      end if;\n"
            "    end loop;\n"
            "    perform set_config(tg_argv[8], coalesce(greatest(now() - retention, (\n"
            "      select max(h.complete_from) from public.raw_data_horizons h\n"
            "       where h.relation in (source, rollup))), '-infinity')::text, true);\n"
            "    return null;\n"
            "  elsif tg_op <> 'INSERT' then\n"
            "    return null;\n"
            "  end if;\n"
            "  given := to_jsonb(new);\n"
            "  if not public.raw_data_covers(rollup, null, (given ->> tenant)::uuid,\n"
            "                                (given ->> bucket)::timestamptz) then\n"
            "    return null;\n"
            "  end if;\n"
            "  execute (\n"
            "    select format('SELECT max(s.%I) FROM %I.%I s WHERE %s', bucket, tg_table_schema,\n"
            "                  tg_table_name, string_agg(\n"
            "                    case when given -> key = 'null' then format('s.%I IS NULL', key)\n"
            "                         else format('s.%1$I = ($1).%1$I', key) end, ' AND '))\n"
            "      from regexp_split_to_table(tg_argv[7], ', ') as quoted,\n"
            "           lateral (select (parse_ident(quoted))[1] as key) as named)\n"
            "    into kept using new;\n"
            "  return case when kept is null then new end;\n"
            "end"
        ),
        comment="Trigger of the hypertable in which a rollup stores its rows: a row that its condition selects is not"
            " deleted, and not stored again.",
    )
    op.create_function(
        "raw_data_covers", "source text, retention interval, tenant uuid, bucket timestamptz", returns="boolean",
        language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return coalesce(bucket >= now() - retention, true) and not exists (\n"
            "    select from public.raw_data_horizons h\n"
            "     where h.relation = source and h.of_tenant in (tenant, 'ffffffff-ffff-ffff-ffff-ffffffffffff')\n"
            "       and h.complete_from > bucket);\n"
            "end"
        ),
        comment="Whether a relation still has every row of a bucket: of a tenant (NULL: where there are none) from its"
            " horizon on.",
    )

    op.create_table(
        "raw_data_horizons",
        sa.Column("relation", sa.Text(), nullable=False,
            comment="Hypertable or rollup in schema timeseries, e.g. telemetry."),
        sa.Column("of_tenant", sa.Uuid(), nullable=False,
            comment="The tenant; ffffffff-ffff-ffff-ffff-ffffffffffff for every one. No foreign key: the owner, which"
                " refreshes rollups, sees no row of a tenant."),
        sa.Column("complete_from", sa.TIMESTAMP(timezone=True), nullable=False,
            comment="Older rows may be missing, so the rollups over them keep their buckets."),
        sa.CheckConstraint("relation <> ''", name=op.f("ck_raw_data_horizons_relation_not_empty")),
        sa.PrimaryKeyConstraint("relation", "of_tenant", name=op.f("pk_raw_data_horizons")),
        comment="From when on raw data is complete, where that is later than the retention of the relation says.",
    )
    op.grant("raw_data_horizons", {"fleet_operator, fleet_operator_read": "select"})
    # What earlier runs of maintenance deleted by policies of single tenants.
    op.execute(
        """DO $$
DECLARE
    role CONSTANT text := current_setting('role');
    policies jsonb;
BEGIN
    -- Forced row-level security hides the policies from the owner.
    SET LOCAL ROLE fleet_operator;
    SELECT jsonb_agg(p) INTO policies FROM public.data_retention_policies p;
    PERFORM set_config('role', role, true);
    INSERT INTO public.raw_data_horizons (of_tenant, relation, complete_from)
    SELECT p.tenant_id, p.relation, now() - make_interval(days => p.retention_days)
      FROM jsonb_to_recordset(policies) AS p(tenant_id uuid, relation text, retention_days int);
END
$$"""
    )
    op.alter_column(
        "data_retention_policies", "retention_days", existing_type=sa.INTEGER(),
        comment="At most the retention of the relation itself, and at least as long as most messages are late:"
            " afterwards the buckets of rollups stay as they are.",
        existing_comment="At most the retention of the relation itself, and at least the refresh window of the rollups"
            " over it: deleting rows in that window would erase them from the rollup.",
        existing_nullable=False,
    )
    op.alter_columnstore(
        "quarantine_counters_minute", segmentby="tenant_id,reason", orderby="bucket DESC", after="14 days", rollup=True,
        schema="timeseries",
    )
    op.alter_refresh_policy(
        "device_health_hourly", start_offset="30 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.alter_refresh_policy(
        "health_checks_daily", start_offset="28 days", end_offset="1 day", every="6 hours", schema="timeseries",
    )
    op.alter_refresh_policy(
        "health_checks_hourly", start_offset="7 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.alter_refresh_policy(
        "quarantine_counters_minute", start_offset="14 days", end_offset="1 minute", every="5 minutes",
        schema="timeseries",
    )
    op.alter_refresh_policy(
        "system_metrics_hourly", start_offset="7 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.alter_refresh_policy(
        "tag_values_hourly", start_offset="28 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.alter_refresh_policy(
        "telemetry_daily", start_offset="90 days", end_offset="1 day", every="6 hours", schema="timeseries",
    )
    op.alter_refresh_policy(
        "telemetry_hourly", start_offset="30 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.create_kept_history(
        "device_health_hourly", function="keep_history", covered="raw_data_covers", source="device_health_telemetry",
        retention="90 days", bucket="bucket", width="1 hour", tenant="tenant_id", keys="tenant_id, device_id, bucket",
        schema="timeseries",
    )
    op.create_kept_history(
        "health_checks_daily", function="keep_history", covered="raw_data_covers", source="health_checks",
        retention="30 days", bucket="bucket", width="1 day", tenant="tenant_id", keys="tenant_id, endpoint_id, bucket",
        schema="timeseries",
    )
    op.create_kept_history(
        "health_checks_hourly", function="keep_history", covered="raw_data_covers", source="health_checks",
        retention="30 days", bucket="bucket", width="1 hour", tenant="tenant_id", keys="tenant_id, endpoint_id, bucket",
        schema="timeseries",
    )
    op.create_kept_history(
        "quarantine_counters_minute", function="keep_history", covered="raw_data_covers", source="quarantine_events",
        retention="30 days", bucket="bucket", width="1 minute", tenant="tenant_id", keys="tenant_id, reason, bucket",
        schema="timeseries",
    )
    op.create_kept_history(
        "system_metrics_hourly", function="keep_history", covered="raw_data_covers", source="system_metrics",
        retention="30 days", bucket="bucket", width="1 hour", tenant=None,
        keys="metric_name, service, labels_hash, bucket", schema="timeseries",
    )
    op.create_kept_history(
        "tag_values_hourly", function="keep_history", covered="raw_data_covers", source="tag_values",
        retention="30 days", bucket="bucket", width="1 hour", tenant="tenant_id", keys="tenant_id, tag_id, bucket",
        schema="timeseries",
    )
    op.create_kept_history(
        "telemetry_daily", function="keep_history", covered="raw_data_covers", source="telemetry", retention="400 days",
        bucket="bucket", width="1 day", tenant="tenant_id", keys="tenant_id, device_id, metric, bucket",
        schema="timeseries",
    )
    op.create_kept_history(
        "telemetry_hourly", function="keep_history", covered="raw_data_covers", source="telemetry",
        retention="400 days", bucket="bucket", width="1 hour", tenant="tenant_id",
        keys="tenant_id, device_id, metric, bucket", schema="timeseries",
    )


def downgrade() -> None:
    op.drop_kept_history("telemetry_hourly", schema="timeseries")
    op.drop_kept_history("telemetry_daily", schema="timeseries")
    op.drop_kept_history("tag_values_hourly", schema="timeseries")
    op.drop_kept_history("system_metrics_hourly", schema="timeseries")
    op.drop_kept_history("quarantine_counters_minute", schema="timeseries")
    op.drop_kept_history("health_checks_hourly", schema="timeseries")
    op.drop_kept_history("health_checks_daily", schema="timeseries")
    op.drop_kept_history("device_health_hourly", schema="timeseries")
    op.alter_refresh_policy(
        "telemetry_hourly", start_offset="3 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "telemetry_daily", start_offset="7 days", end_offset="1 day", every="06:00:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "tag_values_hourly", start_offset="3 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "system_metrics_hourly", start_offset="3 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "quarantine_counters_minute", start_offset="1 day", end_offset="00:01:00", every="00:05:00",
        schema="timeseries",
    )
    op.alter_refresh_policy(
        "health_checks_hourly", start_offset="3 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "health_checks_daily", start_offset="7 days", end_offset="1 day", every="06:00:00", schema="timeseries",
    )
    op.alter_refresh_policy(
        "device_health_hourly", start_offset="3 days", end_offset="01:00:00", every="00:30:00", schema="timeseries",
    )
    op.alter_columnstore(
        "quarantine_counters_minute", segmentby="tenant_id,reason", orderby="bucket DESC", after="7 days", rollup=True,
        schema="timeseries",
    )
    op.alter_column(
        "data_retention_policies", "retention_days", existing_type=sa.INTEGER(),
        comment="At most the retention of the relation itself, and at least the refresh window of the rollups over it:"
            " deleting rows in that window would erase them from the rollup.",
        existing_comment="At most the retention of the relation itself, and at least as long as most messages are"
            " late: afterwards the buckets of rollups stay as they are.",
        existing_nullable=False,
    )
    op.drop_table("raw_data_horizons")
    op.drop_function("raw_data_covers", "source text, retention interval, tenant uuid, bucket timestamptz")
    op.drop_function("keep_history")
