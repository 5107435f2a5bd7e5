"""The functions that answer for products: each against the best query by hand for the same answer.

The queries know beforehand what a function has to find out: which of the rollups have the range,
up to when they are stored, and that the arguments are right.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from benchmarks import fleet
from benchmarks.fleet import Readings
from benchmarks.measure import Ratio, equal, milliseconds, paired, repeats
from benchmarks.place import Place
from benchmarks.queries import asking
from models.monitoring.check_history import bucket_columns

TENANTS, DEVICES, DAYS = 10, 20, 30
EVERY = datetime.timedelta(minutes=5)
TARGET = 1.5

_FILL = """
    INSERT INTO timeseries.tag_values (tenant_id, ts, tag_id, connection_id, v_num)
    SELECT i.id, t.ts, n, i.id, round((20 + random() * 5)::numeric, 1)
      FROM generate_series(%(start)s, now(), interval '5 minutes') AS t(ts),
           unnest(%(tenants)s::uuid[]) AS i(id), generate_series(1, 20) AS n;
    INSERT INTO timeseries.health_checks (tenant_id, checked_at, endpoint_id, ok, response_ms)
    SELECT i.id, t.ts, lpad(n::text, 32, '0')::uuid, random() > 0.01, 12000 * random() ^ 4
      FROM generate_series(%(start)s, now(), interval '5 minutes') AS t(ts),
           unnest(%(tenants)s::uuid[]) AS i(id), generate_series(1, 20) AS n;
    UPDATE timeseries.telemetry
       SET metrics = metrics || jsonb_build_object('mode', CASE extract(hour FROM ts)::int / 8
                                 WHEN 0 THEN 'idle' WHEN 1 THEN 'running' ELSE 'stopped' END)
     WHERE tenant_id = %(tenant)s;
    DELETE FROM timeseries.telemetry WHERE ts > now();
