"""Latest state of a device, and its shadow: desired and reported state."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger, View
from models.shared.base import (
    EMPTY_OBJECT,
    NOW,
    ZERO,
    Base,
    TenantScoped,
    Timestamped,
    access,
    json_object,
    one_of,
    tenant_reference,
)
from models.shared.change_notifications import change_notifications
from models.shared.functions import PLPGSQL_SETTINGS

Function(
    "keep_device_state",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          if new.status is distinct from old.status then
            new.last_state_change_at := now();
          end if;
          if new.desired_state is distinct from old.desired_state then
            new.desired_version := old.desired_version + 1;
            new.shadow_updated_at := now();
          elsif new.desired_version <> old.desired_version then
            raise exception 'desired_version of device % is set by the database', new.device_id
              using errcode = 'check_violation', table = tg_table_name, column = 'desired_version',
                    hint = 'Change desired_state, which increments the version.';
          end if;
          if new.reported_version < old.reported_version then
            raise exception 'device % reported version % after version %', new.device_id,
                new.reported_version, old.reported_version
              using errcode = 'check_violation', table = tg_table_name, column = 'reported_version',
                    hint = 'Use report_state(), which ignores late reports.';
          end if;
          if new.reported_state is distinct from old.reported_state then
            new.shadow_updated_at := now();
          end if;
          return new;
        end
    """,
    comment="Trigger: sets versions and times of a device shadow.",
    metadata=Base.metadata,
)

ONLINE_FOR = datetime.timedelta(minutes=15)
"""A device that was seen longer ago is not online."""

_KEPT = ("status", "desired_state", "desired_version", "reported_state", "reported_version")
_INGESTED = "status, last_telemetry_at, last_seen_at, state, state_times"
"""What the ingest writes, and has to read since it merges."""


class DeviceState(TenantScoped, Timestamped, Base):
    """Current status and shadow of a device."""

    __tablename__ = "device_state"
    # What is no time there would break device_metrics for the whole tenant.
    __guarded_columns__ = ("state_times",)

    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(
        server_default="offline",
        comment="stale: no message for longer than usual, but not yet offline.",
    )
    last_heartbeat_at: Mapped[datetime.datetime | None]
    last_telemetry_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="Time of the newest telemetry, according to the device."
    )
    last_seen_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="Time of the last message of any kind, never ahead of the server's clock."
    )
    last_state_change_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="When status last changed."
    )
    state: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT,
        comment="Latest value of each metric; the ingest writes it with each batch.",
    )
    state_times: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT,
        comment="When values in state were measured, in seconds since 1970; what is not here was "
        "measured at last_telemetry_at.",
    )
    desired_state: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Settings that the device should apply."
    )
    reported_state: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Settings that the device reports as applied."
    )
    desired_version: Mapped[int] = mapped_column(server_default=ZERO)
    reported_version: Mapped[int] = mapped_column(
        server_default=ZERO, comment="The desired version that the device has applied."
    )
    shadow_updated_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When desired_state or reported_state last changed."
    )

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        Index(None, "tenant_id", "status"),
        Index(
            "ix_device_state_out_of_step",
            "tenant_id",
            "device_id",
            postgresql_where=text("desired_version > reported_version"),
        ),
        one_of("status", ("online", "stale", "offline")),
        json_object("state"),
        json_object("state_times"),
        json_object("desired_state"),
        json_object("reported_state"),
        CheckConstraint("desired_version >= 0 AND reported_version >= 0", name="versions"),
        # The ingest changes neither status nor shadow of most rows.
        Trigger(
            "device_state_is_kept",
            timing="before",
            events="update",
            when=" OR ".join(f"old.{one} IS DISTINCT FROM new.{one}" for one in _KEPT),
            function="keep_device_state()",
        ),
        *change_notifications("device_state", "status, desired_version, reported_version"),
        *access(
            "fleet_ingest",
            f"select (tenant_id, device_id, {_INGESTED}),"
            f" insert (tenant_id, device_id, {_INGESTED}), update ({_INGESTED})",
        ),
        {
            "comment": "Current status and shadow of devices, one row each.",
            # Each batch updates the rows of its devices. A page with space takes the new version of
            # a row without a new entry in each index.
            "postgresql_with": {"fillfactor": "50"},
        },
    )


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

# Rows that others hold are marked the next time: neither do they wait, nor does this.
Function(
    "mark_silent_devices",
    f"stale_after interval DEFAULT '{ONLINE_FOR.seconds // 60} minutes',"
    " offline_after interval DEFAULT '1 day'",
    returns="bigint",
    body="""
        BEGIN ATOMIC
          WITH silent AS (
            SELECT tenant_id, device_id
              FROM device_state
             WHERE (status = 'online' AND last_seen_at < now() - stale_after)
                OR (status = 'stale' AND last_seen_at < now() - offline_after)
               FOR NO KEY UPDATE SKIP LOCKED
          ), marked AS (
            UPDATE device_state s
               SET status = CASE WHEN s.last_seen_at < now() - offline_after THEN 'offline'
                                 ELSE 'stale' END
              FROM silent n
             WHERE s.tenant_id = n.tenant_id AND s.device_id = n.device_id
            RETURNING 1
          )
          SELECT count(*) FROM marked;
        END
    """,
    grants=dict.fromkeys(("fleet_app", "fleet_operator"), "execute"),
    comment="Marks devices that were not seen for some time as stale, later as offline; returns "
    "how many. For a worker, every minute; as an operator, of all tenants.",
    metadata=Base.metadata,
)

View(
    "device_metrics",
    """
    SELECT s.tenant_id, s.device_id, m.key AS metric, m.value,
           coalesce(to_timestamp((s.state_times ->> m.key)::double precision),
                    s.last_telemetry_at) AS ts
      FROM device_state s, LATERAL jsonb_each(s.state) m
    """,
    grants=dict.fromkeys(("fleet_app", "fleet_operator", "fleet_operator_read"), "select"),
    comment="The newest value of each metric of each device, and when it was measured.",
    metadata=Base.metadata,
)

Function(
    "set_desired_state",
    "device text, wanted jsonb, seen_version integer DEFAULT NULL",
    returns="integer",
    body="""
        BEGIN ATOMIC
          UPDATE device_state SET desired_state = desired_state || wanted
           WHERE tenant_id = current_tenant() AND device_id = device
             AND (seen_version IS NULL OR desired_version = seen_version)
          RETURNING desired_version;
        END
    """,
    grants={"fleet_app": "execute"},
    comment="Merges into the desired state of a device; returns the new version, or NULL if "
    "another session has changed it since seen_version.",
    metadata=Base.metadata,
)

Function(
    "report_state",
    "device text, report jsonb, of_version integer",
    returns="boolean",
    body="""
        BEGIN ATOMIC
          UPDATE device_state
             SET reported_state = reported_state || report, reported_version = of_version
           WHERE tenant_id = current_tenant() AND device_id = device
             AND reported_version <= of_version AND of_version <= desired_version
          RETURNING true;
        END
    """,
    grants={"fleet_app": "execute"},
    comment="Merges into the reported state of a device; returns NULL, without a change, for a "
    "report older than the last one, or for a version that does not exist.",
    metadata=Base.metadata,
)
