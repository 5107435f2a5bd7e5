"""Roles of a tenant, and permissions of its members."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    FALSE,
    NOW,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS

# The permissions of a system role are system rows as well, but only the role has a flag for it.
_REJECT_SYSTEM_PERMISSION = """
    declare
      changed record;
    begin
      if tg_op = 'DELETE' then
        changed := old;
      else
        changed := new;
      end if;
      if pg_has_role(current_user, 'fleet_app', 'usage')
         and not pg_has_role(current_user, 'fleet_operator', 'usage')
         and exists (select from public.roles
                      where tenant_id = changed.tenant_id and id = changed.role_id and is_system)
      then
        raise exception 'the permissions of system role % cannot be changed by a tenant',
            changed.role_id
          using errcode = 'insufficient_privilege', table = tg_table_name,
                hint = 'Create a role of your own with the permissions that you need.';
      end if;
      return changed;
    end
"""


class Role(TenantScoped, Identified, Timestamped, Base):
    """A named set of permissions: a copy of a built-in role, or the tenant's own."""

    __tablename__ = "roles"
    __by_functions__ = True
    __guarded_columns__ = ("is_system",)

    name: Mapped[str]
    description: Mapped[str | None]
    scope: Mapped[str] = mapped_column(
        server_default="org", comment="Meant for the whole organization or for single projects."
    )
    is_system: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Copied from role_templates; tenants cannot change it."
    )

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        not_empty("name"),
        one_of("scope", ("org", "project")),
        Trigger(
            "system_roles_stay",
            timing="before",
            events="update or delete",
            when="old.is_system",
            function="reject_system_row_change()",
        ),
        {"comment": "Roles of tenants: copies of built-in roles, and their own."},
    )


class RolePermission(TenantScoped, Base):
    """One permission of a role."""

    __tablename__ = "role_permissions"
    __by_functions__ = True
    __app_privileges__ = "select, insert, delete"

    role_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(
        Text, ForeignKey("permissions.action", ondelete="CASCADE"), primary_key=True
    )

    __table_args__ = (
        tenant_reference("role_id", "roles", "id", on_delete="cascade"),
        Index(None, "action"),
        Function(
            "reject_system_permission_change",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body=_REJECT_SYSTEM_PERMISSION,
            comment="Trigger: rejects changes by tenants to the permissions of system roles.",
        ),
        Trigger(
            "system_permissions_stay",
            timing="before",
            events="insert or update or delete",
            function="reject_system_permission_change()",
        ),
        {"comment": "Permissions of roles."},
    )


class UserRole(TenantScoped, Identified, Base):
    """A role given to a member, in the whole tenant or in one project."""

    __tablename__ = "user_roles"
    __by_functions__ = True
    __app_privileges__ = "select, insert, delete"

    user_id: Mapped[uuid.UUID]
    role_id: Mapped[uuid.UUID]
    project_id: Mapped[uuid.UUID | None] = mapped_column(comment="NULL: in the whole tenant.")
    assigned_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, since operators are not members."
    )
    assigned_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        tenant_reference("role_id", "roles", "id", on_delete="cascade"),
        tenant_reference("project_id", "projects", "id", on_delete="cascade"),
        UniqueConstraint(
            "tenant_id", "user_id", "role_id", "project_id", postgresql_nulls_not_distinct=True
        ),
        Index(None, "tenant_id", "role_id"),
        Index(None, "tenant_id", "project_id"),
        {"comment": "Roles of members; inserted and deleted, never updated."},
    )


class UserPermission(TenantScoped, Timestamped, Base):
    """Permissions of a member for one feature, regardless of roles."""

    __tablename__ = "user_permissions"

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    feature: Mapped[str] = mapped_column(
        Text, primary_key=True, comment="Dotted name such as connectivity.tags."
    )
    can_create: Mapped[bool] = mapped_column(server_default=FALSE)
    can_read: Mapped[bool] = mapped_column(server_default=FALSE)
    can_update: Mapped[bool] = mapped_column(server_default=FALSE)
    can_delete: Mapped[bool] = mapped_column(server_default=FALSE)

    __table_args__ = (
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        not_empty("feature"),
        {"comment": "Permissions per member and feature; a row overrides those of the roles."},
    )