"""
# No two devices have the same mean: of such, the last digit would say which is the hotter one.
_APART = fleet.REALISTIC.replace("* 0.3)::numeric, 1)", "* 0.3)::numeric, 1) + d.n * 0.0001")
_ROLLUPS = {
    "telemetry_hourly": "1 hour", "telemetry_daily": "1 day", "tag_values_hourly": "1 hour",
    "health_checks_hourly": "1 hour", "health_checks_daily": "1 day",
}  # fmt: skip
"""Each with the age up to which its refresh policy stores it."""

# --- by hand ----------------------------------------------------------------------------------

_EDGES = {
    "starts": ("first hour", "rows"),
    "first hour": ("first day", "hourly"),
    "first day": ("last day", "daily"),
    "last day": ("last hour", "hourly"),
    "last hour": ("ends", "rows"),
}
"""The parts of a range that has all of them: from where to where, and from what."""


def _parts(series: str, rows: str, rollup: str, *kinds: str) -> str:
    """The union of what is read from the rows and from the rollups, of ``kinds`` only."""
    found = []
    for begin, (end, kind) in _EDGES.items():
        if kind in kinds:
            time = {"health_checks": "checked_at"}.get(series, "ts") if kind == "rows" else "bucket"
            query, view = (rows, series) if kind == "rows" else (rollup, f"{series}_{kind}")
            found.append(
                f"{query.format(view)} AND {time} >= %({begin})s AND {time} < %({end})s GROUP BY 1"
            )
    return " UNION ALL ".join(found)


_VALUE = "(metrics ->> 'temperature')::float8"
_IS_NUMBER = "jsonb_typeof(metrics -> 'temperature') = 'number'"
_SUMS = f"sum({_VALUE}) AS total, min({_VALUE}) AS low, max({_VALUE}) AS high, count(*) AS times"
_SUMMED = "sum(avg * count) AS total, min(min) AS low, max(max) AS high, sum(count) AS times"
_JOINED = "sum(total) / sum(times)::float8, min(low), max(high), sum(times)::bigint"


def _top(*kinds: str) -> str:
    parts = _parts(
        "telemetry",
        f"SELECT device_id, {_SUMS} FROM {{}} WHERE {_IS_NUMBER}",
        f"SELECT device_id, {_SUMMED} FROM {{}} WHERE metric = 'temperature'",
        *kinds,
    )
    return f"SELECT device_id, {_JOINED} FROM ({parts}) p GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10"


def _series(width: str, *kinds: str) -> str:
    parts = _parts(
        "telemetry",
        f"SELECT date_bin('{width}', ts, '2000-01-03Z') AS b, {_SUMS} FROM {{}}"
        f" WHERE device_id = 'device-3' AND {_IS_NUMBER}",
        f"SELECT date_bin('{width}', bucket, '2000-01-03Z') AS b, {_SUMMED} FROM {{}}"
        " WHERE device_id = 'device-3' AND metric = 'temperature'",
        *kinds,
    )
    return filled(width, parts)


def _tags(width: str, *kinds: str) -> str:
    parts = _parts(
        "tag_values",
        f"SELECT date_bin('{width}', ts, '2000-01-03Z') AS b, sum(v_num) AS total,"
        " min(v_num) AS low, max(v_num) AS high, count(*) AS times FROM {}"
        " WHERE tag_id = 7 AND v_num IS NOT NULL",
        f"SELECT date_bin('{width}', bucket, '2000-01-03Z') AS b, {_SUMMED} FROM {{}}"
        " WHERE tag_id = 7",
        *kinds,
    )
    return filled(width, parts)


def filled(width: str, parts: str) -> str:
    """A row for each bucket of a width, whatever there is in ``parts``."""
    return f"""
        SELECT e, total / times, low, high, coalesce(times, 0)
          FROM generate_series(date_bin('{width}', %(starts)s, '2000-01-03Z'),
                               %(ends)s - interval '1 us', '{width}') e
          LEFT JOIN (SELECT b, sum(total) AS total, min(low) AS low, max(high) AS high,
                            sum(times)::bigint AS times FROM ({parts}) p GROUP BY 1) p ON p.b = e
         ORDER BY 1
    """


def _availability(*kinds: str) -> str:
    parts = _parts(
        "health_checks",
        "SELECT endpoint_id, count(*) AS n, count(*) FILTER (WHERE NOT ok) AS f FROM {} WHERE true",
        "SELECT endpoint_id, sum(count) AS n, sum(failures) AS f FROM {} WHERE true",
        *kinds,
    )
    return (
        f"SELECT endpoint_id, sum(n)::bigint, sum(f)::bigint, (1 - sum(f) / sum(n))::float8"
        f" FROM ({parts}) p GROUP BY 1 ORDER BY 1"
    )


def _percentiles(*kinds: str) -> str:
    counted = ", ".join(
        f"count(*) FILTER (WHERE {one}) AS {name}" for name, one in bucket_columns().items()
    )
    summed = ", ".join(f"sum({name}) AS {name}" for name in bucket_columns())
    parts = _parts(
        "health_checks",
        f"SELECT endpoint_id, max(response_ms) AS slowest, {counted} FROM {{}} WHERE true",
        f"SELECT endpoint_id, max(max_ms) AS slowest, {summed} FROM {{}} WHERE true",
        *kinds,
    )
    sums = [f"sum({name})" for name in bucket_columns()]
    return f"""
        SELECT endpoint_id, f, percentile_from_buckets(counts, f, slowest), n
          FROM (SELECT endpoint_id, max(slowest) AS slowest, ARRAY[{", ".join(sums)}] AS counts,
                       ({" + ".join(sums)})::bigint AS n FROM ({parts}) p GROUP BY 1) e,
               unnest('{{0.5,0.95,0.99}}'::float8[]) f
         ORDER BY 1, 2
    """


_NEWEST = """
    SELECT d.device_id, m, v.value, v.ts
      FROM device_registry d CROSS JOIN unnest('{battery_pct,mode,temperature}'::text[]) m
      CROSS JOIN LATERAL (SELECT metrics -> m AS value, ts FROM telemetry t
                           WHERE t.device_id = d.device_id AND metrics ? m
                             AND ts > now() - interval '7 days' AND ts <= now()
                           ORDER BY ts DESC, seq DESC LIMIT 1) v
     ORDER BY 1, 2
