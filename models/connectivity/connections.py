"""Data sources, and how often they are polled."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Trigger
from models.shared.base import (
    EMPTY_OBJECT,
    FALSE,
    TRUE,
    Base,
    Catalogue,
    Identified,
    TenantScoped,
    Timestamped,
    access,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.change_notifications import change_notifications
from models.shared.secrets import no_secrets


class PollGroup(Catalogue, Timestamped, Base):
    """How often a tag is read."""

    __tablename__ = "poll_groups"

    group_id: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, comment="Assigned by the reference data."
    )
    name: Mapped[str]
    poll_rate_ms: Mapped[int]
    description: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(
        server_default=TRUE, comment="False: no longer offered; tags that use it keep it."
    )

    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("poll_rate_ms"),
        not_empty("name"),
        CheckConstraint("poll_rate_ms > 0", name="poll_rate_ms"),
        {"comment": "Catalogue of polling rates."},
    )


class Connection(TenantScoped, Identified, Timestamped, Base):
    """A data source: a controller, a broker, a server, or the platform itself.

    Deleting a connection only marks it, because its tags and their history refer to it; its name
    can then be used again.
    """

    __tablename__ = "connections"
    __guarded_columns__ = ("is_system_connection",)

    name: Mapped[str]
    type: Mapped[str] = mapped_column(comment="Protocol.")
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    config_data: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Address and options of the driver; no secrets."
    )
    secret_ref: Mapped[str | None] = mapped_column(
        comment="Name of its credentials in the secret store."
    )
    is_system_connection: Mapped[bool] = mapped_column(
        server_default=FALSE,
        comment="Created by the platform; tenants can neither change nor delete it.",
    )
    site_id: Mapped[uuid.UUID | None] = mapped_column(comment="The site where it is installed.")
    device_id: Mapped[str | None] = mapped_column(
        comment="The registered device that it belongs to, if any."
    )
    max_tags_per_group: Mapped[int] = mapped_column(
        server_default=text("500"), comment="Largest number of tags read in one request."
    )
    max_concurrent_connections: Mapped[int] = mapped_column(server_default=text("8"))
    deleted_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference("site_id", "sites", on_delete="set null"),
        tenant_reference("device_id", "device_registry", on_delete="set null"),
        Index(
            "uq_connections_name_live",
            "tenant_id",
            "name",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(None, "tenant_id", "site_id"),
        Index(None, "tenant_id", "device_id"),
        Index(None, "tenant_id", "type"),
        not_empty("name"),
        one_of("type", ("opcua-client", "opcua-server", "s7", "eip", "mqtt", "system")),
        json_object("config_data"),
        no_secrets("config_data"),
        CheckConstraint("is_system_connection = (type = 'system')", name="system"),
        CheckConstraint("max_tags_per_group > 0", name="max_tags_per_group"),
        CheckConstraint("max_concurrent_connections > 0", name="max_concurrent_connections"),
        CheckConstraint("deleted_at IS NULL OR NOT enabled", name="deleted"),
        Trigger(
            "system_connections_stay",
            timing="before",
            events="update or delete",
            when="old.is_system_connection",
            function="reject_system_row_change()",
        ),
        *change_notifications(
            "connections", "name, type, enabled, config_data, secret_ref, deleted_at"
        ),
        *access("fleet_ingest", "select (tenant_id, id)"),
        {"comment": "Industrial data sources."},
    )
