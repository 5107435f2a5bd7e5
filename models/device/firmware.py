"""Firmware, and campaigns that roll it out over the air."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    ZERO,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.change_notifications import change_notifications
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.secrets import no_password
from models.shared.status_transitions import status_transitions

CAMPAIGN_STEPS = {
    "created": ("running", "aborted"),
    "running": ("paused", "completed", "aborted"),
    "paused": ("running", "aborted"),
}
DEVICE_STEPS = {
    "pending": ("downloading", "skipped", "failed"),
    "downloading": ("installing", "failed", "skipped"),
    "installing": ("success", "failed"),
    "failed": ("pending",),
}

# Devices that report at the same moment wait for each other at the row of the campaign, so no
# failure is missed.
Function(
    "count_ota_progress",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          update public.ota_campaigns c
             set succeeded = c.succeeded + (new.status = 'success')::integer,
                 failed = c.failed + (new.status = 'failed')::integer
                        - (old.status = 'failed')::integer
           where c.tenant_id = new.tenant_id and c.id = new.campaign_id;
          update public.ota_campaigns c set status = 'aborted', completed_at = now()
           where c.tenant_id = new.tenant_id and c.id = new.campaign_id
             and c.status in ('running', 'paused')
             and c.failed > c.abort_threshold * c.total_devices;
          update public.ota_campaigns c set status = 'completed', completed_at = now()
           where c.tenant_id = new.tenant_id and c.id = new.campaign_id and c.status = 'running'
             and not exists (select from public.ota_device_status d
                              where d.tenant_id = c.tenant_id and d.campaign_id = c.id
                                and d.status in ('pending', 'downloading', 'installing'));
          return null;
        end
    """,
    comment="Trigger: counts successes and failures; aborts after too many failures, completes at "
    "the end.",
    metadata=Base.metadata,
)


class FirmwareVersion(TenantScoped, Identified, Timestamped, Base):
    """A firmware image that devices can install."""

    __tablename__ = "firmware_versions"

    version: Mapped[str]
    device_type: Mapped[str | None] = mapped_column(comment="NULL: for all device types.")
    description: Mapped[str | None]
    file_url: Mapped[str]
    file_size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    checksum_sha256: Mapped[str | None] = mapped_column(comment="Lower-case hex.")
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the image outlives the account."
    )

    __table_args__ = (
        UniqueConstraint("tenant_id", "version", "device_type", postgresql_nulls_not_distinct=True),
        Index(None, "tenant_id", "device_type"),
        not_empty("version"),
        not_empty("file_url"),
        CheckConstraint("file_size_bytes > 0", name="file_size_bytes"),
        CheckConstraint("checksum_sha256 ~ '^[0-9a-f]{64}$'", name="checksum_sha256"),
        no_password("file_url", later=True),
        {"comment": "Firmware images."},
    )


class OtaCampaign(TenantScoped, Identified, Timestamped, Base):
    """A rollout of one firmware version."""

    __tablename__ = "ota_campaigns"

    name: Mapped[str]
    firmware_version_id: Mapped[uuid.UUID] = mapped_column(
        comment="A version that has a campaign cannot be deleted."
    )
    target_group_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="NULL after the group was deleted; the devices are in ota_device_status."
    )
    rollout_strategy: Mapped[str] = mapped_column(server_default="linear")
    rollout_rate: Mapped[int] = mapped_column(
        server_default=text("10"),
        comment="linear: devices at a time; canary: devices in the first step.",
    )
    abort_threshold: Mapped[float] = mapped_column(
        server_default=text("0.1"),
        comment="The rollout is aborted if more than this fraction (0 to 1) fails.",
    )
    status: Mapped[str] = mapped_column(
        server_default="created",
        comment="aborted: by a person, or because too many devices failed.",
    )
    total_devices: Mapped[int] = mapped_column(
        server_default=ZERO, comment="Counted when the campaign starts."
    )
    succeeded: Mapped[int] = mapped_column(server_default=ZERO)
    failed: Mapped[int] = mapped_column(server_default=ZERO)
    started_at: Mapped[datetime.datetime | None]
    completed_at: Mapped[datetime.datetime | None]
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the campaign outlives the account."
    )

    __table_args__ = (
        tenant_reference("firmware_version_id", "firmware_versions", "id"),
        tenant_reference("target_group_id", "device_groups", "group_id", on_delete="set null"),
        Index(None, "tenant_id", "firmware_version_id"),
        Index(None, "tenant_id", "target_group_id"),
        Index(None, "tenant_id", "status"),
        not_empty("name"),
        one_of("rollout_strategy", ("linear", "canary")),
        CheckConstraint("rollout_rate > 0", name="rollout_rate"),
        CheckConstraint("abort_threshold BETWEEN 0 AND 1", name="abort_threshold"),
        one_of("status", ("created", "running", "paused", "completed", "aborted")),
        CheckConstraint(
            "total_devices >= 0 AND succeeded >= 0 AND failed >= 0"
            " AND succeeded + failed <= total_devices",
            name="counts",
        ),
        status_transitions("ota_campaigns", CAMPAIGN_STEPS),
        *change_notifications("ota_campaigns", "status"),
        {"comment": "Campaigns that roll out firmware."},
    )


