"""How far back raw data is complete, and what keeps rollups from losing the history before that.

A refresh replaces the buckets of a range by what the raw data still has. Where rows were deleted
because of their age, the bucket in the rollup is all that is left of them, and stays as it is.
"""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Grant, NamesRelations, View
from models.shared.base import TIMESERIES, Base, Private, not_empty
from models.shared.plpgsql import PLPGSQL_SETTINGS

EVERY_TENANT = uuid.UUID(int=2**128 - 1)
"""In the place of a tenant: rows were deleted whoever they belong to."""


class RawDataHorizon(Private, Base):
    """Of which time a relation may lack rows of a tenant, if its retention does not say so.

    Written in the transaction that deletes rows by a tenant's own retention, and by a refresh that
    finds chunks dropped. Never taken back: a policy that becomes longer brings no rows back. Of a
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
    incomplete_from: Mapped[datetime.datetime] = mapped_column(
        primary_key=True,
        server_default=text("'-infinity'"),
        comment="Rows from here on may be missing. Where chunks between others were dropped, what "
        "is older is complete.",
    )
    complete_from: Mapped[datetime.datetime] = mapped_column(
        comment="Rows before this moment may be missing, so the rollups over them keep their "
        "buckets."
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


class LateBucket(Private, Base):
    """A row of a rollup that late data made where its raw data may lack rows.

    It was not there before, so it is no history: the next late data of its bucket changes it. That
    ends when its raw rows are deleted because of their age.
    """

    __tablename__ = "late_buckets"

    relation: Mapped[str] = mapped_column(
        primary_key=True, comment="Rollup in schema timeseries, e.g. telemetry_hourly."
    )
    row_key: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, comment="history_key() of the row."
    )
    source: Mapped[str] = mapped_column(comment="What the rollup reads.")
    of_tenant: Mapped[uuid.UUID] = mapped_column(
        comment=f"The tenant; {EVERY_TENANT} in a rollup without tenants. No foreign key, as in "
        "raw_data_horizons."
    )
    bucket: Mapped[datetime.datetime]

    __table_args__ = (
        Index(None, "relation", "bucket"),
        not_empty("relation"),
        not_empty("source"),
        NamesRelations("relation", schema=TIMESERIES),
        NamesRelations("source", schema=TIMESERIES),
        Grant("select", to="fleet_operator_read"),
        Grant("select", to="fleet_operator"),
        {"comment": "Rows of rollups that late data made where raw data may be incomplete."},
    )


class RollupCheck(Private, Base):
    """How far a rollup has looked at the chunks of its source.

    A chunk that is newer, but in whose range the rollup has rows, was dropped and made anew by
    late rows.
    """

    __tablename__ = "rollup_checks"

    relation: Mapped[str] = mapped_column(
        primary_key=True, comment="Rollup in schema timeseries, e.g. telemetry_hourly."
    )
    newest_chunk: Mapped[int] = mapped_column(comment="The highest number of a chunk then.")

    __table_args__ = (
        not_empty("relation"),
        NamesRelations("relation", schema=TIMESERIES),
        Grant("select", to="fleet_operator_read"),
        Grant("select", to="fleet_operator"),
        {"comment": "Which chunks of their source rollups have seen."},
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
               and h.incomplete_from <= bucket and h.complete_from > bucket);
        end
    """,
    comment="Whether a relation still has every row of a bucket: of a tenant (NULL: where there "
    "are none) from its horizon on.",
    metadata=Base.metadata,
)

