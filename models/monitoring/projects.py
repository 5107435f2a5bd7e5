"""Projects, which group endpoints."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    EMPTY_ARRAY,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    one_of,
)


class Project(TenantScoped, Identified, Timestamped, Base):
    """A group of endpoints, with defaults for new endpoints."""

    __tablename__ = "projects"
    __by_functions__ = True

    name: Mapped[str]
    description: Mapped[str | None]
    color: Mapped[str | None] = mapped_column(comment="#rrggbb")
    tags: Mapped[list[str]] = mapped_column(
        server_default=EMPTY_ARRAY, comment="Labels, chosen freely."
    )
    priority: Mapped[str] = mapped_column(server_default="medium")
    default_interval_seconds: Mapped[int] = mapped_column(
        server_default=text("30"), comment="Interval of new endpoints."
    )
    default_failure_threshold: Mapped[int] = mapped_column(
        server_default=text("3"), comment="Consecutive failures that open an incident."
    )

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        not_empty("name"),
        one_of("priority", ("high", "medium", "low")),
        CheckConstraint("color ~ '^#[0-9a-f]{6}$'", name="color"),
        CheckConstraint("default_interval_seconds BETWEEN 10 AND 3600", name="interval"),
        CheckConstraint("default_failure_threshold BETWEEN 1 AND 10", name="failure_threshold"),
        {"comment": "Groups of endpoints, with common defaults and permissions."},
    )
