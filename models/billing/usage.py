"""Usage of tenants by month, and events received from Stripe."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Grant
from models.shared.base import (
    NOW,
    ZERO,
    Base,
    BigInt,
    Private,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
)


class UsageCounter(TenantScoped, Timestamped, Base):
    """How much of something a tenant used within a month."""

    __tablename__ = "usage_counters"
    __app_privileges__ = "select"

    metric: Mapped[str] = mapped_column(Text, primary_key=True, comment="E.g. api_requests.")
    period: Mapped[datetime.date] = mapped_column(
        primary_key=True, comment="First day of the month, UTC."
    )
    used: Mapped[BigInt] = mapped_column(server_default=ZERO)
    usage_limit: Mapped[BigInt | None] = mapped_column(comment="NULL: unlimited.")

    __table_args__ = (
        not_empty("metric"),
        CheckConstraint("used >= 0", name="used"),
        CheckConstraint("usage_limit >= 0", name="usage_limit"),
        CheckConstraint("extract(day FROM period) = 1", name="period"),
        Function(
            "count_usage",
            "of_tenant uuid, what text, amount bigint DEFAULT 1, most bigint DEFAULT NULL",
            returns="bigint",
            body="""
                BEGIN ATOMIC
                  INSERT INTO usage_counters AS u (tenant_id, metric, period, used, usage_limit)
                  SELECT of_tenant, what, date_trunc('month', now() AT TIME ZONE 'UTC')::date,
                         amount, most
                   WHERE most IS NULL OR amount <= most
                  ON CONFLICT (tenant_id, metric, period)
                  DO UPDATE SET used = u.used + excluded.used
                   WHERE u.usage_limit IS NULL OR u.used + excluded.used <= u.usage_limit
                  RETURNING u.used;
                END
            """,
            grants={"fleet_operator": "execute"},
            comment="Adds to a tenant's counter of this month; returns the new count, or NULL if "
            "it would exceed the limit. most sets the limit of a new counter.",
        ),
        {"comment": "Usage of tenants by month."},
    )


class StripeEvent(Private, Base):
    """An event from Stripe, which delivers each at least once."""

    __tablename__ = "stripe_events"

    event_id: Mapped[str] = mapped_column(Text, primary_key=True, comment="Identifier at Stripe.")
    event_type: Mapped[str]
    received_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    processed_at: Mapped[datetime.datetime | None]
    payload_summary: Mapped[dict[str, Any] | None] = mapped_column(
        comment="The fields that were needed; no card data."
    )

    __table_args__ = (
        Index(None, "event_type", "received_at"),
        not_empty("event_id"),
        not_empty("event_type"),
        json_object("payload_summary"),
        CheckConstraint("processed_at >= received_at", name="processed_at"),
        Grant("select", to="fleet_operator_read"),
        Grant("select, insert, update, delete", to="fleet_operator"),
        Function(
            "receive_stripe_event",
            "event text, kind text, summary jsonb DEFAULT NULL",
            returns="boolean",
            body="""
                BEGIN ATOMIC
                  INSERT INTO stripe_events (event_id, event_type, payload_summary)
                  VALUES (event, kind, summary) ON CONFLICT DO NOTHING
                  RETURNING true;
                END
            """,
            grants={"fleet_operator": "execute"},
            comment="Records an event; returns true if it is new, NULL if it was received before. "
            "Process a new event in the same transaction, so that it is done exactly once.",
        ),
        {"comment": "Events received from Stripe."},
    )
