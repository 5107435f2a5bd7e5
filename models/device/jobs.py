"""Jobs for devices, and their execution on each device."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    EMPTY_OBJECT,
    FALSE,
    NOW,
    UUID7,
    Base,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)


class DeviceJob(TenantScoped, Timestamped, Base):
    """A task for one device, a group, or all devices of the tenant."""

    __tablename__ = "device_jobs"

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7)
    document_type: Mapped[str] = mapped_column(comment="Kind of task, as the devices name it.")
    document_params: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Parameters of the task."
    )
    target_device_id: Mapped[str | None] = mapped_column(
        comment="Exactly one of the three targets is set; the job is deleted with its target."
    )
    target_group_id: Mapped[uuid.UUID | None]
    target_all: Mapped[bool] = mapped_column(server_default=FALSE)
    status: Mapped[str] = mapped_column(
        server_default="in_progress",
        comment="Status of the whole job; device_job_executions has it per device.",
    )
    expires_at: Mapped[datetime.datetime | None]
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the job outlives the account."
    )

    __table_args__ = (
        tenant_reference("target_device_id", "device_registry", "device_id", on_delete="cascade"),
        tenant_reference("target_group_id", "device_groups", "group_id", on_delete="cascade"),
        Index(None, "tenant_id", "target_device_id"),
        Index(None, "tenant_id", "target_group_id"),
        Index(None, "tenant_id", "status"),
        Index(None, "expires_at", postgresql_where=text("status = 'in_progress'")),
        not_empty("document_type"),
        json_object("document_params"),
        CheckConstraint(
            "num_nonnulls(target_device_id, target_group_id) + target_all::integer = 1",
            name="one_target",
        ),
        one_of("status", ("in_progress", "completed", "canceled", "deletion_in_progress")),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        {"comment": "Jobs for devices; background jobs are in jobs."},
    )


class DeviceJobExecution(TenantScoped, Timestamped, Base):
    """Execution of a job on one device."""

    __tablename__ = "device_job_executions"

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(
        server_default="queued",
        comment="rejected: by the device; timed_out: the device did not answer.",
    )
    status_details: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Details from the device."
    )
    execution_number: Mapped[int] = mapped_column(
        BigInteger, server_default=text("1"), comment="Number of the attempt."
    )
    queued_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime.datetime | None]
    finished_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference("job_id", "device_jobs", on_delete="cascade"),
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        Index(None, "tenant_id", "device_id"),
        one_of(
            "status",
            ("queued", "in_progress", "succeeded", "failed", "timed_out", "rejected"),
        ),
        json_object("status_details"),
        CheckConstraint("execution_number > 0", name="execution_number"),
        CheckConstraint("finished_at >= queued_at", name="finished_at"),
        {"comment": "Executions of jobs, per device."},
    )
