"""The audit trail of a tenant, which the tenant itself can read."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import Index, PrimaryKeyConstraint, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Hypertable, RetentionPolicy
from models.shared.base import (
    EMPTY_OBJECT,
    NOW,
    TIMESERIES,
    Base,
    TenantTimeSeries,
    json_object,
    not_empty,
    one_of,
)


class AuditEvent(TenantTimeSeries, Base):
    """An action that was performed or denied. Append-only; the platform's own belong to its tenant.

    A tenant cannot set recorded_at, so a backdated event can be recognized.
    """

    __tablename__ = "audit_events"
    __ingested__ = False
    __guarded_columns__ = ("recorded_at",)

    ts: Mapped[datetime.datetime] = mapped_column(sort_order=-19, comment="When it happened.")
    id: Mapped[uuid.UUID] = mapped_column(
        comment="Assigned by the sender, and the same on redelivery."
    )
    action: Mapped[str] = mapped_column(comment="E.g. device.delete.")
    outcome: Mapped[str] = mapped_column(server_default="success")
    category: Mapped[str] = mapped_column(comment="Domain of the action, e.g. device.")
    severity: Mapped[str] = mapped_column(server_default="info")
    actor_type: Mapped[str] = mapped_column(server_default="system", comment="Who or what acted.")
    actor_id: Mapped[str | None] = mapped_column(
        comment="Id of the user, API key, device or service."
    )
    actor_name: Mapped[str | None] = mapped_column(comment="Name at the time.")
    entity_type: Mapped[str | None] = mapped_column(comment="Type of the object of the action.")
    entity_id: Mapped[str | None]
    entity_name: Mapped[str | None] = mapped_column(comment="Name at the time.")
    message: Mapped[str | None] = mapped_column(comment="One sentence for people to read.")
    source_service: Mapped[str | None]
    ip_address: Mapped[str | None] = mapped_column(INET)
    request_id: Mapped[str | None] = mapped_column(
        comment="The same for all events of one request."
    )
    duration_ms: Mapped[float | None]
    details: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Additional data, e.g. values before and after."
    )
    recorded_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="When it was stored."
    )

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "ts", "id"),
        Index(None, "tenant_id", "entity_type", "entity_id", text("ts DESC")),
        Index(None, "tenant_id", "actor_id", text("ts DESC")),
        not_empty("action"),
        one_of("outcome", ("success", "failure", "denied")),
        one_of("severity", ("debug", "info", "warning", "error", "critical")),
        one_of("actor_type", ("user", "api_key", "device", "operator", "system")),
        json_object("details"),
        Hypertable("ts", chunk_interval="7 days"),
        Columnstore(segmentby="tenant_id", orderby="ts DESC, id", after="14 days"),
        # Auditors need a year. Maintenance applies shorter policies of tenants, at least 90 days.
        RetentionPolicy("400 days"),
        {
            "schema": TIMESERIES,
            "comment": "Actions performed or denied in a tenant, and who requested them.",
        },
    )
