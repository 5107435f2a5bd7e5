"""What ``device_state`` says of a device, read anew from its messages after these were changed."""

from __future__ import annotations

import datetime
import sys
import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.errors import is_busy, server_message
from database.ingest.delivery import INGEST
from database.tenancy import OPERATOR
from models.shared.metrics import merged
from models.telemetry.metrics import METRICS
from operations.owner import acting_as, within_role

# Under the lock that the ingest takes to write states (`record_devices`), so that no batch is
# missed. A value without a time of its own is as old as the newest message.
_LOCK = sa.text("""
    SELECT pg_advisory_xact_lock(hashtextextended('devices of ' || CAST(:tenant AS text), 0))
""")
_MESSAGES = """
    messages AS NOT MATERIALIZED (
      SELECT __metrics AS metrics, t.ts, t.seq, t.msg_type
        FROM timeseries.telemetry t
       WHERE t.tenant_id = :tenant AND t.device_id = :device
    ), known AS (
      SELECT k.metric,
             coalesce(to_timestamp((s.state_times ->> k.metric)::double precision),
                      s.last_telemetry_at) AS ts
        FROM public.device_state s, LATERAL jsonb_object_keys(s.state) AS k (metric)
       WHERE s.tenant_id = :tenant AND s.device_id = :device
    )"""
_UNFOUNDED = f"""
    WITH {_MESSAGES}
    SELECT (SELECT CAST(coalesce(jsonb_object_agg(k.metric, extract(epoch FROM k.ts)), '{{}}')
                        AS text)
              FROM known k
             WHERE k.ts >= :begins AND k.ts < :ends
               AND NOT EXISTS (
                   SELECT FROM messages t WHERE t.ts = k.ts AND t.metrics ? k.metric)),
           (SELECT s.last_telemetry_at FROM public.device_state s
             WHERE s.tenant_id = :tenant AND s.device_id = :device
               AND NOT EXISTS (SELECT FROM messages t WHERE t.ts = s.last_telemetry_at))
"""
_LEFT_OF = sa.text("SELECT DISTINCT of_tenant FROM public.device_state_backlog ORDER BY 1")
_LEFT_OF_ONE = sa.text("""
    SELECT count(*) FROM public.device_state_backlog
     WHERE of_tenant = :tenant AND created_at <= :begun
""")
_LEFT = sa.text("""
    SELECT count(DISTINCT (of_tenant, device_id)) FROM public.device_state_backlog
     WHERE created_at <= :begun
       AND of_tenant = coalesce(CAST(:tenant AS uuid), of_tenant)
""")
_NOW = sa.text("SELECT clock_timestamp()")
_TAKE_IN = sa.text("SELECT public.take_in_device_states(ARRAY[CAST(:tenant AS uuid)])")
_READ_ANEW = f"""
    WITH {_MESSAGES}, touched AS (
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
         AND k.metric = coalesce(CAST(:metric AS text), k.metric)
         AND to_jsonb(extract(epoch FROM k.ts))
             IS DISTINCT FROM CAST(:unfounded AS jsonb) -> k.metric
    ), given AS (
      SELECT coalesce(array_agg(metric), '{{}}') AS gone,
             coalesce(jsonb_object_agg(metric, value) FILTER (WHERE ts IS NOT NULL), '{{}}')
               AS state,
             coalesce(jsonb_object_agg(metric, extract(epoch FROM ts))
                        FILTER (WHERE ts IS NOT NULL), '{{}}') AS times
        FROM touched
    ), kept AS (
      SELECT coalesce(jsonb_object_agg(metric, extract(epoch FROM ts)), '{{}}') AS times,
             max(ts) FILTER (WHERE metric NOT IN (SELECT metric FROM touched)) AS newest
        FROM known
    )
    UPDATE public.device_state s
       SET state = s.state - given.gone || given.state,
           state_times = kept.times - given.gone || given.times,
           last_telemetry_at = CASE
             WHEN newest_gone THEN greatest((SELECT max(t.ts) FROM messages t), kept.newest)
             ELSE s.last_telemetry_at END
      FROM given, kept, LATERAL (
           SELECT CAST(:metric AS text) IS NULL
                  AND d.last_telemetry_at >= :begins AND d.last_telemetry_at < :ends
                  AND d.last_telemetry_at IS DISTINCT FROM CAST(:newest AS timestamptz)
                  AS newest_gone
             FROM public.device_state d
            WHERE d.tenant_id = :tenant AND d.device_id = :device) AS telemetry
     WHERE s.tenant_id = :tenant AND s.device_id = :device
       AND (given.gone <> '{{}}' OR newest_gone)
"""


