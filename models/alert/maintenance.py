"""Maintenance windows, in which no alerts are raised."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import ARRAY, CheckConstraint, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function
from models.shared.base import (
    FALSE,
    TRUE,
    UUID7,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    tenant_reference,
)

KNOWN_TIMEZONE = "(to_timestamp(0) AT TIME ZONE timezone) IS NOT NULL"
"""A CHECK that fails with the error of the server for a time zone that the server does not know."""

_TARGETS = ("site_id", "group_id", "device_id", "device_type", "project_id", "endpoint_id")

# A recurring window begins at a wall-clock time, regardless of daylight saving, and may extend
# into the next day, so the window of the previous day is checked as well.
_UNDER_MAINTENANCE = """
    RETURN EXISTS (
      SELECT
        FROM alert_maintenance_windows AS w,
             LATERAL (SELECT under_maintenance.moment AT TIME ZONE w.timezone AS clock) AS there
       WHERE w.tenant_id = under_maintenance.tenant
         AND w.enabled
         AND w.starts_at <= under_maintenance.moment
         AND (w.ends_at IS NULL OR w.ends_at > under_maintenance.moment)
         AND (w.recur_weekdays IS NULL OR EXISTS (
               SELECT
                 FROM generate_series(0, 1) AS days(ago),
                      LATERAL (SELECT date_trunc('day', there.clock)
                                      - make_interval(days => days.ago) AS day) AS began,
                      LATERAL (SELECT began.day + make_interval(mins => w.recur_start_minute)
                                      AS at) AS first
                WHERE extract(isodow FROM began.day)::integer = ANY (w.recur_weekdays)
                  AND there.clock >= first.at
                  AND there.clock < first.at + make_interval(mins => w.recur_minutes)))
         AND (w.target_all OR EXISTS (
               SELECT
                 FROM alert_maintenance_targets AS t
                 LEFT JOIN device_registry AS d
                   ON d.tenant_id = under_maintenance.tenant
                  AND d.device_id = under_maintenance.device_id
                WHERE t.tenant_id = w.tenant_id AND t.window_id = w.window_id
                  AND (t.device_id = under_maintenance.device_id
                       OR t.site_id IN (under_maintenance.site_id, d.site_id)
                       OR t.device_type = d.device_type
                       OR t.endpoint_id = under_maintenance.endpoint_id
                       OR t.project_id = under_maintenance.project_id
                       OR EXISTS (
                            SELECT
                              FROM device_group_members AS m
                             WHERE m.tenant_id = t.tenant_id AND m.group_id = t.group_id
                               AND m.device_id = d.device_id)))))
"""


class AlertMaintenanceWindow(TenantScoped, Timestamped, Base):
    """A maintenance window, once or weekly."""

    __tablename__ = "alert_maintenance_windows"

    window_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7)
    name: Mapped[str]
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    starts_at: Mapped[datetime.datetime]
    ends_at: Mapped[datetime.datetime | None] = mapped_column(comment="NULL: until further notice.")
    timezone: Mapped[str] = mapped_column(
        server_default="UTC", comment="IANA name of the time zone of a recurring window."
    )
    recur_weekdays: Mapped[list[int] | None] = mapped_column(
        ARRAY(Integer),
        comment="Days on which it begins, 1 (Monday) to 7; NULL: continuously from starts_at.",
    )
    recur_start_minute: Mapped[int | None] = mapped_column(
        comment="Minutes after midnight in timezone."
    )
    recur_minutes: Mapped[int | None] = mapped_column(comment="Length in minutes, up to 1440.")
    target_all: Mapped[bool] = mapped_column(
        server_default=FALSE,
        comment="Covers the whole tenant. Having no targets does not mean this: targets are "
        "deleted with the object they name, and losing the last one must not cover everything.",
    )
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the window outlives the account."
    )

    __table_args__ = (
        Index(None, "tenant_id", "starts_at", postgresql_where=text("enabled")),
        not_empty("name"),
        CheckConstraint("ends_at > starts_at", name="ends_at"),
        CheckConstraint(KNOWN_TIMEZONE, name="timezone"),
        CheckConstraint(
            "num_nulls(recur_weekdays, recur_start_minute, recur_minutes) IN (0, 3)",
            name="recurring",
        ),
        CheckConstraint(
            "recur_weekdays <@ ARRAY[1, 2, 3, 4, 5, 6, 7] AND cardinality(recur_weekdays) > 0",
            name="recur_weekdays",
        ),
        CheckConstraint("recur_start_minute BETWEEN 0 AND 1439", name="recur_start_minute"),
        CheckConstraint("recur_minutes BETWEEN 1 AND 1440", name="recur_minutes"),
        {"comment": "Windows in which no alerts are raised for their targets."},
    )


class AlertMaintenanceTarget(TenantScoped, Identified, Base):
    """An object that a window covers; deleted together with the object."""

    __tablename__ = "alert_maintenance_targets"
    __app_privileges__ = "select, insert, delete"

    window_id: Mapped[uuid.UUID]
    site_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Exactly one of these columns is set."
    )
    group_id: Mapped[uuid.UUID | None]
    device_id: Mapped[str | None]
    device_type: Mapped[str | None]
    project_id: Mapped[uuid.UUID | None]
    endpoint_id: Mapped[uuid.UUID | None] = mapped_column(comment="endpoints.id")

    __table_args__ = (
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="cascade"),
        tenant_reference("window_id", "alert_maintenance_windows", on_delete="cascade"),
        tenant_reference("site_id", "sites", on_delete="cascade"),
        tenant_reference("group_id", "device_groups", on_delete="cascade"),
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        tenant_reference("project_id", "projects", "id", on_delete="cascade"),
        UniqueConstraint(
            "tenant_id",
            "window_id",
            *_TARGETS,
            name="uq_alert_maintenance_targets_target",
            postgresql_nulls_not_distinct=True,
        ),
        *(Index(None, "tenant_id", column) for column in _TARGETS),
        CheckConstraint(f"num_nonnulls({', '.join(_TARGETS)}) = 1", name="one_target"),
        not_empty("device_type"),
        {"comment": "Objects that maintenance windows cover, one per row."},
    )


Function(
    "under_maintenance",
    "device_id text DEFAULT NULL, site_id uuid DEFAULT NULL, endpoint_id uuid DEFAULT NULL, "
    "project_id uuid DEFAULT NULL, moment timestamptz DEFAULT now(), "
    "tenant uuid DEFAULT current_tenant()",
    returns="boolean",
    body=_UNDER_MAINTENANCE,
    volatility="stable",
    grants=dict.fromkeys(("fleet_app", "fleet_operator", "fleet_operator_read"), "execute"),
    comment="Whether a window covers one of these objects at that moment: a device itself, its "
    "site, type or groups; an endpoint itself or the project that the caller passes.",
    metadata=Base.metadata,
)
