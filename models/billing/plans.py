"""What is sold: tiers for tenants, plans for devices."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    EMPTY_OBJECT,
    TRUE,
    ZERO,
    Base,
    Catalogue,
    Timestamped,
    json_object,
    not_empty,
)


class _Priced:
    """Columns of tiers and plans."""

    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    limits: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Limit name to number."
    )
    features: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Feature name to true or false."
    )
    monthly_price_cents: Mapped[int] = mapped_column(server_default=ZERO)
    annual_price_cents: Mapped[int] = mapped_column(server_default=ZERO)
    stripe_price_id: Mapped[str | None] = mapped_column(comment="Monthly price at Stripe.")
    stripe_annual_price_id: Mapped[str | None] = mapped_column(comment="Annual price at Stripe.")
    is_active: Mapped[bool] = mapped_column(
        server_default=TRUE, comment="False: no longer sold; existing subscriptions continue."
    )
    sort_order: Mapped[int] = mapped_column(server_default=ZERO)


class AccountTier(_Priced, Catalogue, Timestamped, Base):
    """A tier: limits and features of a tenant as a whole."""

    __tablename__ = "account_tiers"

    tier_id: Mapped[str] = mapped_column(
        Text, primary_key=True, sort_order=-10, comment="Short name such as growth."
    )
    support: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Support level, availability, response time in hours."
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
    """A plan: limits and features of one device."""

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
