"""The metrics of a tenant: units, plausible ranges, and the names that devices use for them."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import ZERO, Base, TenantScoped, Timestamped, not_empty, tenant_reference


class MetricCatalog(TenantScoped, Timestamped, Base):
    """A metric of a tenant."""

    __tablename__ = "metric_catalog"

    metric_name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str | None]
    unit_id: Mapped[int | None] = mapped_column(ForeignKey("units_of_measure.id"))
    expected_min: Mapped[float | None] = mapped_column(
        comment="Lowest plausible value, in unit_id."
    )
    expected_max: Mapped[float | None] = mapped_column(
        comment="Highest plausible value, in unit_id."
    )

    __table_args__ = (
        Index(None, "unit_id"),
        not_empty("metric_name"),
        CheckConstraint("expected_min <= expected_max", name="expected_range"),
        {"comment": "Metrics of a tenant with their unit and plausible range."},
    )


class MetricMapping(TenantScoped, Timestamped, Base):
    """The name of a metric in messages of devices, and how its values are converted."""

    __tablename__ = "metric_mappings"

    raw_metric: Mapped[str] = mapped_column(primary_key=True, comment="As devices send it.")
    metric_name: Mapped[str]
    multiplier: Mapped[float] = mapped_column(
        server_default=text("1"), comment="value = raw * multiplier + offset_value"
    )
    offset_value: Mapped[float] = mapped_column(
        server_default=ZERO, comment="In the unit of the metric."
    )

    __table_args__ = (
        tenant_reference("metric_name", "metric_catalog", on_delete="cascade"),
        Index(None, "tenant_id", "metric_name"),
        not_empty("raw_metric"),
        CheckConstraint("multiplier <> 0", name="multiplier"),
        {"comment": "Metric names in messages of devices, and the metrics that they stand for."},
    )
