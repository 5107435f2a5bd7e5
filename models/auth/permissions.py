"""The catalogue of permissions, and the roles that every new tenant starts with."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import ZERO, Base, Catalogue, Timestamped, not_empty, one_of


class Permission(Catalogue, Timestamped, Base):
    """An action that a role may permit."""

    __tablename__ = "permissions"

    action: Mapped[str] = mapped_column(
        Text, primary_key=True, comment="Dotted name such as devices.read."
    )
    category: Mapped[str] = mapped_column(comment="Heading under which it is listed.")
    description: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("action ~ '^[a-z][a-z0-9_-]*([.][a-z0-9_-]+)*$'", name="action"),
        not_empty("category"),
        {"comment": "Catalogue of all actions that can be permitted."},
    )


class RoleTemplate(Catalogue, Timestamped, Base):
    """A role that provision_tenant() and sync_tenant() copy into tenants."""

    __tablename__ = "role_templates"

    name: Mapped[str] = mapped_column(
        Text, primary_key=True, comment="Name of the copied role; 'owner' must exist."
    )
    description: Mapped[str | None]
    scope: Mapped[str] = mapped_column(
        server_default="org", comment="Meant for the whole organization or for single projects."
    )
    sort_order: Mapped[int] = mapped_column(server_default=ZERO)

    __table_args__ = (
        not_empty("name"),
        one_of("scope", ("org", "project")),
        {"comment": "Built-in roles; each tenant has its own copy in roles."},
    )


class RoleTemplatePermission(Catalogue, Base):
    """One permission of a built-in role."""

    __tablename__ = "role_template_permissions"

    template: Mapped[str] = mapped_column(
        ForeignKey("role_templates.name", ondelete="CASCADE"),
        primary_key=True,
        comment="role_templates.name",
    )
    action: Mapped[str] = mapped_column(
        ForeignKey("permissions.action", ondelete="CASCADE"), primary_key=True
    )

    __table_args__ = (
        Index(None, "action"),
        {"comment": "Permissions of the built-in roles."},
    )
