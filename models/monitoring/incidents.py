"""Incidents, their timelines, links and postmortems."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Computed, Index, Interval, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    NOW,
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
from models.shared.change_notifications import change_notifications
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.status_transitions import status_transitions

STEPS = {
    "open": ("acknowledged", "investigating", "resolved"),
    "acknowledged": ("investigating", "resolved"),
    "investigating": ("resolved",),
}

Function(
    "keep_incident",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          if tg_op = 'INSERT' then
            -- Sessions wait for each other here, so that numbers are unique and without gaps.
            perform from public.tenants where tenant_id = new.tenant_id for no key update;
            new.number := (select coalesce(max(number), 0) + 1 from public.incidents
                            where tenant_id = new.tenant_id);
          elsif new.status is distinct from old.status then
            if new.status <> 'open' then
              new.acknowledged_at := coalesce(new.acknowledged_at, now());
            end if;
            if new.status = 'resolved' then
              new.resolved_at := coalesce(new.resolved_at, now());
            end if;
          end if;
          return new;
        end
    """,
    comment="Trigger: sets the number of a new incident, and the times of its status transitions.",
    metadata=Base.metadata,
)

Function(
    "record_incident_event",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          insert into public.incident_events (tenant_id, incident_id, kind, actor, note)
          values (new.tenant_id, new.id, case tg_op when 'INSERT' then 'opened' else new.status end,
                  case new.status when 'acknowledged' then new.acknowledged_by
                                  when 'resolved' then new.resolved_by end,
                  case new.status when 'resolved' then new.resolution end);
          return null;
        end
    """,
    comment="Trigger: records status transitions of an incident in its timeline.",
    metadata=Base.metadata,
)


class Incident(TenantScoped, Identified, Timestamped, Base):
    """A problem, found by checks or reported by a person."""

    __tablename__ = "incidents"
    __app_privileges__ = "select, insert, update"
    __guarded_columns__ = ("number",)

    number: Mapped[int] = mapped_column(
        comment="Number for people: 1, 2, 3 in each tenant, without gaps."
    )
    title: Mapped[str]
    severity: Mapped[str] = mapped_column(server_default="medium")
    status: Mapped[str] = mapped_column(server_default="open")
    project_id: Mapped[uuid.UUID | None]
    endpoint_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="NULL: no endpoint, or it was deleted."
    )
    opened_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    acknowledged_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="Set by the database, as resolved_at is."
    )
    acknowledged_by: Mapped[uuid.UUID | None]
    resolved_at: Mapped[datetime.datetime | None]
    resolved_by: Mapped[uuid.UUID | None] = mapped_column(comment="NULL: resolved automatically.")
    failing_since: Mapped[datetime.datetime | None] = mapped_column(
        comment="Time of the first failed check, if known."
    )
    time_to_resolve: Mapped[datetime.timedelta | None] = mapped_column(
        Interval, Computed("resolved_at - opened_at", persisted=True)
    )
    downtime: Mapped[datetime.timedelta | None] = mapped_column(
        Interval, Computed("resolved_at - COALESCE(failing_since, opened_at)", persisted=True)
    )
    root_cause: Mapped[str | None]
    resolution: Mapped[str | None] = mapped_column(comment="How it was resolved.")

    __table_args__ = (
        tenant_reference("project_id", "projects", "id", on_delete="set null"),
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="set null"),
        tenant_reference("acknowledged_by", "tenant_members", "user_id", on_delete="set null"),
        tenant_reference("resolved_by", "tenant_members", "user_id", on_delete="set null"),
        UniqueConstraint("tenant_id", "number"),
        Index(
            "uq_incidents_endpoint_open",
            "tenant_id",
            "endpoint_id",
            unique=True,
            postgresql_where=text("status <> 'resolved'"),
        ),
        Index(None, "tenant_id", "status", "created_at"),
        Index(None, "tenant_id", "project_id"),
        Index(None, "tenant_id", "endpoint_id"),
        Index(None, "tenant_id", "acknowledged_by"),
        Index(None, "tenant_id", "resolved_by"),
        not_empty("title"),
        one_of("severity", ("critical", "high", "medium", "low")),
        one_of("status", ("open", "acknowledged", "investigating", "resolved")),
        CheckConstraint("number > 0", name="number"),
        CheckConstraint("(status = 'resolved') = (resolved_at IS NOT NULL)", name="resolved_at"),
        CheckConstraint("(status = 'open') = (acknowledged_at IS NULL)", name="acknowledged_at"),
        CheckConstraint("resolved_at >= opened_at", name="opened_at"),
        Trigger(
            "incidents_are_kept",
            timing="before",
            events="insert or update",
            function="keep_incident()",
        ),
        status_transitions("incidents", STEPS),
        Trigger(
            "new_incidents_are_in_the_timeline",
            timing="after",
            events="insert",
            function="record_incident_event()",
        ),
        Trigger(
            "changed_incidents_are_in_the_timeline",
            timing="after",
            events="update of status",
            when="old.status IS DISTINCT FROM new.status",
            function="record_incident_event()",
        ),
        *change_notifications("incidents", "status, severity, title"),
        {"comment": "Problems found by checks or reported by people."},
    )


class IncidentEvent(TenantScoped, Identified, Base):
    """An entry in the timeline of an incident; append-only."""

    __tablename__ = "incident_events"
    __app_privileges__ = "select, insert"

    incident_id: Mapped[uuid.UUID]
    kind: Mapped[str] = mapped_column(comment="opened, the new status, note, or attachment.")
    actor: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the entry outlives the account. NULL: the platform."
    )
    note: Mapped[str | None]
    attachment: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Name, type, size, and location in the object store."
    )
    at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("incident_id", "incidents", "id", on_delete="cascade"),
        Index(None, "tenant_id", "incident_id", "at"),
        one_of(
            "kind",
            ("opened", "acknowledged", "investigating", "resolved", "note", "attachment"),
        ),
        json_object("attachment"),
        CheckConstraint("(kind = 'attachment') = (attachment IS NOT NULL)", name="attached"),
        {"comment": "Timelines of incidents."},
    )


class IncidentLink(TenantScoped, Base):
    """A relation between two incidents."""

    __tablename__ = "incident_links"
    __app_privileges__ = "select, insert, delete"

    from_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    to_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("from_id", "incidents", "id", on_delete="cascade"),
        tenant_reference("to_id", "incidents", "id", on_delete="cascade"),
        Index(None, "tenant_id", "to_id"),
        one_of("type", ("duplicate", "caused_by", "blocks", "parent")),
        CheckConstraint("from_id <> to_id", name="not_itself"),
        {"comment": "Relations between incidents."},
    )


class IncidentAlert(TenantScoped, Base):
    """An alert that belongs to an incident."""

    __tablename__ = "incident_alerts"
    __app_privileges__ = "select, insert, delete"

    incident_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    alert_id: Mapped[BigInt] = mapped_column(primary_key=True)
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        tenant_reference("incident_id", "incidents", "id", on_delete="cascade"),
        tenant_reference("alert_id", "fleet_alert", "id", on_delete="cascade"),
        Index(None, "tenant_id", "alert_id"),
        {"comment": "Alerts that belong to incidents."},
    )


class IncidentPostmortem(TenantScoped, Timestamped, Base):
    """The postmortem of an incident."""

    __tablename__ = "incident_postmortems"

    incident_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(comment="Markdown.")
    generated_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When the draft was generated; NULL: written by a person."
    )
    author: Mapped[uuid.UUID | None]

    __table_args__ = (
        tenant_reference("incident_id", "incidents", "id", on_delete="cascade"),
        tenant_reference("author", "tenant_members", "user_id", on_delete="set null"),
        Index(None, "tenant_id", "author"),
        not_empty("body"),
        {"comment": "Postmortems of incidents."},
    )
