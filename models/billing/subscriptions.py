"""Subscriptions, their slots, history and messages."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    NOW,
    UUID7,
    ZERO,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.status_transitions import status_transitions

STEPS = {
    "trial": ("active", "expired", "cancelled"),
    "active": ("grace", "suspended", "expired", "cancelled"),
    "grace": ("active", "suspended", "expired", "cancelled"),
    "suspended": ("active", "expired", "cancelled"),
    "expired": ("active",),
}
"""Allowed status transitions. A cancelled subscription stays cancelled; a new one replaces it."""

_LIVE = "status NOT IN ('expired', 'cancelled') AND parent_subscription_id IS NULL"

Function(
    "audit_subscription",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          insert into public.subscription_audit
                 (tenant_id, subscription_id, event_type, actor_id, previous_state, new_state)
          values (new.tenant_id, new.subscription_id,
                  case when tg_op = 'INSERT' then 'created'
                       when old.status is distinct from new.status then new.status
                       else 'changed' end,
                  session_user, case tg_op when 'UPDATE' then to_jsonb(old) end, to_jsonb(new));
          return null;
        end
    """,
    comment="Trigger: records every change of a subscription, with the row before and after.",
    metadata=Base.metadata,
)


class Subscription(TenantScoped, Timestamped, Base):
    """A plan for a device, a tier for the tenant, or an add-on to either.

    The subscription refers to its device, never the reverse, so the two cannot disagree. Tenants
    read their subscriptions; the billing service writes them as fleet_operator.
    """

    __tablename__ = "subscriptions"
    __app_privileges__ = "select"

    subscription_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7)
    scope: Mapped[str] = mapped_column(comment="Whether it applies to the tenant or to one device.")
    device_id: Mapped[str | None] = mapped_column(
        comment="A device that was ever billed cannot be deleted, only decommissioned."
    )
    plan_id: Mapped[str | None] = mapped_column(ForeignKey("device_plans.plan_id"))
    tier_id: Mapped[str | None] = mapped_column(ForeignKey("account_tiers.tier_id"))
    parent_subscription_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The subscription that this add-on belongs to, and ends with."
    )
    status: Mapped[str] = mapped_column(
        server_default="active",
        comment="grace: unpaid, service continues; suspended: unpaid, service stopped.",
    )
    term_start: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    term_end: Mapped[datetime.datetime | None]
    grace_end: Mapped[datetime.datetime | None] = mapped_column(
        comment="Until when service continues after a missed payment."
    )
    stripe_subscription_id: Mapped[str | None]
    stripe_price_id: Mapped[str | None]
    cancelled_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When cancellation was requested; the status changes at the end of the term."
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
            name="scope_matches",
        ),
        CheckConstraint("parent_subscription_id <> subscription_id", name="parent"),
        CheckConstraint("term_end > term_start", name="term"),
        CheckConstraint("grace_end >= term_end", name="grace"),
        CheckConstraint("status <> 'cancelled' OR cancelled_at IS NOT NULL", name="cancelled_at"),
        status_transitions("subscriptions", STEPS),
        Trigger(
            "new_subscriptions_are_audited",
            timing="after",
            events="insert",
            function="audit_subscription()",
        ),
        Trigger(
            "changed_subscriptions_are_audited",
            timing="after",
            events="update",
            when="old.* IS DISTINCT FROM new.*",
            function="audit_subscription()",
        ),
        {"comment": "Subscriptions of tenants; at most one current plan per device."},
    )


class SubscriptionAllocation(TenantScoped, Timestamped, Base):
    """How many devices of a plan a subscription may cover, and how many it covers."""

    __tablename__ = "subscription_tier_allocations"
    __app_privileges__ = "select"

    subscription_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    plan_id: Mapped[str] = mapped_column(ForeignKey("device_plans.plan_id"), primary_key=True)
    slot_limit: Mapped[int]
    slots_used: Mapped[int] = mapped_column(
        server_default=ZERO, comment="Changed only by take_slot() and free_slot()."
    )

    __table_args__ = (
        tenant_reference("subscription_id", "subscriptions", on_delete="cascade"),
        Index(None, "plan_id"),
        CheckConstraint("slot_limit >= 0", name="slot_limit"),
        CheckConstraint("slots_used BETWEEN 0 AND slot_limit", name="slots_used"),
        {"comment": "Slots for devices in subscriptions, by plan."},
    )


