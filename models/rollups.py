"""Mapped classes of the rollups, for reading: ``select(TelemetryHourly)`` in a tenant's session.

A session of `tenant_session` reads the tenant's views, one of an operator all rows. They are no
tables of ``Base``: the rollups are declared where their series are, and nobody writes to them.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any, ClassVar

from sqlalchemy import TIMESTAMP, BigInteger, Double, MetaData, Text, Uuid
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from models.shared.base import BigInt
from models.shared.time_series_checks import TIMESERIES


class RollupBase(DeclarativeBase):
    """The base of classes over rollups; ``tenant_id`` and ``bucket`` are part of every key."""

    metadata = MetaData(schema=TIMESERIES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        uuid.UUID: Uuid(),
        datetime.datetime: TIMESTAMP(timezone=True),
        str: Text(),
        float: Double(),
        BigInt: BigInteger(),
    }


class _Bucket:
    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    bucket: Mapped[datetime.datetime] = mapped_column(primary_key=True)
    count: Mapped[BigInt]


class _Values(_Bucket):
    avg: Mapped[float]
    min: Mapped[float]
    max: Mapped[float]


class _Metric(_Values):
    device_id: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)


class TelemetryHourly(_Metric, RollupBase):
    """A numeric metric of a device in an hour."""

    __tablename__ = "telemetry_hourly"


class TelemetryDaily(_Metric, RollupBase):
    """The same in a day."""

    __tablename__ = "telemetry_daily"


class TagValuesHourly(_Values, RollupBase):
    """The numeric samples of a tag in an hour."""

    __tablename__ = "tag_values_hourly"

    tag_id: Mapped[BigInt] = mapped_column(primary_key=True)
