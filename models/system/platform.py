"""The platform itself: settings, broadcasts, maintenance runs, service health, rate limits."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Grant
from models.shared.base import (
    FALSE,
    NOW,
    TRUE,
    Base,
    BigInt,
    Catalogue,
    Identified,
    Private,
    TenantScoped,
    Timestamped,
    json_object,
    json_value,
    not_empty,
    one_of,
)
from models.shared.secrets import no_secrets


class SystemSetting(Private, Timestamped, Base):
    """A setting of the platform; those of tenants are in tenant_settings."""

    __tablename__ = "system_settings"

    key: Mapped[str] = mapped_column(Text, primary_key=True, comment="E.g. mqtt_require_auth.")
    value: Mapped[dict[str, Any]] = mapped_column(comment="Any JSON except null.")
    description: Mapped[str] = mapped_column(server_default="")
    updated_by: Mapped[str | None] = mapped_column(comment="Name of the operator.")

    __table_args__ = (
        not_empty("key"),
        json_value("value"),
        Grant("select", to="fleet_operator_read"),
        Grant("select, insert, update, delete", to="fleet_operator"),
        no_secrets("value", later=True),
        {"comment": "Settings of the platform, written by operators only."},
    )


class Broadcast(Catalogue, Identified, Timestamped, Base):
    """An announcement to all tenants."""

    __tablename__ = "broadcasts"

    title: Mapped[str]
    body: Mapped[str]
    type: Mapped[str] = mapped_column(server_default="info")
    active: Mapped[bool] = mapped_column(server_default=TRUE)
    pinned: Mapped[bool] = mapped_column(server_default=FALSE, comment="Shown first.")
    is_banner: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Shown as a banner on every page."
    )
    created_by: Mapped[str | None]
    expires_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        Index(None, "created_at", postgresql_where=text("active")),
        not_empty("title"),
        not_empty("body"),
        one_of("type", ("info", "warning", "update")),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        {"comment": "Announcements of the platform to all tenants."},
    )


class MaintenanceRun(Private, Identified, Base):
    """A run of a maintenance task of the platform."""

    __tablename__ = "maintenance_log"

    job_name: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="running")
    started_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    completed_at: Mapped[datetime.datetime | None]
    rows_affected: Mapped[BigInt | None]
    error: Mapped[str | None]
    details: Mapped[dict[str, Any] | None] = mapped_column(comment="Rows by relation and tenant.")

    __table_args__ = (
        Index(None, "job_name", "started_at"),
        not_empty("job_name"),
        one_of("status", ("running", "completed", "failed")),
        json_object("details"),
        CheckConstraint("completed_at >= started_at", name="completed_at"),
        CheckConstraint("(status = 'running') = (completed_at IS NULL)", name="running"),
        Grant("select", to="fleet_operator_read"),
        Grant("select, insert, update, delete", to="fleet_operator"),
        {"comment": "Runs of maintenance tasks of the platform."},
    )


class ServiceHealth(Private, Base):
    """The latest health check of a service of the platform."""

    __tablename__ = "service_health"

    service: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str]
    latency_ms: Mapped[float | None]
    details: Mapped[dict[str, Any] | None] = mapped_column(comment="Details of the check.")
    checked_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        not_empty("service"),
        one_of("status", ("healthy", "degraded", "down", "unknown")),
        json_object("details"),
        CheckConstraint("latency_ms >= 0", name="latency_ms"),
        Grant("select", to="fleet_operator_read"),
        Grant("select, insert, update, delete", to="fleet_operator"),
        {"comment": "Latest health check of each service of the platform."},
    )


class RateLimit(TenantScoped, Base):
    """How often a tenant did something within a time window. UNLOGGED: a crash may reset it."""

    __tablename__ = "rate_limits"
    __app_privileges__ = "select, insert, update"

    action: Mapped[str] = mapped_column(Text, primary_key=True)
    window_start: Mapped[datetime.datetime] = mapped_column(primary_key=True)
    hits: Mapped[int]

    __table_args__ = (
        # Expired windows of all tenants are purged together.
        Index(None, "window_start"),
        not_empty("action"),
        CheckConstraint("hits > 0", name="hits"),
        Function(
            "hit_rate_limit",
            "what text, most integer, per interval",
            returns="boolean",
            body="""
                BEGIN ATOMIC
                  INSERT INTO rate_limits AS r (tenant_id, action, window_start, hits)
                  VALUES (current_tenant(), what,
                          date_bin(per, now(), timestamptz '2000-01-01 00:00:00+00'), 1)
                  ON CONFLICT (tenant_id, action, window_start)
                  DO UPDATE SET hits = r.hits + 1
                  RETURNING r.hits <= most;
                END
            """,
            grants={"fleet_app": "execute"},
            comment="Counts one use of an action by the current tenant; false if there were more "
            "than most in the current window of length per.",
        ),
        {
            "comment": "Counters of rate limits, one row per action and window.",
            "prefixes": ["UNLOGGED"],
        },
    )
