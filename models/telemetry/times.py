"""What products ask of states: how long each lasted."""

from __future__ import annotations

from models.shared.questions import RANGE, VALID_RANGE, kept, question, required
from models.telemetry.device_connections import DeviceConnectionEvent
from models.telemetry.metric_values import ROWS, as_json

_TIMES = "TABLE(state text, lasted interval, share double precision, times bigint)"


def _time_in_state(source: str, state: str, using: str) -> str:
    """PL/pgSQL that adds up how long each state lasted.

    Args:
        source: where the messages are, from FROM to the condition, with the alias t.
        state: the state that a message tells, as text.
        using: $3, how long a state is valid, and what else the query has from $4 on; $1 and $2 are
            the range.
    """
    return f"""
until := least(ends, greatest(starts, now()));
return query execute $query$
          WITH change AS (
            SELECT timestamptz '-infinity' AS ts, 0::bigint AS seq, NULL AS state
            UNION ALL
            (SELECT t.ts, t.seq, {state} {source} AND t.ts > $1 - $3 AND t.ts < $1
              ORDER BY t.ts DESC, t.seq DESC LIMIT 1)
            UNION ALL
            SELECT t.ts, t.seq, {state} {source} AND t.ts >= $1 AND t.ts < $2
            UNION ALL
            SELECT $2, 0, NULL
          ), run AS (
            -- From a change to the last message before the next one.
            SELECT *, lead(ts, 1, $2) OVER w AS next, lead(before) OVER w AS last
              FROM (SELECT *, lag(ts) OVER w AS before, lag(state) OVER w AS was
                      FROM change
                    WINDOW w AS (ORDER BY ts, seq)) AS c
             WHERE before IS NULL OR state IS DISTINCT FROM was
                OR state IS NOT NULL AND before + $3 < ts
            WINDOW w AS (ORDER BY ts, seq)
          ), period AS (
            SELECT state, began, ended, next,
                   lag(ended) OVER w IS NULL
                     OR state IS DISTINCT FROM
                        CASE WHEN lag(ended) OVER w = began THEN lag(state) OVER w END AS enters
              FROM (SELECT state, greatest(ts, $1) AS began, next,
                           CASE WHEN state IS NULL THEN next ELSE least(last + $3, next) END
                           AS ended
                      FROM run) AS r
             -- Of messages of the same moment, the last one counts.
             WHERE began < next
            WINDOW w AS (ORDER BY began)
          )
          SELECT k.state, sum(k.ended - k.began),
                 (extract(epoch FROM sum(k.ended - k.began)) / extract(epoch FROM $2 - $1))
                   ::double precision,
                 count(*) FILTER (WHERE k.enters)
            FROM period AS p
           CROSS JOIN LATERAL (VALUES (p.state, p.began, p.ended, p.enters),
                                      (NULL, p.ended, p.next, true))
                              AS k(state, began, ended, enters)
           WHERE k.began < k.ended
           GROUP BY k.state
           ORDER BY 2 DESC, 1 $query$
using starts, until, {using};
"""


question(
    "time_in_state",
    f"device_id text, metric text, {RANGE}, valid_for interval DEFAULT '1 day'",
    returns=_TIMES,
    checks=VALID_RANGE
    + required("device_id is not null", "a device_id", "device_id")
    + required("metric is not null", "the name of a metric", "metric")
    + required("valid_for > interval '0'", "valid_for to be a time such as 1 day", "valid_for"),
    variables="until timestamptz;",
    body=_time_in_state(
        f"FROM {ROWS} AS t WHERE t.device_id = $4 AND {as_json('$5')} IS NOT NULL",
        f"{as_json('$5')} #>> '{{}}'",
        "valid_for, device_id, metric",
    ),
    comment="How long a metric of a device had each value, what share of the range (0 to 1) that "
    "is, and how often it began. A value lasts until the next message that has the metric, at most "
    "valid_for, and never into the future; NULL is the time of which nothing is known.",
)

_EVENTS = DeviceConnectionEvent.__tablename__

question(
    "time_connected",
    f"device_id text, {RANGE}",
    returns=_TIMES,
    checks=VALID_RANGE + required("device_id is not null", "a device_id", "device_id"),
    variables="until timestamptz;",
    body=_time_in_state(
        f"FROM public.{_EVENTS} AS t WHERE t.device_id = $4",
        "t.event",
        f"interval '{kept(_EVENTS)}', device_id",
    ),
    comment="How long a device was in each state of its connection (connected, disconnected, "
    "connection_lost), as time_in_state() says it. A state lasts until the next event; NULL is the "
    "time before the first one.",
)
