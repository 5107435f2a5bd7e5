"""Creating tenants with all built-in data."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.errors import server_message
from database.tenancy import operator_transaction
from models.shared.base import PLATFORM_TENANT_ID
from operations.access.accounts import (
    Account,
    Token,
    checked_email,
    ensure_account,
    issue_token,
    operator_name,
)
from operations.tenants.tenant import FIND_TENANT, TenantError
from operations.tenants.tenant_tables import count_rows


@dataclass(frozen=True)
class Created:
    """A new tenant."""

    tenant_id: uuid.UUID
    slug: str
    owner: Account
    token: Token | None
    """For setting the owner's password; None for an account that existed before."""
    rows: dict[str, int]
    """Table to the number of the tenant's rows, where any."""


_HAS_REFERENCE_DATA = sa.text("""
    SELECT EXISTS (SELECT FROM public.role_templates WHERE name = 'owner')
       AND EXISTS (SELECT FROM public.tenants WHERE tenant_id = :platform)
""").bindparams(platform=PLATFORM_TENANT_ID)
_PROVISION = sa.text("SELECT public.provision_tenant(:slug, :name, :owner, :tier)")


def create_tenant(
    engine: Engine,
    *,
    slug: str,
    name: str,
    owner_email: str,
    owner_name: str | None = None,
    tier: str | None = None,
    metadata: dict[str, object] | None = None,
    actor: str | None = None,
) -> Created:
    """Create a tenant with its roles, settings and device templates, and its owner if missing.

    Args:
        engine: of the database's owner.
        owner_name: display name of the owner, for a new account.
        tier: account_tiers.tier_id; None for no tier.
        metadata: notes of the operators.
        actor: who does this, for the audit log; by default the user of this machine.

    Raises:
        TenantError: the slug is taken or malformed, the tier is unknown, or the reference data
            is missing.
        AccountError: the address is malformed, or its account may not sign in.
    """
    email = checked_email(owner_email)
    with operator_transaction(
        engine,
        actor=actor or operator_name(),
        action="tenant.create",
        reason=f"create the tenant {slug}",
        write=True,
        resource_type="tenant",
        resource_id=slug,
    ) as connection:
        _check_new(connection, slug, tier)
        owner = ensure_account(connection, email, owner_name)
        values = {"slug": slug, "name": name, "owner": owner.id, "tier": tier}
        try:
            tenant_id = connection.execute(_PROVISION, values).scalar_one()
        except DBAPIError as error:
            raise TenantError(
                f"the tenant {slug!r} cannot be created: {server_message(error)}"
            ) from error
        if metadata:
            _annotate(connection, tenant_id, metadata)
        token = issue_token(connection, owner.id) if owner.is_new else None
        return Created(tenant_id, slug, owner, token, count_rows(connection, tenant_id))


def _check_new(connection: Connection, slug: str, tier: str | None) -> None:
    """Reject what the server would reject as well, with messages that help more."""
    if not connection.scalar(_HAS_REFERENCE_DATA):
        raise TenantError(
            "the reference data is missing (expected a role template owner and the platform "
            "tenant): run: python -m operations reference"
        )
    taken = connection.execute(FIND_TENANT, {"slug": slug}).one_or_none()
    if taken is not None and taken.status == "deleted":
        raise TenantError(
            f"the tenant {slug} is being deleted: finish the deletion with "
            f"`python -m operations tenant delete {slug}`"
        )
    if taken is not None:
        raise TenantError(f"the slug {slug} is taken by the tenant {taken.name!r}: choose another")
    query = sa.text("SELECT tier_id FROM public.account_tiers ORDER BY sort_order, tier_id")
    tiers = list(connection.scalars(query))
    if tier is not None and tier not in tiers:
        raise TenantError(
            f"the tier {tier!r} does not exist: expected one of {', '.join(tiers) or 'none yet'}"
        )


def _annotate(connection: Connection, tenant_id: uuid.UUID, metadata: dict[str, object]) -> None:
    tenants = sa.table("tenants", sa.column("tenant_id"), sa.column("metadata", sa.JSON))
    connection.execute(
        sa.update(tenants).where(tenants.c.tenant_id == tenant_id).values(metadata=metadata)
    )
