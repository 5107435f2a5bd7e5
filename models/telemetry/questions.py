"""What products ask of measurements: series, newest values, top devices."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ddl import sql
from models.shared.metrics import NUMBERS, WHOLE, Metric
from models.shared.questions import (
    BUCKETS,
    PARTS,
    RANGE,
    UNION,
    VALID_RANGE,
    Parts,
    question,
    required,
    stored_by_column_after,
    whole,
)
from models.telemetry.device_messages import Telemetry
from models.telemetry.metric_values import ROWS, as_json
from models.telemetry.metrics import METRICS
from models.telemetry.tag_values import TagValue

# The same values as in the rollups: numbers that can be averaged. As jsonb, numbers lie between
# numbers only, so the type need not be asked for. The same of a double without abs(): the
# columnstore compares a column with constants many rows at a time, and calls functions row by row.
_NUMBER = """CASE WHEN t.j BETWEEN '-1e100' AND '1e100'
                              AND (t.j >= '1e-100' OR t.j <= '-1e-100' OR t.j = '0')
                              THEN t.j::double precision END"""
_MEASURABLE = (
    "(t.<column> = 0 OR t.<column> BETWEEN 1e-100 AND 1e100"
    " OR t.<column> BETWEEN -1e100 AND -1e-100)"
)
_NUMBERS = [one for one in METRICS if one.type in NUMBERS]


def _listed(metrics: Collection[Metric]) -> str:
    return f"any (array[{', '.join(sql.literal(one.name) for one in metrics)}]::text[])"


# The column is named in the text: it would take longer to plan a choice among fifty.
_COLUMN = f"""
column_name text := case when metric = {_listed(_NUMBERS)} then quote_ident(metric) end;
measurable text := case when metric = {_listed([m for m in _NUMBERS if m.type in WHOLE])}
                        then 't.<column> IS NOT NULL' else {sql.literal(_MEASURABLE)} end;
"""


def _of_rows() -> str:
    """The query of the messages: the value of the column, if there is one, else of the JSON.

    Where all rows are stored by column, the columns are read apart: then the columnstore does all
    of it, and looks into the JSON of rows without a value only.
    """
    rows = f"FROM {ROWS} AS t WHERE {{device}} t.ts >= {{starts}} AND t.ts < {{ends}}"
    values = "sum(v) AS total, min(v) AS low, max(v) AS high, count(*) AS times"
    apart = f"""
        SELECT {{key}}, {values}
          FROM (SELECT t.device_id, t.ts AS at, t.<column>::double precision AS v
                  {rows} AND $column$ || measurable || $column$) AS t
         GROUP BY 1
         UNION ALL"""
    by_column = f"{{until}} <= now() - interval '{stored_by_column_after('telemetry')}'"
    first, column, value, condition = "", "", _NUMBER, "v IS NOT NULL"
    if _NUMBERS:
        value, condition = f"coalesce(t.c, {_NUMBER})", _MEASURABLE.replace("t.<column>", "v")
        first = _named(f"case when {by_column} then $column${apart}$column$ end", "''")
        column = _named("', t.<column>::double precision AS c'", "', NULL::double precision AS c'")
        rows += _named(
            f"case when {by_column} then ' AND t.<column> IS NULL AND t.metrics ? $8'"
            " else ' AND (t.<column> IS NOT NULL OR t.metrics ? $8)' end",
            "' AND t.metrics ? $8'",
        )
    # OFFSET: the server takes the value out of the message once, instead of each time it is used.
    return f"""{first}
        SELECT {{key}}, {values}
          FROM (SELECT t.device_id, t.at, {value} AS v
                  FROM (SELECT t.device_id, t.ts AS at, t.metrics -> $8 AS j{column}
                          {rows}
                        OFFSET 0) AS t
                OFFSET 0) AS t
         WHERE {condition}
         GROUP BY 1
    """


def _named(text: str, other: str) -> str:
    """What to put into a part: ``text`` with the name of the column, or ``other`` without one."""
    return f"$part$ || coalesce(replace({text}, '<column>', column_name), {other}) || $part$"


_METRICS = Parts(
    Telemetry.__tablename__,
    "telemetry_hourly",
    daily="telemetry_daily",
    of_rows=_of_rows(),
    declares=_COLUMN if _NUMBERS else "",
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
# Buckets of hours and less are computed, those of days and months looked up among the edges; $10 is
# constant when the query is planned, so that one branch remains; $11 is the first edge.
_BUCKET = """CASE WHEN date_trunc('day', $10) = '0' THEN date_bin($10, {0}, $11)
                    ELSE $9[width_bucket({0}, $9)] END"""
_TAGS = Parts(
    TagValue.__tablename__,
    "tag_values_hourly",
    of_rows=f"""
        SELECT {_BUCKET.format("t.ts")}, sum(t.v_num) AS total, min(t.v_num) AS low,
               max(t.v_num) AS high, count(*) AS times
          FROM {{view}} AS t
         WHERE t.tag_id = $7 AND t.ts >= {{starts}} AND t.ts < {{ends}}
           AND t.v_num BETWEEN -1e100 AND 1e100
         GROUP BY 1
    """,
    of_rollup=f"""
        SELECT {_BUCKET.format("t.bucket")}, sum(t.avg * t.count), min(t.min), max(t.max),
               sum(t.count)
          FROM {{view}} AS t
         WHERE t.tag_id = $7 AND t.bucket >= {{starts}} AND t.bucket < {{ends}}
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
# times is a double as well, since adding up as numeric is slow.
_POINT = f"""(
            SELECT e.bucket, p.avg, p.low, p.high, coalesce(p.times, 0) AS times
              FROM unnest($9) AS e(bucket)
              LEFT JOIN (SELECT bucket, sum(total) / sum(times) AS avg, min(low) AS low,
                                max(high) AS high, sum(times)::bigint AS times
                           FROM (SELECT $11, 0::double precision, 0::double precision,
                                        0::double precision, 0::double precision
                                  WHERE false $query$
            || coalesce(' UNION ALL ' || nullif({UNION}, ''), '') || $query$
                                ) AS part(bucket, total, low, high, times)
                          GROUP BY bucket) AS p ON p.bucket = e.bucket
          ) AS point"""


