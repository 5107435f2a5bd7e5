"""Latest state of a device, and its shadow: desired and reported state."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger, View
from models.device.state_size import bounded_shadow, bounded_state
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
from models.shared.constraints import seconds_each
from models.shared.plpgsql import PLPGSQL_SETTINGS

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

STATUSES = ("online", "stale", "offline")

_KEPT = ("status", "desired_state", "desired_version", "reported_state", "reported_version")
_INGESTED = "status, last_telemetry_at, last_seen_at, last_seen_as_sent, state, state_times"
"""What the ingest writes, and has to read since it merges."""


class DeviceState(TenantScoped, Timestamped, Base):
    """Current status and shadow of a device."""

    __tablename__ = "device_state"
    __unless_now__ = True
    # What is no time in state_times would break device_metrics for the whole tenant.
    __guarded_columns__ = ("last_seen_as_sent", "state_times")

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
    last_seen_as_sent: Mapped[datetime.datetime | None] = mapped_column(
        comment="The same by the clock of the sender, where that is ahead of the server's: of two "
        "such moments the later one counts."
    )
    last_state_change_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="When status last changed."
    )
    state: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT,
        comment="Latest value of each metric; the ingest writes it with each batch. In "
        "more than 256 kB values of more than 128 bytes are null.",
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
        one_of("status", STATUSES),
        json_object("state"),
        json_object("state_times"),
        seconds_each("state_times"),
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
        bounded_state("device_state"),
        bounded_shadow("device_state"),
        *change_notifications("device_state", "status, desired_version, reported_version"),
        *access(
            "fleet_ingest",
            f"select (tenant_id, device_id, {_INGESTED}),"
            f" insert (tenant_id, device_id, {_INGESTED}), update (updated_at, {_INGESTED})",
        ),
        {
            "comment": "Current status and shadow of devices, one row each.",
            # Each batch updates the rows of its devices. A page with space takes the new version of
            # a row without a new entry in each index.
            "postgresql_with": {"fillfactor": "50"},
        },
    )


# Of a device that was never seen, but called online by its tenant, that moment counts.
_LAST_SIGN = "coalesce({0}last_seen_at, {0}last_state_change_at)"

# Rows that others hold are marked the next time: neither do they wait, nor does this.
Function(
    "mark_silent_devices",
    f"stale_after interval DEFAULT '{ONLINE_FOR.seconds // 60} minutes',"
    " offline_after interval DEFAULT '1 day'",
    returns="bigint",
    body=f"""
        BEGIN ATOMIC
          WITH silent AS (
            SELECT tenant_id, device_id
              FROM device_state
             WHERE (status = 'online' AND {_LAST_SIGN.format("")} < now() - stale_after)
                OR (status = 'stale' AND {_LAST_SIGN.format("")} < now() - offline_after)
               FOR NO KEY UPDATE SKIP LOCKED
          ), marked AS (
            UPDATE device_state s
               SET status = CASE WHEN {_LAST_SIGN.format("s.")} < now() - offline_after
                                 THEN 'offline' ELSE 'stale' END
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
