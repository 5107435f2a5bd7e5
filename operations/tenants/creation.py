"""Tenants: made with all that is built in. How they are deleted stands in tenant_deletion.py."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import operator_transaction
from operations.access.accounts import (
    Account,
    Token,
    checked_email,
    ensure_account,
    issue_token,
    operator_name,
)
from operations.errors import server_message
from operations.tenants.tenant import FIND_TENANT, TenantError
from operations.tenants.tenant_tables import count_rows


@dataclass(frozen=True)
class Created:
    """A new tenant."""

    tenant_id: uuid.UUID
    slug: str
    owner: Account
    token: Token | None
    """For setting the owner's password; None for an account that was there before."""
    rows: dict[str, int]
    """Relation to the rows of the tenant in it; those without any are left out."""


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
    """Make a tenant with its roles, settings and device templates, and its owner if missing.

    Args:
        engine: of the database's owner.
        owner_name: display name of the owner, for a new account.
        tier: account_tiers.tier_id; None for no tier.
        metadata: notes of the operators.
        actor: who does it, for the audit log; the user of this machine if not said.

    Raises:
        TenantError: the slug is taken or malformed, the tier unknown, or there is no reference
            data to copy.
        AccountError: no e-mail address, or an account that may not sign in.
    """
    email = checked_email(owner_email)
    with operator_transaction(
        engine,
        actor=actor or operator_name(),
        action="tenant.create",
        reason=f"make the tenant {slug}",
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
                f"the tenant {slug!r} cannot be made: {server_message(error)}"
            ) from error
        if metadata:
            _annotate(connection, tenant_id, metadata)
        token = issue_token(connection, owner.id) if owner.made else None
        return Created(tenant_id, slug, owner, token, count_rows(connection, tenant_id))


def _check_new(connection: Connection, slug: str, tier: str | None) -> None:
    """What the server would refuse as well, in words that help less."""
    taken = connection.execute(FIND_TENANT, {"slug": slug}).one_or_none()
    if taken is not None and taken.status == "deleted":
        raise TenantError(
            f"the tenant {slug} is being deleted: finish that with "
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
