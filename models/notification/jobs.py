"""The queue of notifications."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.notification.channels import EVENTS
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
    readable,
    readable_json,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS, QUEUE_IS_FULL

_ANNOUNCE = f"""
    begin
      if {QUEUE_IS_FULL} then
        return null;
      elsif tg_op = 'INSERT' then
        perform pg_notify('notification_jobs', public.tenant_pseudonym(n.tenant_id))
           from (select distinct tenant_id from new_rows where status = 'pending') as n;
      else
        perform pg_notify('notification_jobs', public.tenant_pseudonym(c.tenant_id))
           from (select distinct n.tenant_id
                   from new_rows n
                   join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id
                  where n.status = 'pending'
                    and (n.status, n.next_run_at) is distinct from (o.status, o.next_run_at)) as c;
      end if;
      return null;
    end
"""


class NotificationJob(TenantScoped, Identified, Timestamped, Base):
    """A notification to one channel; its attempts are recorded in notification_log."""

    __tablename__ = "notification_jobs"
    # How far a job has come is for the database and those who take it to say. For fleet_app that
    # is take_notification_jobs(), too, and to set a failed job to pending.
    __app_privileges__ = (
        "select, insert (tenant_id, id, channel_id, rule_id, alert_id, incident_id, event,"
        " occurrence, user_id, payload, max_attempts, next_run_at, expires_at),"
        " update (status, attempts, max_attempts, next_run_at, expires_at, worker, locked_until,"
        " finished_at, last_error)"
    )

    channel_id: Mapped[uuid.UUID]
    rule_id: Mapped[uuid.UUID | None] = mapped_column(comment="The routing rule that queued it.")
    alert_id: Mapped[BigInt | None] = mapped_column(comment="The alert it is about;")
    incident_id: Mapped[uuid.UUID | None] = mapped_column(comment="or the incident (incidents.id).")
    event: Mapped[str]
    occurrence: Mapped[int] = mapped_column(
        server_default=ZERO,
        comment="Distinguishes repeated notifications: the level of an escalation, the number of "
        "a reminder.",
    )
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The only recipient, e.g. the person on call; NULL: all the channel reaches."
    )
    payload: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Data for the message."
    )
    status: Mapped[str] = mapped_column(
        server_default="pending",
        comment="failed: no attempts left; can be set to pending again. canceled: no longer "
        "needed, or not delivered before expires_at.",
    )
    attempts: Mapped[int] = mapped_column(server_default=ZERO)
    max_attempts: Mapped[int] = mapped_column(server_default=text("5"))
    next_run_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime.datetime] = mapped_column(
        server_default=text("now() + interval '1 day'"), comment="Not delivered after this."
    )
    worker: Mapped[str | None] = mapped_column(comment="The worker that holds it,")
    locked_until: Mapped[datetime.datetime | None] = mapped_column(
        comment="until this moment; then another worker can take it."
    )
    finished_at: Mapped[datetime.datetime | None]
    last_error: Mapped[str | None] = mapped_column(comment="Error message of the receiver.")

    __table_args__ = (
        tenant_reference("incident_id", "incidents", "id", on_delete="cascade"),
        tenant_reference("channel_id", "notification_channels", "id", on_delete="cascade"),
        tenant_reference("rule_id", "notification_routing_rules", "id", on_delete="set null"),
        tenant_reference("alert_id", "fleet_alert", "id", on_delete="cascade"),
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        UniqueConstraint(
            "tenant_id",
            "alert_id",
            "incident_id",
            "channel_id",
            "event",
            "occurrence",
            "user_id",
            name="uq_notification_jobs_once",
            postgresql_nulls_not_distinct=True,
        ),
        Index(None, "tenant_id", "incident_id"),
        Index(None, "tenant_id", "channel_id"),
        Index(None, "tenant_id", "rule_id", text("created_at DESC")),
        Index(None, "tenant_id", "user_id"),
        Index(None, "tenant_id", "status", text("created_at DESC")),
        # For the worker, which looks for due jobs of all tenants.
        Index(None, "next_run_at", postgresql_where=text("status IN ('pending', 'processing')")),
        one_of("event", EVENTS),
        one_of("status", ("pending", "processing", "completed", "failed", "canceled")),
        CheckConstraint("num_nonnulls(alert_id, incident_id) = 1", name="one_source"),
        CheckConstraint("occurrence >= 0", name="occurrence"),
        CheckConstraint(
            "attempts BETWEEN 0 AND max_attempts AND max_attempts BETWEEN 1 AND 1000",
            name="attempts",
            postgresql_not_valid=True,
        ),
        CheckConstraint(
            "CASE WHEN status = 'processing' THEN attempts > 0 AND worker IS NOT NULL"
            " AND locked_until IS NOT NULL ELSE locked_until IS NULL END",
            name="taken",
            postgresql_not_valid=True,
        ),
        *(readable("next_run_at"), readable_json("payload")),
        CheckConstraint(
            "(status IN ('completed', 'failed', 'canceled')) = (finished_at IS NOT NULL)",
            name="finished_at",
        ),
        json_object("payload"),
        not_empty("worker"),
        Function(
            "announce_notification_jobs",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body=_ANNOUNCE,
            comment="Trigger: NOTIFY notification_jobs once per statement and tenant with new or "
            "rescheduled pending jobs.",
        ),
        Trigger(
            "announce_new",
            timing="after",
            events="insert",
            level="statement",
            new_table="new_rows",
            function="announce_notification_jobs()",
        ),
        Trigger(
            "announce_changed",
            timing="after",
            events="update",
            level="statement",
            old_table="old_rows",
            new_table="new_rows",
            function="announce_notification_jobs()",
        ),
        {"comment": "Notifications to deliver; the unique key prevents duplicates."},
    )
