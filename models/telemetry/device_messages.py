"""The messages of devices, and their rollups by hour and day, a row per numeric metric."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Function, Hypertable, Refresh, Retention, Stored, Trigger
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
from models.shared.functions import PLPGSQL_SETTINGS
from models.shared.rollups import tenant_rollup

MOST_NOTIFIED_TENANTS = 200
"""A statement for more of them says ``*`` instead of each name."""

# Listeners evaluate rules as soon as something came. A trigger that collects the tenants of a
# statement from its rows slows COPY by a tenth (measured), so whoever writes for many tenants
# says himself which, once a batch; whoever writes for one needs no word.
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
          if cardinality(named) > {MOST_NOTIFIED_TENANTS} then
            perform pg_notify('telemetry', '*');
          else
            perform pg_notify('telemetry', t::text) from unnest(named) t;
          end if;
        end
    """,
    grants={"fleet_ingest": "execute"},
    comment="NOTIFY telemetry at commit: once for each of the tenants, * for very many.",
    metadata=Base.metadata,
)

Function(
    "notify_own_telemetry",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          if public.current_tenant() is not null then
            perform pg_notify('telemetry', public.current_tenant()::text);
          end if;
          return null;
        end
    """,
    comment="Trigger: NOTIFY telemetry for the tenant of the transaction, if there is one.",
    metadata=Base.metadata,
)


class Telemetry(TenantTimeSeries, Base):
    """One message of a device; redelivery finds the same key and changes nothing."""

    __tablename__ = "telemetry"

    ts: Mapped[datetime.datetime] = mapped_column(
        sort_order=-19, comment="When it was measured, as the device says."
    )
    device_id: Mapped[str]
    msg_type: Mapped[str] = mapped_column(
        server_default="telemetry", comment="What kind of message, in the words of the device."
    )
    seq: Mapped[BigInt] = mapped_column(
        server_default=ZERO, comment="Tells messages of one moment apart."
    )
    site_id: Mapped[uuid.UUID | None] = mapped_column(comment="Where the device was then.")
    metrics: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Metric name to value of any kind."
    )
    ingested_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="When it was stored; behind ts by as much as it was late."
    )

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "device_id", "ts", "msg_type", "seq"),
        not_empty("device_id"),
        not_empty("msg_type"),
        json_object("metrics"),
        Hypertable("ts", chunk_interval="1 day"),
        Columnstore(
            segmentby="tenant_id, device_id", orderby="ts DESC, msg_type, seq", after="7 days"
        ),
        Trigger(
            "notify_own_telemetry",
            timing="after",
            events="insert",
            function="notify_own_telemetry()",
            level="statement",
        ),
        # Longer than the longest plan sells (365 days); shorter per tenant by maintenance.
        Retention("400 days"),
        {"schema": TIMESERIES, "comment": "Messages of devices, all metrics of one in a row."},
    )


# One metric that cannot be averaged would abort the refresh of every tenant: text, a number that
# no double holds (JSON has no limits), or a name too long for an index of the rollup. The CASE
# keeps the cast from being tried on text.
_BY = """
    SELECT t.tenant_id, t.device_id, m.key AS metric, time_bucket('{bucket}', t.ts) AS bucket,
           avg(m.value::double precision) AS avg,
           min(m.value::double precision) AS min,
           max(m.value::double precision) AS max,
           count(*) AS count
      FROM timeseries.telemetry t, LATERAL jsonb_each(t.metrics) m
     WHERE octet_length(m.key) <= 255
       AND CASE WHEN jsonb_typeof(m.value) = 'number'
                THEN m.value::numeric = 0 OR abs(m.value::numeric) BETWEEN 1e-100 AND 1e100
                ELSE false END
     GROUP BY 1, 2, 3, 4
"""
_COLUMNS = ("tenant_id", "device_id", "metric", "bucket", "avg", "min", "max", "count")

tenant_rollup(
    "telemetry_hourly",
    _BY.format(bucket="1 hour"),
    columns=_COLUMNS,
    refresh=Refresh("3 days", "1 hour", "30 minutes"),
    columnstore=Stored("tenant_id, device_id, metric", "bucket DESC", "30 days"),
    retention="1 year",
    comment="Numeric metrics of devices by hour.",
)
tenant_rollup(
    "telemetry_daily",
    _BY.format(bucket="1 day"),
    columns=_COLUMNS,
    refresh=Refresh("7 days", "1 day", "6 hours"),
    columnstore=Stored("tenant_id, device_id, metric", "bucket DESC", "90 days"),
    retention="5 years",
    comment="Numeric metrics of devices by day.",
)
