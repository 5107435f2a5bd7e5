"""Escalation: who is notified next when nobody acknowledges an alert."""

from __future__ import annotations

import uuid

from sqlalchemy import CheckConstraint, Computed, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function
from models.shared.base import (
    FALSE,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    tenant_reference,
)

# One statement: a row that another worker has locked is skipped, and an alert is advanced before
# it is returned, so that each step is returned only once. An alert whose next level was deleted
# in the meantime ends its escalation and is not returned.
_TAKE_DUE_ESCALATIONS = """
    BEGIN ATOMIC
      WITH due AS MATERIALIZED (
        SELECT a.tenant_id, a.id, a.escalation_policy_id, a.escalation_level + 1 AS level
          FROM fleet_alert AS a
         WHERE a.status = 'open' AND a.next_escalation_at <= now()
           AND (a.silenced_until IS NULL OR a.silenced_until <= now())
         ORDER BY a.next_escalation_at
         LIMIT take_due_escalations.wanted
           FOR NO KEY UPDATE OF a SKIP LOCKED
      ), moved AS (
        UPDATE fleet_alert AS a
           SET escalation_level = coalesce(l.level, a.escalation_level),
               escalated_at = CASE WHEN l.level IS NULL THEN a.escalated_at ELSE now() END,
               next_escalation_at = now() + make_interval(mins => n.delay_minutes)
          FROM due AS d
          LEFT JOIN escalation_levels AS l
            ON l.tenant_id = d.tenant_id AND l.policy_id = d.escalation_policy_id
           AND l.level = d.level
          LEFT JOIN escalation_levels AS n
            ON n.tenant_id = d.tenant_id AND n.policy_id = d.escalation_policy_id
           AND n.level = d.level + 1
         WHERE a.tenant_id = d.tenant_id AND a.id = d.id
        RETURNING a.tenant_id, a.id, a.severity, left(a.summary, 4096) AS summary, l.level,
                  l.channel_id, l.oncall_schedule_id
      )
      SELECT m.tenant_id, m.id, m.severity, m.summary, m.level, m.channel_id,
             m.oncall_schedule_id
        FROM moved AS m
       WHERE m.level IS NOT NULL
       ORDER BY m.severity DESC, m.id;
    END
"""


class EscalationPolicy(TenantScoped, Identified, Timestamped, Base):
    """Who is notified of an alert, in which order."""

    __tablename__ = "escalation_policies"

    name: Mapped[str]
    description: Mapped[str | None]
    is_default: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Used for alerts whose rule names no policy; at most one."
    )

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        Index(
            "uq_escalation_policies_default",
            "tenant_id",
            unique=True,
            postgresql_where=text("is_default"),
        ),
        not_empty("name"),
        {"comment": "Escalation policies; their steps are in escalation_levels."},
    )


class EscalationLevel(TenantScoped, Timestamped, Base):
    """One step of a policy.

    A foreign key from each level to the one below prevents gaps, even when two sessions change a
    policy at the same time.
    """

    __tablename__ = "escalation_levels"

    policy_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="From 1.")
    level_below: Mapped[int | None] = mapped_column(
        Computed("nullif(level - 1, 0)", persisted=True),
        comment="Must exist, so that there are no gaps; NULL for the first.",
    )
    delay_minutes: Mapped[int] = mapped_column(
        server_default=text("15"),
        comment="Minutes without a reaction since the alert, or since the level below.",
    )
    channel_id: Mapped[uuid.UUID] = mapped_column(
        comment="Where to notify. Neither channel nor schedule can be deleted while used."
    )
    oncall_schedule_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Notify the person on call; NULL: everyone the channel reaches."
    )

    __table_args__ = (
        tenant_reference("policy_id", "escalation_policies", "id", on_delete="cascade"),
        tenant_reference(("policy_id", "level_below"), "escalation_levels", ("policy_id", "level")),
        tenant_reference("channel_id", "notification_channels", "id"),
        tenant_reference("oncall_schedule_id", "oncall_schedules", "id"),
        Index(None, "tenant_id", "policy_id", "level_below"),
        Index(None, "tenant_id", "channel_id"),
        Index(None, "tenant_id", "oncall_schedule_id"),
        CheckConstraint("level BETWEEN 1 AND 5", name="level"),
        CheckConstraint("delay_minutes BETWEEN 0 AND 10080", name="delay_minutes"),
        {"comment": "Steps of escalation, 1 to 5 without gaps."},
    )


Function(
    "take_due_escalations",
    "wanted integer DEFAULT 100",
    returns="TABLE(tenant_id uuid, alert_id bigint, severity integer, summary text, "
    "level integer, channel_id uuid, oncall_schedule_id uuid)",
    body=_TAKE_DUE_ESCALATIONS,
    grants=dict.fromkeys(("fleet_app", "fleet_operator"), "execute"),
    comment="Moves due alerts to their next level and returns them, each to one caller only: those "
    "of all tenants to fleet_operator, those of the current tenant to fleet_app.",
    metadata=Base.metadata,
)
