"""What products ask of checks: availability, and percentiles of the response time."""

from __future__ import annotations

from models.monitoring.check_history import HealthCheck, bucket_columns
from models.shared.questions import PARTS, RANGE, UNION, VALID_RANGE, Parts, question, required
from models.shared.rollups import MEASURABLE

_OF_ENDPOINT = "($7 IS NULL OR t.endpoint_id = $7) AND"
_ROLLUP = f"""
    SELECT t.endpoint_id, {{columns}}
      FROM {{view}} AS t
     WHERE {_OF_ENDPOINT} t.bucket >= {{starts}} AND t.bucket < {{ends}}
     GROUP BY 1
"""
_ROWS = f"""
    SELECT t.endpoint_id, {{columns}}
      FROM {{view}} AS t
     WHERE {_OF_ENDPOINT} t.checked_at >= {{starts}} AND t.checked_at < {{ends}}
     GROUP BY 1
"""


def _checks(rows: str, rollup: str) -> Parts:
    return Parts(
        HealthCheck.__tablename__,
        "health_checks_hourly",
        daily="health_checks_daily",
        of_rows=_ROWS.replace("{columns}", rows),
        of_rollup=_ROLLUP.replace("{columns}", rollup),
    )


_AVAILABILITY = _checks(
    "count(*) AS checks, count(*) FILTER (WHERE NOT t.ok) AS failures",
    "sum(t.count), sum(t.failures)",
)

question(
    "endpoint_availability",
    f"{RANGE}, endpoint uuid DEFAULT NULL",
    returns="TABLE(endpoint_id uuid, checks bigint, failures bigint,"
    " availability double precision)",
    checks=VALID_RANGE,
    variables=_AVAILABILITY.variables,
    body=f"""
{_AVAILABILITY.code.strip()}
if parts = '{{}}' then
  return;
end if;
return query execute $query$
          SELECT endpoint_id, sum(checks)::bigint, sum(failures)::bigint,
                 (1 - sum(failures) / sum(checks))::double precision
            FROM ($query$ || {UNION} || $query$) AS part(endpoint_id, checks, failures)
           GROUP BY endpoint_id ORDER BY endpoint_id $query$
using {PARTS}, endpoint;
""",
    comment="The share of checks that passed (0 to 1) of an endpoint, or of every one that was "
    "checked in the range.",
)

_COUNTED = ", ".join(
    f"count(*) FILTER (WHERE t.{one}) AS {name}".replace("AND response_ms", "AND t.response_ms")
    for name, one in bucket_columns().items()
)
_NAMES = list(bucket_columns())
_LATENCY = _checks(
    f"max(t.response_ms) FILTER (WHERE {MEASURABLE.format('t.response_ms')}) AS slowest,"
    f" {_COUNTED}",
    f"max(t.max_ms), {', '.join(f'sum(t.{name})' for name in _NAMES)}",
)

question(
    "response_percentiles",
    f"{RANGE}, fractions double precision[] DEFAULT '{{0.5,0.95,0.99}}',"
    " endpoint uuid DEFAULT NULL",
    returns="TABLE(endpoint_id uuid, fraction double precision, ms double precision,"
    " responses bigint)",
    checks=VALID_RANGE
    + required(
        "fractions is not null and 0 <= all (fractions) and 1 >= all (fractions)",
        "fractions between 0 and 1",
        "fractions",
    ),
    variables=_LATENCY.variables,
    body=f"""
{_LATENCY.code.strip()}
if parts = '{{}}' then
  return;
end if;
return query execute $query$
          SELECT e.endpoint_id, f.fraction,
                 public.percentile_from_buckets(e.counts, f.fraction, e.slowest), e.responses
            FROM (SELECT endpoint_id, max(slowest) AS slowest,
                         ARRAY[{", ".join(f"sum({name})" for name in _NAMES)}] AS counts,
                         ({" + ".join(f"sum({name})" for name in _NAMES)})::bigint AS responses
                    FROM ($query$ || {UNION} || $query$)
                           AS part(endpoint_id, slowest, {", ".join(_NAMES)})
                   GROUP BY endpoint_id) AS e
           CROSS JOIN unnest($8) WITH ORDINALITY AS f(fraction, n)
           ORDER BY e.endpoint_id, f.n $query$
using {PARTS}, endpoint, fractions;
""",
    comment="Percentiles of the response time in ms (fractions: 0 to 1, several at once) of an "
    "endpoint, or of every one that was checked in the range, interpolated within the buckets of "
    "health_checks_hourly; NULL where nothing responded.",
)
