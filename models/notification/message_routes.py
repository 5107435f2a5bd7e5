"""Messages forwarded to other systems, and those that could not be delivered."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Computed, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    EMPTY_OBJECT,
    TRUE,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    json_object,
    json_value,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.secrets import no_secrets

DESTINATIONS = ("webhook", "mqtt_republish", "postgresql")

# Special characters of regular expressions are escaped, then the MQTT wildcards are translated: +
# is one level, a final /# any number of levels, including none.
_PATTERN = (
    "'^' || regexp_replace(replace(regexp_replace(topic_filter,"
    r" '([.^$*()\[\]{}|?\\])', '\\\1', 'g'), '+', '[^/]*'), '(^|/)#$',"
    r" CASE WHEN topic_filter = '#' THEN '.*' ELSE '(/.*)?' END) || '$'"
)


class MessageRoute(TenantScoped, Identified, Timestamped, Base):
    """A rule that forwards messages of some topics to another destination."""

    __tablename__ = "message_routes"

    name: Mapped[str]
    topic_filter: Mapped[str] = mapped_column(comment="May contain the MQTT wildcards + and #.")
    topic_pattern: Mapped[str] = mapped_column(
        Computed(_PATTERN, persisted=True), comment="topic_filter as a regular expression."
    )
    payload_filter: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Only messages that contain this (operator @>); NULL: all."
    )
    destination_type: Mapped[str]
    destination_config: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Address and similar settings; no secrets."
    )
    secret_ref: Mapped[str | None] = mapped_column(
        comment="Name of its credentials in the secret store."
    )
    is_enabled: Mapped[bool] = mapped_column(server_default=TRUE)

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        Index("ix_message_routes_enabled", "tenant_id", postgresql_where=text("is_enabled")),
        not_empty("name"),
        CheckConstraint(
            r"topic_filter ~ '^(([^/+#]*|\+)/)*([^/+#]*|\+|#)$'"
            " AND length(topic_filter) BETWEEN 1 AND 1024",
            name="topic_filter",
        ),
        json_object("payload_filter"),
        one_of("destination_type", DESTINATIONS),
        json_object("destination_config"),
        no_secrets("destination_config"),
        not_empty("secret_ref"),
        {"comment": "Rules that forward messages to other systems."},
    )


class DeadLetterMessage(TenantScoped, Identified, Timestamped, Base):
    """A message that could not be forwarded, kept to be sent again or discarded."""

    __tablename__ = "dead_letter_messages"

    route_id: Mapped[uuid.UUID | None] = mapped_column(comment="NULL after the route was deleted.")
    original_topic: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(comment="The message; any JSON except null.")
    destination_type: Mapped[str] = mapped_column(comment="That of the route at the time.")
    destination_config: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="That of the route at the time."
    )
    error_message: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default=text("1"))
    status: Mapped[str] = mapped_column(server_default="failed")
    replayed_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference("route_id", "message_routes", "id", on_delete="set null"),
        Index(None, "tenant_id", "route_id"),
        Index(None, "tenant_id", "status", text("created_at DESC")),
        # Old rows of all tenants are purged together.
        Index(None, "created_at"),
        not_empty("original_topic"),
        json_value("payload"),
        one_of("destination_type", DESTINATIONS),
        json_object("destination_config"),
        no_secrets("destination_config"),
        CheckConstraint("attempts > 0", name="attempts"),
        one_of("status", ("failed", "replayed", "discarded")),
        CheckConstraint("(status = 'replayed') = (replayed_at IS NOT NULL)", name="replayed_at"),
        {"comment": "Messages that a route could not deliver."},
    )
