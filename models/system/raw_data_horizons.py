"""How far back raw data is complete, and what keeps rollups from losing the history before that.

A refresh replaces the buckets of a range by what the raw data still has. Where rows were deleted
because of their age, the bucket in the rollup is all that is left of them, and stays as it is.
"""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Grant, NamesRelations, View
from models.shared.base import TIMESERIES, Base, Private, not_empty
from models.shared.plpgsql import PLPGSQL_SETTINGS

EVERY_TENANT = uuid.UUID(int=2**128 - 1)
"""In the place of a tenant: rows were deleted whoever they belong to."""


class RawDataHorizon(Private, Base):
    """From when on a relation has all rows of a tenant, if its retention does not say so.

    Written in the transaction that deletes rows by a tenant's own retention, and by a refresh that
    finds chunks dropped. Never moved back: a policy that becomes longer brings no rows back. Of a
    rollup, it is what may be deleted from it, and is not stored in it again.
    """

    __tablename__ = "raw_data_horizons"

    relation: Mapped[str] = mapped_column(
        primary_key=True, comment="Hypertable or rollup in schema timeseries, e.g. telemetry."
    )
    of_tenant: Mapped[uuid.UUID] = mapped_column(
        primary_key=True,
        comment=f"The tenant; {EVERY_TENANT} for every one. No foreign key: the owner, which "
        "refreshes rollups, sees no row of a tenant.",
    )
    complete_from: Mapped[datetime.datetime] = mapped_column(
        comment="Older rows may be missing, so the rollups over them keep their buckets."
    )

    __table_args__ = (
        not_empty("relation"),
        NamesRelations("relation", schema=TIMESERIES),
        Grant("select", to="fleet_operator_read"),
        Grant("select", to="fleet_operator"),
        {
            "comment": "From when on raw data is complete, where that is later than the retention "
            "of the relation says."
        },
    )


View(
    "data_horizons",
    f"""
    SELECT relation, max(complete_from) AS complete_from
      FROM raw_data_horizons
     WHERE of_tenant IN (current_tenant(), '{EVERY_TENANT}')
     GROUP BY relation
    """,
    security_invoker=False,
    reason="Tenants have no grant on the horizons of all; the condition of the view shows theirs.",
    security_barrier=True,
    grants=dict.fromkeys(("fleet_app", "fleet_operator", "fleet_operator_read"), "select"),
    comment="From when on a series or rollup has all rows of the current tenant, if its retention "
    "does not say so.",
    metadata=Base.metadata,
)

_RETAINED = "'fleetschema.retained_' || source"
"""The setting that keep_history() leaves: the begin of the oldest chunk that no job drops now."""

Function(
    "raw_data_covers",
    "source text, retention interval, tenant uuid, bucket timestamptz",
    returns="boolean",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    # Not stable: a refresh must see what it noted itself, in the same statement.
    body=f"""
        begin
          return (retention is null or bucket >= coalesce(
                   nullif(current_setting({_RETAINED}, true), '')::timestamptz,
                   now() - retention)) and not exists (
            select from public.raw_data_horizons h
             where h.relation = source and h.of_tenant in (tenant, '{EVERY_TENANT}')
               and h.complete_from > bucket);
        end
    """,
    comment="Whether a relation still has every row of a bucket: of a tenant (NULL: where there "
    "are none) from its horizon on.",
    metadata=Base.metadata,
)

# A chunk is dropped as a whole once all of it is too old, so raw data covers a bucket that began
# before the retention as long as its chunk is there; but for the last hour, in which a job may drop
# it.
#
# Before a statement that deletes, as each refresh does, chunks that are missing are noted: where a
# rollup has whole buckets and its source no chunk. Dropping goes by age, so the latest gap counts.
# What the retention says by itself is not noted. About rows that are younger than every horizon,
# which is left in a setting, nothing more is asked.
#
# A refresh deletes the rows of a range before it inserts new ones, so a row that is there was kept.
# Its keys are compared with =, so that an index serves, but those that are NULL.
Function(
    "keep_history",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          retention constant interval := nullif(tg_argv[0], '');
          width constant interval := tg_argv[1];
          source constant text := tg_argv[3];
          rollup constant text := tg_argv[4];
          bucket constant text := tg_argv[5];
          tenant constant text := tg_argv[6];
          given jsonb;
          gap record;
          kept timestamptz;
          retained timestamptz;
        begin
          if tg_level = 'STATEMENT' then
            retained := nullif(current_setting({_RETAINED}, true), '');
            if retention is not null and (tg_op = 'DELETE' or retained is null) then
              select least(now() - retention, min(c.range_start)) into retained
                from timescaledb_information.chunks c
               where c.hypertable_schema = '{TIMESERIES}' and c.hypertable_name = source
                 and c.range_end > now() - retention + interval '1 hour';
              perform set_config({_RETAINED}, coalesce(retained::text, ''), true);
            end if;
            for gap in
              with chunk as (
                select c.range_start, c.range_end
                  from timescaledb_information.continuous_aggregates a
                  join timescaledb_information.chunks c using (hypertable_schema, hypertable_name)
                 where (a.materialization_hypertable_schema, a.materialization_hypertable_name)
                     = (tg_table_schema, tg_table_name))
              select * from (
                select coalesce(lag(range_end) over (order by range_start), '-infinity') as begins,
                       range_start as ends
                  from (select * from chunk
                         union all select '9999-01-01', '9999-01-01') as one
                 where tg_op = 'DELETE') as between_chunks
               where begins < ends
               order by ends desc
            loop
              exit when gap.ends <= retained;
              execute format('SELECT max(%1$I) FROM %2$I.%3$I WHERE %1$I <= $1 - $2',
                             bucket, tg_table_schema, tg_table_name)
                 into kept using gap.ends, width;
              if kept >= gap.begins then
                insert into public.raw_data_horizons as h (relation, of_tenant, complete_from)
                select source, '{EVERY_TENANT}', least(gap.ends, kept + width)
                 where not exists (
                   select from public.raw_data_horizons o
                    where o.relation = source and o.of_tenant = '{EVERY_TENANT}'
                      and o.complete_from >= least(gap.ends, kept + width))
                on conflict (relation, of_tenant)
                  do update set complete_from = excluded.complete_from;
                exit;
              end if;
            end loop;
            perform set_config(tg_argv[8], coalesce(greatest(retained, (
              select max(h.complete_from) from public.raw_data_horizons h
               where h.relation in (source, rollup))), '-infinity')::text, true);
            return null;
          elsif tg_op <> 'INSERT' then
            return null;
          end if;
          given := to_jsonb(new);
          if not public.raw_data_covers(rollup, null, (given ->> tenant)::uuid,
                                        (given ->> bucket)::timestamptz) then
            return null;
          end if;
          execute (
            select format('SELECT max(s.%I) FROM %I.%I s WHERE %s', bucket, tg_table_schema,
                          tg_table_name, string_agg(
                            case when given -> key = 'null' then format('s.%I IS NULL', key)
                                 else format('s.%1$I = ($1).%1$I', key) end, ' AND '))
              from regexp_split_to_table(tg_argv[7], ', ') as quoted,
                   lateral (select (parse_ident(quoted))[1] as key) as named)
            into kept using new;
          return case when kept is null then new end;
        end
    """,
    comment="Trigger of the hypertable in which a rollup stores its rows: a row that its condition "
    "selects is not deleted, and not stored again.",
    metadata=Base.metadata,
)
