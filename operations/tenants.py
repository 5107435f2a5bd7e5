"""Tenants: made with all that is built in. How they are deleted stands in tenant_deletion.py."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.errors import FleetSchemaError
from database.tenancy import OPERATOR, operator_transaction
from operations.accounts import (
    Account,
    Token,
    checked_email,
    ensure_account,
    issue_token,
    operator_name,
)
from operations.owner import acting_as
from operations.relations import tenant_relations


class TenantError(FleetSchemaError):
    """A tenant cannot be made, found or deleted; says which and why."""


@dataclass(frozen=True)
class Tenant:
    """A row of tenants."""

    tenant_id: uuid.UUID
    slug: str
    name: str
    status: str
    metadata: dict[str, object]


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


_FIND = sa.text("""
    SELECT tenant_id, slug, name, status, metadata FROM public.tenants WHERE slug = :slug
""")
_PROVISION = sa.text("SELECT public.provision_tenant(:slug, :name, :owner, :tier)")


def find(engine: Engine, slug: str) -> Tenant | None:
    """The tenant with a slug; None if there is none."""
    with acting_as(engine, OPERATOR) as connection:
        row = connection.execute(_FIND, {"slug": slug}).one_or_none()
    return None if row is None else Tenant(**row._mapping)


def create(
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
            raise TenantError(f"the tenant {slug!r} cannot be made: {words(error)}") from error
        if metadata:
            _annotate(connection, tenant_id, metadata)
        token = issue_token(connection, owner.id) if owner.made else None
        return Created(tenant_id, slug, owner, token, count_rows(connection, tenant_id))


def count_rows(connection: Connection, tenant_id: uuid.UUID) -> dict[str, int]:
    """The rows of a tenant in each relation that has any; needs a role that sees them."""
    counts = {}
    for relation in tenant_relations(connection):
        query = sa.text(f"SELECT count(*) FROM {relation.sql} WHERE tenant_id = :tenant")
        if count := connection.scalar(query, {"tenant": tenant_id}):
            counts[relation.name] = count
    return counts


def words(error: DBAPIError) -> str:
    """The server's own words in one line: what, which rows, and its hint."""
    diagnosis = getattr(error.orig, "diag", None)
    said = [
        diagnosis and diagnosis.message_primary,
        diagnosis and diagnosis.message_detail,
        diagnosis and diagnosis.message_hint,
    ]
    # An error of the connection has no diagnosis.
    found = [text.rstrip(".") for text in said if text] or [str(error.orig).strip()]
    return ". ".join(found).replace("\n", " ")


def _check_new(connection: Connection, slug: str, tier: str | None) -> None:
    """What the server would refuse as well, in words that help less."""
    taken = connection.execute(_FIND, {"slug": slug}).one_or_none()
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
