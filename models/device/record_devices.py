"""The function by which each batch of the ingest is taken into ``device_state``."""

from __future__ import annotations

from ddl import Function
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS

# In the order of the key, and one batch of a tenant at a time, so that batches wait for each other
# instead of deadlocking. The plans are kept for the session, which is why this is PL/pgSQL:
# planning would take as long as the work (measured).
#
# Most devices of a batch have the metrics they had before, all of them newer; for them the first
# statement is everything, without a look at each metric. The rest of the batch takes the long way:
# late values, new metrics, devices without a row, and what the messages themselves have to tell:
# which of several of one moment counts, and what of a redelivery is stored. A device with more than
# some 2,000 metrics gets no new ones: one that invents names would grow its row without end.
#
# A tenant may change rows of device_state in transactions of any length. Nobody else's batch waits
# for them: what they hold is left to the next batch of the device.
_TIMES = """coalesce((select jsonb_object_agg(k, extract(epoch from {at}))
                       from jsonb_object_keys({of}.state) k), '{{}}')
                     || coalesce({times}, '{{}}')"""
_KNOWN_TIMES = _TIMES.format(of="s", at="s.last_telemetry_at", times="s.state_times")
_NEW_TIMES = _TIMES.format(of="n", at="n.newest", times="n.times")
PATIENCE = "100ms"
"""How long a batch waits for rows of devices that a transaction of the tenant holds."""

_SEEN = "coalesce(n.seen, n.newest)"
_STATUS = f"""case when n.status <> 'stale'
                                and {_SEEN} > coalesce(s.last_seen_at, '-infinity')
                               then n.status else s.status end"""

