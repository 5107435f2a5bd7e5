"""Commands sent to single devices."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    EMPTY_OBJECT,
    UUID7,
    Base,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)


class DeviceCommand(TenantScoped, Timestamped, Base):
    """A command to a device, which may not receive it."""

    __tablename__ = "device_commands"

    command_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7)
    device_id: Mapped[str]
    command_type: Mapped[str] = mapped_column(
        comment="template_commands.command_key, or another name."
    )
    command_params: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="According to template_commands.parameters_schema."
    )
    status: Mapped[str] = mapped_column(
        server_default="queued",
        comment="missed: sent while the device was offline; expired: never sent.",
    )
    published_at: Mapped[datetime.datetime | None]
    acked_at: Mapped[datetime.datetime | None]
    ack_details: Mapped[dict[str, Any] | None] = mapped_column(comment="Answer of the device.")
    expires_at: Mapped[datetime.datetime] = mapped_column(
        server_default=text("now() + interval '1 hour'"),
        comment="Defaults to one hour after creation.",
    )
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the command outlives the account."
    )

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        Index(None, "tenant_id", "device_id", "created_at"),
        Index(
            "ix_device_commands_queued",
            "tenant_id",
            "device_id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index(None, "expires_at", postgresql_where=text("status = 'queued'")),
        not_empty("command_type"),
        json_object("command_params"),
        json_object("ack_details"),
        one_of("status", ("queued", "delivered", "missed", "expired")),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        {"comment": "Commands sent to devices."},
    )
