"""Endpoints that are checked, and their status."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    EMPTY_OBJECT,
    FALSE,
    NOW,
    TRUE,
    ZERO,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    access,
    bounded,
    json_object,
    not_empty,
    one_of,
    readable_json,
    tenant_reference,
)
from models.shared.change_notifications import change_notifications
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.secrets import no_password, no_secrets

STATUSES = ("healthy", "degraded", "down", "unknown")


class Endpoint(TenantScoped, Identified, Timestamped, Base):
    """A service that is checked at intervals."""

    __tablename__ = "endpoints"
    __guarded_columns__ = ("created_at", "updated_at")

    project_id: Mapped[uuid.UUID]
    name: Mapped[str]
    url: Mapped[str] = mapped_column(comment="Without credentials.")
    service_type: Mapped[str] = mapped_column(server_default="http")
    interval_seconds: Mapped[int] = mapped_column(server_default=text("60"))
    timeout_seconds: Mapped[int] = mapped_column(
        server_default=text("30"),
        comment="Shorter than the interval, so that checks never overlap.",
    )
    expected_status: Mapped[int | None] = mapped_column(
        server_default=text("200"), comment="HTTP status; NULL: any."
    )
    auth_type: Mapped[str] = mapped_column(
        server_default="none", comment="How the credentials in endpoint_credentials are sent."
    )
    options: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Method, headers, query; no secrets."
    )
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)

    __table_args__ = (
        tenant_reference("project_id", "projects", "id"),
        UniqueConstraint("tenant_id", "project_id", "name"),
        not_empty("name"),
        not_empty("url"),
        one_of(
            "service_type",
            (
                "http",
                "graphql",
                "grpc",
                "websocket",
                "postgresql",
                "mysql",
                "redis",
                "elasticsearch",
                "custom",
            ),
        ),
        one_of("auth_type", ("none", "basic", "bearer", "api_key", "oauth", "headers")),
        CheckConstraint("interval_seconds BETWEEN 10 AND 3600", name="check_interval"),
        CheckConstraint(
            "timeout_seconds > 0 AND timeout_seconds < interval_seconds", name="timeout"
        ),
        no_password("url"),
        json_object("options"),
        no_secrets("options"),
        # take_due_checks() returns them, of many tenants at once.
        *(bounded("url"), readable_json("options")),
        Trigger(
            "endpoints_have_a_status",
            timing="after",
            events="insert",
            function="give_endpoint_status()",
        ),
        *change_notifications(
            "endpoints", "url, service_type, interval_seconds, timeout_seconds, enabled"
        ),
        *access("fleet_ingest", "select (tenant_id, id)"),
        {"comment": "Services that are checked at intervals."},
    )


class EndpointCredential(TenantScoped, Timestamped, Base):
    """A reference to the credentials of an endpoint in the secret store."""

    __tablename__ = "endpoint_credentials"

    endpoint_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    username: Mapped[str | None]
    header_name: Mapped[str | None] = mapped_column(comment="Header that carries an API key.")
    secret_ref: Mapped[str]
    rotated_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="cascade"),
        not_empty("secret_ref"),
        {"comment": "References to the credentials of endpoints."},
    )


class EndpointAlertPolicy(TenantScoped, Timestamped, Base):
    """When the failure of an endpoint is reported; without a row, the defaults apply."""

    __tablename__ = "endpoint_alert_policies"

    endpoint_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    failure_threshold: Mapped[int] = mapped_column(
        server_default=text("3"), comment="Consecutive failures that open an incident."
    )
    first_failure_warning: Mapped[bool] = mapped_column(server_default=FALSE)
    recovery_notification: Mapped[bool] = mapped_column(server_default=TRUE)
    repeat_interval_minutes: Mapped[int | None] = mapped_column(comment="NULL: reported once.")
    cooldown_minutes: Mapped[int] = mapped_column(
        server_default=ZERO, comment="Time after a recovery in which nothing is reported."
    )

    __table_args__ = (
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="cascade"),
        CheckConstraint("failure_threshold BETWEEN 1 AND 100", name="failure_threshold"),
        CheckConstraint("repeat_interval_minutes > 0", name="repeat_interval"),
        CheckConstraint("cooldown_minutes >= 0", name="cooldown"),
        {"comment": "When failures of endpoints are reported."},
    )


class EndpointStatus(TenantScoped, Timestamped, Base):
    """Current status of an endpoint, and when it is checked next."""

    __tablename__ = "endpoint_status"
    __app_privileges__ = "select, insert, update"

    endpoint_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    direct_status: Mapped[str] = mapped_column(
        server_default="unknown", comment="From its own checks."
    )
    computed_status: Mapped[str] = mapped_column(
        server_default="unknown", comment="Including its dependencies."
    )
    mode: Mapped[str] = mapped_column(
        server_default="optimal", comment="From health_pct: 95 and more, 60, 40, less."
    )
    health_pct: Mapped[float] = mapped_column(server_default=text("100"))
    consecutive_failures: Mapped[int] = mapped_column(server_default=ZERO)
    last_checked_at: Mapped[datetime.datetime | None]
    last_error: Mapped[str | None]
    next_check_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    checked_by: Mapped[str | None] = mapped_column(comment="Worker that took the latest check.")
    active_fallback_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The fallback currently in use."
    )

    __table_args__ = (
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="cascade"),
        tenant_reference("active_fallback_id", "endpoints", "id", on_delete="set null"),
        Index(None, "tenant_id", "active_fallback_id"),
        Index(None, "next_check_at"),
        one_of("direct_status", STATUSES),
        one_of("computed_status", STATUSES),
        one_of("mode", ("optimal", "degraded", "critical", "down")),
        CheckConstraint("health_pct BETWEEN 0 AND 100", name="health_pct"),
        CheckConstraint("consecutive_failures >= 0", name="consecutive_failures"),
        *change_notifications("endpoint_status", "direct_status, computed_status, mode"),
        {"comment": "Current status of endpoints."},
    )


Function(
    "take_due_checks",
    "worker text, most integer DEFAULT 100",
    returns="SETOF endpoints",
    body="""
        BEGIN ATOMIC
          WITH due AS (
            SELECT s.tenant_id, s.endpoint_id, e.interval_seconds
              FROM endpoint_status s
              JOIN endpoints e ON e.tenant_id = s.tenant_id AND e.id = s.endpoint_id
             WHERE s.next_check_at <= now() AND e.enabled
             ORDER BY s.next_check_at LIMIT most
               FOR NO KEY UPDATE OF s SKIP LOCKED
          ), taken AS (
            UPDATE endpoint_status s
               SET next_check_at = now() + make_interval(secs => due.interval_seconds),
                   checked_by = worker
              FROM due
             WHERE s.tenant_id = due.tenant_id AND s.endpoint_id = due.endpoint_id
            RETURNING s.tenant_id, s.endpoint_id
          )
          SELECT e.* FROM endpoints e
            JOIN taken ON taken.tenant_id = e.tenant_id AND taken.endpoint_id = e.id;
        END
    """,
    grants={"fleet_operator": "execute"},
    comment="Returns endpoints whose check is due, each to one worker only, and schedules their "
    "next check one interval later, whether or not this one is recorded.",
    metadata=Base.metadata,
)

Function(
    "give_endpoint_status",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          insert into public.endpoint_status (tenant_id, endpoint_id)
          values (new.tenant_id, new.id);
          return null;
        end
    """,
    comment="Trigger: creates the status of a new endpoint.",
    metadata=Base.metadata,
)