class OtaDeviceStatus(TenantScoped, Timestamped, Base):
    """Progress of a campaign on one device."""

    __tablename__ = "ota_device_status"

    campaign_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(
        server_default="pending", comment="skipped: already up to date, or unreachable."
    )
    progress_pct: Mapped[int] = mapped_column(server_default=ZERO)
    error_message: Mapped[str | None]
    started_at: Mapped[datetime.datetime | None]
    completed_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference("campaign_id", "ota_campaigns", "id", on_delete="cascade"),
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        Index(None, "tenant_id", "device_id"),
        Index(
            "ix_ota_device_status_pending",
            "tenant_id",
            "campaign_id",
            postgresql_where=text("status = 'pending'"),
        ),
        one_of("status", ("pending", "downloading", "installing", "success", "failed", "skipped")),
        CheckConstraint("progress_pct BETWEEN 0 AND 100", name="progress_pct"),
        status_transitions("ota_device_status", DEVICE_STEPS),
        Trigger(
            "ota_progress_is_counted",
            timing="after",
            events="update of status",
            when="old.status IS DISTINCT FROM new.status",
            function="count_ota_progress()",
        ),
        {"comment": "Progress of campaigns on each device."},
    )


Function(
    "start_campaign",
    "campaign uuid",
    returns="integer",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        declare
          tenant uuid := public.current_tenant();
          devices integer;
        begin
          perform from public.ota_campaigns
            where tenant_id = tenant and id = campaign and status = 'created' for no key update;
          if not found then
            return null;
          end if;
          insert into public.ota_device_status (tenant_id, campaign_id, device_id)
          select tenant, campaign, m.device_id
            from public.ota_campaigns c
            join public.device_group_members m
              on m.tenant_id = c.tenant_id and m.group_id = c.target_group_id
           where c.tenant_id = tenant and c.id = campaign
          on conflict do nothing;
          get diagnostics devices = row_count;
          update public.ota_campaigns
             set status = 'running', started_at = now(), total_devices = devices
           where tenant_id = tenant and id = campaign;
          return devices;
        end
    """,
    grants={"fleet_app": "execute"},
    comment="Starts a campaign for the members of its group; returns how many, NULL if already "
    "started.",
    metadata=Base.metadata,
)

Function(
    "next_ota_devices",
    "campaign uuid",
    returns="SETOF text",
    body="""
        BEGIN ATOMIC
          WITH room AS (
            SELECT c.tenant_id, c.id, greatest(0, CASE
                     -- Canary: once the first step has succeeded, all others follow.
                     WHEN c.rollout_strategy = 'canary' AND c.succeeded >= c.rollout_rate
                     THEN c.total_devices
                     ELSE c.rollout_rate - (
                       SELECT count(*) FROM ota_device_status b
                        WHERE b.tenant_id = c.tenant_id AND b.campaign_id = c.id
                          AND b.status IN ('downloading', 'installing')) END) AS devices
              FROM ota_campaigns c
             WHERE c.tenant_id = current_tenant() AND c.id = campaign AND c.status = 'running'
          ), turn AS MATERIALIZED (
            SELECT p.tenant_id, p.campaign_id, p.device_id FROM ota_device_status p
             WHERE p.tenant_id = current_tenant() AND p.campaign_id = campaign
               AND p.status = 'pending'
             ORDER BY p.device_id LIMIT coalesce((SELECT devices FROM room), 0)
               FOR NO KEY UPDATE SKIP LOCKED
          )
          UPDATE ota_device_status d SET status = 'downloading', started_at = now()
            FROM turn
           WHERE d.tenant_id = turn.tenant_id AND d.campaign_id = turn.campaign_id
             AND d.device_id = turn.device_id
          RETURNING d.device_id;
        END
    """,
    grants={"fleet_app": "execute"},
    comment="Starts the next devices of a running campaign, as many as its rollout rate permits, "
    "and returns them.",
    metadata=Base.metadata,
)
