"""Messages of devices, and their hourly and daily rollups with a row per numeric metric."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import replace
from typing import Any

from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Function, Hypertable, RefreshPolicy, RetentionPolicy, Trigger
from models.shared.base import (
    EMPTY_OBJECT,
    NOW,
    TIMESERIES,
    ZERO,
    Base,
    BigInt,
    TenantTimeSeries,
    json_object,
    not_empty,
)
from models.shared.judgement import Expected
from models.shared.metrics import merged
from models.shared.plpgsql import PLPGSQL_SETTINGS, QUEUE_IS_FULL
from models.shared.rollups import tenant_rollup
from models.telemetry.metric_columns import all_metrics, insert_of_metrics, numeric_metrics
from models.telemetry.metrics import METRICS
from models.telemetry.registered import DEVICE

MAX_MSG_TYPE = 100
"""Characters."""

TOO_LARGE = "metrics_too_large"
"""The reason against a message whose metrics are too long."""

MOST_NOTIFIED_TENANTS = 200
"""For more tenants than this, the payload is ``*`` instead of each tenant."""

# Listeners evaluate rules as soon as data arrives. A trigger that collects the tenants of a
# statement from its rows slows COPY by a tenth (measured). So the ingest, which writes for many
# tenants, calls this function once per batch; for a writer of one tenant the trigger below does.
Function(
    "notify_telemetry",
    "tenants uuid[]",
    returns="void",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          named uuid[] := array(
            select distinct t from unnest(tenants) t where t is not null
             limit {MOST_NOTIFIED_TENANTS + 1});
        begin
          if {QUEUE_IS_FULL} then
            return;
          elsif cardinality(named) > {MOST_NOTIFIED_TENANTS} then
            perform pg_notify('telemetry', '*');
          else
            perform pg_notify('telemetry', public.tenant_pseudonym(t)) from unnest(named) t;
          end if;
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment="NOTIFY telemetry at commit, once for each tenant; * for more than "
    f"{MOST_NOTIFIED_TENANTS}.",
    metadata=Base.metadata,
)

Function(
    "notify_own_telemetry",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        begin
          if public.current_tenant() is not null and not {QUEUE_IS_FULL} then
            perform pg_notify('telemetry', public.tenant_pseudonym(public.current_tenant()));
          end if;
          return null;
        end
    """,
    comment="Trigger: NOTIFY telemetry for the tenant of the transaction, if one is set.",
    metadata=Base.metadata,
)


class Telemetry(TenantTimeSeries, Base):
    """A message of a device. A redelivered message has the same key, so it changes nothing."""

    __tablename__ = "telemetry"
    __registered__ = (replace(DEVICE, brings="site_id"),)
    __metrics__ = METRICS
    __expected__ = (
        Expected("msg_type", longest=MAX_MSG_TYPE),
        Expected("metrics", required=True, named=True, too_large=TOO_LARGE),
    )

    ts: Mapped[datetime.datetime] = mapped_column(
        sort_order=-19, comment="When it was measured, according to the device."
    )
    device_id: Mapped[str]
    msg_type: Mapped[str] = mapped_column(
        server_default="telemetry", comment="Kind of message, as named by the device."
    )
    seq: Mapped[BigInt] = mapped_column(
        server_default=ZERO, comment="Distinguishes messages of the same moment."
    )
    site_id: Mapped[uuid.UUID | None] = mapped_column(comment="The site of the device at the time.")
    metrics: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Metric name to value of any type."
    )
    ingested_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="When it was stored; the difference to ts is the delay."
    )

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "device_id", "ts", "msg_type", "seq"),
        not_empty("device_id"),
        not_empty("msg_type"),
        json_object("metrics"),
        Hypertable("ts", chunk_interval="1 day"),
        # A message type is a segment of its own: it has the same metrics in all its rows, and a
        # question is about one type. TimescaleDB by itself would give each batch a bloom filter
        # of ts and seq, after the primary key: a tenth of the size, which no question needs, and
        # late rows are not stored any faster. With an index of ours it does not.
        Columnstore(
            segmentby="tenant_id, device_id, msg_type",
            orderby="ts DESC, seq",
            after="7 days",
            sparse_index="minmax(ingested_at)",
        ),
        Trigger(
            "notify_own_telemetry",
            timing="after",
            events="insert",
            function="notify_own_telemetry()",
            level="statement",
        ),
        # Longer than any plan offers (365 days). Maintenance applies shorter policies of tenants.
        RetentionPolicy("400 days"),
        {
            "schema": TIMESERIES,
            "comment": "Messages of devices, one row each with all its metrics.",
        },
    )


