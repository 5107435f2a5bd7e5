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
# late values, new metrics, devices without a row, and which of several of one moment counts. A
# device with more than some 2,000 metrics gets no new ones: one that invents names would grow its
# row without end.
#
# A tenant may change rows of device_state in transactions of any length. Nobody else's batch waits
# for them: what they hold is noted in device_state_backlog, which no tenant can hold, and taken in
# by the next batch of the tenant.
#
# Of most metrics the time is known already, and a number made of a moment for each of thousands
# took longer than all the rest (measured).
_TIMES = """coalesce((select jsonb_object_agg(k, extract(epoch from {at}))
                       from (select jsonb_object_keys({of}.state)
                             except select jsonb_object_keys({times})) as _ (k)), '{{}}')
                     || coalesce({times}, '{{}}')"""
_KNOWN_TIMES = _TIMES.format(of="s", at="s.last_telemetry_at", times="s.state_times")
_NEW_TIMES = _TIMES.format(of="n", at="n.newest", times="n.times")
_MOST_BYTES = 65536
"""Of the names and times of a device's metrics, after which there are no new ones."""
PATIENCE = "100ms"
"""How long a batch waits for rows of devices that a transaction of the tenant holds."""

_SEEN = "coalesce(n.seen, n.newest)"


def _later(seen: str, sent: str, known: str) -> str:
    """Whether a moment is after the one that is known.

    Two that were both ahead of the clock when they came are compared as they were sent.
    """
    return (
        f"coalesce({sent}, {seen}) > coalesce(case when {sent} is not null\n"
        f"{'':20}then {known}.last_seen_as_sent end, {known}.last_seen_at, '-infinity')"
    )


_LATER = _later(_SEEN, "n.sent", "s")
_STATUS = f"case when n.status <> 'stale' and {_LATER} then n.status else s.status end"
_AS_SENT = f"case when {_LATER} then n.sent else s.last_seen_as_sent end"
_LATER_LEFT = _later("excluded.last_seen_at", "excluded.last_seen_as_sent", "b")

_ARGUMENTS = (
    "tenants uuid[], devices text[], statuses text[], seen timestamptz[], sent timestamptz[],"
    " newest timestamptz[], oldest timestamptz[], states jsonb[], times jsonb[]"
)
_ARRAYS = "tenants, devices, statuses, seen, sent, newest, oldest, states, times"
_COLUMNS = "tenant_id, device_id, status, seen, sent, newest, oldest, state, times, number"
_GIVEN = f"""unnest({_ARRAYS})
                     with ordinality as n ({_COLUMNS})"""
_SAID = (
    "an element of each array per device: status (stale: nothing is said of it), when it was seen "
    "(NULL: newest), the same as sent, if that was ahead of the clock, time of its newest "
    "telemetry and of the oldest value in states (NULL: newest; -infinity: not known), newest "
    "value of each metric and its time in seconds since 1970 (what is not there: newest)"
)

