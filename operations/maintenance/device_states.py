"""What ``device_state`` says of a device, read anew from its messages after these were changed."""

from __future__ import annotations

import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from models.shared.metrics import merged
from models.telemetry.metrics import METRICS

# Under the lock that the ingest takes to write states (`record_devices`), so that no batch is
# missed. A value without a time of its own is as old as the newest message.
_LOCK = sa.text("""
    SELECT pg_advisory_xact_lock(hashtextextended('devices of ' || CAST(:tenant AS text), 0))
""")
_READ_ANEW = """
    WITH messages AS NOT MATERIALIZED (
      SELECT __metrics AS metrics, t.ts, t.seq, t.msg_type
        FROM timeseries.telemetry t
       WHERE t.tenant_id = :tenant AND t.device_id = :device
    ), known AS (
      SELECT s.tenant_id, s.device_id, k.metric,
             coalesce(to_timestamp((s.state_times ->> k.metric)::double precision),
                      s.last_telemetry_at) AS ts
        FROM public.device_state s, LATERAL jsonb_object_keys(s.state) AS k (metric)
       WHERE s.tenant_id = :tenant AND s.device_id = :device
    ), touched AS (
      SELECT k.metric, n.value, n.ts
        FROM known k
        LEFT JOIN LATERAL (
             SELECT t.ts FROM messages t WHERE t.metrics ? k.metric
              ORDER BY t.ts DESC LIMIT 1) newest ON true
        LEFT JOIN LATERAL (
             SELECT t.metrics -> k.metric AS value, t.ts FROM messages t
              WHERE t.metrics ? k.metric AND t.ts = newest.ts
              ORDER BY t.seq DESC, t.msg_type COLLATE "C" DESC LIMIT 1) n ON true
       WHERE k.ts >= :begins AND k.ts < :ends
    ), given AS (
      SELECT coalesce(array_agg(metric), '{}') AS gone,
             coalesce(jsonb_object_agg(metric, value) FILTER (WHERE ts IS NOT NULL), '{}')
               AS state,
             coalesce(jsonb_object_agg(metric, extract(epoch FROM ts))
                        FILTER (WHERE ts IS NOT NULL), '{}') AS times
        FROM touched
    ), kept AS (
      SELECT coalesce(jsonb_object_agg(metric, extract(epoch FROM ts)), '{}') AS times FROM known
    )
    UPDATE public.device_state s
       SET state = s.state - given.gone || given.state,
           state_times = kept.times - given.gone || given.times,
           last_telemetry_at = CASE
             WHEN s.last_telemetry_at >= :begins AND s.last_telemetry_at < :ends
             THEN (SELECT max(t.ts) FROM messages t)
             ELSE s.last_telemetry_at END
      FROM given, kept
     WHERE s.tenant_id = :tenant AND s.device_id = :device
       AND (given.gone <> '{}'
            OR (s.last_telemetry_at >= :begins AND s.last_telemetry_at < :ends))
"""


def read_anew(
    connection: Connection,
    tenant_id: str,
    device_id: str,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> None:
    """Give values measured in a range the newest that there is now, or none.

    In the transaction that changed the messages; no batch of the tenant is stored until its end.
    When the device was seen, and whether it is online, stays.
    """
    values = {"tenant": tenant_id, "device": device_id, "begins": begins, "ends": ends}
    connection.execute(_LOCK, {"tenant": tenant_id})
    statement = _READ_ANEW.replace("__metrics", merged(METRICS, "t."))
    connection.execute(sa.text(statement), values)
