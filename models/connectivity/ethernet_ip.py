"""Caches of EtherNet/IP controllers and their tags, which can be read again at any time."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import ARRAY, CheckConstraint, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    FALSE,
    NOW,
    Base,
    TenantScoped,
    Timestamped,
    not_empty,
    one_of,
    tenant_reference,
)


class EipDeviceCache(TenantScoped, Timestamped, Base):
    """A controller and its capabilities."""

    __tablename__ = "eip_device_cache"

    host: Mapped[str] = mapped_column(Text, primary_key=True, comment="Name or address.")
    vendor: Mapped[str | None]
    product_name: Mapped[str | None]
    product_code: Mapped[int | None]
    product_family: Mapped[str | None]
    serial: Mapped[str | None]
    revision_major: Mapped[int | None]
    revision_minor: Mapped[int | None]
    max_cip_connections: Mapped[int] = mapped_column(
        server_default=text("8"), comment="Connections that it serves at the same time."
    )
    discovered_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    last_seen_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        # Old rows of all tenants are purged together.
        Index(None, "last_seen_at"),
        not_empty("host"),
        CheckConstraint("max_cip_connections > 0", name="max_cip_connections"),
        {"comment": "Discovered controllers, as they describe themselves."},
    )


class EipTagCache(TenantScoped, Timestamped, Base):
    """A tag as its controller lists it; valid for half a minute."""

    __tablename__ = "eip_tag_cache"

    connection_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tag_path: Mapped[str] = mapped_column(Text, primary_key=True)
    tag_name: Mapped[str | None]
    data_type: Mapped[str | None]
    data_type_name: Mapped[str | None] = mapped_column(comment="Name of a structure type.")
    tag_type: Mapped[str | None] = mapped_column(comment="A single value, or a structure.")
    dimensions: Mapped[list[int] | None] = mapped_column(
        ARRAY(Integer), comment="Lengths of an array, outermost first."
    )
    external_access: Mapped[str | None] = mapped_column(
        comment="Access that the controller allows."
    )
    program: Mapped[str | None] = mapped_column(comment="NULL: a tag of the controller itself.")
    is_alias: Mapped[bool] = mapped_column(server_default=FALSE)
    instance_id: Mapped[int | None]
    cached_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("connection_id", "connections", "id", on_delete="cascade"),
        Index(None, "cached_at"),
        one_of("tag_type", ("atomic", "struct")),
        {"comment": "Tags as controllers list them."},
    )
