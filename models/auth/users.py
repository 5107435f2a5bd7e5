"""Accounts of people. One account may be a member of many tenants."""

from __future__ import annotations

import datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Grant, Policy, RowLevelSecurity, Trigger
from models.shared.base import (
    FALSE,
    TRUE,
    Base,
    Identified,
    Private,
    Timestamped,
    for_functions,
    operator_access,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS


class User(Private, Identified, Timestamped, Base):
    """A person's account, or the system's (SYSTEM_USER_ID)."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(comment="Unique, ignoring case.")
    display_name: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(
        server_default=TRUE, comment="False: cannot sign in anywhere."
    )
    is_system: Mapped[bool] = mapped_column(
        server_default=FALSE,
        comment="Acts for the platform; cannot be deleted or made an ordinary account.",
    )
    email_verified_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        Index("uq_users_email", text("lower(email)"), unique=True),
        CheckConstraint("position('@' in email) > 1", name="email"),
        RowLevelSecurity(),
        # An invited person has not yet agreed to be visible to the tenant.
        Policy(
            "fellow_members",
            to="fleet_app",
            command="select",
            using=(
                "EXISTS (SELECT FROM tenant_members m"
                " WHERE m.tenant_id = (SELECT current_tenant()) AND m.user_id = users.id"
                " AND m.status <> 'invited')"
            ),
        ),
        Grant("select (id, display_name, email)", to="fleet_app"),
        *operator_access(),
        for_functions(),
        Function(
            "reject_system_user_change",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body="""
                begin
                  raise exception 'user % acts for the platform: it cannot be deleted, '
                      'deactivated or made an ordinary account', old.email
                    using errcode = 'insufficient_privilege', table = tg_table_name;
                end
            """,
            comment="Trigger: rejects every change that its condition selects.",
        ),
        Trigger(
            "system_user_stays",
            timing="before",
            events="delete",
            when="old.is_system",
            function="reject_system_user_change()",
        ),
        Trigger(
            "system_user_stays_one",
            timing="before",
            events="update of id, is_system, is_active",
            when="old.is_system AND (new.id <> old.id OR NOT new.is_system OR NOT new.is_active)",
            function="reject_system_user_change()",
        ),
        {
            "comment": "Accounts. Tenants see only id, display_name and email of their members; "
            "fleet_auth only what its functions show."
        },
    )
