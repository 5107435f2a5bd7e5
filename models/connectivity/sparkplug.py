"""Sparkplug B: edge nodes of the platform, and discovered ones."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    NOW,
    TRUE,
    ZERO,
    Base,
    BigInt,
    Identified,
    TenantScoped,
    Timestamped,
    json_array,
    json_object,
    not_empty,
    tenant_reference,
)


def sequence() -> CheckConstraint:
    """By the specification it starts again at 0 after 255."""
    return CheckConstraint("seq_num BETWEEN 0 AND 255", name="seq_num")


class SparkplugConfig(TenantScoped, Identified, Timestamped, Base):
    """The edge node or device that a publisher represents."""

    __tablename__ = "sparkplug_configs"

    publisher_id: Mapped[uuid.UUID]
    group_id: Mapped[str]
    edge_node_id: Mapped[str]
    device_id: Mapped[str | None] = mapped_column(comment="NULL: the node itself.")
    auto_birth: Mapped[bool] = mapped_column(server_default=TRUE)
    birth_debounce_ms: Mapped[int] = mapped_column(server_default=text("1000"))
    death_timeout_ms: Mapped[int] = mapped_column(server_default=text("5000"))
    seq_num: Mapped[int] = mapped_column(
        server_default=ZERO, comment="Sequence number of the last message."
    )
    last_birth_at: Mapped[datetime.datetime | None]
    last_death_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference("publisher_id", "mqtt_publishers", "id", on_delete="cascade"),
        UniqueConstraint("tenant_id", "publisher_id"),
        UniqueConstraint(
            "tenant_id",
            "group_id",
            "edge_node_id",
            "device_id",
            postgresql_nulls_not_distinct=True,
        ),
        not_empty("group_id"),
        not_empty("edge_node_id"),
        sequence(),
        CheckConstraint("birth_debounce_ms >= 0 AND death_timeout_ms > 0", name="times"),
        {"comment": "Publishers as Sparkplug edge nodes."},
    )


class SparkplugMetric(TenantScoped, Identified, Timestamped, Base):
    """A tag under its metric name in Sparkplug."""

    __tablename__ = "sparkplug_metric_mappings"

    sparkplug_config_id: Mapped[uuid.UUID]
    tag_id: Mapped[BigInt]
    metric_name: Mapped[str]
    data_type: Mapped[str | None] = mapped_column(comment="As named by the specification.")
    engineering_units: Mapped[str | None]
    include_in_birth: Mapped[bool] = mapped_column(server_default=TRUE)

    __table_args__ = (
        tenant_reference("sparkplug_config_id", "sparkplug_configs", "id", on_delete="cascade"),
        tenant_reference("tag_id", "tag_metadata", on_delete="cascade"),
        UniqueConstraint("tenant_id", "sparkplug_config_id", "metric_name"),
        Index(None, "tenant_id", "tag_id"),
        not_empty("metric_name"),
        {"comment": "Tags as Sparkplug metrics."},
    )


class SparkplugDiscovery(TenantScoped, Identified, Timestamped, Base):
    """A discovered node or device, as described in its latest birth message."""

    __tablename__ = "sparkplug_discovery"

    connection_id: Mapped[uuid.UUID]
    group_id: Mapped[str]
    edge_node_id: Mapped[str]
    device_id: Mapped[str | None] = mapped_column(comment="NULL: the node itself.")
    birth_payload: Mapped[dict[str, Any]] = mapped_column(
        comment="Payload of the latest birth message."
    )
    metrics: Mapped[list[Any]] = mapped_column(
        server_default=text("'[]'::jsonb"), comment="Metrics listed in the birth message."
    )
    seq_num: Mapped[int] = mapped_column(
        server_default=ZERO, comment="Sequence number of the last message."
    )
    is_online: Mapped[bool] = mapped_column(server_default=TRUE)
    last_birth_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    last_death_at: Mapped[datetime.datetime | None]
    last_seen_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("connection_id", "connections", "id", on_delete="cascade"),
        # A node has no device_id: with distinct NULLs every birth of a node would be a new row.
        UniqueConstraint(
            "tenant_id",
            "connection_id",
            "group_id",
            "edge_node_id",
            "device_id",
            name="uq_sparkplug_discovery_node",
            postgresql_nulls_not_distinct=True,
        ),
        not_empty("group_id"),
        not_empty("edge_node_id"),
        json_object("birth_payload"),
        json_array("metrics"),
        sequence(),
        {"comment": "Discovered Sparkplug nodes and devices."},
    )