Function(
    "history_key",
    "given jsonb, keys text",
    returns="uuid",
    language="plpgsql",
    volatility="immutable",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          return (select md5(jsonb_object_agg(name, given -> name)::text)::uuid
                    from regexp_split_to_table(keys, ', ') as quoted,
                         lateral (select (parse_ident(quoted))[1] as name) as named);
        end
    """,
    comment="What tells a row of a rollup from others: a hash of the columns that it groups by, "
    "which keys lists as SQL spells them.",
    metadata=Base.metadata,
)

# A chunk is dropped as a whole once all of it is too old, so raw data covers a bucket that began
# before the retention as long as its chunk is there; but for the last hour, in which a job may drop
# it.
#
# Before a statement that deletes, as each refresh does, chunks that are missing are noted: where a
# rollup has whole buckets and its source no chunk, or one that was made after the last look. What
# the retention says by itself is not noted. About rows that are younger than every horizon, which
# is left in a setting, nothing more is asked.
#
# A refresh deletes the rows of a range before it inserts new ones, so a row that is there was kept.
# Its keys are compared with =, so that an index serves, but those that are NULL. One that was not
# there is made of late data only, which is noted: so it is deleted by the next refresh, and made
# anew of all that came meanwhile, until its raw rows are deleted in turn.
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
          raw record;
          seen bigint;
          kept timestamptz;
          retained timestamptz;
          late boolean;
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
            if tg_op = 'DELETE' then
              delete from public.late_buckets l
               where l.relation = rollup and l.bucket < retained;
            end if;
            select s.id, s.schema_name, s.table_name, (
                     select max(k.id) from _timescaledb_catalog.chunk k
                      where k.hypertable_id = s.id) as newest_chunk
              into raw
              from _timescaledb_catalog.hypertable h
              join _timescaledb_catalog.continuous_agg c on c.mat_hypertable_id = h.id
              join _timescaledb_catalog.hypertable s on s.id = c.raw_hypertable_id
             where (h.schema_name, h.table_name) = (tg_table_schema, tg_table_name);
            select r.newest_chunk into seen
              from public.rollup_checks r where r.relation = rollup;
            for gap in
              with chunk as (
                select c.range_start, c.range_end
                  from timescaledb_information.chunks c
                  join _timescaledb_catalog.chunk k
                       on (k.schema_name, k.table_name) = (c.chunk_schema, c.chunk_name)
                 where (c.hypertable_schema, c.hypertable_name)
                     = (raw.schema_name, raw.table_name)
                   and k.id <= coalesce(seen, k.id))
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
              execute format('SELECT max(%1$I) FROM %2$I.%3$I WHERE %1$I >= $3'
                             ' AND %1$I <= $1 - $2',
                             bucket, tg_table_schema, tg_table_name)
                 into kept using gap.ends, width, gap.begins;
              continue when kept is null;
              delete from public.late_buckets l
               where l.relation = rollup and l.bucket >= gap.begins and l.bucket <= kept;
              -- Of every rollup over the source, no bucket that reaches into the gap is complete.
              insert into public.raw_data_horizons as h
                     (relation, of_tenant, incomplete_from, complete_from)
              select source, '{EVERY_TENANT}', given.begins, given.ends
                from (select min(public.time_bucket(f.bucket_width::interval, gap.begins))
                               as begins,
                             least(gap.ends, kept + width) as ends
                        from _timescaledb_catalog.continuous_agg o
                        join _timescaledb_catalog.continuous_aggs_bucket_function f
                             using (mat_hypertable_id)
                       where o.raw_hypertable_id = raw.id) as given
               where not exists (
                 select from public.raw_data_horizons o
                  where o.relation = source and o.of_tenant = '{EVERY_TENANT}'
                    and o.incomplete_from <= given.begins and o.complete_from >= given.ends)
              on conflict (relation, of_tenant, incomplete_from)
                do update set complete_from = excluded.complete_from;
            end loop;
            insert into public.rollup_checks as r (relation, newest_chunk)
            select rollup, raw.newest_chunk
             where raw.newest_chunk is not null and raw.newest_chunk is distinct from seen
            on conflict (relation) do update set newest_chunk = excluded.newest_chunk;
            perform set_config(tg_argv[8], coalesce(greatest(retained, (
              select max(h.complete_from) from public.raw_data_horizons h
               where h.relation in (source, rollup))), '-infinity')::text, true);
            perform set_config('fleetschema.late_buckets', (exists (
              select from public.late_buckets l where l.relation = rollup))::text, true);
            return null;
          end if;
          late := current_setting('fleetschema.late_buckets', true) = 'true';
          given := to_jsonb(case tg_op when 'INSERT' then new else old end);
          if tg_op <> 'INSERT' then
            if late and exists (
              select from public.late_buckets l
               where l.relation = rollup and l.row_key = public.history_key(given, tg_argv[7])) then
              return case tg_op when 'DELETE' then old else new end;
            end if;
            return null;
          end if;
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
          if kept is not null then
            return null;
          end if;
          insert into public.late_buckets (relation, row_key, source, of_tenant, bucket)
          select rollup, public.history_key(given, tg_argv[7]), source,
                 coalesce((given ->> tenant)::uuid, '{EVERY_TENANT}'),
                 (given ->> bucket)::timestamptz
           where retention is null or (given ->> bucket)::timestamptz >= coalesce(
                   nullif(current_setting({_RETAINED}, true), '')::timestamptz, now() - retention)
          on conflict do nothing;
          return new;
        end
    """,
    comment="Trigger of the hypertable in which a rollup stores its rows: a row that its condition "
    "selects is not deleted, and not stored again, unless late data made it.",
    metadata=Base.metadata,
)
