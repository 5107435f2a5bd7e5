"""Alerts and their trail."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Trigger
from models.alert.alert_triggers import ALERT_FUNCTIONS, WORTH_SAYING
from models.alert.rules import SEVERITY
from models.shared.base import (
    EMPTY_OBJECT,
    NOW,
    ZERO,
    Base,
    BigInt,
    Identified,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)


class Alert(TenantScoped, Timestamped, Base):
    """Something that is, or was, wrong; one row from when it begins until it is closed.

    An alert is history: tenants do not delete it, and it outlives whatever it is about.
    """

    __tablename__ = "fleet_alert"
    __app_privileges__ = "select, insert, update"
    __guarded_columns__ = ("id", "created_at")

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(
        comment="What makes it the same alert when it is raised again, e.g. rule and device."
    )
    alert_type: Mapped[str] = mapped_column(comment="E.g. threshold or no_heartbeat.")
    status: Mapped[str] = mapped_column(
        server_default="open",
        comment="open, then acknowledged or not, then closed; never back.",
    )
    severity: Mapped[int] = mapped_column(comment=f"{SEVERITY}; the worst so far.")
    confidence: Mapped[float] = mapped_column(
        server_default=text("1"), comment="0 to 1: how sure whoever raised it is."
    )
    summary: Mapped[str] = mapped_column(comment="One sentence for people.")
    details: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Values that raised it, as of the last time."
    )
    device_id: Mapped[str | None] = mapped_column(comment="NULL once the device is gone.")
    site_id: Mapped[uuid.UUID | None] = mapped_column(comment="Where it was raised.")
    endpoint_id: Mapped[uuid.UUID | None] = mapped_column(comment="endpoints.id")
    tag_id: Mapped[BigInt | None] = mapped_column(comment="tag_metadata.tag_id")
    rule_id: Mapped[uuid.UUID | None] = mapped_column(comment="NULL: without a rule, or gone.")
    trigger_count: Mapped[BigInt] = mapped_column(
        server_default=text("1"), comment="How often it was raised while it was not closed."
    )
    last_triggered_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    acknowledged_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="Set by the database, as closed_at is."
    )
    acknowledged_by: Mapped[uuid.UUID | None]
    closed_at: Mapped[datetime.datetime | None]
    closed_by: Mapped[uuid.UUID | None] = mapped_column(comment="NULL: it went away by itself.")
    silenced_until: Mapped[datetime.datetime | None] = mapped_column(
        comment="Neither notified nor escalated until then."
    )
    escalation_policy_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="As chosen when it was raised: of its rule, or the default one."
    )
    escalation_level: Mapped[int] = mapped_column(
        server_default=ZERO, comment="The level that was told last; 0: none yet."
    )
    escalated_at: Mapped[datetime.datetime | None]
    next_escalation_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="NULL: nobody else will be told; always once it is acknowledged."
    )

    __table_args__ = (
        tenant_reference("tag_id", "tag_metadata", on_delete="set null"),
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="set null"),
        tenant_reference("device_id", "device_registry", on_delete="set null"),
        tenant_reference("site_id", "sites", on_delete="set null"),
        tenant_reference("rule_id", "alert_rules", on_delete="set null"),
        tenant_reference("acknowledged_by", "tenant_members", "user_id", on_delete="set null"),
        tenant_reference("closed_by", "tenant_members", "user_id", on_delete="set null"),
        tenant_reference("escalation_policy_id", "escalation_policies", "id", on_delete="set null"),
        Index(
            "uq_fleet_alert_fingerprint_open",
            "tenant_id",
            "fingerprint",
            unique=True,
            postgresql_where=text("status <> 'closed'"),
        ),
        Index(None, "tenant_id", "status", text("created_at DESC")),
        Index(None, "tenant_id", text("created_at DESC")),
        Index(None, "tenant_id", "device_id", text("created_at DESC")),
        Index(None, "tenant_id", "site_id"),
        Index(None, "tenant_id", "endpoint_id"),
        Index(None, "tenant_id", "tag_id"),
        Index(None, "tenant_id", "rule_id"),
        Index(None, "tenant_id", "acknowledged_by"),
        Index(None, "tenant_id", "closed_by"),
        Index(None, "tenant_id", "escalation_policy_id"),
        # The worker asks over all tenants what is due.
        Index(
            None,
            "next_escalation_at",
            postgresql_where=text("status = 'open' AND next_escalation_at IS NOT NULL"),
        ),
        not_empty("fingerprint"),
        not_empty("alert_type"),
        not_empty("summary"),
        one_of("status", ("open", "acknowledged", "closed")),
        CheckConstraint("severity BETWEEN 1 AND 5", name="severity"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
        json_object("details"),
        CheckConstraint("trigger_count > 0", name="trigger_count"),
        CheckConstraint("escalation_level BETWEEN 0 AND 5", name="escalation_level"),
        CheckConstraint(
            "CASE status WHEN 'open' THEN acknowledged_at IS NULL AND closed_at IS NULL"
            " WHEN 'acknowledged' THEN acknowledged_at IS NOT NULL AND closed_at IS NULL"
            " ELSE closed_at >= created_at END",
            name="moments",
        ),
        CheckConstraint("status = 'open' OR next_escalation_at IS NULL", name="next_escalation"),
        CheckConstraint("acknowledged_by IS NULL OR acknowledged_at IS NOT NULL", name="by_whom"),
        CheckConstraint("closed_by IS NULL OR closed_at IS NOT NULL", name="closed_by_whom"),
        *ALERT_FUNCTIONS,
        Trigger(
            "alert_follows_its_life_cycle",
            timing="before",
            events="insert or update",
            function="keep_alert_life_cycle()",
        ),
        Trigger(
            "alert_leaves_a_trail",
            timing="after",
            events="insert",
            function="record_alert_event()",
        ),
        Trigger(
            "alert_change_leaves_a_trail",
            timing="after",
            events="update",
            when="(old.status, old.escalation_level, old.silenced_until)"
            " IS DISTINCT FROM (new.status, new.escalation_level, new.silenced_until)",
            function="record_alert_event()",
        ),
        Trigger(
            "announce_new",
            timing="after",
            events="insert",
            level="statement",
            new_table="new_rows",
            function="announce_alerts()",
        ),
        Trigger(
            "announce_changed",
            timing="after",
            events="update",
            level="statement",
            old_table="old_rows",
            new_table="new_rows",
            function="announce_alerts()",
        ),
        {
            "comment": "Alerts, at most one per fingerprint that is not closed. "
            f"NOTIFY fleet_alert says which tenant has news: {', '.join(WORTH_SAYING)}."
        },
    )


class AlertEvent(TenantScoped, Identified, Base):
    """One step in the life of an alert; whoever looks at it may add notes."""

    __tablename__ = "alert_events"
    __app_privileges__ = "select, insert"
    __guarded_columns__ = ("at",)

    alert_id: Mapped[BigInt]
    event: Mapped[str] = mapped_column(
        server_default="note", comment="Written by the database, but for notes."
    )
    actor_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The member who did it; NULL: none, or no member any more."
    )
    at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    note: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="E.g. the level of an escalation."
    )

    __table_args__ = (
        tenant_reference("alert_id", "fleet_alert", "id", on_delete="cascade"),
        tenant_reference("actor_id", "tenant_members", "user_id", on_delete="set null"),
        Index(None, "tenant_id", "alert_id", "at"),
        Index(None, "tenant_id", "actor_id"),
        one_of("event", ("opened", "acknowledged", "closed", "escalated", "silenced", "note")),
        CheckConstraint("event <> 'note' OR note <> ''", name="note"),
        json_object("details"),
        Trigger(
            "only_notes_by_hand",
            timing="before",
            events="insert",
            when="new.event <> 'note'",
            function="refuse_alert_event_by_hand()",
        ),
        {"comment": "What happened to each alert; append-only."},
    )
