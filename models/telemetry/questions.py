"""What products ask of measurements: series, newest values, top devices, time in a state."""

from __future__ import annotations

from dataclasses import replace

from models.shared.questions import (
    BUCKETS,
    PARTS,
    RANGE,
    UNION,
    VALID_RANGE,
    Parts,
    question,
    required,
    whole,
)
from models.shared.rollups import MEASURABLE
from models.telemetry.device_messages import Telemetry
from models.telemetry.tag_values import TagValue

# The same values as in the rollups: numbers that can be averaged. As jsonb, numbers lie between
# numbers only, so the type need not be asked for.
_VALUE = "(t.metrics -> $8)"
_NUMBER = (
    f"{_VALUE} BETWEEN '-1e100' AND '1e100' AND"
    f" ({_VALUE} >= '1e-100' OR {_VALUE} <= '-1e-100' OR {_VALUE} = '0')"
)
_METRICS = Parts(
    Telemetry.__tablename__,
    "telemetry_hourly",
    daily="telemetry_daily",
    of_rows=f"""
        SELECT {{key}}, sum(v) AS total, min(v) AS low, max(v) AS high, count(*) AS times
          FROM (SELECT t.device_id, t.ts AS at, {_VALUE}::double precision AS v
                  FROM {{view}} AS t
                 WHERE {{device}} t.ts >= {{starts}} AND t.ts < {{ends}} AND {_NUMBER}) AS t
         GROUP BY 1
    """,
    of_rollup="""
        SELECT {key}, sum(t.avg * t.count), min(t.min), max(t.max), sum(t.count)
          FROM (SELECT t.device_id, t.bucket AS at, t.avg, t.min, t.max, t.count
                  FROM {view} AS t
                 WHERE {device} t.metric = $8 AND t.bucket >= {starts} AND t.bucket < {ends}) AS t
         GROUP BY 1
    """,
    # The rollups have no longer names.
    by_hour="octet_length(metric) <= 255",
)
_TAGS = Parts(
    TagValue.__tablename__,
    "tag_values_hourly",
    of_rows=f"""
        SELECT width_bucket(t.ts, $9) AS n, sum(t.v_num) AS total, min(t.v_num) AS low,
               max(t.v_num) AS high, count(*) AS times
          FROM {{view}} AS t
         WHERE t.tag_id = $7 AND t.ts >= {{starts}} AND t.ts < {{ends}}
           AND {MEASURABLE.format("t.v_num")}
         GROUP BY 1
    """,
    of_rollup="""
        SELECT width_bucket(t.bucket, $9) AS n, sum(t.avg * t.count), min(t.min), max(t.max),
               sum(t.count)
          FROM {view} AS t
         WHERE t.tag_id = $7 AND t.bucket >= {starts} AND t.bucket < {ends}
         GROUP BY 1
    """,
    by_hour=whole("hour"),
)


def _of(parts: Parts, key: str, device: str, **more: str) -> Parts:
    of_rows, of_rollup = (
        query.replace("{key}", key).replace("{device}", device)
        for query in (parts.of_rows, parts.of_rollup)
    )
    return replace(parts, of_rows=of_rows, of_rollup=of_rollup, **more)


# --- a series by bucket ----------------------------------------------------------------------

_POINTS = (
    "TABLE(bucket timestamptz, avg double precision, min double precision, max double precision,"
    " count bigint)"
)
_POINT = f"""
          WITH part(n, total, low, high, times) AS (
            SELECT 0, 0::double precision, 0::double precision, 0::double precision, 0::numeric
             WHERE false $query$ || coalesce(' UNION ALL ' || nullif({UNION}, ''), '') || $query$
          ), point AS (
            SELECT e.bucket, p.avg, p.low, p.high, coalesce(p.times, 0) AS times
              FROM unnest($9) WITH ORDINALITY AS e(bucket, n)
              LEFT JOIN (SELECT n, sum(total) / sum(times)::double precision AS avg,
                                min(low) AS low, max(high) AS high, sum(times)::bigint AS times
                           FROM part GROUP BY n) AS p ON p.n = e.n
          )
"""


