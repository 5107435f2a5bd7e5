"""Attempts to deliver notifications, and their outcome."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Grant, Hypertable, RetentionPolicy
from models.shared.base import TIMESERIES, Base, BigInt, TenantTimeSeries


class NotificationLog(TenantTimeSeries, Base):
    """An attempt to deliver a notification, written in the transaction that ends it."""

    __tablename__ = "notification_log"
    __ingested__ = False
    __app_privileges__ = "select"

    ts: Mapped[datetime.datetime] = mapped_column(sort_order=-19, comment="When it was sent.")
    id: Mapped[uuid.UUID] = mapped_column(comment="Assigned by the sender, one for each attempt.")
    channel_id: Mapped[uuid.UUID] = mapped_column(comment="The notification channel.")
    job_id: Mapped[uuid.UUID | None] = mapped_column(comment="The notification job.")
    alert_id: Mapped[BigInt | None] = mapped_column(comment="The alert it was about, if any.")
    incident_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The incident it was about, if any."
    )
    event: Mapped[str | None] = mapped_column(
        comment="Event of the alert or incident, e.g. opened."
    )
    attempt: Mapped[int] = mapped_column(server_default=text("1"), comment="Counts from 1.")
    success: Mapped[bool]
    error: Mapped[str | None] = mapped_column(comment="Error message of the receiver.")
    duration_ms: Mapped[float | None]

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "ts", "id"),
        # For throttling, which looks for the last notification of an alert to a channel.
        Index(None, "tenant_id", "channel_id", "alert_id", text("ts DESC")),
        CheckConstraint("attempt > 0", name="attempt"),
        Hypertable("ts", chunk_interval="7 days"),
        Columnstore(segmentby="tenant_id", orderby="ts DESC, id", after="7 days"),
        RetentionPolicy("90 days"),
        # finish_notification_job() writes it, in the transaction that ends the attempt.
        Grant("insert", to="fleet_operator"),
        {"schema": TIMESERIES, "comment": "Attempts to deliver notifications."},
    )
