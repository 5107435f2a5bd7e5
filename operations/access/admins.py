"""The operators of the platform: members of the platform tenant."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from database.tenancy import operator_transaction
from models.shared.base import PLATFORM_TENANT_ID
from operations.access.accounts import (
    Account,
    AccountError,
    Token,
    checked_email,
    ensure_account,
    issue_token,
    operator_name,
)


@dataclass(frozen=True)
class Admin:
    """An operator, and the token for setting their password."""

    account: Account
    token: Token
    joined: bool
    """Whether they were no operator before."""


_PLATFORM_ROLE = sa.text("""
    SELECT r.id FROM public.tenants t
      JOIN public.roles r ON r.tenant_id = t.tenant_id AND r.name = 'owner' AND r.is_system
     WHERE t.tenant_id = :platform
""")
_JOIN = sa.text("""
    INSERT INTO public.tenant_members (tenant_id, user_id, status, is_owner, joined_at)
    VALUES (:platform, :user, 'active', true, now())
        ON CONFLICT (tenant_id, user_id) DO UPDATE
       SET status = 'active', is_owner = true,
           joined_at = coalesce(tenant_members.joined_at, now())
     WHERE tenant_members.status <> 'disabled'
    RETURNING status
""")
_ASSIGN = sa.text("""
    INSERT INTO public.user_roles (tenant_id, user_id, role_id) VALUES (:platform, :user, :role)
        ON CONFLICT DO NOTHING RETURNING id
""")


def create(
    engine: Engine, email: str, *, name: str | None = None, actor: str | None = None
) -> Admin:
    """Create an operator of the platform, or issue a new token to an existing one.

    They become an owner of the platform tenant. There is no default password: the token, valid
    for an hour and stored as a hash, is the only way in.

    Args:
        engine: of the database's owner.
        name: display name, for a new account.
        actor: who does this, for the audit log; by default the user of this machine.

    Raises:
        AccountError: no e-mail address, an account that may not sign in, or no platform tenant.
    """
    email = checked_email(email)
    with operator_transaction(
        engine,
        actor=actor or operator_name(),
        action="admin.create",
        reason="create an operator of the platform, or issue a new token",
        tenant_id=PLATFORM_TENANT_ID,
        write=True,
        resource_type="user",
        resource_id=email,
    ) as connection:
        account = ensure_account(connection, email, name)
        joined = _join_platform(connection, account)
        return Admin(account, issue_token(connection, account.id), joined)


def _join_platform(connection: Connection, account: Account) -> bool:
    """Make the account an owner of the platform tenant; False if it was one already."""
    values = {"platform": PLATFORM_TENANT_ID, "user": account.id}
    role = connection.scalar(_PLATFORM_ROLE, values)
    if role is None:
        raise AccountError(
            "the platform tenant with its role owner does not exist yet: run "
            "`python -m operations reference`"
        )
    if connection.scalar(_JOIN, values) is None:
        raise AccountError(
            f"{account.email} is disabled on the platform (tenant_members.status is disabled): "
            "set the status to active first"
        )
    return connection.scalar(_ASSIGN, {**values, "role": role}) is not None
