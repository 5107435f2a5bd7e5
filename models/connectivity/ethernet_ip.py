"""What was found out about EtherNet/IP controllers; all of it can be found out again."""

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
    """A controller and what it can do."""

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
        server_default=text("8"), comment="Connections that it serves at once."
    )
    discovered_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    last_seen_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        # Old rows are swept over all tenants.
        Index(None, "last_seen_at"),
        not_empty("host"),
        CheckConstraint("max_cip_connections > 0", name="max_cip_connections"),
        {"comment": "Controllers that were found, as they described themselves."},
    )


class EipTagCache(TenantScoped, Timestamped, Base):
    """A tag as its controller lists it; good for half a minute."""

    __tablename__ = "eip_tag_cache"

    connection_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tag_path: Mapped[str] = mapped_column(Text, primary_key=True)
    tag_name: Mapped[str | None]
    data_type: Mapped[str | None]
    data_type_name: Mapped[str | None] = mapped_column(comment="Of a structure.")
    tag_type: Mapped[str | None] = mapped_column(comment="One value, or a structure of several.")
    dimensions: Mapped[list[int] | None] = mapped_column(
        ARRAY(Integer), comment="Of an array, outermost first."
    )
    external_access: Mapped[str | None] = mapped_column(comment="What the controller allows.")
    program: Mapped[str | None] = mapped_column(comment="NULL: of the controller as a whole.")
    is_alias: Mapped[bool] = mapped_column(server_default=FALSE)
    instance_id: Mapped[int | None]
    cached_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("connection_id", "connections", "id", on_delete="cascade"),
        Index(None, "cached_at"),
        one_of("tag_type", ("atomic", "struct")),
        {"comment": "Tags as controllers list them."},
    )