Function(
    "metrics_stored_otherwise",
    "tenants uuid[], devices text[], states jsonb[], times jsonb[]",
    returns="TABLE(number bigint, tenant_id uuid, device_id text, metrics text[])",
    language="plpgsql",
    volatility="stable",
    # What is switched off the planner finds so dear that each call would be compiled, for a second.
    settings={**PLPGSQL_SETTINGS, "enable_nestloop": "off", "jit": "off"},
    # OFFSET: an index look-up for each moment instead of a scan of the table. Nested loops would go
    # through all moments for each metric, and look-ups are made by them in any case.
    body=f"""
        #variable_conflict use_column
        begin
          return query
            with given as materialized (
              select n.number, n.tenant_id, n.device_id, n.state, m.ts, m.metrics
                from unnest(tenants, devices, states, times) with ordinality
                       as n (tenant_id, device_id, state, times, number),
                     lateral (
                       select to_timestamp(g.value::double precision) as ts,
                              array_agg(g.key) as metrics
                         from jsonb_each_text(n.times) as g group by 1) as m
            ), stored as materialized (
              select n.tenant_id, n.device_id, n.ts, s.metrics
                from (select distinct g.tenant_id, g.device_id, g.ts from given g) as n,
                     lateral (
                       select jsonb_object_agg(m.key, m.value
                                order by t.seq, t.msg_type collate "C") as metrics
                         from (
                           select {merged(METRICS, "t.")} as metrics, t.seq, t.msg_type
                             from timeseries.telemetry t
                            where t.tenant_id = n.tenant_id and t.device_id = n.device_id
                              and t.ts = n.ts
                           offset 0) as t,
                           lateral jsonb_each(t.metrics) as m) as s
            )
            select g.number, g.tenant_id, g.device_id, array_agg(a.metric)
              from given g
              join stored s using (tenant_id, device_id, ts),
                   lateral unnest(g.metrics) as a (metric)
             where s.metrics -> a.metric is distinct from g.state -> a.metric
             group by 1, 2, 3;
        end
    """,
    security_definer=True,
    reason="The ingest compares values with what is stored, without the right to read that.",
    grants={"fleet_ingest": "execute"},
    comment="Which of the metrics of devices, given with their times in seconds since 1970, have "
    "another value in the stored message of that moment with the highest seq, or none; number is "
    "that of the element.",
    metadata=Base.metadata,
)

numeric_metrics(Base.metadata, METRICS)
if METRICS:
    all_metrics(Base.metadata, METRICS)
    insert_of_metrics(Base.metadata.tables[f"{TIMESERIES}.telemetry"], METRICS)

_BY = """
    SELECT t.tenant_id, t.device_id, m.metric, time_bucket('{bucket}', t.ts) AS bucket,
           avg(m.value) AS avg, min(m.value) AS min, max(m.value) AS max, count(*) AS count
      FROM timeseries.telemetry t, LATERAL numeric_metrics(t.*) m
     GROUP BY 1, 2, 3, 4
"""
_COLUMNS = ("tenant_id", "device_id", "metric", "bucket", "avg", "min", "max", "count")

tenant_rollup(
    "telemetry_hourly",
    _BY.format(bucket="1 hour"),
    columns=_COLUMNS,
    refresh=RefreshPolicy("1 year", "1 hour", "30 minutes"),
    columnstore=Columnstore("tenant_id, device_id, metric", "bucket DESC", "30 days"),
    retention="1 year",
    comment="Numeric metrics of devices by hour.",
)
tenant_rollup(
    "telemetry_daily",
    _BY.format(bucket="1 day"),
    columns=_COLUMNS,
    refresh=RefreshPolicy("401 days", "1 day", "6 hours"),
    columnstore=Columnstore("tenant_id, device_id, metric", "bucket DESC", "90 days"),
    retention="5 years",
    comment="Numeric metrics of devices by day.",
)
