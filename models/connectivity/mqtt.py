"""MQTT: brokers, subscriptions, recent messages, and the mapping of their fields to tags."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    FALSE,
    NOW,
    TRUE,
    ZERO,
    Base,
    BigInt,
    Identified,
    TenantScoped,
    Timestamped,
    json_value,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.change_notifications import change_notifications
from models.shared.plpgsql import PLPGSQL_SETTINGS

PAYLOAD_FORMATS = ("json", "raw", "sparkplug")


def quality_of_service() -> CheckConstraint:
    """At most once, at least once, exactly once."""
    return CheckConstraint("qos BETWEEN 0 AND 2", name="qos")


class MqttConnection(TenantScoped, Timestamped, Base):
    """The broker behind a connection of type mqtt."""

    __tablename__ = "mqtt_connections"
    __guarded_columns__ = ("is_system",)

    connection_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    broker_type: Mapped[str] = mapped_column(
        server_default="external", comment="internal: the platform's own."
    )
    broker_host: Mapped[str]
    broker_port: Mapped[int] = mapped_column(server_default=text("1883"))
    protocol: Mapped[str] = mapped_column(server_default="mqtt", comment="Format of its messages.")
    use_tls: Mapped[bool] = mapped_column(server_default=FALSE)
    tls_verify_cert: Mapped[bool] = mapped_column(server_default=TRUE)
    tls_ca_cert: Mapped[str | None] = mapped_column(comment="PEM; certificates are public.")
    tls_client_cert: Mapped[str | None] = mapped_column(comment="PEM.")
    username: Mapped[str | None]
    secret_ref: Mapped[str | None] = mapped_column(
        comment="Name of password and client key in the secret store."
    )
    client_id_prefix: Mapped[str] = mapped_column(server_default="fleet")
    keep_alive_s: Mapped[int] = mapped_column(server_default=text("60"))
    clean_session: Mapped[bool] = mapped_column(server_default=TRUE)
    reconnect_period_ms: Mapped[int] = mapped_column(server_default=text("5000"))
    connect_timeout_ms: Mapped[int] = mapped_column(server_default=text("30000"))
    is_system: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Created by the platform; tenants cannot change it."
    )

    __table_args__ = (
        tenant_reference("connection_id", "connections", "id", on_delete="cascade"),
        one_of("broker_type", ("internal", "external")),
        one_of("protocol", ("mqtt", "sparkplug")),
        not_empty("broker_host"),
        CheckConstraint("broker_port BETWEEN 1 AND 65535", name="broker_port"),
        CheckConstraint("keep_alive_s >= 0", name="keep_alive_s"),
        CheckConstraint("reconnect_period_ms > 0", name="reconnect_period_ms"),
        CheckConstraint("connect_timeout_ms > 0", name="connect_timeout_ms"),
        CheckConstraint("use_tls OR tls_client_cert IS NULL", name="tls"),
        Trigger(
            "system_brokers_stay",
            timing="before",
            events="update or delete",
            when="old.is_system",
            function="reject_system_row_change()",
        ),
        *change_notifications(
            "connections", "broker_host, broker_port, protocol, use_tls, secret_ref"
        ),
        {"comment": "Brokers behind connections of type mqtt."},
    )


class MqttSubscription(TenantScoped, Identified, Timestamped, Base):
    """A subscribed topic, and where its messages contain value, time and quality."""

    __tablename__ = "mqtt_subscriptions"

    connection_id: Mapped[uuid.UUID]
    topic: Mapped[str] = mapped_column(comment="May contain the MQTT wildcards + and #.")
    qos: Mapped[int] = mapped_column(server_default=ZERO)
    tag_prefix: Mapped[str | None] = mapped_column(comment="Prefix of the names of its tags.")
    payload_format: Mapped[str] = mapped_column(server_default="json")
    value_path: Mapped[str | None] = mapped_column(comment="Path in a JSON payload.")
    timestamp_path: Mapped[str | None]
    quality_path: Mapped[str | None]
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    message_buffer_size: Mapped[int] = mapped_column(
        server_default=text("100"), comment="Number of recent messages kept for inspection."
    )

    __table_args__ = (
        tenant_reference("connection_id", "connections", "id", on_delete="cascade"),
        UniqueConstraint("tenant_id", "connection_id", "topic"),
        not_empty("topic"),
        quality_of_service(),
        one_of("payload_format", PAYLOAD_FORMATS),
        CheckConstraint("message_buffer_size BETWEEN 0 AND 10000", name="message_buffer_size"),
        *change_notifications("connections", "topic, qos, payload_format, enabled"),
        {"comment": "Subscribed topics."},
    )


class MqttMessage(TenantScoped, Identified, Base):
    """A recent message of a subscription, for people who write field mappings."""

    __tablename__ = "mqtt_message_buffer"
    __app_privileges__ = "select, insert, delete"

    subscription_id: Mapped[uuid.UUID]
    topic: Mapped[str]
    payload: Mapped[dict[str, Any] | None] = mapped_column(comment="The payload if it is JSON.")
    payload_raw: Mapped[bytes | None] = mapped_column(comment="The payload if it is not JSON.")
    qos: Mapped[int] = mapped_column(server_default=ZERO)
    retained: Mapped[bool] = mapped_column(server_default=FALSE)
    received_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("subscription_id", "mqtt_subscriptions", "id", on_delete="cascade"),
        Index(None, "tenant_id", "subscription_id", text("received_at DESC")),
        quality_of_service(),
        json_value("payload"),
        CheckConstraint("num_nonnulls(payload, payload_raw) = 1", name="one_payload"),
        Function(
            "trim_message_buffer",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body="""
                begin
                  delete from public.mqtt_message_buffer b
                   using (select m.tenant_id, m.id,
                                 row_number() over (partition by m.tenant_id, m.subscription_id
                                   order by m.received_at desc, m.id desc) as number,
                                 s.message_buffer_size as kept
                            from public.mqtt_message_buffer m
                            join public.mqtt_subscriptions s
                              on s.tenant_id = m.tenant_id and s.id = m.subscription_id
                           where (m.tenant_id, m.subscription_id) in (
                                   select tenant_id, subscription_id from new_rows)) ranked
                   where b.tenant_id = ranked.tenant_id and b.id = ranked.id
                     and ranked.number > ranked.kept;
                  return null;
                end
            """,
            comment="Trigger: deletes messages beyond the buffer size of their subscription.",
        ),
        Trigger(
            "message_buffer_is_trimmed",
            timing="after",
            events="insert",
            function="trim_message_buffer()",
            level="statement",
            new_table="new_rows",
        ),
        {"comment": "The most recent messages of each subscription."},
    )


class MqttFieldMapping(TenantScoped, Identified, Timestamped, Base):
    """A field of a payload that is stored as a tag."""

    __tablename__ = "mqtt_field_mappings"

    subscription_id: Mapped[uuid.UUID]
    topic: Mapped[str] = mapped_column(comment="Topic of the messages it applies to.")
    field_path: Mapped[str]
    tag_name: Mapped[str]
    tag_id: Mapped[BigInt | None] = mapped_column(comment="NULL: the tag is not created yet.")
    data_type: Mapped[str]
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    type_strictness: Mapped[str] = mapped_column(
        server_default="strict",
        comment="coerce: convert values that can be converted without loss.",
    )
    on_failure: Mapped[str] = mapped_column(
        server_default="skip", comment="What to store if the field cannot be read."
    )
    default_value: Mapped[str | None]
    value_expression: Mapped[str | None] = mapped_column(comment="Expression applied to the value.")

    __table_args__ = (
        tenant_reference("subscription_id", "mqtt_subscriptions", "id", on_delete="cascade"),
        tenant_reference("tag_id", "tag_metadata", on_delete="cascade"),
        UniqueConstraint("tenant_id", "subscription_id", "tag_name"),
        UniqueConstraint("tenant_id", "tag_id"),
        not_empty("field_path"),
        not_empty("tag_name"),
        one_of("data_type", ("real", "int", "text", "bool", "json")),
        one_of("type_strictness", ("strict", "coerce")),
        one_of("on_failure", ("skip", "default")),
        CheckConstraint("on_failure <> 'default' OR default_value IS NOT NULL", name="default"),
        {"comment": "Fields of payloads, and the tags that store them."},
    )
