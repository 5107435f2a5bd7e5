"""What can be bought, and what each tenant has bought."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import (
    EMPTY_OBJECT,
    NOW,
    TRUE,
    UUID7,
    ZERO,
    Base,
    Catalogue,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)

_LIVE = "status NOT IN ('expired', 'cancelled') AND parent_subscription_id IS NULL"


class _Priced:
    """What both kinds of plan say about themselves."""

    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    limits: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Name of a limit to its number."
    )
    features: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Name of a feature to true or false."
    )
    monthly_price_cents: Mapped[int] = mapped_column(server_default=ZERO)
    annual_price_cents: Mapped[int] = mapped_column(server_default=ZERO)
    stripe_price_id: Mapped[str | None] = mapped_column(comment="Monthly price at Stripe.")
    stripe_annual_price_id: Mapped[str | None] = mapped_column(comment="Annual price at Stripe.")
    is_active: Mapped[bool] = mapped_column(
        server_default=TRUE, comment="False: no longer sold; existing subscriptions stay."
    )
    sort_order: Mapped[int] = mapped_column(server_default=ZERO)


class AccountTier(_Priced, Catalogue, Timestamped, Base):
    """What a tenant as a whole may use."""

    __tablename__ = "account_tiers"

    tier_id: Mapped[str] = mapped_column(
        Text, primary_key=True, sort_order=-10, comment="Short name such as growth."
    )
    support: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Support level, availability, hours to respond."
    )

    __table_args__ = (
        not_empty("tier_id"),
        json_object("limits"),
        json_object("features"),
        json_object("support"),
        CheckConstraint("monthly_price_cents >= 0 AND annual_price_cents >= 0", name="prices"),
        {"comment": "Tiers that a tenant can have as a whole."},
    )


class DevicePlan(_Priced, Catalogue, Timestamped, Base):
    """What one device may use."""

    __tablename__ = "device_plans"

    plan_id: Mapped[str] = mapped_column(
        Text, primary_key=True, sort_order=-10, comment="Short name such as premium."
    )

    __table_args__ = (
        not_empty("plan_id"),
        json_object("limits"),
        json_object("features"),
        CheckConstraint("monthly_price_cents >= 0 AND annual_price_cents >= 0", name="prices"),
        {"comment": "Plans that a single device can have."},
    )


class Subscription(TenantScoped, Timestamped, Base):
    """A plan for a device, a tier for the tenant, or an addon to either.

    The subscription names its device, never the other way round, so the two cannot disagree.
    Tenants read their subscriptions; billing, as fleet_operator, writes them.
    """

    __tablename__ = "subscriptions"
    __app_privileges__ = "select"

    subscription_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7)
    scope: Mapped[str] = mapped_column(comment="Who it is for: the tenant or one device.")
    device_id: Mapped[str | None] = mapped_column(
        comment="A device that was ever billed is decommissioned, not deleted."
    )
    plan_id: Mapped[str | None] = mapped_column(ForeignKey("device_plans.plan_id"))
    tier_id: Mapped[str | None] = mapped_column(ForeignKey("account_tiers.tier_id"))
    parent_subscription_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="What this one is an addon to; ends with it."
    )
    status: Mapped[str] = mapped_column(
        server_default="active",
        comment="grace: unpaid, still served; suspended: unpaid, no longer served.",
    )
    term_start: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    term_end: Mapped[datetime.datetime | None]
    grace_end: Mapped[datetime.datetime | None] = mapped_column(
        comment="Until when service goes on after a missed payment."
    )
    stripe_subscription_id: Mapped[str | None]
    stripe_price_id: Mapped[str | None]
    cancelled_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When cancelling was asked for; the status follows at the end of the term."
    )

    __table_args__ = (
        tenant_reference("device_id", "device_registry"),
        tenant_reference(
            "parent_subscription_id", "subscriptions", "subscription_id", on_delete="cascade"
        ),
        Index(
            "uq_subscriptions_device_id_live",
            "tenant_id",
            "device_id",
            unique=True,
            postgresql_where=text(_LIVE),
        ),
        Index(
            "uq_subscriptions_tenant_live",
            "tenant_id",
            unique=True,
            postgresql_where=text(f"scope = 'tenant' AND {_LIVE}"),
        ),
        Index(None, "tenant_id", "device_id"),
        Index(None, "tenant_id", "parent_subscription_id"),
        Index(None, "tenant_id", "status"),
        Index(None, "plan_id"),
        Index(None, "tier_id"),
        Index(
            None,
            "stripe_subscription_id",
            postgresql_where=text("stripe_subscription_id IS NOT NULL"),
        ),
        one_of("scope", ("tenant", "device")),
        one_of("status", ("trial", "active", "grace", "suspended", "expired", "cancelled")),
        CheckConstraint(
            "CASE scope WHEN 'device'"
            " THEN device_id IS NOT NULL AND plan_id IS NOT NULL AND tier_id IS NULL"
            " ELSE device_id IS NULL AND plan_id IS NULL AND tier_id IS NOT NULL END",
            name="what_for_whom",
        ),
        CheckConstraint("parent_subscription_id <> subscription_id", name="parent"),
        CheckConstraint("term_end > term_start", name="term"),
        CheckConstraint("grace_end >= term_end", name="grace"),
        CheckConstraint("status <> 'cancelled' OR cancelled_at IS NOT NULL", name="cancelled_at"),
        {"comment": "What each tenant has bought; at most one live plan per device."},
    )
