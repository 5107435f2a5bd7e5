"""Sensors of devices."""

from __future__ import annotations

import datetime
import decimal
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    access,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS


class DeviceSensor(TenantScoped, Identified, Timestamped, Base):
    """A sensor: one metric key in the telemetry of a device."""

    __tablename__ = "device_sensors"

    device_id: Mapped[str]
    metric_key: Mapped[str] = mapped_column(comment="Key in the telemetry of the device.")
    display_name: Mapped[str]
    template_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="With template_metric_key: the template metric that it was created from."
    )
    template_metric_key: Mapped[str | None]
    device_module_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The module that it belongs to; NULL: the device itself."
    )
    unit_id: Mapped[int | None] = mapped_column(ForeignKey("units_of_measure.id"))
    min_range: Mapped[decimal.Decimal | None] = mapped_column(comment="In unit_id.")
    max_range: Mapped[decimal.Decimal | None] = mapped_column(comment="In unit_id.")
    precision_digits: Mapped[int] = mapped_column(server_default=text("2"))
    status: Mapped[str] = mapped_column(
        server_default="active", comment="error: the last value was invalid."
    )
    source: Mapped[str] = mapped_column(
        server_default="required",
        comment="Origin: required or optional in the template, or discovered in telemetry.",
    )
    last_value: Mapped[decimal.Decimal | None] = mapped_column(
        comment="In unit_id. For sensors without telemetry; device_metrics has what devices sent."
    )
    last_value_text: Mapped[str | None] = mapped_column(comment="The value if it is not a number.")
    last_seen_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        tenant_reference(
            ("template_id", "template_metric_key"),
            "template_metrics",
            ("template_id", "metric_key"),
            on_delete="set null",
        ),
        tenant_reference("device_module_id", "device_modules", "id", on_delete="set null"),
        UniqueConstraint("tenant_id", "device_id", "metric_key"),
        Index(None, "tenant_id", "template_id", "template_metric_key"),
        Index(None, "tenant_id", "device_module_id"),
        Index(None, "unit_id"),
        Index(None, "tenant_id", "status"),
        not_empty("metric_key"),
        CheckConstraint(
            "(template_id IS NULL) = (template_metric_key IS NULL)", name="template_metric"
        ),
        CheckConstraint("min_range <= max_range", name="range"),
        CheckConstraint("precision_digits BETWEEN 0 AND 15", name="precision_digits"),
        one_of("status", ("active", "inactive", "error")),
        one_of("source", ("required", "optional", "unmodeled")),
        *access(
            "fleet_ingest",
            "insert (tenant_id, device_id, metric_key, display_name, source)",
        ),
        Function(
            "forget_sensors",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            # What device_state does not have, record_devices() takes for new.
            body="""
                begin
                  update public.device_state s set state = s.state - o.metrics
                    from (select d.tenant_id, d.device_id, array_agg(d.metric_key) as metrics
                            from old_rows d group by 1, 2) o
                   where s.tenant_id = o.tenant_id and s.device_id = o.device_id
                     and s.state ?| o.metrics;
                  return null;
                end
            """,
            comment="Trigger: takes the newest values of deleted sensors out of device_state, so "
            "that they come back when their devices send them again.",
        ),
        Trigger(
            "sensors_are_forgotten",
            timing="after",
            events="delete",
            level="statement",
            old_table="old_rows",
            function="forget_sensors()",
        ),
        {"comment": "Sensors of devices, with their latest value."},
    )
