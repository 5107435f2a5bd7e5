"""The function by which each batch of the ingest is taken into ``device_state``."""

from __future__ import annotations

from ddl import Function
from models.device.state_sql import (
    ARGUMENTS,
    ARRAYS,
    FRESH,
    GIVEN,
    KNOWN_TIMES,
    MOST_BYTES,
    NEW_TIMES,
    SAID,
    SEEN,
    later,
    seen_of,
)
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS

# In the order of the key, and one batch of a tenant at a time, so that batches wait for each other
# instead of deadlocking. The plans are kept for the session, which is why this is PL/pgSQL:
# planning would take as long as the work (measured).
#
# Most devices of a batch have the metrics they had before, all of them newer; for them the first
# statement is everything, without a look at each metric. The rest of the batch takes the long way:
# late values, new metrics, devices without a row, and which of several of one moment counts. A
# device with more than some 2,000 metrics gets no new ones: one that invents names would grow its
# row without end.
#
# A tenant may change rows of device_state in transactions of any length. Nobody else's batch waits
# for them: what they hold is noted in device_state_backlog, which no tenant can hold, and taken in
# by the next batch of the tenant.
PATIENCE = "100ms"
"""How long a batch waits for rows of devices that a transaction of the tenant holds."""

_SEEN = seen_of("s")
_LATER = later(SEEN, "n.sent", "s")

Function(
    "merge_device_states",
    ARGUMENTS,
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
          perform set_config('lock_timeout', '{PATIENCE}', true);
          with newer as (
            update public.device_state s
               set {_SEEN},
                   last_telemetry_at = n.newest,
                   updated_at = now(),  -- spares the trigger
                   state = s.state || n.state,
                   state_times = case
                     -- What is left then are times of values that were deleted.
                     when s.state || n.state = n.state
                     then case s.state_times when '{{}}' then '{{}}' else
                            s.state_times - array(select jsonb_object_keys(n.state)) end
                          || coalesce(n.times, '{{}}')
                     else ({KNOWN_TIMES}) - array(select jsonb_object_keys(n.state))
                          || coalesce(n.times, '{{}}') end
              from {GIVEN}
             where s.tenant_id = n.tenant_id and s.device_id = n.device_id
               and coalesce(n.oldest, n.newest) > coalesce(s.last_telemetry_at, '-infinity')
               and n.state || s.state = s.state
            returning n.number)
          select array_agg(number) into taken from newer;
          if cardinality(taken) = cardinality(devices) then
            perform set_config('lock_timeout', patience, true);
            return;
          end if;
          -- Rows first, and locks: what is known is read, and changed, as of after that.
          insert into public.device_state (tenant_id, device_id, status)
          select n.tenant_id, n.device_id, n.status
            from {GIVEN}
           where n.number <> all (coalesce(taken, '{{}}'))
             and not exists (select from public.device_state s
                              where s.tenant_id = n.tenant_id and s.device_id = n.device_id)
           order by 1, 2
          on conflict do nothing;
          perform from public.device_state s
             join {GIVEN}
                  using (tenant_id, device_id)
            where n.number <> all (coalesce(taken, '{{}}'))
            order by s.tenant_id, s.device_id
              for no key update of s;
          with n as materialized (
            select null::uuid as id, n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest,
                   n.state, {NEW_TIMES} as times, s.state || '{{}}' as known,
                   {KNOWN_TIMES} as known_times
              from {GIVEN}
              join public.device_state s using (tenant_id, device_id)
             where n.number <> all (coalesce(taken, '{{}}'))
          ), {FRESH}, sensors as (
            insert into public.device_sensors
                   (tenant_id, device_id, metric_key, display_name, source)
            select n.tenant_id, n.device_id, m.metric, m.metric, 'unmodeled'
              from fresh n, lateral jsonb_object_keys(n.state) as m (metric)
             where not n.known ? m.metric
               and pg_column_size(n.known_times) < {MOST_BYTES}
             order by 1, 2, 3
            on conflict do nothing
          )
          update public.device_state s
             set {_SEEN},
                 last_telemetry_at = greatest(s.last_telemetry_at, n.newest),
                 state = s.state || n.state, state_times = n.known_times || n.times
            from fresh n
           where s.tenant_id = n.tenant_id and s.device_id = n.device_id
             and ({_LATER}
                  or {SEEN} > coalesce(s.last_seen_at, '-infinity')
                  or n.newest > coalesce(s.last_telemetry_at, '-infinity')
                  or n.times <> '{{}}');
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
          if cardinality(free) = cardinality(devices) and tenants[1] = all (tenants) then
            free := null;  -- It is a new row of a device or sensor that somebody holds.
          end if;
          perform public.note_device_states(
                    array_agg(n.tenant_id), array_agg(n.device_id), array_agg(n.status),
                    array_agg(n.seen), array_agg(n.sent), array_agg(n.newest),
                    array_agg(n.oldest), array_agg(n.state), array_agg(n.times))
             from {GIVEN}
            where n.number <> all (coalesce(free, '{{}}'))
           having count(*) > 0;
          for tenant in select distinct unnest(tenants) order by 1 loop
            perform public.merge_device_states(
                      array_agg(n.tenant_id), array_agg(n.device_id), array_agg(n.status),
                      array_agg(n.seen), array_agg(n.sent), array_agg(n.newest),
                      array_agg(n.oldest), array_agg(n.state), array_agg(n.times))
               from {GIVEN}
              where n.tenant_id = tenant and n.number = any (free)
             having count(*) > 0;
          end loop;
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment=f"Takes in what is said of devices, {SAID}. What is older than what is known changes "
    "nothing, and of values of one moment that with the highest seq counts; new metrics become "
    "sensors. What is said of rows that other transactions hold goes to device_state_backlog.",
    metadata=Base.metadata,
)

Function(
    "record_devices",
    ARGUMENTS,
    returns="uuid[]",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          behind uuid[];
        begin
          perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))
             from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;
          select array_agg(t.id) into behind
            from (select distinct n.id from unnest(tenants) as n (id)) as t
           where exists (select from public.device_state_backlog b where b.of_tenant = t.id);
          perform public.merge_device_states({ARRAYS});
          return behind;
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment="Takes in what a batch says of its devices, as merge_device_states(); returns the "
    "tenants of which earlier ones have left something in device_state_backlog.",
    metadata=Base.metadata,
)
