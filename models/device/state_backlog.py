"""What batches say of devices whose rows of ``device_state`` another transaction holds."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, RowLevelSecurity
from models.device.state import STATUSES
from models.device.state_size import bounded_state
from models.shared.base import EMPTY_OBJECT, Base, Private, Timestamped, access, json_object, one_of
from models.shared.constraints import happened, seconds_each
from models.shared.plpgsql import PLPGSQL_SETTINGS


class DeviceStateBacklog(Private, Timestamped, Base):
    """What is still to be taken into ``device_state``, a row for each device."""

    __tablename__ = "device_state_backlog"

    of_tenant: Mapped[uuid.UUID] = mapped_column(
        primary_key=True,
        comment="The tenant. No foreign keys: they would wait for what a tenant holds.",
    )
    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
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

    __table_args__ = (
        one_of("status", STATUSES),
        json_object("state"),
        json_object("state_times"),
        seconds_each("state_times"),
        # As of device_state, into which it goes: what is refused there would stay here for ever.
        *map(happened, ("last_seen_at", "last_seen_as_sent", "last_telemetry_at")),
        bounded_state("device_state_backlog"),
        RowLevelSecurity(),
        *access("fleet_ingest", "select, insert, update, delete"),
        *access("fleet_operator", "select"),
        *access("fleet_operator_read", "select"),
        {
            "comment": "What batches say of devices whose rows of device_state another transaction "
            "held. The next batch of the tenant takes it in, or operations maintain."
        },
    )


# A device that has no row yet is tried, too; who holds the new one is not seen before.
Function(
    "take_in_device_states",
    "tenants uuid[]",
    returns="void",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        declare
          kept record;
        begin
          perform pg_advisory_xact_lock(hashtextextended('devices of ' || t.id, 0))
             from (select distinct n.id from unnest(tenants) as n (id) order by 1) as t;
          with free as materialized (
            select s.tenant_id, s.device_id
              from public.device_state s
              join public.device_state_backlog b
                   on b.of_tenant = s.tenant_id and b.device_id = s.device_id
             where b.of_tenant = any (tenants)
             order by 1, 2
               for no key update of s skip locked
          ), taken as (
            delete from public.device_state_backlog b
             where b.of_tenant = any (tenants)
               and ((b.of_tenant, b.device_id) in (select f.tenant_id, f.device_id from free f)
                    or not exists (select from public.device_state s
                                    where s.tenant_id = b.of_tenant and s.device_id = b.device_id))
            returning b.*
          )
          select array_agg(t.of_tenant) as of_tenants, array_agg(t.device_id) as devices,
                 array_agg(t.status) as statuses, array_agg(t.last_seen_at) as seen,
                 array_agg(t.last_seen_as_sent) as sent, array_agg(t.last_telemetry_at) as newest,
                 array_agg(timestamptz '-infinity') as oldest, array_agg(t.state) as states,
                 array_agg(t.state_times) as times
            into kept
            from taken t join public.device_registry r
                 on r.tenant_id = t.of_tenant and r.device_id = t.device_id;
          if kept.devices is not null then
            perform public.merge_device_states(kept.of_tenants, kept.devices, kept.statuses,
                                               kept.seen, kept.sent, kept.newest, kept.oldest,
                                               kept.states, kept.times);
          end if;
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment="Takes what batches left in device_state_backlog into device_state, but for rows that "
    "another transaction still holds.",
    metadata=Base.metadata,
)
