"""What batches say of devices that could not be written into ``device_state`` at once."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, RowLevelSecurity
from models.device.state import STATUSES
from models.device.state_size import bounded_state
from models.device.state_sql import (
    ARGUMENTS,
    GIVEN,
    KNOWN_TIMES,
    NEW_TIMES,
    SAID,
    SEEN,
    TOLD,
    seen_of,
)
from models.shared.base import (
    EMPTY_OBJECT,
    Base,
    Identified,
    Private,
    Timestamped,
    access,
    json_object,
    not_empty,
    one_of,
)
from models.shared.constraints import happened, seconds_each
from models.shared.plpgsql import PLPGSQL_SETTINGS


class DeviceStateBacklog(Private, Identified, Timestamped, Base):
    """What is still to be taken into ``device_state``, seldom more than a row for each device."""

    __tablename__ = "device_state_backlog"

    of_tenant: Mapped[uuid.UUID] = mapped_column(
        comment="The tenant. No foreign keys: they would wait for what a tenant holds."
    )
    device_id: Mapped[str]
    status: Mapped[str] = mapped_column(comment="As in device_state; stale: nothing is said of it.")
    last_seen_at: Mapped[datetime.datetime]
    last_seen_as_sent: Mapped[datetime.datetime | None]
    last_telemetry_at: Mapped[datetime.datetime | None]
    state: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Newest value of each metric."
    )
    state_times: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="When each value in state was measured."
    )

    state_bytes: Mapped[int | None] = mapped_column(
        comment="Of state, before it is compressed; NULL: not known, and nothing is merged with it."
    )

    __table_args__ = (
        not_empty("device_id"),
        one_of("status", STATUSES),
        json_object("state"),
        json_object("state_times"),
        seconds_each("state_times"),
        # As of device_state, into which it goes: what is refused there would stay here for ever.
        *map(happened, ("last_seen_at", "last_seen_as_sent", "last_telemetry_at")),
        Index(None, "of_tenant", "device_id", "id"),
        bounded_state("device_state_backlog"),
        RowLevelSecurity(),
        *access("fleet_ingest", "select, insert, update, delete"),
        *access("fleet_operator", "select"),
        *access("fleet_operator_read", "select"),
        {
            "comment": "What batches say of devices whose rows of device_state another transaction "
            "held, or which took too long. The next batches of the tenant take it in, or "
            "operations maintain."
        },
    )


SMALL = 4096
"""Bytes of values, some hundred of them: so many are merged with what is noted."""

# Another batch may be noting, or taking in, the same device: then what this one says goes into a
# row of its own, so that nobody waits here. So does a value that differs from a noted one of the
# same moment: to look up which counts may take long, and this has to be quick. So do many values,
# as they were sent: to compare 1.6 million with what was noted took ten seconds (measured).
Function(
    "note_device_states",
    ARGUMENTS,
    returns="void",
    language="plpgsql",
    # As long as statistics say that the table is empty, all of it would be read for each device, by
    # the primary key: hence the range, whose order only the other index has.
    settings={**PLPGSQL_SETTINGS, "plan_cache_mode": "force_custom_plan"},
    body=f"""
        begin
          with n as materialized (
            select s.id, n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest,
                   n.state, {NEW_TIMES} as times, s.state as known, {KNOWN_TIMES} as known_times
              from {GIVEN}
              left join lateral (
                   select o.id, o.last_telemetry_at, o.state || '{{}}' as state,
                          o.state_times || '{{}}' as state_times
                     from public.device_state_backlog o
                    where o.of_tenant = n.tenant_id
                      and o.device_id between n.device_id and n.device_id
                      and o.state_bytes <= {SMALL}
                    order by o.device_id, o.id limit 1 for update skip locked) as s on true
             where pg_column_size(n.state) <= {SMALL}
          ), {TOLD}, known as (
            update public.device_state_backlog b
               set {seen_of("b")},
                   last_telemetry_at = greatest(b.last_telemetry_at, n.newest),
                   state = b.state || n.state, state_times = n.known_times || n.times,
                   state_bytes = pg_column_size(b.state || n.state)
              from told n where b.id = n.id and n.asked is null)
          insert into public.device_state_backlog
                 (of_tenant, device_id, status, last_seen_at, last_seen_as_sent,
                  last_telemetry_at, state, state_times, state_bytes)
          select n.tenant_id, n.device_id, n.status, {SEEN}, n.sent, n.newest, n.state, n.times,
                 pg_column_size(n.state)
            from told n where n.id is null or n.asked is not null;
          insert into public.device_state_backlog
                 (of_tenant, device_id, status, last_seen_at, last_seen_as_sent,
                  last_telemetry_at, state, state_times)
          select n.tenant_id, n.device_id, n.status, {SEEN}, n.sent, n.newest, n.state,
                 coalesce(n.times, '{{}}')
            from {GIVEN} where pg_column_size(n.state) > {SMALL};
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment=f"Leaves in device_state_backlog what is said of devices, {SAID}.",
    metadata=Base.metadata,
)

