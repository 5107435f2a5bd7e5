"""The functions of the triggers that put aside what the ingest must not store."""

from __future__ import annotations

from ddl import Function
from models.shared.base import PLATFORM_TENANT_ID, Base
from models.shared.functions import PLPGSQL_SETTINGS

_SETTING = "fleetschema.misplaced"
_AHEAD = "now() + interval '1 day'"
_GROUP = """as m (tenant uuid, key text, reason text, oldest timestamptz,
                                                first timestamptz, last timestamptz)"""

# One look at each pair of tenant and device, which is a fraction of what storing the rows
# takes. It runs as the ingest, which may see who exists; the owner may not, by row security.
Function(
    "quarantine_misplaced",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          moment constant text := tg_argv[0];
          retention constant text := tg_argv[1];
          reference constant text := tg_argv[2];
          grouped text;
          found jsonb;
        begin
          if reference = '' then
            grouped := format($query$
              select null::uuid as tenant, null as key, null as reason,
                     now() - interval %2$L as oldest, min(%1$I) as first, max(%1$I) as last
                from new_rows
              $query$, moment, retention);
          else
            grouped := format($query$
              select n.tenant, n.id::text as key,
                     case when t.tenant_id is null then 'unknown_tenant'
                          when r.tenant_id is null then %7$L end as reason,
                     now() - least(interval %2$L, make_interval(days => p.retention_days))
                       as oldest,
                     n.first, n.last
                from (select tenant_id as tenant, %3$I as id,
                             min(%1$I) as first, max(%1$I) as last
                        from new_rows group by 1, 2) as n
                left join public.tenants t
                       on t.tenant_id = n.tenant and t.status <> 'deleted'
                left join public.%4$I r on r.tenant_id = n.tenant and r.%5$I = n.id
                left join public.data_retention_policies p
                       on p.tenant_id = n.tenant and p.relation = %6$L
              $query$, moment, retention, reference, tg_argv[3], tg_argv[4], tg_table_name,
              'unknown_' || regexp_replace(reference, '_id$', ''));
          end if;
          execute format($query$
            select jsonb_agg(to_jsonb(m)) from (%s) as m
             where m.reason <> '' or m.first < m.oldest or m.last > {_AHEAD}
            $query$, grouped) into found;
          perform set_config('{_SETTING}', coalesce(found::text, ''), true);
          if found is null then
            return null;
          end if;
          execute format($query$
            insert into timeseries.quarantine_events
                   (tenant_id, ts, id, reason, detail, topic, claimed_tenant, device_id,
                    site_id, msg_type, event_ts, payload)
            select case when m.tenant is null or m.reason = 'unknown_tenant'
                        then '{PLATFORM_TENANT_ID}' else m.tenant end,
                   case when n.%1$I between now() - interval '1 day' and {_AHEAD} then n.%1$I
                        else date_trunc('day', now(), 'UTC') end,
                   md5(%2$L || (to_jsonb(n) - 'ingested_at')::text)::uuid,
                   case when m.reason <> '' then m.reason
                        when n.%1$I < m.oldest then 'expired_ts' else 'future_ts' end,
                   case when m.reason = 'unknown_tenant' then
                          format('there is no tenant %%s', m.tenant)
                        when m.reason <> '' then
                          format('expected %%s of a row in %%s, found %%s', %3$L, %4$L, m.key)
                        when n.%1$I < m.oldest then
                          format('expected at least %%s, found %%s', m.oldest, n.%1$I)
                        else format('expected at most %%s, found %%s', {_AHEAD}, n.%1$I) end,
                   '', m.tenant, to_jsonb(n) ->> 'device_id', to_jsonb(n) ->> 'site_id',
                   coalesce(to_jsonb(n) ->> 'msg_type', %2$L), n.%1$I, to_jsonb(n)
              from new_rows n, jsonb_to_recordset($1) {_GROUP}
             where %5$s and (m.reason <> '' or n.%1$I < m.oldest or n.%1$I > {_AHEAD})
            on conflict do nothing
            $query$, moment, tg_table_name, reference, tg_argv[3],
            case when reference = '' then 'true' else
              format('n.tenant_id = m.tenant and n.%I::text = m.key', reference) end)
          using found;
          return null;
        end
    """,
    comment="Trigger of a hypertable: rows of the ingest whose tenant or device does not "
    "exist, or whose moment is ahead or beyond the retention, go to quarantine_events.",
    metadata=Base.metadata,
)
# What finds the rows is written into the query, so that TimescaleDB unpacks no more of a
# compressed chunk than it must.
Function(
    "remove_misplaced",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    security_definer=True,
    reason="The ingest may delete nothing. This is a trigger, and deletes only rows that the "
    "same statement has inserted.",
    body=f"""
        declare
          found constant jsonb := nullif(current_setting('{_SETTING}', true), '');
          same text;
          m record;
        begin
          if found is null then
            return null;
          end if;
          perform set_config('{_SETTING}', '', true);
          select string_agg(format('h.%1$I = n.%1$I', a.attname), ' and ') into same
            from pg_catalog.pg_index i
            join pg_catalog.pg_attribute a
              on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
           where i.indrelid = tg_relid and i.indisprimary;
          for m in select * from jsonb_to_recordset(found) {_GROUP}
          loop
            execute format($query$
              delete from %1$I.%2$I h
               where %3$s and h.%4$I between %5$L and %6$L
                 and (%7$L <> '' or h.%4$I < %8$L or h.%4$I > {_AHEAD})
                 and exists (select from new_rows n where %9$s)
              $query$, tg_table_schema, tg_table_name,
              case when tg_argv[2] = '' then 'true'
                   else format('h.tenant_id = %L and h.%I = %L', m.tenant, tg_argv[2], m.key)
              end, tg_argv[0], m.first, m.last, coalesce(m.reason, ''), m.oldest, same);
          end loop;
          return null;
        end
    """,
    comment="Trigger of a hypertable: removes the rows of this statement that have gone to "
    "quarantine.",
    metadata=Base.metadata,
)
