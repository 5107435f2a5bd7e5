"""Messages that were rejected, and their number by minute and reason."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Grant, Hypertable, RefreshPolicy, RetentionPolicy
from models.shared.base import NOW, TIMESERIES, Base, TenantTimeSeries, json_value, not_empty
from models.shared.ingest_views import counted
from models.shared.rollups import tenant_rollup


class QuarantineEvent(TenantTimeSeries, Base):
    """A rejected message as received, with the reason, so that no message is lost.

    Messages of unknown tenants belong to the platform. Of the message nothing is checked: this
    table must accept what every other table rejects.
    """

    __tablename__ = "quarantine_events"
    __app_privileges__ = "select"
    # Directly: what nobody may judge has no view.
    __ingested__ = False

    ts: Mapped[datetime.datetime] = mapped_column(
        sort_order=-19,
        comment="When the broker received it; with id the same on redelivery.",
    )
    id: Mapped[uuid.UUID] = mapped_column(comment="Derived from a hash of the message.")
    reason: Mapped[str] = mapped_column(comment="A keyword, e.g. unknown_device.")
    detail: Mapped[str | None] = mapped_column(comment="What was expected, and what was found.")
    topic: Mapped[str]
    claimed_tenant: Mapped[str | None] = mapped_column(comment="As given in the message.")
    device_id: Mapped[str | None] = mapped_column(comment="As given in the message.")
    site_id: Mapped[str | None] = mapped_column(comment="As given in the message.")
    msg_type: Mapped[str | None]
    event_ts: Mapped[datetime.datetime | None] = mapped_column(
        comment="When it was measured, according to the device."
    )
    payload: Mapped[dict[str, Any] | None] = mapped_column(comment="The message, if it is JSON.")
    payload_raw: Mapped[bytes | None] = mapped_column(
        comment="The message, if it is not JSON that can be stored."
    )
    envelope_version: Mapped[str] = mapped_column(server_default="1")
    ingested_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "ts", "id"),
        not_empty("reason"),
        json_value("payload"),
        Hypertable("ts", chunk_interval="1 day"),
        Columnstore(segmentby="tenant_id", orderby="ts DESC, id", after="7 days"),
        RetentionPolicy("30 days"),
        Grant("insert", to="fleet_ingest"),
        counted(),
        {"schema": TIMESERIES, "comment": "Rejected messages, as received."},
    )


tenant_rollup(
    "quarantine_counters_minute",
    """
    SELECT tenant_id, left(reason, 200) AS reason, time_bucket('1 minute', ts) AS bucket,
           count(*) AS count
      FROM timeseries.quarantine_events
     GROUP BY 1, 2, 3
    """,
    columns=("tenant_id", "reason", "bucket", "count"),
    refresh=RefreshPolicy("31 days", "1 minute", "5 minutes"),
    columnstore=Columnstore("tenant_id, reason", "bucket DESC", "14 days"),
    retention="90 days",
    comment="Rejected messages by minute and reason.",
)
