"""late buckets of rollups

Revision 0075, after 0074; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0075"
down_revision = "0074"


def upgrade() -> None:
    # accept ban-drop-constraint: a wider key follows, and the table has a row per relation and tenant
    op.remove_constraint("raw_data_horizons", "pk_raw_data_horizons")
    op.create_function(
        "history_key", "given jsonb, keys text", returns="uuid", language="plpgsql", volatility="immutable",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return (select md5(jsonb_object_agg(name, given -> name)::text)::uuid\n"
            "            from regexp_split_to_table(keys, ', ') as quoted,\n"
            "                 lateral (select (parse_ident(quoted))[1] as name) as named);\n"
            "end"
        ),
        comment="What tells a row of a rollup from others: a hash of the columns that it groups by, which keys lists"
            " as SQL spells them.",
    )
    op.replace_function(
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
            "  raw record;\n"
            "  seen bigint;\n"
            "  kept timestamptz;\n"
            "  retained timestamptz;\n"
            "  late boolean;\n"
            "begin\n"
            "  if tg_level = 'STATEMENT' then\n"
            "    retained := nullif(current_setting('fleetschema.retained_' || source, true), '');\n"
            "    if retention is not null and (tg_op = 'DELETE' or retained is null) then\n"
            "      select least(now() - retention, min(c.range_start)) into retained\n"
            "        from timescaledb_information.chunks c\n"
            "       where c.hypertable_schema = 'timeseries' and c.hypertable_name = source\n"
            "         and c.range_end > now() - retention + interval '1 hour';\n"
            "      perform set_config('fleetschema.retained_' || source, coalesce(retained::text, ''), true);\n"
            "    end if;\n"
            "    if tg_op = 'DELETE' then\n"
            "      delete from public.late_buckets l\n"
            "       where l.relation = rollup and l.bucket < retained;\n"
            "    end if;\n"
            "    select s.id, s.schema_name, s.table_name, (\n"
            "             select max(k.id) from _timescaledb_catalog.chunk k\n"
            "              where k.hypertable_id = s.id) as newest_chunk\n"
            "      into raw\n"
            "      from _timescaledb_catalog.hypertable h\n"
            "      join _timescaledb_catalog.continuous_agg c on c.mat_hypertable_id = h.id\n"
            "      join _timescaledb_catalog.hypertable s on s.id = c.raw_hypertable_id\n"
            "     where (h.schema_name, h.table_name) = (tg_table_schema, tg_table_name);\n"
            "    select r.newest_chunk into seen\n"
            "      from public.rollup_checks r where r.relation = rollup;\n"
            "    for gap in\n"
            "      with chunk as (\n"
            "        select c.range_start, c.range_end\n"
            "          from timescaledb_information.chunks c\n"
            "          join _timescaledb_catalog.chunk k\n"
            "               on (k.schema_name, k.table_name) = (c.chunk_schema, c.chunk_name)\n"
            "         where (c.hypertable_schema, c.hypertable_name)\n"
            "             = (raw.schema_name, raw.table_name)\n"
            "           and k.id <= coalesce(seen, k.id))\n"
            "      select * from (\n"
            "        select coalesce(lag(range_end) over (order by range_start), '-infinity') as begins,\n"
            "               range_start as ends\n"
            "          from (select * from chunk\n"
            "                 union all select '9999-01-01', '9999-01-01') as one\n"
            "         where tg_op = 'DELETE') as between_chunks\n"
            "       where begins < ends\n"
            "       order by ends desc\n"
            "    loop\n"
            "      exit when gap.ends <= retained;\n"
            "      execute format('SELECT max(%1$I) FROM %2$I.%3$I WHERE %1$I >= $3'\n"
            "                     ' AND %1$I <= $1 - $2',\n"
            "                     bucket, tg_table_schema, tg_table_name)\n"
            "         into kept using gap.ends, width, gap.begins;\n"
            "      continue when kept is null;\n"
            "      delete from public.late_buckets l\n"
            "       where l.relation = rollup and l.bucket >= gap.begins and l.bucket <= kept;\n"
            "      -- Of every rollup over the source, no bucket that reaches into the gap is complete.\n"
            "      insert into public.raw_data_horizons as h\n"
            "             (relation, of_tenant, incomplete_from, complete_from)\n"
            "      select source, 'ffffffff-ffff-ffff-ffff-ffffffffffff', given.begins, given.ends\n"
            "        from (select min(public.time_bucket(f.bucket_width::interval, gap.begins))\n"
            "                       as begins,\n"
            "                     least(gap.ends, kept + width) as ends\n"
            "                from _timescaledb_catalog.continuous_agg o\n"
            "                join _timescaledb_catalog.continuous_aggs_bucket_function f\n"
            "                     using (mat_hypertable_id)\n"
            "               where o.raw_hypertable_id = raw.id) as given\n"
            "       where not exists (\n"
            "         select from public.raw_data_horizons o\n"
            "          where o.relation = source and o.of_tenant = 'ffffffff-ffff-ffff-ffff-ffffffffffff'\n"
            "            and o.incomplete_from <= given.begins and o.complete_from >= given.ends)\n"
            "      on conflict (relation, of_tenant, incomplete_from)\n"
            "        do update set complete_from = excluded.complete_from;\n"
            "    end loop;\n"
            "    insert into public.rollup_checks as r (relation, newest_chunk)\n"
            "    select rollup, raw.newest_chunk\n"
            "     where raw.newest_chunk is not null and raw.newest_chunk is distinct from seen\n"
            "    on conflict (relation) do update set newest_chunk = excluded.newest_chunk;\n"
            "    perform set_config(tg_argv[8], coalesce(greatest(retained, (\n"
            "      select max(h.complete_from) from public.raw_data_horizons h\n"
            "       where h.relation in (source, rollup))), '-infinity')::text, true);\n"
            "    perform set_config('fleetschema.late_buckets', (exists (\n"
            "      select from public.late_buckets l where l.relation = rollup))::text, true);\n"
            "    return null;\n"
            "  end if;\n"
            "  late := current_setting('fleetschema.late_buckets', true) = 'true';\n"
            "  given := to_jsonb(case tg_op when 'INSERT' then new else old end);\n"
            "  if tg_op <> 'INSERT' then\n"
            "    if late and exists (\n"
            "      select from public.late_buckets l\n"
            "       where l.relation = rollup and l.row_key = public.history_key(given, tg_argv[7])) then\n"
            "      return case tg_op when 'DELETE' then old else new end;\n"
            "    end if;\n"
            "    return null;\n"
            "  end if;\n"
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
            "  if kept is not null then\n"
            "    return null;\n"
            "  end if;\n"
            "  insert into public.late_buckets (relation, row_key, source, of_tenant, bucket)\n"
            "  select rollup, public.history_key(given, tg_argv[7]), source,\n"
            "         coalesce((given ->> tenant)::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'),\n"
            "         (given ->> bucket)::timestamptz\n"
            "   where retention is null or (given ->> bucket)::timestamptz >= coalesce(\n"
            "           nullif(current_setting('fleetschema.retained_' || source, true), '')::timestamptz, now() -"
            " retention)\n"
            "  on conflict do nothing;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger of the hypertable in which a rollup stores its rows: a row that its condition selects is not"
            " deleted, and not stored again, unless late data made it.",
    )
    op.replace_function(
        "raw_data_covers", "source text, retention interval, tenant uuid, bucket timestamptz", returns="boolean",
        language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return (retention is null or bucket >= coalesce(\n"
            "           nullif(current_setting('fleetschema.retained_' || source, true), '')::timestamptz,\n"
            "           now() - retention)) and not exists (\n"
            "    select from public.raw_data_horizons h\n"
            "     where h.relation = source and h.of_tenant in (tenant, 'ffffffff-ffff-ffff-ffff-ffffffffffff')\n"
            "       and h.incomplete_from <= bucket and h.complete_from > bucket);\n"
            "end"
        ),
        comment="Whether a relation still has every row of a bucket: of a tenant (NULL: where there are none) from its"
            " horizon on.",
    )

    op.create_table(
        "late_buckets",
        sa.Column("relation", sa.Text(), nullable=False, comment="Rollup in schema timeseries, e.g. telemetry_hourly."),
        sa.Column("row_key", sa.Uuid(), nullable=False, comment="history_key() of the row."),
        sa.Column("source", sa.Text(), nullable=False, comment="What the rollup reads."),
        sa.Column("of_tenant", sa.Uuid(), nullable=False,
            comment="The tenant; ffffffff-ffff-ffff-ffff-ffffffffffff in a rollup without tenants. No foreign key, as"
                " in raw_data_horizons."),
        sa.Column("bucket", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("relation <> ''", name=op.f("ck_late_buckets_relation_not_empty")),
        sa.CheckConstraint("source <> ''", name=op.f("ck_late_buckets_source_not_empty")),
        sa.PrimaryKeyConstraint("relation", "row_key", name=op.f("pk_late_buckets")),
        comment="Rows of rollups that late data made where raw data may be incomplete.",
    )
    op.create_index(op.f("ix_late_buckets_relation_bucket"), "late_buckets", ["relation", "bucket"], unique=False)
    op.grant("late_buckets", {"fleet_operator, fleet_operator_read": "select"})

    op.create_table(
        "rollup_checks",
        sa.Column("relation", sa.Text(), nullable=False, comment="Rollup in schema timeseries, e.g. telemetry_hourly."),
        sa.Column("newest_chunk", sa.Integer(), nullable=False, comment="The highest number of a chunk then."),
        sa.CheckConstraint("relation <> ''", name=op.f("ck_rollup_checks_relation_not_empty")),
        sa.PrimaryKeyConstraint("relation", name=op.f("pk_rollup_checks")),
        comment="Which chunks of their source rollups have seen.",
    )
    op.grant("rollup_checks", {"fleet_operator, fleet_operator_read": "select"})
    op.alter_column(
        "raw_data_horizons", "complete_from", existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Rows before this moment may be missing, so the rollups over them keep their buckets.",
        existing_comment="Older rows may be missing, so the rollups over them keep their buckets.",
        existing_nullable=False,
    )
    op.add_column(
        "raw_data_horizons",
        sa.Column("incomplete_from", sa.TIMESTAMP(timezone=True), server_default=sa.text("'-infinity'"), nullable=False,
            comment="Rows from here on may be missing. Where chunks between others were dropped, what is older is"
                " complete."),
    )
    # accept constraint-missing-not-valid: no primary key can be, and the table is small
    # accept adding-serial-primary-key-field: the same
    op.add_constraint("raw_data_horizons", "pk_raw_data_horizons", "PRIMARY KEY (relation, of_tenant, incomplete_from)")


def downgrade() -> None:
    # Without begins, the latest end of a gap counts for all that is older.
    op.execute("""
        DELETE FROM raw_data_horizons h USING raw_data_horizons o
         WHERE (o.relation, o.of_tenant) = (h.relation, h.of_tenant)
           AND (o.complete_from, o.incomplete_from) > (h.complete_from, h.incomplete_from)
    """)
    op.remove_constraint("raw_data_horizons", "pk_raw_data_horizons")
    op.drop_column("raw_data_horizons", "incomplete_from")
    op.alter_column(
        "raw_data_horizons", "complete_from", existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Older rows may be missing, so the rollups over them keep their buckets.",
        existing_comment="Rows before this moment may be missing, so the rollups over them keep their buckets.",
        existing_nullable=False,
    )
    op.drop_table("rollup_checks")
    op.drop_table("late_buckets")
    op.replace_function(
        "raw_data_covers", "source text, retention interval, tenant uuid, bucket timestamp with time zone",
        returns="boolean", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return (retention is null or bucket >= coalesce(\n"
            "           nullif(current_setting('fleetschema.retained_' || source, true), '')::timestamptz,\n"
            "           now() - retention)) and not exists (\n"
            "    select from public.raw_data_horizons h\n"
            "     where h.relation = source and h.of_tenant in (tenant, 'ffffffff-ffff-ffff-ffff-ffffffffffff')\n"
            "       and h.complete_from > bucket);\n"
            "end"
        ),
        comment="Whether a relation still has every row of a bucket: of a tenant (NULL: where there are none) from its"
            " horizon on.",
    )
    op.replace_function(
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
            "  retained timestamptz;\n"
            "begin\n"
            "  if tg_level = 'STATEMENT' then\n"
            "    retained := nullif(current_setting('fleetschema.retained_' || source, true), '');\n"
            "    if retention is not null and (tg_op = 'DELETE' or retained is null) then\n"
            "      select least(now() - retention, min(c.range_start)) into retained\n"
            "        from timescaledb_information.chunks c\n"
            "       where c.hypertable_schema = 'timeseries' and c.hypertable_name = source\n"
            "         and c.range_end > now() - retention + interval '1 hour';\n"
            "      perform set_config('fleetschema.retained_' || source, coalesce(retained::text, ''), true);\n"
            "    end if;\n"
            "    for gap in\n"
            "      with chunk as (\n"
            "        select c.range_start, c.range_end\n"
            "          from timescaledb_information.continuous_aggregates a\n"
            "          join timescaledb_information.chunks c using (hypertable_schema, hypertable_name)\n"
            "         where (a.materialization_hypertable_schema, a.materialization_hypertable_name)\n"
            "             = (tg_table_schema, tg_table_name))\n"
            "      select * from (\n"
            "        select coalesce(lag(range_end) over (order by range_start), '-infinity') as begins,\n"
            "               range_start as ends\n"
            "          from (select * from chunk\n"
            "                 union all select '9999-01-01', '9999-01-01') as one\n"
            "         where tg_op = 'DELETE') as between_chunks\n"
            "       where begins < ends\n"
            "       order by ends desc\n"
            "    loop\n"
            "      exit when gap.ends <= retained;\n"
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
            "    perform set_config(tg_argv[8], coalesce(greatest(retained, (\n"
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
    op.drop_function("history_key", "given jsonb, keys text")
    op.add_constraint("raw_data_horizons", "pk_raw_data_horizons", "PRIMARY KEY (relation, of_tenant)")