Function(
    "record_devices",
    "tenants uuid[], devices text[], statuses text[], seen timestamptz[], newest timestamptz[],"
    " oldest timestamptz[], states jsonb[], times jsonb[]",
    returns="void",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          taken bigint[];
          free bigint[];
          tenant uuid;
          patience constant text := current_setting('lock_timeout');
        begin
          perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))
             from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;
          begin
            perform set_config('lock_timeout', '{PATIENCE}', true);
            with newer as (
              update public.device_state s
                 set status = {_STATUS},
                     last_seen_at = greatest(s.last_seen_at, coalesce(n.seen, n.newest)),
                     last_telemetry_at = n.newest,
                     state = s.state || n.state,
                     state_times = case
                       when s.state || n.state = n.state then coalesce(n.times, '{{}}')
                       else ({_KNOWN_TIMES}) - array(select jsonb_object_keys(n.state))
                            || coalesce(n.times, '{{}}') end
                from unnest(tenants, devices, statuses, seen, newest, oldest, states, times)
                     with ordinality
                     as n (tenant_id, device_id, status, seen, newest, oldest, state, times, number)
               where s.tenant_id = n.tenant_id and s.device_id = n.device_id
                 and coalesce(n.oldest, n.newest) > coalesce(s.last_telemetry_at, '-infinity')
                 and n.state || s.state = s.state
              returning n.number)
            select array_agg(number) into taken from newer;
            if cardinality(taken) = cardinality(devices) then
              perform set_config('lock_timeout', patience, true);
              return;
            end if;
            with n as materialized (
              select n.tenant_id, n.device_id, n.status, n.seen, n.newest, n.state,
                     n.oldest = '-infinity' as doubtful, {_NEW_TIMES} as times,
                     s.state as known, {_KNOWN_TIMES} as known_times
                from unnest(tenants, devices, statuses, seen, newest, oldest, states, times)
                     with ordinality
                     as n (tenant_id, device_id, status, seen, newest, oldest, state, times, number)
                left join public.device_state s using (tenant_id, device_id)
               where n.number <> all (coalesce(taken, '{{}}'))
            ), told as materialized (
              select n.tenant_id, n.device_id, n.status, n.seen, n.newest, n.known, n.known_times,
                     n.state - ignored.metrics as state, n.times - ignored.metrics as times,
                     case when n.doubtful then n.times - ignored.metrics
                          else asked.times end as asked
                from n,
                     lateral (select coalesce(array_agg(t.metric), '{{}}') as metrics
                                from jsonb_each(n.times) as t (metric, at)
                               where case when n.known_times ? t.metric
                                          then n.known_times -> t.metric > t.at
                                               or n.known_times -> t.metric = t.at
                                                  and n.known -> t.metric = n.state -> t.metric
                                          else pg_column_size(n.known_times) > 65536
                                          end) as ignored,
                     lateral (select jsonb_object_agg(t.metric, t.at) as times
                                from jsonb_each(n.times) as t (metric, at)
                               where n.known_times -> t.metric = t.at
                                 and n.known -> t.metric <> n.state -> t.metric) as asked
            ), otherwise as (
              select o.tenant_id, o.device_id, o.metrics
                from (select array_agg(t.tenant_id) as tenants, array_agg(t.device_id) as devices,
                             array_agg(t.state) as states, array_agg(t.asked) as times
                        from told t where t.asked <> '{{}}' having count(*) > 0) as a,
                     lateral public.metrics_stored_otherwise(
                               a.tenants, a.devices, a.states, a.times) as o
            ), fresh as materialized (
              select t.tenant_id, t.device_id, t.status, t.seen, t.newest, t.known, t.known_times,
                     t.state - coalesce(o.metrics, '{{}}') as state,
                     t.times - coalesce(o.metrics, '{{}}') as times
                from told t left join otherwise o using (tenant_id, device_id)
            ), sensors as (
              insert into public.device_sensors
                     (tenant_id, device_id, metric_key, display_name, source)
              select n.tenant_id, n.device_id, m.metric, m.metric, 'unmodeled'
                from fresh n, lateral jsonb_object_keys(n.state) as m (metric)
               where m.metric <> '' and not coalesce(n.known ? m.metric, false)
                 and pg_column_size(n.known_times) < 65536
               order by 1, 2, 3
              on conflict do nothing
            ), known as (
              update public.device_state s
                 set status = {_STATUS},
                     last_seen_at = greatest(s.last_seen_at, coalesce(n.seen, n.newest)),
                     last_telemetry_at = greatest(s.last_telemetry_at, n.newest),
                     state = s.state || n.state, state_times = n.known_times || n.times
                from fresh n
               where s.tenant_id = n.tenant_id and s.device_id = n.device_id
                 and n.known is not null
                 and (coalesce(n.seen, n.newest) > coalesce(s.last_seen_at, '-infinity')
                      or n.newest > coalesce(s.last_telemetry_at, '-infinity')
                      or n.times <> '{{}}'))
            insert into public.device_state
                   (tenant_id, device_id, status, last_seen_at, last_telemetry_at, state,
                    state_times)
            select n.tenant_id, n.device_id, n.status, coalesce(n.seen, n.newest), n.newest,
                   n.state, n.times
              from fresh n where n.known is null
             order by 1, 2
            on conflict do nothing;
            perform set_config('lock_timeout', patience, true);
          exception when lock_not_available then
            select array_agg(n.number) into free
              from unnest(tenants, devices) with ordinality as n (tenant_id, device_id, number)
              left join (select s.tenant_id, s.device_id
                           from public.device_state s
                           join unnest(tenants, devices) as n (tenant_id, device_id)
                                using (tenant_id, device_id)
                          order by 1, 2
                            for no key update of s skip locked) as f using (tenant_id, device_id)
              left join public.device_state s using (tenant_id, device_id)
             where f.device_id is not null or s.device_id is null;
            if cardinality(free) = cardinality(devices)
               and tenants[1] = all (tenants) then
              return;  -- It is a new row of a device or sensor that somebody holds.
            end if;
            for tenant in select distinct unnest(tenants) order by 1 loop
              perform public.record_devices(
                        array_agg(n.tenant_id), array_agg(n.device_id), array_agg(n.status),
                        array_agg(n.seen), array_agg(n.newest), array_agg(n.oldest),
                        array_agg(n.state), array_agg(n.times))
                 from unnest(tenants, devices, statuses, seen, newest, oldest, states, times)
                      with ordinality
                      as n (tenant_id, device_id, status, seen, newest, oldest, state, times,
                            number)
                where n.tenant_id = tenant and n.number = any (free)
               having count(*) > 0;
            end loop;
          end;
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment="Takes in what a batch says of its devices, an element of each array per device: "
    "status (stale: nothing is said of it), when it was seen (NULL: newest), time of its newest "
    "telemetry and of the oldest value in states (NULL: newest; -infinity: believe no value that "
    "is not stored), newest value of each metric and its time in seconds since 1970 (what is not "
    "there: newest). What is older than what is known changes nothing, and of values of one moment "
    "that with the highest seq counts; new metrics become sensors. Rows that other transactions "
    "hold are left as they are.",
    metadata=Base.metadata,
)
