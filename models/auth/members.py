"""Members of a tenant, invitations, and preferences of members."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Policy, Trigger
from models.shared.base import (
    EMPTY_ARRAY,
    EMPTY_OBJECT,
    FALSE,
    PLATFORM_TENANT_ID,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    json_object,
    one_of,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS

# Two sessions that each remove one of the last two owners would both still see the other owner.
# Locking the tenant first makes the second session wait, and its next statement then sees what
# the first one committed (READ COMMITTED, as everywhere in this schema).
#
# SECURITY INVOKER on purpose: row-level security is forced, so with the rights of the owner of the
# tables the function would see no member and reject every change. The caller sees enough: fleet_app
# its own tenant and members (the lock needs UPDATE on any column of tenants, which the profile
# columns provide), operators everything. No function of fleet_auth gets here: they change no active
# owner. If app.tenant_id is changed before the commit, neither tenant nor owner is visible, and the
# change is rejected.
_KEEPS_AN_OWNER = f"""
    declare
      state text;
    begin
      if old.tenant_id = '{PLATFORM_TENANT_ID}' then
        return null;
      end if;
      select status into state from public.tenants
        where tenant_id = old.tenant_id for no key update;
      if not found and pg_has_role(current_user, 'fleet_operator', 'usage') then
        return null;  -- an operator sees every tenant, so this one was deleted
      end if;
      if state = 'deleted' or exists (
           select from public.tenant_members
            where tenant_id = old.tenant_id and is_owner and status = 'active') then
        return null;
      end if;
      raise exception 'tenant % would be left without an active owner', old.tenant_id
        using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
              constraint = tg_name,
              hint = 'Make another active member an owner first, in the same transaction.';
    end
"""


class TenantMember(TenantScoped, Timestamped, Base):
    """An account that belongs to a tenant.

    fleet_app cannot insert members, because a tenant could add any account and read its address.
    accept_invitation() inserts them; fleet_app cannot accept one either.
    """

    __tablename__ = "tenant_members"
    __by_functions__ = True
    __app_privileges__ = "select, update (status, is_owner), delete"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    status: Mapped[str] = mapped_column(
        server_default="invited",
        comment="invited: not yet accepted, so not yet visible to the tenant; disabled: no access.",
    )
    is_owner: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Has all permissions; a tenant always has an active owner."
    )
    joined_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When the invitation was accepted."
    )

    __table_args__ = (
        Index(None, "user_id"),
        one_of("status", ("invited", "active", "disabled")),
        CheckConstraint("NOT is_owner OR status <> 'invited'", name="owner_has_joined"),
        Policy(
            "invited_accept_themselves",
            to="fleet_app",
            command="update",
            using="status <> 'invited'",
            check="status <> 'invited'",
            permissive=False,
        ),
        Function(
            "keep_an_owner",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body=_KEEPS_AN_OWNER,
            comment="Trigger: rejects changes that leave a tenant without an active owner.",
        ),
        Trigger(
            "tenant_keeps_an_owner",
            timing="after",
            events="update or delete",
            when="old.is_owner AND old.status = 'active'",
            function="keep_an_owner()",
            constraint=True,
            initially_deferred=True,
        ),
        {"comment": "Accounts that belong to a tenant."},
    )


class Invitation(TenantScoped, Identified, Timestamped, Base):
    """An invitation to join a tenant; the token in its link accepts it once."""

    __tablename__ = "invitations"
    __by_functions__ = True
    __app_privileges__ = (
        "select, insert, update (role_id, project_ids, expires_at, revoked_at), delete"
    )
    __hidden_columns__ = ("token_hash",)

    email: Mapped[str] = mapped_column(comment="Address to which the invitation was sent.")
    role_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Role assigned on acceptance. NULL: the role was deleted, so it cannot be accepted."
    )
    project_ids: Mapped[list[uuid.UUID]] = mapped_column(
        server_default=EMPTY_ARRAY,
        comment="Projects to which the role is limited; empty: all. The rows of user_roles, "
        "written on acceptance, have the foreign keys.",
    )
    token_hash: Mapped[str] = mapped_column(
        deferred=True,
        comment="Hash of the token in the link; unique over all tenants, since it "
        "is looked up before the tenant is known.",
    )
    invited_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the invitation outlives the account."
    )
    expires_at: Mapped[datetime.datetime]
    accepted_at: Mapped[datetime.datetime | None]
    revoked_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference("role_id", "roles", "id", on_delete="set null"),
        Index("uq_invitations_token_hash", "token_hash", unique=True),
        Index(
            "uq_invitations_email_open",
            "tenant_id",
            text("lower(email)"),
            unique=True,
            postgresql_where=text("accepted_at IS NULL AND revoked_at IS NULL"),
        ),
        Index(None, "tenant_id", "role_id"),
        CheckConstraint("position('@' in email) > 1", name="email"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        CheckConstraint("accepted_at IS NULL OR revoked_at IS NULL", name="outcome"),
        {"comment": "Invitations to join a tenant."},
    )


class UserPreferences(TenantScoped, Timestamped, Base):
    """How a member wants to see this tenant."""

    __tablename__ = "user_preferences"

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    display_name: Mapped[str | None] = mapped_column(comment="Name within this tenant.")
    timezone: Mapped[str] = mapped_column(server_default="UTC", comment="IANA name.")
    notification_prefs: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Channel to the settings of the member for it."
    )

    __table_args__ = (
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        json_object("notification_prefs"),
        {"comment": "Preferences of a member within a tenant."},
    )
