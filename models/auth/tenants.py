"""Tenants, their settings, and the view of tenants as organizations."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Grant, Policy, RowLevelSecurity, View
from models.shared.base import (
    EMPTY_ARRAY,
    EMPTY_OBJECT,
    OWN_TENANT,
    PLATFORM_TENANT_ID,
    UUID7,
    Base,
    Private,
    TenantScoped,
    Timestamped,
    access,
    for_functions,
    json_object,
    json_value,
    not_empty,
    one_of,
    operator_access,
)
from models.shared.secrets import no_secrets

PROFILE_COLUMNS = (
    "name",
    "legal_name",
    "contact_name",
    "contact_email",
    "billing_email",
    "phone",
    "industry",
    "company_size",
    "address_line1",
    "address_line2",
    "city",
    "state_province",
    "postal_code",
    "country",
)
"""The columns that a tenant may change in its own row: not tier, status, slug, billing account."""


class Tenant(Private, Timestamped, Base):
    """A customer of the platform, or the platform itself (PLATFORM_TENANT_ID)."""

    __tablename__ = "tenants"

    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7)
    slug: Mapped[str] = mapped_column(comment="Name of the tenant in URLs.")
    name: Mapped[str] = mapped_column(comment="Display name.")
    status: Mapped[str] = mapped_column(
        server_default="active",
        comment="suspended: no sign-in; deleted: its rows are being removed.",
    )
    account_tier_id: Mapped[str | None] = mapped_column(
        ForeignKey("account_tiers.tier_id"), comment="Limits and features of the tenant as a whole."
    )
    legal_name: Mapped[str | None] = mapped_column(comment="Name on contracts and invoices.")
    contact_name: Mapped[str | None]
    contact_email: Mapped[str | None]
    billing_email: Mapped[str | None] = mapped_column(comment="Address for invoices.")
    phone: Mapped[str | None]
    industry: Mapped[str | None]
    company_size: Mapped[str | None] = mapped_column(comment="Range of employees, as text.")
    address_line1: Mapped[str | None]
    address_line2: Mapped[str | None]
    city: Mapped[str | None]
    state_province: Mapped[str | None]
    postal_code: Mapped[str | None]
    country: Mapped[str | None] = mapped_column(comment="ISO 3166-1 alpha-2, upper case.")
    data_residency_region: Mapped[str | None] = mapped_column(
        comment="Region in which the data must stay by contract; set by operators."
    )
    stripe_customer_id: Mapped[str | None] = mapped_column(comment="Billing account at Stripe.")
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata", server_default=EMPTY_OBJECT, comment="Notes of the operators."
    )
    builtins: Mapped[list[str]] = mapped_column(
        server_default=EMPTY_ARRAY,
        comment="Keys of all built-in rows ever copied, so that sync_tenant() does not restore "
        "rows that the tenant deleted.",
    )
    deleted_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When the tenant asked to be deleted; its rows may still exist."
    )

    __table_args__ = (
        Index("uq_tenants_slug", "slug", unique=True),
        Index("uq_tenants_stripe_customer_id", "stripe_customer_id", unique=True),
        Index(None, "account_tier_id"),
        CheckConstraint("slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'", name="slug"),
        not_empty("name"),
        one_of("status", ("active", "suspended", "deleted")),
        CheckConstraint("(status = 'deleted') = (deleted_at IS NOT NULL)", name="deleted_at"),
        CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
        CheckConstraint(
            f"tenant_id <> '{PLATFORM_TENANT_ID}' OR status = 'active'", name="platform_is_active"
        ),
        json_object("metadata"),
        RowLevelSecurity(),
        Policy("own_row", to="fleet_app", command="select", using=OWN_TENANT),
        Policy("own_profile", to="fleet_app", command="update", using=OWN_TENANT, check=OWN_TENANT),
        Grant(f"select, update ({', '.join(PROFILE_COLUMNS)})", to="fleet_app"),
        *operator_access(),
        for_functions(),
        *access("fleet_ingest", "select (tenant_id, slug, status)"),
        # Service monitoring calls tenants organizations. The view has no data of its own.
        View(
            "organizations",
            """
            SELECT t.tenant_id AS id, t.slug, t.name, t.status,
                   coalesce((SELECT jsonb_object_agg(s.key, s.value) FROM tenant_settings s
                              WHERE s.tenant_id = t.tenant_id), '{}'::jsonb) AS settings,
                   coalesce(a.limits, '{}'::jsonb) AS limits,
                   t.created_at, t.updated_at
              FROM tenants t LEFT JOIN account_tiers a ON a.tier_id = t.account_tier_id
            """,
            grants={
                "fleet_app": "select",
                "fleet_operator": "select",
                "fleet_operator_read": "select",
            },
            comment="Tenants under the name that service monitoring uses for them.",
        ),
        {
            "comment": "Customers of the platform, and the platform itself as the tenant with the "
            "zero UUID."
        },
    )


# Through this function, which the server replaces by its query, with the rights of the caller, each
# query of a tenant view has row-level security. So its filters have levels: whatever might leak
# comes after the condition of the view, at any cost. The table is not read: nothing of it is used.
# It is small, as each query of a tenant view is planned with it.
Function(
    "conditions_in_order",
    returns="TABLE(tenant_id uuid)",
    volatility="stable",
    parallel="safe",
    body="""
        BEGIN ATOMIC
        SELECT o.id AS tenant_id FROM order_of_conditions o;
        END
    """,
    grants=dict.fromkeys(("fleet_app", "fleet_operator", "fleet_operator_read"), "execute"),
    comment="No rows. Tenant views name it, so that their condition comes before all others.",
    metadata=Base.metadata,
)


class OrderOfConditions(Private, Base):
    """No rows: what `conditions_in_order()` names for its row-level security."""

    __tablename__ = "order_of_conditions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)

    __table_args__ = (
        RowLevelSecurity(),
        *access("fleet_app", "select"),
        *access("fleet_operator", "select"),
        *access("fleet_operator_read", "select"),
        {"comment": "No rows. Row-level security of this table orders conditions of tenant views."},
    )


class TenantSetting(TenantScoped, Timestamped, Base):
    """One setting of one tenant."""

    __tablename__ = "tenant_settings"
    __by_functions__ = True

    key: Mapped[str] = mapped_column(Text, primary_key=True, comment="Dotted name.")
    value: Mapped[Any] = mapped_column(JSONB, comment="Any JSON except null.")

    __table_args__ = (
        not_empty("key"),
        json_value("value"),
        no_secrets("value", later=True),
        {
            "comment": "Settings of tenants; a new tenant receives copies of those of the platform "
            "tenant."
        },
    )