"""
_STATES = """
    SELECT state, sum(next - ts), extract(epoch FROM sum(next - ts))::float8
                                  / extract(epoch FROM %(ends)s - %(starts)s)::float8,
           count(*) FILTER (WHERE enters)
      FROM (SELECT state, greatest(ts, %(starts)s) AS ts, lead(ts, 1, %(ends)s) OVER w AS next,
                   lag(state) OVER w IS DISTINCT FROM state AS enters
              FROM ((SELECT ts, metrics ->> 'mode' AS state FROM telemetry
                      WHERE device_id = 'device-3' AND metrics ? 'mode' AND ts < %(starts)s
                        AND ts > %(starts)s - interval '1 day' ORDER BY ts DESC, seq DESC LIMIT 1)
                    UNION ALL
                    SELECT ts, metrics ->> 'mode' FROM telemetry
                     WHERE device_id = 'device-3' AND metrics ? 'mode'
                       AND ts >= %(starts)s AND ts < %(ends)s) m
            WINDOW w AS (ORDER BY ts)) s
     GROUP BY 1 ORDER BY 2 DESC, 1
"""
_DAYS_OF_BERLIN = """
    SELECT ARRAY(SELECT d AT TIME ZONE 'Europe/Berlin'
                   FROM generate_series(date_trunc('day', %(starts)s AT TIME ZONE 'Europe/Berlin'),
                                        %(ends)s AT TIME ZONE 'Europe/Berlin', '1 day') d
                  ORDER BY d)