def _series(of: str, arguments: str, parts: Parts, *, keys: str, checks: str, comment: str) -> None:
    using = f"using {PARTS}, {keys}, edges, width, edges[1]"
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
  return query execute $query$
          SELECT * FROM {_POINT}
           ORDER BY bucket $query$
        {using};
else
  return query execute $query$
          SELECT bucket,
                 CASE WHEN times > 0 OR $12 = 'previous' THEN before
                      ELSE before + (after - before) * extract(epoch FROM bucket - began)
                                    / extract(epoch FROM ended - began) END,
                 low, high, times
            FROM (SELECT *, first_value(avg) OVER back AS before,
                         first_value(bucket) OVER back AS began,
                         first_value(avg) OVER ahead AS after,
                         first_value(bucket) OVER ahead AS ended
                    FROM (SELECT *, count(avg) OVER (ORDER BY bucket) AS earlier,
                                 count(avg) OVER (ORDER BY bucket DESC) AS later
                            FROM {_POINT}) AS p
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
        _BUCKET.format("t.at"),
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
    # Executed, so that it is planned for the chunks of this range.
    body=f"""
return query execute $query$
          SELECT d.device_id, m.metric, v.value, v.ts
            FROM (SELECT unnest($1) AS device_id
                  UNION
                  SELECT r.device_id FROM public.device_registry r
                   WHERE $1 IS NULL AND r.tenant_id = (SELECT public.current_tenant())) d
           CROSS JOIN (SELECT DISTINCT unnest($2) AS metric) m
           CROSS JOIN LATERAL (
                 SELECT {as_json("m.metric")} AS value, t.ts
                   FROM {ROWS} t
                  WHERE t.device_id = d.device_id AND {as_json("m.metric")} IS NOT NULL
                    AND t.ts > $3 AND t.ts <= now()
                  ORDER BY t.ts DESC, t.seq DESC
                  LIMIT 1) v
           ORDER BY 1, 2 $query$
using devices, metrics, now() - since;
""",
    comment="The newest value of each of the metrics, of any type, for each device that has one "
    "since then: those in devices, or all that are registered.",
)
