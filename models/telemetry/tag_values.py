"""Samples of tags of industrial data sources, and their hourly rollup."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Function, Hypertable, RefreshPolicy, RetentionPolicy
from models.shared.base import TIMESERIES, Base, BigInt, TenantTimeSeries, json_value
from models.shared.ingest_views import Correction
from models.shared.judgement import Expected
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.rollups import MEASURABLE, tenant_rollup
from models.telemetry.registered import CONNECTION, TAG

CORRECTION = Correction(
    "correct_tag_values",
    (
        "tenant_id",
        "tag_id",
        "connection_id",
        "ts",
        "v_num",
        "v_text",
        "v_bool",
        "v_json",
        "quality",
    ),
)


class TagValue(TenantTimeSeries, Base):
    """A sample of a tag. A redelivered sample has the same key, so it changes nothing."""

    __tablename__ = "tag_values"
    __registered__ = (TAG, CONNECTION)
    __expected__ = (Expected("value", columns=("v_num", "v_text", "v_bool", "v_json")),)
    __correction__ = CORRECTION

    ts: Mapped[datetime.datetime] = mapped_column(
        sort_order=-19, comment="When it was sampled, according to the source."
    )
    tag_id: Mapped[BigInt]
    connection_id: Mapped[uuid.UUID] = mapped_column(comment="The data source at the time.")
    quality: Mapped[int | None] = mapped_column(
        comment="Status code of the driver; 0 is good. A code of 32 bits is a signed integer here: "
        "in OPC UA a negative one is bad, and to_hex() writes it as its specification does."
    )
    v_num: Mapped[float | None] = mapped_column(comment="The value, if it is a number.")
    v_text: Mapped[str | None]
    v_bool: Mapped[bool | None]
    v_json: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Arrays and structures, and integers beyond 2^53, which v_num would round."
    )

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "tag_id", "ts"),
        # A sample of bad quality may have no value.
        CheckConstraint("num_nonnulls(v_num, v_text, v_bool, v_json) <= 1", name="one_value"),
        json_value("v_json"),
        Hypertable("ts", chunk_interval="1 day"),
        Columnstore(segmentby="tenant_id, tag_id", orderby="ts DESC", after="7 days"),
        RetentionPolicy("30 days"),
        {"schema": TIMESERIES, "comment": "Samples of tags; each row has a value of one type."},
    )


_VALUE = ("quality", "v_num", "v_text", "v_bool", "v_json")
_COLUMNS = ("tenant_id", "tag_id", "ts", "connection_id", *_VALUE)

# What is there already is read before: a row that may conflict with one in the columnstore makes
# TimescaleDB decompress its batch, also where the two are equal (measured). By hour and tag, since
# row by row each would cost a batch (20,000 rows: 2.4 s instead of 0.2).
Function(
    CORRECTION.function,
    "tenants uuid[], tags bigint[], connections uuid[], times timestamptz[],"
    " numbers double precision[], texts text[], truths boolean[], structures jsonb[],"
    " qualities integer[]",
    returns="bigint",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          corrected bigint;
        begin
          with offered as materialized (
            select {", ".join(f"n.{name}" for name in _COLUMNS)}
              from unnest(tenants, tags, connections, times, numbers, texts, truths, structures,
                          qualities)
                   as n (tenant_id, tag_id, connection_id, ts, v_num, v_text, v_bool, v_json,
                         quality)
          ), ranges as materialized (
            select o.tenant_id, o.tag_id, min(o.ts) as first, max(o.ts) as last
              from offered o
             group by o.tenant_id, o.tag_id, date_trunc('hour', o.ts, 'UTC')
          ), known as (
            select k.*
              from ranges r, lateral (
                   select {", ".join(f"v.{name}" for name in _COLUMNS)}
                     from timeseries.tag_values v
                    where v.tenant_id = r.tenant_id and v.tag_id = r.tag_id
                      and v.ts between r.first and r.last
                   offset 0) k
          ), changed as (
            insert into timeseries.tag_values as t ({", ".join(_COLUMNS)})
            select n.tenant_id, n.tag_id, n.ts, (array_agg(n.connection_id))[1],
                   {", ".join(f"n.{name}" for name in _VALUE)}
              from (select u.*, bool_or(u.there) over (
                             partition by u.tenant_id, u.tag_id, u.ts) as stored
                      from (select o.*, false as there from offered o
                            union all select k.*, true from known k) u) n
             where n.stored
             group by n.tenant_id, n.tag_id, n.ts, {", ".join(f"n.{name}" for name in _VALUE)}
            having not bool_or(n.there)
             order by n.tenant_id, n.tag_id, n.ts
            on conflict (tenant_id, tag_id, ts) do update
               set connection_id = excluded.connection_id,
                   {", ".join(f"{name} = excluded.{name}" for name in _VALUE)}
             where ({", ".join(f"t.{name}" for name in _VALUE)})
                   is distinct from ({", ".join(f"excluded.{name}" for name in _VALUE)})
            returning 1
          )
          select count(*) into corrected from changed;
          return corrected;
        end
    """,
    security_definer=True,
    reason="The ingest corrects samples of tags without the right to read or change any itself.",
    grants={"fleet_ingest": "execute"},
    comment="Corrects samples of tags that are stored, an element of each array per sample, no two "
    "of one tag and moment. An equal value changes nothing. Returns how many were corrected.",
    metadata=Base.metadata,
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
    refresh=RefreshPolicy("31 days", "1 hour", "30 minutes"),
    columnstore=Columnstore("tenant_id, tag_id", "bucket DESC", "30 days"),
    retention="1 year",
    comment="Numeric samples of tags by hour.",
)