def _series(of: str, arguments: str, parts: Parts, *, keys: str, checks: str, comment: str) -> None:
    using = f"using {PARTS}, {keys}, edges"
    question(
        f"{of}_series",
        f"{arguments}, {RANGE}, {BUCKETS}, fill text DEFAULT 'null'",
        returns=_POINTS,
        checks=checks
        + required(
            "fill in ('null', 'previous', 'linear')", "fill to be null, previous or linear", "fill"
        ),
        variables=f"edges timestamptz[] := public.bucket_starts(starts, ends, width, timezone);\n"
        f"{parts.variables.strip()}",
        body=f"""
{parts.code.strip()}
if fill = 'null' then
  return query execute $query${_POINT}
          SELECT * FROM point ORDER BY bucket $query$
        {using};
else
  return query execute $query${_POINT}
          SELECT bucket,
                 CASE WHEN times > 0 OR $10 = 'previous' THEN before
                      ELSE before + (after - before) * extract(epoch FROM bucket - began)
                                    / extract(epoch FROM ended - began) END,
                 low, high, times
            FROM (SELECT *, first_value(avg) OVER back AS before,
                         first_value(bucket) OVER back AS began,
                         first_value(avg) OVER ahead AS after,
                         first_value(bucket) OVER ahead AS ended
                    FROM (SELECT *, count(avg) OVER (ORDER BY bucket) AS earlier,
                                 count(avg) OVER (ORDER BY bucket DESC) AS later
                            FROM point) AS p
                  WINDOW back AS (PARTITION BY earlier ORDER BY bucket),
                         ahead AS (PARTITION BY later ORDER BY bucket DESC)) AS p
           ORDER BY bucket $query$
        {using}, fill;
end if;
""",
        comment=comment,
    )


_FILL = (
    "One row for each bucket (bucket_starts()), count 0 where there is nothing; fill says what avg "
    "is then: null, the previous one, or linear between two."
)

_series(
    "metric",
    "device_id text, metric text",
    _of(
        _METRICS,
        "width_bucket(t.at, $9) AS n",
        "t.device_id = $7 AND",
        by_hour=f"octet_length(metric) <= 255 and {whole('hour')}",
        by_day=whole("day"),
    ),
    keys="device_id, metric",
    checks=required("device_id is not null", "a device_id", "device_id")
    + required("metric is not null", "the name of a metric", "metric"),
    comment=f"A numeric metric of a device by bucket. {_FILL}",
)
_series(
    "tag",
    "tag_id bigint",
    _TAGS,
    keys="tag_id, null::text",
    checks=required("tag_id is not null", "a tag_id", "tag_id"),
    comment=f"The numeric samples of a tag by bucket. {_FILL}",
)

# --- which devices ---------------------------------------------------------------------------

_BY_DEVICE = _of(_METRICS, "t.device_id", "$7::text IS NULL AND")

question(
    "top_devices",
    f"metric text, {RANGE}, most integer DEFAULT 10, by text DEFAULT 'avg',"
    " lowest boolean DEFAULT false",
    returns="TABLE(device_id text, avg double precision, min double precision,"
    " max double precision, count bigint)",
    checks=VALID_RANGE
    + required("metric is not null", "the name of a metric", "metric")
    + required("most >= 0", "most to be a number of devices", "most")
    + required("by in ('avg', 'min', 'max', 'count')", "by to be avg, min, max or count", "by")
    + required("lowest is not null", "lowest to be true or false", "lowest"),
    variables=_BY_DEVICE.variables,
    body=f"""
{_BY_DEVICE.code.strip()}
if parts = '{{}}' then
  return;
end if;
return query execute $query$
          SELECT * FROM (
            SELECT device_id, sum(total) / sum(times)::double precision AS avg, min(low) AS min,
                   max(high) AS max, sum(times)::bigint AS count
              FROM ($query$ || {UNION} || $query$)
                   AS part(device_id, total, low, high, times)
             GROUP BY device_id) AS d
           ORDER BY $query$ || quote_ident(by) || case when lowest then '' else ' DESC' end
            || $query$, device_id LIMIT $9 $query$
using {PARTS}, null::text, metric, most;
""",
    comment="The devices with the highest avg, min, max or count (by) of a numeric metric, or the "
    "lowest.",
)

