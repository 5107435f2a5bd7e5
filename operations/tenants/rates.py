"""How many records of a tenant the ingest may store: shown, set, and lifted."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from database.tenancy import OPERATOR, operator_transaction
from models.shared.base import PLATFORM_TENANT_ID
from operations.access.accounts import operator_name
from operations.owner import acting_as
from operations.tenants.tenant import Tenant, TenantError, find_tenant


@dataclass(frozen=True)
class Rate:
    """The limit of one tenant, and what is left of it."""

    slug: str
    records_per_minute: int
    burst: int
    left: int
    """Records that may come at once; a debt is negative."""


_SHOWN = sa.text("""
    SELECT t.slug, r.records_per_minute, r.burst,
           floor(least(r.burst, r.level + greatest(0, extract(epoch FROM clock_timestamp()
                       - r.level_at)) * r.records_per_minute / 60)
                 - coalesce(d.records, 0))::bigint AS "left"
      FROM public.ingest_rates r
      JOIN public.tenants t USING (tenant_id)
      LEFT JOIN (SELECT of_tenant, sum(records) AS records
                   FROM (SELECT of_tenant, max(records) AS records FROM public.ingest_debits
                          GROUP BY of_tenant, transaction) AS of_transactions
                  GROUP BY 1) d ON d.of_tenant = r.tenant_id
     WHERE cast(:slug AS text) IS NULL OR t.slug = :slug
     ORDER BY t.slug
""")
_SET = sa.text("""
    INSERT INTO public.ingest_rates (tenant_id, records_per_minute, burst)
    VALUES (:tenant, :per_minute, :burst)
    ON CONFLICT (tenant_id) DO UPDATE
       SET records_per_minute = excluded.records_per_minute, burst = excluded.burst
""")
_LIFT = sa.text("DELETE FROM public.ingest_rates WHERE tenant_id = :tenant")


def rates(engine: Engine, slug: str | None = None) -> list[Rate]:
    """The limits of all tenants that have one, or of one tenant.

    Raises:
        TenantError: there is no such tenant.
    """
    if slug is not None:
        _required(engine, slug)
    with acting_as(engine, OPERATOR) as connection:
        return [Rate(**row._mapping) for row in connection.execute(_SHOWN, {"slug": slug})]


def set_rate(
    engine: Engine,
    slug: str,
    per_minute: int | None,
    burst: int | None = None,
    *,
    actor: str | None = None,
) -> None:
    """Limit a tenant, whose bucket is full then, or lift its limit.

    Args:
        engine: of the database's owner.
        per_minute: records; None for no limit.
        burst: records that may come at once; None for those of a day.
        actor: who does this, for the audit log; by default the user of this machine.

    Raises:
        TenantError: there is no such tenant, it is the platform, or a number is not positive.
    """
    for option, number in (("--per-minute", per_minute), ("--burst", burst)):
        if number is not None and not 0 < number <= _MOST[option]:
            raise TenantError(
                f"{option}: expected 1 to {_MOST[option]} records, found {number}; "
                "--none lifts the limit"
            )
    tenant = _required(engine, slug)
    if tenant.tenant_id == PLATFORM_TENANT_ID:
        raise TenantError(f"{slug} is the platform itself, which has no rate: limit its tenants")
    with operator_transaction(
        engine,
        actor=actor or operator_name(),
        action="tenant.rate",
        reason=_reason(slug, per_minute, burst),
        tenant_id=tenant.tenant_id,
        write=True,
        resource_type="tenant",
        resource_id=slug,
    ) as connection:
        _store(connection, tenant, per_minute, burst)


_MOST = {"--per-minute": 2**31 - 1, "--burst": 2**53}


def _reason(slug: str, per_minute: int | None, burst: int | None) -> str:
    if per_minute is None:
        return f"lift the ingest rate of {slug}"
    more = "" if burst is None else f", {burst:,} at once"
    return f"limit the ingest of {slug} to {per_minute:,} records a minute{more}"


def _store(
    connection: Connection, tenant: Tenant, per_minute: int | None, burst: int | None
) -> None:
    if per_minute is None:
        connection.execute(_LIFT, {"tenant": tenant.tenant_id})
        return
    values = {"tenant": tenant.tenant_id, "per_minute": per_minute, "burst": burst}
    connection.execute(_SET, values)


def _required(engine: Engine, slug: str) -> Tenant:
    tenant = find_tenant(engine, slug)
    if tenant is None:
        raise TenantError(
            f"no tenant has the slug {slug!r}: python -m operations tenant rate lists those with a "
            "limit"
        )
    return tenant