"""

_ALL = ("rows", "hourly", "daily")


@dataclass(frozen=True)
class Question:
    """A call of a function, and the query that it is compared with."""

    name: str
    call: str
    by_hand: str
    range: str = "odd week"
    """One of `ranges`."""
    values: dict[str, Any] = field(default_factory=dict)


QUESTIONS = (
    Question(
        "metric_series, 2 hours by 5 minutes, from rows",
        "SELECT * FROM metric_series('device-3', 'temperature', %(starts)s, %(ends)s, '5 minutes')",
        _series("5 minutes", "rows"),
        "2 hours",
    ),
    Question(
        "metric_series, 28 days by day, from the daily rollup",
        "SELECT * FROM metric_series('device-3', 'temperature', %(starts)s, %(ends)s, '1 day')",
        _series("1 day", "daily"),
        "28 days",
    ),
    Question(
        "metric_series, an odd week to now by hour, from both",
        "SELECT * FROM metric_series('device-3', 'temperature', %(starts)s, %(ends)s, '1 hour')",
        _series("1 hour", "rows", "hourly"),
        "odd week by hour",
    ),
    Question(
        "tag_series, an odd week to now by hour, from both",
        "SELECT * FROM tag_series(7, %(starts)s, %(ends)s, '1 hour')",
        _tags("1 hour", "rows", "hourly"),
        "odd week by hour",
    ),
    Question(
        "top_devices, 2 hours, from rows",
        "SELECT * FROM top_devices('temperature', %(starts)s, %(ends)s)",
        _top("rows"),
        "2 hours",
    ),
    Question(
        "top_devices, 28 days, from the daily rollup",
        "SELECT * FROM top_devices('temperature', %(starts)s, %(ends)s)",
        _top("daily"),
        "28 days",
    ),
    Question(
        "top_devices, an odd week to now, from all three",
        "SELECT * FROM top_devices('temperature', %(starts)s, %(ends)s)",
        _top(*_ALL),
    ),
    Question(
        "newest_values, 3 metrics of 20 devices",
        "SELECT * FROM newest_values('{temperature,battery_pct,mode}')",
        _NEWEST,
    ),
    Question(
        "time_in_state, 28 days",
        "SELECT * FROM time_in_state('device-3', 'mode', %(starts)s, %(ends)s)",
        _STATES,
        "28 days",
    ),
    Question(
        "endpoint_availability, 28 days, from the daily rollup",
        "SELECT * FROM endpoint_availability(%(starts)s, %(ends)s)",
        _availability("daily"),
        "28 days",
    ),
    Question(
        "endpoint_availability, an odd week to now, from all three",
        "SELECT * FROM endpoint_availability(%(starts)s, %(ends)s)",
        _availability(*_ALL),
    ),
    Question(
        "response_percentiles, 28 days, from the daily rollup",
        "SELECT * FROM response_percentiles(%(starts)s, %(ends)s)",
        _percentiles("daily"),
        "28 days",
    ),
    Question(
        "response_percentiles, an odd week to now, from all three",
        "SELECT * FROM response_percentiles(%(starts)s, %(ends)s)",
        _percentiles(*_ALL),
    ),
    Question(
        "bucket_starts, 28 days of a time zone",
        "SELECT bucket_starts(%(starts)s, %(ends)s, '1 day', 'Europe/Berlin')",
        _DAYS_OF_BERLIN,
        "28 days",
    ),
)


def ranges(now: datetime.datetime) -> dict[str, dict[str, datetime.datetime]]:
    """The edges of each range, as `_EDGES` names them."""
    hour, day = datetime.timedelta(hours=1), datetime.timedelta(days=1)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    month = {"starts": midnight - 29 * day, "ends": midnight - day}
    week = {"starts": now - datetime.timedelta(days=7, minutes=17, seconds=13), "ends": now}
    last = (now - 1.5 * hour).replace(minute=0, second=0, microsecond=0)
    first = week["starts"].replace(minute=0, second=0, microsecond=0) + hour
    by_hour = week | {"first hour": first, "last hour": last}
    stored = (now - datetime.timedelta(hours=30)).replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        "2 hours": {"starts": last - 3 * day, "first hour": last - 3 * day + 2 * hour}
        | {"ends": last - 3 * day + 2 * hour, "last hour": last - 3 * day + 2 * hour},
        "28 days": month | {"first day": month["starts"], "last day": month["ends"]},
        "odd week by hour": by_hour | {"first day": last, "last day": last},
        "odd week": by_hour
        | {"first day": first.replace(hour=0) + (day if first.hour else 0 * day)}
        | {"last day": stored},
    }


def run(place: Place, *, rounds: int) -> Iterator[Ratio]:
    """Fill the series up to now, refresh the rollups, compress what is a week old, and ask."""
    with place.connect() as connection:
        found = connection.execute("SELECT now()").fetchone()
        assert found is not None
        now = found[0].astimezone(datetime.UTC)
        _fill(connection, now)
        with place.connect("fleet_app", fleet.tenant(0)) as app:
            for question in QUESTIONS:
                yield compared(app, question, ranges(now)[question.range], rounds)


def _fill(connection: psycopg.Connection, now: datetime.datetime) -> None:
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    start -= datetime.timedelta(days=DAYS - 1)
    fleet.register(connection, TENANTS, DEVICES)
    fleet.fill(connection, Readings(TENANTS, DEVICES, EVERY, DAYS, start, _APART))
    values = {
        "start": start,
        "tenant": fleet.tenant(0),
        "tenants": [fleet.tenant(one) for one in range(TENANTS)],
    }
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(_FILL, values)
    for rollup, late in _ROLLUPS.items():
        connection.execute(
            f"CALL refresh_continuous_aggregate('timeseries.{rollup}', NULL,"
            f" now() - interval '{late}')"
        )
    for table in ("telemetry", "tag_values", "health_checks"):
        connection.execute(
            f"SELECT compress_chunk(c) FROM show_chunks('timeseries.{table}',"
            " older_than => interval '7 days') c"
        )
    connection.execute("VACUUM ANALYZE")


def compared(
    app: psycopg.Connection, question: Question, values: dict[str, Any], rounds: int
) -> Ratio:
    """The function against the query, as the tenant of ``app``; their answers must be equal."""
    answers = [app.execute(one, values).fetchall() for one in (question.call, question.by_hand)]
    assert answers[0], f"{question.name}: no answer"
    assert equal(*answers), f"{question.name}: other answers"
    times = repeats(asking(app, question.by_hand, values))
    pairs = paired(
        asking(app, question.call, values, times),
        asking(app, question.by_hand, values, times),
        rounds,
    )
    single = [(one / times, other / times) for one, other in pairs]
    return Ratio(
        "functions",
        question.name,
        [one / other for one, other in pairs],
        TARGET,
        at_least=False,
        detail=milliseconds(single),
    )
