"""Alerts and the events in their history."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Trigger
from models.alert.alert_triggers import ALERT_FUNCTIONS, ANNOUNCED
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
    """A problem, from when it begins until it is closed.

    Alerts are history: tenants cannot delete them, and they outlive the object they refer to.
    """

    __tablename__ = "fleet_alert"
    __app_privileges__ = "select, insert, update"
    __guarded_columns__ = ("id", "created_at")

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(
        comment="Identifies the problem when it is raised again, e.g. rule and device."
    )
    alert_type: Mapped[str] = mapped_column(comment="E.g. threshold or no_heartbeat.")
    status: Mapped[str] = mapped_column(
        server_default="open",
        comment="open, optionally acknowledged, then closed; never back.",
    )
    severity: Mapped[int] = mapped_column(comment=f"{SEVERITY}; the highest so far.")
    confidence: Mapped[float] = mapped_column(
        server_default=text("1"),
        comment="0 to 1, as estimated by the rule or service that raised it.",
    )
    summary: Mapped[str] = mapped_column(comment="One sentence for people to read.")
    details: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="The values that raised it most recently."
    )
    device_id: Mapped[str | None] = mapped_column(comment="NULL after the device was deleted.")
    site_id: Mapped[uuid.UUID | None] = mapped_column(comment="The site at which it was raised.")
    endpoint_id: Mapped[uuid.UUID | None] = mapped_column(comment="endpoints.id")
    tag_id: Mapped[BigInt | None] = mapped_column(comment="tag_metadata.tag_id")
    rule_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="NULL: raised without a rule, or the rule was deleted."
    )
    trigger_count: Mapped[BigInt] = mapped_column(
        server_default=text("1"), comment="How often it was raised before it was closed."
    )
    last_triggered_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    acknowledged_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="Set by the database, as closed_at is; an operator who imports history gives both."
    )
    acknowledged_by: Mapped[uuid.UUID | None]
    closed_at: Mapped[datetime.datetime | None]
    closed_by: Mapped[uuid.UUID | None] = mapped_column(comment="NULL: closed automatically.")
    silenced_until: Mapped[datetime.datetime | None] = mapped_column(
        comment="Until then it is neither notified nor escalated."
    )
    escalation_policy_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Chosen when it was raised: that of its rule, or the default policy."
    )
    escalation_level: Mapped[int] = mapped_column(
        server_default=ZERO, comment="The level notified most recently; 0: none yet."
    )
    escalated_at: Mapped[datetime.datetime | None]
    next_escalation_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="NULL: no further escalation, as after it is acknowledged."
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
        # How many were closed when; open alerts do not wait for it when they are raised.
        Index(None, "tenant_id", "closed_at", postgresql_where=text("closed_at IS NOT NULL")),
        Index(None, "tenant_id", "device_id", text("created_at DESC")),
        Index(None, "tenant_id", "site_id"),
        Index(None, "tenant_id", "endpoint_id"),
        Index(None, "tenant_id", "tag_id"),
        Index(None, "tenant_id", "rule_id"),
        Index(None, "tenant_id", "acknowledged_by"),
        Index(None, "tenant_id", "closed_by"),
        Index(None, "tenant_id", "escalation_policy_id"),
        # For the worker, which looks for due escalations of all tenants.
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
            name="status_times",
        ),
        CheckConstraint("status = 'open' OR next_escalation_at IS NULL", name="next_escalation"),
        CheckConstraint(
            "acknowledged_by IS NULL OR acknowledged_at IS NOT NULL", name="acknowledged_by"
        ),
        CheckConstraint("closed_by IS NULL OR closed_at IS NOT NULL", name="closed_by"),
        *ALERT_FUNCTIONS,
        Trigger(
            "alert_status_transitions",
            timing="before",
            events="insert or update",
            function="keep_alert_status()",
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
            "comment": "Alerts, at most one per fingerprint that is not closed. NOTIFY fleet_alert "
            f"sends the tenant when one of these changes: {', '.join(ANNOUNCED)}."
        },
    )


class AlertEvent(TenantScoped, Identified, Base):
    """A change of an alert, or a note that a member added."""

    __tablename__ = "alert_events"
    __app_privileges__ = "select, insert"
    __guarded_columns__ = ("at",)

    alert_id: Mapped[BigInt]
    event: Mapped[str] = mapped_column(
        server_default="note", comment="Written by the database, except for notes."
    )
    actor_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The member who did it; NULL: no member, or one who has left."
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
            "only_notes_are_inserted",
            timing="before",
            events="insert",
            when="new.event <> 'note' OR new.at <> now()",
            function="reject_manual_alert_event()",
        ),
        {"comment": "What happened to each alert; append-only."},
    )
