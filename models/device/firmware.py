"""Firmware, and how it is rolled out over the air."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import (
    ZERO,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    one_of,
    tenant_reference,
)


class FirmwareVersion(TenantScoped, Identified, Timestamped, Base):
    """A firmware image that devices can load."""

    __tablename__ = "firmware_versions"

    version: Mapped[str]
    device_type: Mapped[str | None] = mapped_column(comment="NULL: for devices of any type.")
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
        {"comment": "Firmware images."},
    )


class OtaCampaign(TenantScoped, Identified, Timestamped, Base):
    """A rollout of one firmware version."""

    __tablename__ = "ota_campaigns"

    name: Mapped[str]
    firmware_version_id: Mapped[uuid.UUID] = mapped_column(
        comment="A version that was ever rolled out cannot be deleted."
    )
    target_group_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="NULL once the group is gone; the devices are in ota_device_status."
    )
    rollout_strategy: Mapped[str] = mapped_column(server_default="linear")
    rollout_rate: Mapped[int] = mapped_column(
        server_default=text("10"),
        comment="linear: devices per step; canary: devices of the first step.",
    )
    abort_threshold: Mapped[float] = mapped_column(
        server_default=text("0.1"), comment="Share of failures, 0 to 1, that stops the rollout."
    )
    status: Mapped[str] = mapped_column(
        server_default="created", comment="aborted: by a person, or since too many devices failed."
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
        {"comment": "Rollouts of firmware."},
    )


class OtaDeviceStatus(TenantScoped, Timestamped, Base):
    """A rollout as one device goes through it."""

    __tablename__ = "ota_device_status"

    campaign_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(
        server_default="pending", comment="skipped: already up to date, or not reachable in time."
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
        {"comment": "Rollouts per device."},
    )
