"""Mapped classes of the rollups, for reading: ``select(TelemetryHourly)`` in a tenant's session.

A session of `tenant_session` reads the tenant's views, one of an operator all rows. They are no
tables of ``Base``: the rollups are declared where their series are, and nobody writes to them.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any, ClassVar

from sqlalchemy import TIMESTAMP, BigInteger, Double, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from models.shared.base import BigInt
from models.shared.time_series_checks import TIMESERIES


class RollupBase(DeclarativeBase):
    """The base of classes over rollups; ``bucket`` is part of every key."""

    metadata = MetaData(schema=TIMESERIES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSONB(),
        uuid.UUID: Uuid(),
        datetime.datetime: TIMESTAMP(timezone=True),
        str: Text(),
        float: Double(),
        BigInt: BigInteger(),
    }


class _Bucket:
    bucket: Mapped[datetime.datetime] = mapped_column(primary_key=True)
    count: Mapped[BigInt]


class _OfTenant(_Bucket):
    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class _Values:
    avg: Mapped[float]
    min: Mapped[float]
    max: Mapped[float]


class _Metric(_Values, _OfTenant):
    device_id: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)


class TelemetryHourly(_Metric, RollupBase):
    """A numeric metric of a device in an hour."""

    __tablename__ = "telemetry_hourly"


class TelemetryDaily(_Metric, RollupBase):
    """The same in a day."""

    __tablename__ = "telemetry_daily"


class TagValuesHourly(_Values, _OfTenant, RollupBase):
    """The numeric samples of a tag in an hour."""

    __tablename__ = "tag_values_hourly"

    tag_id: Mapped[BigInt] = mapped_column(primary_key=True)


class DeviceHealthHourly(_OfTenant, RollupBase):
    """Radio, power and load of a device in an hour; of counters the maximum."""

    __tablename__ = "device_health_hourly"

    device_id: Mapped[str] = mapped_column(primary_key=True)
    avg_rssi: Mapped[float | None]
    avg_signal_quality: Mapped[float | None]
    min_signal_quality: Mapped[int | None]
    avg_battery_pct: Mapped[float | None]
    min_battery_pct: Mapped[int | None]
    avg_battery_voltage: Mapped[float | None]
    avg_cpu_temp_c: Mapped[float | None]
    max_cpu_temp_c: Mapped[float | None]
    max_memory_used_pct: Mapped[int | None]
    max_storage_used_pct: Mapped[int | None]
    reboot_count: Mapped[BigInt | None]
    error_count: Mapped[BigInt | None]
    data_tx_bytes: Mapped[BigInt | None]
    data_rx_bytes: Mapped[BigInt | None]


class _HealthChecks(_OfTenant):
    endpoint_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    failures: Mapped[BigInt]
    avg_ms: Mapped[float | None]
    min_ms: Mapped[float | None]
    max_ms: Mapped[float | None]
    below_10_ms: Mapped[BigInt]
    below_25_ms: Mapped[BigInt]
    below_50_ms: Mapped[BigInt]
    below_100_ms: Mapped[BigInt]
    below_250_ms: Mapped[BigInt]
    below_500_ms: Mapped[BigInt]
    below_1000_ms: Mapped[BigInt]
    below_2500_ms: Mapped[BigInt]
    below_5000_ms: Mapped[BigInt]
    below_10000_ms: Mapped[BigInt]
    from_10000_ms: Mapped[BigInt]


class HealthChecksHourly(_HealthChecks, RollupBase):
    """The checks of an endpoint in an hour; each is counted in one of the latency buckets."""

    __tablename__ = "health_checks_hourly"


class HealthChecksDaily(_HealthChecks, RollupBase):
    """The same in a day."""

    __tablename__ = "health_checks_daily"


class QuarantineCountersMinute(_OfTenant, RollupBase):
    """The rejected messages of a tenant in a minute, by reason."""

    __tablename__ = "quarantine_counters_minute"

    reason: Mapped[str] = mapped_column(primary_key=True)


class SystemMetricsHourly(_Values, _Bucket, RollupBase):
    """A metric of the platform's own services in an hour; for operators."""

    __tablename__ = "system_metrics_hourly"

    metric_name: Mapped[str] = mapped_column(primary_key=True)
    service: Mapped[str] = mapped_column(primary_key=True)
    labels_hash: Mapped[BigInt] = mapped_column(primary_key=True)
    labels: Mapped[dict[str, Any]]
