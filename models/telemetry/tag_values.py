"""Samples of tags of industrial data sources, and their hourly rollup."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Hypertable, RefreshPolicy, RetentionPolicy
from models.shared.base import TIMESERIES, Base, BigInt, TenantTimeSeries, json_value, not_ahead
from models.shared.rollups import MEASURABLE, tenant_rollup


class TagValue(TenantTimeSeries, Base):
    """A sample of a tag. A redelivered sample has the same key, so it changes nothing."""

    __tablename__ = "tag_values"

    ts: Mapped[datetime.datetime] = mapped_column(
        sort_order=-19, comment="When it was sampled, according to the source."
    )
    tag_id: Mapped[BigInt]
    connection_id: Mapped[uuid.UUID] = mapped_column(comment="The data source at the time.")
    quality: Mapped[int | None] = mapped_column(comment="Status code of the driver; 0 is good.")
    v_num: Mapped[float | None] = mapped_column(comment="The value, if it is a number.")
    v_text: Mapped[str | None]
    v_bool: Mapped[bool | None]
    v_json: Mapped[dict[str, Any] | None] = mapped_column(comment="Arrays and structures.")

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "tag_id", "ts"),
        not_ahead("ts"),
        # A sample of bad quality may have no value.
        CheckConstraint("num_nonnulls(v_num, v_text, v_bool, v_json) <= 1", name="one_value"),
        json_value("v_json"),
        Hypertable("ts", chunk_interval="1 day"),
        Columnstore(segmentby="tenant_id, tag_id", orderby="ts DESC", after="7 days"),
        RetentionPolicy("30 days"),
        {"schema": TIMESERIES, "comment": "Samples of tags; each row has a value of one type."},
    )


tenant_rollup(
    "tag_values_hourly",
    f"""
    SELECT tenant_id, tag_id, time_bucket('1 hour', ts) AS bucket,
           avg(v_num) AS avg, min(v_num) AS min, max(v_num) AS max, count(*) AS count
      FROM timeseries.tag_values
     WHERE {MEASURABLE.format("v_num")}
     GROUP BY 1, 2, 3
    """,
    columns=("tenant_id", "tag_id", "bucket", "avg", "min", "max", "count"),
    refresh=RefreshPolicy("28 days", "1 hour", "30 minutes"),
    columnstore=Columnstore("tenant_id, tag_id", "bucket DESC", "30 days"),
    retention="1 year",
    comment="Numeric samples of tags by hour.",
)