_BILLING = {"fleet_operator": "execute"}

Function(
    "take_slot",
    "of_tenant uuid, subscription uuid, plan text",
    returns="integer",
    body="""
        BEGIN ATOMIC
          UPDATE subscription_tier_allocations SET slots_used = slots_used + 1
           WHERE tenant_id = of_tenant AND subscription_id = subscription AND plan_id = plan
             AND slots_used < slot_limit
          RETURNING slot_limit - slots_used;
        END
    """,
    grants=_BILLING,
    comment="Takes one slot; returns how many are left, or NULL if none was free.",
    metadata=Base.metadata,
)

Function(
    "free_slot",
    "of_tenant uuid, subscription uuid, plan text",
    returns="integer",
    body="""
        BEGIN ATOMIC
          UPDATE subscription_tier_allocations SET slots_used = slots_used - 1
           WHERE tenant_id = of_tenant AND subscription_id = subscription AND plan_id = plan
             AND slots_used > 0
          RETURNING slot_limit - slots_used;
        END
    """,
    grants=_BILLING,
    comment="Frees one slot; returns how many are left, or NULL if none was taken.",
    metadata=Base.metadata,
)


class SubscriptionAudit(TenantScoped, Identified, Base):
    """A change of a subscription; append-only, and kept after the subscription is deleted."""

    __tablename__ = "subscription_audit"
    __app_privileges__ = "select"

    subscription_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="No foreign key: the history outlives the subscription."
    )
    event_type: Mapped[str] = mapped_column(comment="created, changed, or the new status.")
    event_timestamp: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    actor_type: Mapped[str] = mapped_column(server_default="system")
    actor_id: Mapped[str | None] = mapped_column(
        comment="The database login, or the user or system that it acted for."
    )
    previous_state: Mapped[dict[str, Any] | None] = mapped_column(comment="The row before.")
    new_state: Mapped[dict[str, Any] | None] = mapped_column(comment="The row after.")
    details: Mapped[dict[str, Any] | None] = mapped_column(comment="E.g. the event of Stripe.")
    ip_address: Mapped[str | None] = mapped_column(INET)

    __table_args__ = (
        Index(None, "tenant_id", text("event_timestamp DESC")),
        Index(None, "tenant_id", "subscription_id", text("event_timestamp DESC")),
        not_empty("event_type"),
        one_of("actor_type", ("user", "operator", "stripe", "system")),
        json_object("previous_state"),
        json_object("new_state"),
        json_object("details"),
        {"comment": "Changes of subscriptions."},
    )


class SubscriptionNotification(TenantScoped, Identified, Timestamped, Base):
    """A message about a subscription, pending or sent."""

    __tablename__ = "subscription_notifications"
    __app_privileges__ = "select"

    subscription_id: Mapped[uuid.UUID]
    notification_type: Mapped[str]
    scheduled_at: Mapped[datetime.datetime]
    sent_at: Mapped[datetime.datetime | None]
    channel: Mapped[str] = mapped_column(server_default="email")
    status: Mapped[str] = mapped_column(server_default="pending")
    error: Mapped[str | None]

    __table_args__ = (
        tenant_reference("subscription_id", "subscriptions", on_delete="cascade"),
        # Once for each moment, no matter how often the scheduler runs.
        Index(
            "uq_subscription_notifications_once",
            "tenant_id",
            "subscription_id",
            "notification_type",
            "scheduled_at",
            unique=True,
        ),
        Index(None, "scheduled_at", postgresql_where=text("status = 'pending'")),
        one_of(
            "notification_type",
            ("renewal", "trial_ending", "payment_failed", "grace", "suspended", "expired"),
        ),
        one_of("channel", ("email", "webhook")),
        one_of("status", ("pending", "sent", "failed", "cancelled")),
        CheckConstraint("(status = 'sent') = (sent_at IS NOT NULL)", name="sent_at"),
        status_transitions(
            "subscription_notifications",
            {"pending": ("sent", "failed", "cancelled"), "failed": ("pending", "cancelled")},
        ),
        {"comment": "Messages about subscriptions to tenants."},
    )