Function(
    "merge_device_states",
    _ARGUMENTS,
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
               set status = {_STATUS},
                   last_seen_at = greatest(s.last_seen_at, {_SEEN}),
                   last_seen_as_sent = {_AS_SENT},
                   last_telemetry_at = n.newest,
                   updated_at = now(),  -- spares the trigger
                   state = s.state || n.state,
                   state_times = case
                     when s.state || n.state = n.state then coalesce(n.times, '{{}}')
                     else ({_KNOWN_TIMES}) - array(select jsonb_object_keys(n.state))
                          || coalesce(n.times, '{{}}') end
              from {_GIVEN}
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
            select n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest, n.state,
                   {_NEW_TIMES} as times, s.state as known, {_KNOWN_TIMES} as known_times
              from {_GIVEN}
              left join public.device_state s using (tenant_id, device_id)
             where n.number <> all (coalesce(taken, '{{}}'))
          ), told as materialized (
            select n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest, n.known,
                   n.known_times, n.state - ignored.metrics as state,
                   n.times - ignored.metrics as times, asked.times as asked
              from n,
                   lateral (select coalesce(array_agg(t.metric), '{{}}') as metrics
                              from jsonb_each(n.times) as t (metric, at)
                             where case when n.known_times ? t.metric
                                        then n.known_times -> t.metric > t.at
                                             or n.known_times -> t.metric = t.at
                                                and n.known -> t.metric = n.state -> t.metric
                                        else pg_column_size(n.known_times) > {_MOST_BYTES}
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
            select t.tenant_id, t.device_id, t.status, t.seen, t.sent, t.newest, t.known,
                   t.known_times, t.state - coalesce(o.metrics, '{{}}') as state,
                   t.times - coalesce(o.metrics, '{{}}') as times
              from told t left join otherwise o using (tenant_id, device_id)
          ), sensors as (
            insert into public.device_sensors
                   (tenant_id, device_id, metric_key, display_name, source)
            select n.tenant_id, n.device_id, m.metric, m.metric, 'unmodeled'
              from fresh n, lateral jsonb_object_keys(n.state) as m (metric)
             where not coalesce(n.known ? m.metric, false)
               and pg_column_size(n.known_times) < {_MOST_BYTES}
             order by 1, 2, 3
            on conflict do nothing
          ), known as (
            update public.device_state s
               set status = {_STATUS},
                   last_seen_at = greatest(s.last_seen_at, {_SEEN}),
                   last_seen_as_sent = {_AS_SENT},
                   last_telemetry_at = greatest(s.last_telemetry_at, n.newest),
                   state = s.state || n.state, state_times = n.known_times || n.times
              from fresh n
             where s.tenant_id = n.tenant_id and s.device_id = n.device_id
               and n.known is not null
               and ({_LATER}
                    or {_SEEN} > coalesce(s.last_seen_at, '-infinity')
                    or n.newest > coalesce(s.last_telemetry_at, '-infinity')
                    or n.times <> '{{}}'))
          insert into public.device_state
                 (tenant_id, device_id, status, last_seen_at, last_seen_as_sent,
                  last_telemetry_at, state, state_times)
          select n.tenant_id, n.device_id, n.status, {_SEEN}, n.sent, n.newest, n.state, n.times
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
          if cardinality(free) = cardinality(devices) and tenants[1] = all (tenants) then
            free := null;  -- It is a new row of a device or sensor that somebody holds.
          end if;
          insert into public.device_state_backlog as b
                 (of_tenant, device_id, status, last_seen_at, last_seen_as_sent,
                  last_telemetry_at, state, state_times)
          select n.tenant_id, n.device_id, n.status, {_SEEN}, n.sent, n.newest, n.state,
                 {_NEW_TIMES}
            from {_GIVEN}
           where n.number <> all (coalesce(free, '{{}}'))
           order by 1, 2
          on conflict (of_tenant, device_id) do update
             set status = case when excluded.status <> 'stale' and {_LATER_LEFT}
                               then excluded.status else b.status end,
                 last_seen_at = greatest(b.last_seen_at, excluded.last_seen_at),
                 last_seen_as_sent = case when {_LATER_LEFT}
                                          then excluded.last_seen_as_sent
                                          else b.last_seen_as_sent end,
                 last_telemetry_at = greatest(b.last_telemetry_at, excluded.last_telemetry_at),
                 (state, state_times) = (
                   select b.state || (excluded.state - ignored.metrics),
                          b.state_times || (excluded.state_times - ignored.metrics)
                     from (select coalesce(array_agg(t.metric), '{{}}') as metrics
                             from jsonb_each(excluded.state_times) as t (metric, at)
                            where case when b.state_times ? t.metric
                                       then b.state_times -> t.metric > t.at
                                            or b.state_times -> t.metric = t.at and (
                                               b.state -> t.metric = excluded.state -> t.metric
                                               or exists (
                                                 select from public.metrics_stored_otherwise(
                                                          array[excluded.of_tenant],
                                                          array[excluded.device_id],
                                                          array[excluded.state],
                                                          array[jsonb_build_object(t.metric,
                                                                                   t.at)])))
                                       else pg_column_size(b.state_times) > {_MOST_BYTES}
                                       end) as ignored);
          for tenant in select distinct unnest(tenants) order by 1 loop
            perform public.merge_device_states(
                      array_agg(n.tenant_id), array_agg(n.device_id), array_agg(n.status),
                      array_agg(n.seen), array_agg(n.sent), array_agg(n.newest),
                      array_agg(n.oldest), array_agg(n.state), array_agg(n.times))
               from {_GIVEN}
              where n.tenant_id = tenant and n.number = any (free)
             having count(*) > 0;
          end loop;
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment=f"Takes in what is said of devices, {_SAID}. What is older than what is known changes "
    "nothing, and of values of one moment that with the highest seq counts; new metrics become "
    "sensors. What is said of rows that other transactions hold goes to device_state_backlog.",
    metadata=Base.metadata,
)

Function(
    "record_devices",
    _ARGUMENTS,
    returns="void",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        begin
          perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))
             from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;
          if exists (select from public.device_state_backlog b
                      where b.of_tenant = any (tenants)) then
            perform public.take_in_device_states(tenants);
          end if;
          perform public.merge_device_states({_ARRAYS});
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment="Takes in what a batch says of its devices, as merge_device_states(), after what "
    "earlier ones left in device_state_backlog.",
    metadata=Base.metadata,
)
