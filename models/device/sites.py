"""Sites, where devices are installed."""

from __future__ import annotations

import uuid

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import UUID7, Base, TenantScoped, Timestamped, not_empty

COORDINATES = "latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180"
"""Degrees, WGS 84. NULL passes here; BOTH_COORDINATES requires both coordinates or none."""
BOTH_COORDINATES = "(latitude IS NULL) = (longitude IS NULL)"


class Site(TenantScoped, Timestamped, Base):
    """A location where a tenant has devices."""

    __tablename__ = "sites"

    site_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7)
    name: Mapped[str]
    location: Mapped[str | None] = mapped_column(comment="Address or directions, as text.")
    latitude: Mapped[float | None] = mapped_column(comment="Degrees north, WGS 84.")
    longitude: Mapped[float | None] = mapped_column(comment="Degrees east, WGS 84.")

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        not_empty("name"),
        CheckConstraint(COORDINATES, name="coordinates"),
        CheckConstraint(BOTH_COORDINATES, name="both_coordinates"),
        {"comment": "Locations where tenants have devices."},
    )
