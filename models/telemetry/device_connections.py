"""When devices connected and disconnected."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Hypertable, RetentionPolicy
from models.shared.base import (
    EMPTY_OBJECT,
    TIMESERIES,
    ZERO,
    Base,
    BigInt,
    TenantTimeSeries,
    json_object,
    not_empty,
    one_of,
)
from models.telemetry.registered import DEVICE

EVENTS = ("connected", "disconnected", "connection_lost")


class DeviceConnectionEvent(TenantTimeSeries, Base):
    """A connection that was made or lost, as the broker reports it."""

    __tablename__ = "device_connection_events"
    __registered__ = (DEVICE,)

    ts: Mapped[datetime.datetime] = mapped_column(
        sort_order=-19, comment="When it happened, according to the broker."
    )
    device_id: Mapped[str]
    seq: Mapped[BigInt] = mapped_column(
        server_default=ZERO, comment="Distinguishes events of the same moment."
    )
    event: Mapped[str] = mapped_column(comment="connection_lost: without a disconnect message.")
    details: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Reason, address, protocol, as reported by the broker."
    )

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "device_id", "ts", "seq"),
        not_empty("device_id"),
        one_of("event", EVENTS),
        json_object("details"),
        Hypertable("ts", chunk_interval="7 days"),
        # A device has a handful of events a week: a batch per device would be almost empty.
        Columnstore(segmentby="tenant_id", orderby="device_id, ts DESC, seq", after="7 days"),
        RetentionPolicy("90 days"),
        {"schema": TIMESERIES, "comment": "Connects and disconnects of devices."},
    )
