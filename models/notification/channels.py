"""Where notifications go, and which of them."""

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
"""What can happen to an alert or incident that somebody wants to hear of."""

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
    """A way to reach people or systems."""

    __tablename__ = "notification_channels"

    name: Mapped[str]
    channel_type: Mapped[str]
    config: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT,
        comment="Address, headers and the like; what is secret in it stands under secret_ref.",
    )
    secret_ref: Mapped[str | None] = mapped_column(
        comment="Name in the secret store of passwords, tokens, keys, or an incoming webhook."
    )
    repeat_interval_minutes: Mapped[int | None] = mapped_column(
        comment="Reminds this often while an alert is open; NULL: never."
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
        {"comment": "Where notifications go."},
    )


class NotificationRoutingRule(TenantScoped, Identified, Timestamped, Base):
    """Which alerts go to a channel; what a rule does not say, it does not ask for.

    A rule goes with its site or project: without the filter it would send everything.
    """

    __tablename__ = "notification_routing_rules"

    channel_id: Mapped[uuid.UUID]
    is_enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    priority: Mapped[int] = mapped_column(
        server_default=text("100"), comment="Lower first, among rules to the same channel."
    )
    min_severity: Mapped[int | None] = mapped_column(comment="1 to 5, as of alerts.")
    alert_types: Mapped[list[str]] = mapped_column(
        server_default=EMPTY_ARRAY, comment="Empty: all."
    )
    site_id: Mapped[uuid.UUID | None]
    project_id: Mapped[uuid.UUID | None]
    device_tag: Mapped[str | None] = mapped_column(comment="The device has this tag,")
    device_tag_value: Mapped[str | None] = mapped_column(comment="and this value of it.")
    device_prefixes: Mapped[list[str]] = mapped_column(
        server_default=EMPTY_ARRAY, comment="The device_id begins with one of these. Empty: any."
    )
    deliver_on: Mapped[list[str]] = mapped_column(
        server_default=text("'{opened}'"), comment=f"Which of {', '.join(EVENTS)}."
    )
    throttle_minutes: Mapped[int] = mapped_column(
        server_default=ZERO,
        comment="Silent that long about a fingerprint after it sent that event; tames what flaps.",
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
        {"comment": "Which alerts go to which channel."},
    )
