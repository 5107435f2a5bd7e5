"""Latest state of a device, and its shadow: desired and reported state."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    EMPTY_OBJECT,
    NOW,
    ZERO,
    Base,
    TenantScoped,
    Timestamped,
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


class DeviceState(TenantScoped, Timestamped, Base):
    """Current status and shadow of a device."""

    __tablename__ = "device_state"

    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(
        server_default="offline",
        comment="stale: no message for longer than usual, but not yet offline.",
    )
    last_heartbeat_at: Mapped[datetime.datetime | None]
    last_telemetry_at: Mapped[datetime.datetime | None]
    last_seen_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="Time of the last message of any kind."
    )
    last_state_change_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="When status last changed."
    )
    state: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Latest value of each metric."
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
        json_object("desired_state"),
        json_object("reported_state"),
        CheckConstraint("desired_version >= 0 AND reported_version >= 0", name="versions"),
        Trigger(
            "device_state_is_kept",
            timing="before",
            events="update",
            function="keep_device_state()",
        ),
        *change_notifications("device_state", "status, desired_version, reported_version"),
        {"comment": "Current status and shadow of devices, one row each."},
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
