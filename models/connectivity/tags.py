"""Tags: the values that can be read from a data source."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Trigger
from models.shared.base import (
    EMPTY_OBJECT,
    FALSE,
    ZERO,
    Base,
    TenantScoped,
    Timestamped,
    access,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.change_notifications import change_notifications
from models.shared.status_transitions import status_transitions

STATUSES = {
    "active": ("pending_delete",),
    "pending_delete": ("active", "deleting"),
    "deleting": ("deleted", "pending_delete"),
    "deleted": ("active",),
}
"""Allowed status transitions. A job deletes a tag, and may fail and be retried; a deleted tag can
be activated again."""


class TagMetadata(TenantScoped, Timestamped, Base):
    """One tag; its samples are in tag_values."""

    __tablename__ = "tag_metadata"

    tag_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    connection_id: Mapped[uuid.UUID]
    driver_type: Mapped[str] = mapped_column(comment="The driver that interprets tag_path.")
    tag_path: Mapped[str] = mapped_column(comment="Address of the tag in its source.")
    tag_name: Mapped[str | None] = mapped_column(comment="Name for people.")
    description: Mapped[str | None]
    data_type: Mapped[str | None] = mapped_column(comment="As named by the driver.")
    unit_id: Mapped[int | None] = mapped_column(ForeignKey("units_of_measure.id"))
    poll_group_id: Mapped[int] = mapped_column(
        ForeignKey("poll_groups.group_id"), server_default=text("5")
    )
    sensor_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The sensor that it represents, if any."
    )
    is_subscribed: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Whether it is being read."
    )
    original_subscribed: Mapped[bool | None] = mapped_column(
        comment="is_subscribed before deletion began, to restore if deletion is reverted."
    )
    status: Mapped[str] = mapped_column(server_default="active")
    delete_job_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The background job that deletes it."
    )
    delete_started_at: Mapped[datetime.datetime | None]
    deleted_at: Mapped[datetime.datetime | None]
    on_change_enabled: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Store only changed values."
    )
    on_change_deadband: Mapped[float] = mapped_column(
        server_default=ZERO, comment="Smaller changes are ignored."
    )
    on_change_deadband_type: Mapped[str] = mapped_column(
        server_default="absolute",
        comment="absolute: in the unit of the tag; percent: of the value.",
    )
    on_change_heartbeat_ms: Mapped[int] = mapped_column(
        server_default=text("60000"), comment="Store at least this often, even without a change."
    )
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata", server_default=EMPTY_OBJECT, comment="Details that the driver found."
    )

    __table_args__ = (
        tenant_reference("connection_id", "connections", "id", on_delete="cascade"),
        tenant_reference("sensor_id", "device_sensors", "id", on_delete="set null"),
        tenant_reference("delete_job_id", "jobs", "id", on_delete="set null"),
        UniqueConstraint("tenant_id", "connection_id", "tag_path", "driver_type"),
        Index(
            "uq_tag_metadata_tag_name",
            "tenant_id",
            "connection_id",
            "tag_name",
            unique=True,
            postgresql_where=text("tag_name IS NOT NULL"),
        ),
        Index(None, "unit_id"),
        Index(None, "poll_group_id"),
        Index(None, "tenant_id", "sensor_id"),
        Index(None, "tenant_id", "delete_job_id"),
        # For collectors, which load this when they start.
        Index(
            None,
            "tenant_id",
            "connection_id",
            "poll_group_id",
            postgresql_where=text("is_subscribed"),
        ),
        not_empty("tag_path"),
        not_empty("tag_name"),
        one_of("driver_type", ("eip", "opcua", "s7", "mqtt", "internal", "system")),
        one_of("on_change_deadband_type", ("absolute", "percent")),
        one_of("status", tuple(STATUSES)),
        json_object("metadata"),
        CheckConstraint("on_change_deadband >= 0", name="on_change_deadband"),
        CheckConstraint("on_change_heartbeat_ms > 0", name="on_change_heartbeat_ms"),
        CheckConstraint("status = 'active' OR NOT is_subscribed", name="subscribed"),
        CheckConstraint("(status = 'deleted') = (deleted_at IS NOT NULL)", name="deleted_at"),
        status_transitions("tag_metadata", STATUSES),
        Trigger(
            "system_tags_stay",
            timing="before",
            events="update or delete",
            when="old.driver_type = 'system'",
            function="reject_system_row_change()",
        ),
        *change_notifications(
            "tags", "connection_id, tag_path, is_subscribed, poll_group_id, status"
        ),
        *access("fleet_ingest", "select (tenant_id, tag_id, connection_id, status)"),
        {"comment": "Tags of industrial data sources."},
    )