@dataclass(frozen=True)
class Unfounded:
    """What the state of a device has, but no message any more, or never: it stays as it is."""

    values: str
    """JSON: metric to the time of its value, in seconds since 1970."""
    newest: datetime.datetime | None
    """The time of its newest telemetry, if there is no such message."""


def unfounded(
    connection: Connection,
    tenant_id: str,
    device_id: str,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> Unfounded:
    """What of a range has no message, before messages of it are changed."""
    values = {"tenant": tenant_id, "device": device_id, "begins": begins, "ends": ends}
    with within_role(connection, OPERATOR):
        return Unfounded(*connection.execute(_over_messages(_UNFOUNDED), values).one())


def read_anew(
    connection: Connection,
    tenant_id: str,
    device_id: str,
    begins: datetime.datetime,
    ends: datetime.datetime,
    *,
    metric: str | None,
    before: Unfounded,
) -> None:
    """Give values measured in a range the newest that there is now, or none.

    In the transaction that changed the messages; no batch of the tenant is stored until its end.
    When the device was seen, and whether it is online, stays.

    Args:
        metric: the only one that was changed; None: messages were deleted.
        before: what had no message before that, so that it is not for its sake that it has none.
    """
    values = {"tenant": tenant_id, "device": device_id, "begins": begins, "ends": ends}
    known = {"metric": metric, "unfounded": before.values, "newest": before.newest}
    connection.execute(_LOCK, {"tenant": tenant_id})
    with within_role(connection, OPERATOR):
        connection.execute(_over_messages(_READ_ANEW), values | known)


@dataclass(frozen=True)
class Left:
    """What stays in ``device_state_backlog``."""

    devices: int
    """Those that it had when it began, and still has."""
    out_of_time: bool
    """Whether more could have been taken in with more time."""
    refused: list[str]
    """For each tenant whose lock another session held, who it is and what the server said."""


LONGEST = 600
"""Seconds for what is left of all tenants, so that none keeps maintenance from the others."""


def take_in_backlog(
    engine: Engine, *, tenant_id: str | None = None, seconds: float = LONGEST
) -> Left:
    """Take in what batches could not write into states, since it was held or took too long.

    As fleet_ingest, in transactions of one tenant each, as short as those of batches, and in rounds
    of all tenants. After ``seconds`` no other one begins.

    Args:
        tenant_id: the only one; None: all.
    """
    ends = time.monotonic() + seconds
    with acting_as(engine, INGEST) as connection:
        begun: datetime.datetime = connection.execute(_NOW).scalar_one()
        tenants = [tenant_id] if tenant_id else list(connection.scalars(_LEFT_OF))
    before = dict.fromkeys(tenants, sys.maxsize)
    refused = []
    while before and time.monotonic() < ends:
        for one in list(before):
            try:
                left = _take_in(engine, one, begun)
            except DBAPIError as error:
                if not is_busy(error):
                    raise
                refused.append(f"tenant {one}: {server_message(error)}")
                del before[one]
            else:
                # What batches note meanwhile is not waited for, nor what is noted anew, since it is
                # held.
                if 0 < left < before[one]:
                    before[one] = left
                else:
                    del before[one]
            if time.monotonic() > ends:
                break
    with acting_as(engine, INGEST) as connection:
        values = {"begun": begun, "tenant": tenant_id}
        devices: int = connection.execute(_LEFT, values).scalar_one()
    return Left(devices, bool(before), refused)


def _take_in(engine: Engine, tenant_id: str, begun: datetime.datetime) -> int:
    """Take in some of what is left of a tenant, in the time that a batch would take for it.

    Returns:
        How many rows of the backlog it has then that were there when it began.
    """
    with acting_as(engine, INGEST) as connection:
        connection.execute(_TAKE_IN, {"tenant": tenant_id})
        values = {"tenant": tenant_id, "begun": begun}
        left: int = connection.execute(_LEFT_OF_ONE, values).scalar_one()
    return left


def _over_messages(statement: str) -> sa.TextClause:
    return sa.text(statement.replace("__metrics", merged(METRICS, "t.")))