MOST_AT_ONCE = 50
MOST_BYTES_AT_ONCE = 65536
"""Devices that are taken in together, and bytes of their values: new metrics take 70 µs each, and
the state of a device with thousands of them 25 ms (measured)."""
FOR = "500 ms"
"""How long a batch takes in what is left of its tenants, or half of what its statements may take;
the next one goes on."""

# A device that has no row yet is tried, too; who holds the new one is not seen before.
Function(
    "take_in_device_states",
    "tenants uuid[]",
    returns="bigint",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          ends constant timestamptz := clock_timestamp() + least(interval '{FOR}', nullif(
            current_setting('statement_timeout')::interval, interval '0') / 2);
          tenant uuid;
          device text;
          listed uuid[];
          kept record;
          again boolean;
          number bigint := 0;
        begin
          perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))
             from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;
          for tenant in select distinct n.id from unnest(tenants) as n (id) order by 1 loop
            device := '';
            again := false;
            while clock_timestamp() < ends loop
              -- The first row of each of the next devices; others of theirs come when all have been
              -- gone through. What is noted anew, since it is held, is for the next time.
              with upcoming as materialized (
                select distinct on (b.device_id) b.id, b.device_id
                  from public.device_state_backlog b
                 where b.of_tenant = tenant and b.device_id > device and b.created_at < now()
                 order by b.device_id, b.id limit {MOST_AT_ONCE}
              ), sized as (
                select u.id, u.device_id, sum(pg_column_size(b.state || '{{}}'))
                         over (order by u.device_id rows unbounded preceding exclude current row)
                         as before
                  from upcoming u join public.device_state_backlog b using (id)
              )
              select array_agg(s.id), max(s.device_id) into listed, device
                from sized s where coalesce(s.before, 0) < {MOST_BYTES_AT_ONCE};
              if listed is null then
                exit when not again;
                again := false;
                device := '';
                continue;
              end if;
              with free as materialized (
                select s.device_id
                  from public.device_state s
                  join public.device_state_backlog b
                       on b.of_tenant = s.tenant_id and b.device_id = s.device_id
                 where b.id = any (listed) and s.tenant_id = tenant
                 order by 1
                   for no key update of s skip locked
              ), own as materialized (
                select b.id, b.device_id from public.device_state_backlog b
                 where b.id = any (listed) for update skip locked
              ), taken as (
                delete from public.device_state_backlog b
                 using own o
                 where b.id = o.id
                   and (o.device_id in (select f.device_id from free f)
                        or not exists (select from public.device_state s
                                        where s.tenant_id = tenant
                                          and s.device_id = o.device_id))
                returning b.*
              )
              select count(*) as number,
                     array_agg(t.of_tenant) filter (where registered) as of_tenants,
                     array_agg(t.device_id) filter (where registered) as devices,
                     array_agg(t.status) filter (where registered) as statuses,
                     array_agg(t.last_seen_at) filter (where registered) as seen,
                     array_agg(t.last_seen_as_sent) filter (where registered) as sent,
                     array_agg(t.last_telemetry_at) filter (where registered) as newest,
                     array_agg(timestamptz '-infinity') filter (where registered) as oldest,
                     array_agg(t.state) filter (where registered) as states,
                     array_agg(t.state_times) filter (where registered) as times
                into kept
                from taken t,
                     lateral (select exists (
                       select from public.device_registry r
                        where r.tenant_id = t.of_tenant and r.device_id = t.device_id)) as r
                             (registered);
              number := number + kept.number;
              again := again or kept.number > 0;
              if kept.devices is not null then
                perform public.merge_device_states(kept.of_tenants, kept.devices, kept.statuses,
                                                   kept.seen, kept.sent, kept.newest, kept.oldest,
                                                   kept.states, kept.times);
              end if;
            end loop;
          end loop;
          return number;
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment="Takes what batches left in device_state_backlog into device_state, a few devices at a "
    f"time and for {FOR}, but for rows that another transaction still holds; returns how many rows "
    "of the backlog it took.",
    metadata=Base.metadata,
)
