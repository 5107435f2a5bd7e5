"""cover buckets until their chunk is dropped

Revision 0040, after 0039; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
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
            "      select coalesce(lag(range_end) over (order by range_start), '-infinity') as begins,\n"
            "             range_start as ends\n"
            "        from (select * from chunk\n"
            "               union all select '9999-01-01', '9999-01-01') as one\n"
            "       where tg_op = 'DELETE'\n"
            "       order by range_start desc\n"
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
            "       and h.complete_from > bucket);\n"
            "end"
        ),
        comment="Whether a relation still has every row of a bucket: of a tenant (NULL: where there are none) from its"
            " horizon on.",
    )


def downgrade() -> None:
    op.replace_function(
        "raw_data_covers", "source text, retention interval, tenant uuid, bucket timestamp with time zone",
        returns="boolean", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
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
