"""Metrics of the platform's own services, the one hypertable without tenants."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import Computed, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Grant, Hypertable, RefreshPolicy, RetentionPolicy
from models.shared.access import attach
from models.shared.base import (
    EMPTY_OBJECT,
    NOW,
    TIMESERIES,
    Base,
    BigInt,
    Private,
    json_object,
    not_ahead,
    not_empty,
)
from models.shared.ingest_views import ingest_access
from models.shared.rollups import MEASURABLE, platform_rollup
from models.shared.time_series_checks import check_hypertable


class SystemMetric(Private, Base):
    """A value of a metric of a service; tenants have neither grant nor view."""

    __tablename__ = "system_metrics"

    ts: Mapped[datetime.datetime] = mapped_column(comment="When it was measured.")
    metric_name: Mapped[str]
    service: Mapped[str] = mapped_column(
        server_default="", comment="Empty: the platform as a whole."
    )
    labels_hash: Mapped[BigInt] = mapped_column(
        Computed("jsonb_hash_extended(labels, 0)", persisted=True),
        comment="Represents labels in the key, since their length may exceed the limit of an "
        "index.",
    )
    labels: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Label name to value, e.g. instance and queue."
    )
    value: Mapped[float]
    ingested_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        PrimaryKeyConstraint("metric_name", "service", "labels_hash", "ts"),
        not_ahead("ts"),
        not_empty("metric_name"),
        json_object("labels"),
        Hypertable("ts", chunk_interval="1 day"),
        Columnstore(
            segmentby="metric_name, service", orderby="labels_hash, ts DESC", after="1 day"
        ),
        RetentionPolicy("30 days"),
        Grant("select", to="fleet_operator_read"),
        Grant("select", to="fleet_operator"),
        {"schema": TIMESERIES, "comment": "Metrics of the platform's own services."},
    )


_TABLE = Base.metadata.tables[f"{TIMESERIES}.system_metrics"]
check_hypertable(_TABLE, "ts", tenants=False)
attach(_TABLE, ingest_access(_TABLE, "ts"))

platform_rollup(
    "system_metrics_hourly",
    f"""
    SELECT metric_name, service, labels_hash, time_bucket('1 hour', ts) AS bucket,
           min(labels::text)::jsonb AS labels,
           avg(value) AS avg, min(value) AS min, max(value) AS max, count(*) AS count
      FROM timeseries.system_metrics
     WHERE {MEASURABLE.format("value")}
     GROUP BY 1, 2, 3, 4
    """,
    refresh=RefreshPolicy("31 days", "1 hour", "30 minutes"),
    columnstore=Columnstore("metric_name, service", "labels_hash, bucket DESC", "7 days"),
    retention="1 year",
    comment="Metrics of the platform's own services by hour.",
)
