"""The platform's own MQTT broker: credentials, and the clients it has seen."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    NOW,
    TRUE,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    tenant_reference,
)


class MqttCredentialGroup(TenantScoped, Identified, Timestamped, Base):
    """A credential that several clients share, such as all sensors of a production line."""

    __tablename__ = "mqtt_credential_groups"
    __hidden_columns__ = ("credential_hash",)

    name: Mapped[str]
    username: Mapped[str]
    credential_hash: Mapped[str] = mapped_column(comment="Hash of the password.")
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    timeout_seconds: Mapped[int] = mapped_column(
        server_default=text("600"),
        comment="A client without messages for longer counts as disconnected.",
    )

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        UniqueConstraint("tenant_id", "username"),
        not_empty("name"),
        not_empty("username"),
        not_empty("credential_hash"),
        CheckConstraint("timeout_seconds > 0", name="timeout_seconds"),
        {"comment": "Credentials that several MQTT clients share."},
    )


class MqttDevice(TenantScoped, Identified, Timestamped, Base):
    """A client seen by the broker; credentials of single devices are in device_api_tokens."""

    __tablename__ = "mqtt_devices"

    client_id: Mapped[str]
    credential_group_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The shared credential it connects with, if any."
    )
    device_api_token_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The token of its own it connects with, if any."
    )
    device_id: Mapped[str | None] = mapped_column(comment="The registered device, if known.")
    display_name: Mapped[str | None]
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    first_seen: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    last_seen: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference(
            "credential_group_id", "mqtt_credential_groups", "id", on_delete="cascade"
        ),
        tenant_reference("device_api_token_id", "device_api_tokens", "id", on_delete="set null"),
        tenant_reference("device_id", "device_registry", on_delete="set null"),
        UniqueConstraint("tenant_id", "client_id"),
        Index(None, "tenant_id", "credential_group_id"),
        Index(None, "tenant_id", "device_api_token_id"),
        Index(None, "tenant_id", "device_id"),
        not_empty("client_id"),
        {"comment": "MQTT clients seen by the broker."},
    )


class MqttDeviceTopic(TenantScoped, Timestamped, Base):
    """A topic on which a client has published."""

    __tablename__ = "mqtt_device_topics"

    mqtt_device_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    first_seen: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    last_seen: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("mqtt_device_id", "mqtt_devices", "id", on_delete="cascade"),
        not_empty("topic"),
        {"comment": "Topics on which MQTT clients have published."},
    )