question(
    "newest_values",
    "metrics text[], devices text[] DEFAULT NULL, since interval DEFAULT '7 days'",
    returns="TABLE(device_id text, metric text, value jsonb, ts timestamptz)",
    checks=required("metrics is not null", "the names of metrics, as in {flow,rpm}", "metrics")
    + required("since >= interval '0'", "since to be a time such as 7 days", "since"),
    body="""
        return query
          select d.device_id, m.metric, v.value, v.ts
            from (select unnest(devices) as device_id
                  union
                  select r.device_id from public.device_registry r
                   where devices is null and r.tenant_id = (select public.current_tenant())) d
           cross join (select distinct unnest(metrics) as metric) m
           cross join lateral (
                 select t.metrics -> m.metric as value, t.ts
                   from public.telemetry t
                  where t.device_id = d.device_id and t.metrics ? m.metric
                    and t.ts > now() - since and t.ts <= now()
                  order by t.ts desc, t.seq desc
                  limit 1) v
           order by 1, 2;
    """,
    comment="The newest value of each of the metrics, of any type, for each device that has one "
    "since then: those in devices, or all that are registered.",
)

# --- time in a state -------------------------------------------------------------------------

question(
    "time_in_state",
    f"device_id text, metric text, {RANGE}, valid_for interval DEFAULT '1 day'",
    returns="TABLE(state text, lasted interval, share double precision, times bigint)",
    checks=VALID_RANGE
    + required("device_id is not null", "a device_id", "device_id")
    + required("metric is not null", "the name of a metric", "metric")
    + required("valid_for > interval '0'", "valid_for to be a time such as 1 day", "valid_for"),
    variables="""
        device alias for device_id;
        name alias for metric;
        until timestamptz := least(ends, greatest(starts, now()));
    """,
    body="""
        return query
          with message as (
            (select t.ts, t.seq, t.metrics ->> name as state
               from public.telemetry t
              where t.device_id = device and t.metrics ? name
                and t.ts > starts - valid_for and t.ts < starts
              order by t.ts desc, t.seq desc limit 1)
            union all
            select t.ts, t.seq, t.metrics ->> name
              from public.telemetry t
             where t.device_id = device and t.metrics ? name and t.ts >= starts and t.ts < until
          ), period as (
            select m.state, greatest(m.ts, starts) as began,
                   least(m.ts + valid_for, m.next) as ended, m.next
              from (select *, lead(ts, 1, until) over (order by ts, seq) as next from message) m
          ), known as (
            select p.state, p.began, p.ended from period p
            union all
            select null, p.ended, p.next from period p
            union all
            select null, starts, coalesce((select min(p.began) from period p), until)
          ), change as (
            select k.*, lag(k.state) over w is distinct from k.state or lag(k.began) over w is null
                        as enters
              from known k where k.began < k.ended
            window w as (order by k.began)
          )
          select c.state, sum(c.ended - c.began),
                 extract(epoch from sum(c.ended - c.began))::double precision
                   / nullif(extract(epoch from until - starts), 0)::double precision,
                 count(*) filter (where c.enters)
            from change c
           group by c.state
           order by 2 desc, 1;
    """,
    comment="How long a metric of a device had each value, what share of the range (0 to 1) that "
    "is, and how often it began. A value lasts until the next message that has the metric, at most "
    "valid_for, and never into the future; NULL is the time of which nothing is known.",
)
