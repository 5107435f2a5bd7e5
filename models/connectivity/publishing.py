"""Messages published to MQTT brokers."""

from __future__ import annotations

import uuid

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.connectivity.mqtt import PAYLOAD_FORMATS, quality_of_service
from models.shared.base import (
    FALSE,
    TRUE,
    ZERO,
    Base,
    BigInt,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.change_notifications import change_notifications


class MqttPublisher(TenantScoped, Identified, Timestamped, Base):
    """A message that is sent when tags change, or at intervals."""

    __tablename__ = "mqtt_publishers"

    connection_id: Mapped[uuid.UUID]
    name: Mapped[str]
    publish_mode: Mapped[str]
    interval_ms: Mapped[int | None] = mapped_column(comment="NULL: sent on change only.")
    min_interval_ms: Mapped[int] = mapped_column(
        server_default=text("500"), comment="Changes within this time are sent together."
    )
    mqtt_topic: Mapped[str | None] = mapped_column(
        comment="NULL: the topic follows from Sparkplug."
    )
    payload_format: Mapped[str] = mapped_column(server_default="json")
    payload_template: Mapped[str | None] = mapped_column(
        comment="With placeholders, which mqtt_publisher_tag_refs maps to tags."
    )
    qos: Mapped[int] = mapped_column(server_default=ZERO)
    retain: Mapped[bool] = mapped_column(server_default=FALSE)
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)

    __table_args__ = (
        tenant_reference("connection_id", "connections", "id", on_delete="cascade"),
        UniqueConstraint("tenant_id", "connection_id", "name"),
        not_empty("name"),
        one_of("publish_mode", ("on_change", "interval", "both")),
        one_of("payload_format", PAYLOAD_FORMATS),
        quality_of_service(),
        CheckConstraint("(publish_mode = 'on_change') = (interval_ms IS NULL)", name="interval"),
        CheckConstraint("interval_ms > 0 AND min_interval_ms >= 0", name="intervals"),
        CheckConstraint(
            "payload_format = 'sparkplug' OR mqtt_topic IS NOT NULL", name="topic_given"
        ),
        *change_notifications(
            "connections", "name, publish_mode, interval_ms, mqtt_topic, enabled"
        ),
        {"comment": "Messages published to MQTT brokers."},
    )


class MqttPublisherTag(TenantScoped, Identified, Timestamped, Base):
    """A placeholder of a payload template, and the tag whose value takes its place."""

    __tablename__ = "mqtt_publisher_tag_refs"

    publisher_id: Mapped[uuid.UUID]
    placeholder: Mapped[str] = mapped_column(comment="As written in the template.")
    tag_id: Mapped[BigInt | None] = mapped_column(comment="NULL after the tag was deleted.")

    __table_args__ = (
        tenant_reference("publisher_id", "mqtt_publishers", "id", on_delete="cascade"),
        tenant_reference("tag_id", "tag_metadata", on_delete="set null"),
        UniqueConstraint("tenant_id", "publisher_id", "placeholder"),
        Index(None, "tenant_id", "tag_id"),
        not_empty("placeholder"),
        {"comment": "Placeholders of payload templates."},
    )
