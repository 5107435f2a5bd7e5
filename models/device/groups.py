"""Groups of devices, with listed members or members found by a filter."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    NOW,
    UUID7,
    Base,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)


class DeviceGroup(TenantScoped, Timestamped, Base):
    """A group of devices."""

    __tablename__ = "device_groups"

    group_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7)
    name: Mapped[str]
    description: Mapped[str | None]
    kind: Mapped[str] = mapped_column(
        server_default="static",
        comment="static: members are listed; dynamic: found by query_filter.",
    )
    query_filter: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Which devices belong to a dynamic group: status, tags, site_id."
    )

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        not_empty("name"),
        one_of("kind", ("static", "dynamic")),
        json_object("query_filter"),
        CheckConstraint("(kind = 'dynamic') = (query_filter IS NOT NULL)", name="query_filter"),
        {"comment": "Groups of devices, static and dynamic."},
    )


class DeviceGroupMember(TenantScoped, Base):
    """A device in a group."""

    __tablename__ = "device_group_members"
    __app_privileges__ = "select, insert, delete"

    group_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    added_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("group_id", "device_groups", on_delete="cascade"),
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        Index(None, "tenant_id", "device_id"),
        {
            "comment": "Members of groups. For a dynamic group, the latest result of its filter, "
            "so that readers can treat both kinds alike."
        },
    )
