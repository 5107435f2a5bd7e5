"""Channels for notifications, and the rules that route alerts to them."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    EMPTY_ARRAY,
    EMPTY_OBJECT,
    TRUE,
    ZERO,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.secrets import no_secrets

EVENTS = ("opened", "acknowledged", "escalated", "closed")
"""Events of an alert or incident that can be notified."""

CHANNEL_TYPES = (
    "email",
    "webhook",
    "slack",
    "discord",
    "teams",
    "google_chat",
    "pagerduty",
    "http",
    "snmp",
    "mqtt",
)


class NotificationChannel(TenantScoped, Identified, Timestamped, Base):
    """A destination of notifications."""

    __tablename__ = "notification_channels"

    name: Mapped[str]
    channel_type: Mapped[str]
    config: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT,
        comment="Address, headers and similar settings; secrets are in the secret store.",
    )
    secret_ref: Mapped[str | None] = mapped_column(
        comment="Name of passwords, tokens, keys or an incoming webhook in the secret store."
    )
    repeat_interval_minutes: Mapped[int | None] = mapped_column(
        comment="Interval of reminders while an alert is open; NULL: none."
    )
    is_enabled: Mapped[bool] = mapped_column(server_default=TRUE)

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        not_empty("name"),
        one_of("channel_type", CHANNEL_TYPES),
        json_object("config"),
        no_secrets("config"),
        not_empty("secret_ref"),
        CheckConstraint("repeat_interval_minutes BETWEEN 1 AND 1440", name="repeat_interval"),
        {"comment": "Destinations of notifications."},
    )


class NotificationRoutingRule(TenantScoped, Identified, Timestamped, Base):
    """A rule that sends alerts to a channel. A filter that is NULL or empty matches every alert.

    A rule is deleted with its site or project: without that filter it would send everything.
    """

    __tablename__ = "notification_routing_rules"

    channel_id: Mapped[uuid.UUID]
    is_enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    priority: Mapped[int] = mapped_column(
        server_default=text("100"), comment="Lower first, among the rules of a channel."
    )
    min_severity: Mapped[int | None] = mapped_column(comment="1 to 5, as in fleet_alert.severity.")
    alert_types: Mapped[list[str]] = mapped_column(
        server_default=EMPTY_ARRAY, comment="Empty: all."
    )
    site_id: Mapped[uuid.UUID | None]
    project_id: Mapped[uuid.UUID | None]
    device_tag: Mapped[str | None] = mapped_column(comment="Only devices with this tag,")
    device_tag_value: Mapped[str | None] = mapped_column(comment="and with this value of it.")
    device_prefixes: Mapped[list[str]] = mapped_column(
        server_default=EMPTY_ARRAY, comment="Prefixes of device_id. Empty: any."
    )
    deliver_on: Mapped[list[str]] = mapped_column(
        server_default=text("'{opened}'"), comment=f"Which of {', '.join(EVENTS)}."
    )
    throttle_minutes: Mapped[int] = mapped_column(
        server_default=ZERO,
        comment="Minimum time between notifications of the same fingerprint and event.",
    )

    __table_args__ = (
        tenant_reference("channel_id", "notification_channels", "id", on_delete="cascade"),
        tenant_reference("site_id", "sites", on_delete="cascade"),
        tenant_reference("project_id", "projects", "id", on_delete="cascade"),
        Index(None, "tenant_id", "channel_id"),
        Index(None, "tenant_id", "site_id"),
        Index(None, "tenant_id", "project_id"),
        CheckConstraint("min_severity BETWEEN 1 AND 5", name="min_severity"),
        not_empty("device_tag"),
        CheckConstraint("device_tag_value IS NULL OR device_tag IS NOT NULL", name="device_tag"),
        CheckConstraint(
            "cardinality(deliver_on) > 0 AND deliver_on <@ ARRAY["
            + ", ".join(f"'{event}'" for event in EVENTS)
            + "]",
            name="deliver_on",
        ),
        CheckConstraint("throttle_minutes BETWEEN 0 AND 10080", name="throttle_minutes"),
        {"comment": "Rules that route alerts to channels."},
    )
