"""What a device was last seen doing, and what it should be doing."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import (
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


class DeviceState(TenantScoped, Timestamped, Base):
    """Current status and twin of a device."""

    __tablename__ = "device_state"

    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(
        server_default="offline", comment="stale: silent for longer than usual, not yet given up."
    )
    last_heartbeat_at: Mapped[datetime.datetime | None]
    last_telemetry_at: Mapped[datetime.datetime | None]
    last_seen_at: Mapped[datetime.datetime | None] = mapped_column(comment="Any message at all.")
    last_state_change_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="When status last changed."
    )
    state: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Latest value of each metric."
    )
    desired_state: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="What the device should do."
    )
    reported_state: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="What the device said it does."
    )
    desired_version: Mapped[int] = mapped_column(server_default=ZERO)
    reported_version: Mapped[int] = mapped_column(
        server_default=ZERO, comment="The desired version that the device has taken over."
    )
    shadow_updated_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When desired or reported state last changed."
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
        {"comment": "Current status and twin of each device, one row."},
    )
