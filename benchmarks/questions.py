"""The thirteen questions of the TSBS IoT use case: a tenant against TimescaleDB's typed layout.

TSBS (github.com/timescale/tsbs) has trucks of several fleets that send readings and diagnostics,
and thirteen questions over them. Written from its description: the peer has the tables, indexes
and columnstore that TSBS makes for TimescaleDB, without tenants; ours is the schema of this project
with the same values as declared metrics, and those of a second tenant. The data has the defects
that TSBS makes: readings that are missing, alone and for a while, values that are missing, and
batches that arrive after later ones.
"""

from __future__ import annotations

import datetime
import math
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import fleet, functions, typed_project
from benchmarks.measure import Ratio, equal, milliseconds, paired, repeats
from benchmarks.place import Place
from benchmarks.queries import asking
from database.privileges import TIMESCALEDB_SETTINGS

TRUCKS = 100
DAYS = 3
START = fleet.START
END = START + datetime.timedelta(days=DAYS)

READINGS = (
    "latitude", "longitude", "elevation", "velocity", "heading", "grade", "fuel_consumption",
)  # fmt: skip
DIAGNOSTICS = ("fuel_state", "current_load", "status")
TAGS = {
    "fleet": "text", "driver": "text", "load_capacity": "double precision",
    "nominal_fuel_consumption": "double precision",
}  # fmt: skip
"""Attributes of a truck beside its name and model."""

_PEER = """
    CREATE SCHEMA typed;
    SET search_path = typed, public;
    CREATE TABLE tags (id int PRIMARY KEY, name text, fleet text, driver text, model text,
                       load_capacity double precision, nominal_fuel_consumption double precision);
    CREATE UNIQUE INDEX ON tags (name);
    CREATE TABLE readings (time timestamptz NOT NULL, tags_id int, latitude double precision,
        longitude double precision, elevation double precision, velocity double precision,
        heading double precision, grade double precision, fuel_consumption double precision);
    CREATE TABLE diagnostics (time timestamptz NOT NULL, tags_id int, fuel_state double precision,
        current_load double precision, status bigint);
    SELECT create_hypertable(t, by_range('time', interval '1 day'),
                             create_default_indexes => false)
      FROM unnest(ARRAY['readings', 'diagnostics']::regclass[]) t;
    CREATE INDEX ON readings (tags_id, time DESC);
    CREATE INDEX ON readings (time DESC);
    CREATE INDEX ON diagnostics (tags_id, time DESC);
    CREATE INDEX ON diagnostics (time DESC);
    ALTER TABLE readings SET (timescaledb.compress, timescaledb.compress_segmentby = 'tags_id',
                              timescaledb.compress_orderby = 'time DESC');
    ALTER TABLE diagnostics SET (timescaledb.compress, timescaledb.compress_segmentby = 'tags_id',
                                 timescaledb.compress_orderby = 'time DESC');
    INSERT INTO tags
    SELECT n, 'truck_' || n, (ARRAY['East', 'West', 'North', 'South'])[1 + n %% 4],
           (ARRAY['Derek', 'Rodney', 'Albert', 'Andy', 'Seth', 'Trish'])[1 + n %% 6],
           (ARRAY['F-150', 'G-2000', 'H-2'])[1 + n %% 3], (ARRAY[1500, 2000, 5000])[1 + n %% 3],
           (ARRAY[15, 17, 19])[1 + n %% 3]
      FROM generate_series(0, %(trucks)s - 1) n;
"""

# A truck drives or stands for a while, at random; what it measures walks. Of the rows, one in a
# hundred is missing, and now and then ten minutes of a truck; of the values one in two hundred.
_DRIVES = """
    CREATE TEMPORARY TABLE moments AS
    SELECT n, ts, drives, random() AS a, random() AS b, random() AS c
      FROM (SELECT n, ts, hashint8(n * 1000 + extract(epoch FROM ts)::bigint / (1800 + n * 37))
                          %% 10 NOT IN (0, 1, 2, -1, -2, -3, -4) AS drives
              FROM generate_series(0, %(trucks)s - 1) n,
                   generate_series(%(start)s::timestamptz,
                                   %(end)s::timestamptz - interval '30 s', interval '30 s') ts) m
     WHERE random() > 0.01
       AND hashint8(n * 7919 + extract(epoch FROM ts)::bigint / 600) %% 100 <> 7
"""
_READINGS = """
    INSERT INTO typed.readings
    SELECT ts, n, round((40 + sum(drives::int * (a - 0.5)) OVER w * 0.01)::numeric, 5),
           round((-100 + sum(drives::int * (b - 0.5)) OVER w * 0.01)::numeric, 5),
           round((300 + sum((c - 0.5) * 4) OVER w)::numeric),
           CASE WHEN a > 0.005 THEN CASE WHEN drives THEN round((55 + 30 * b)::numeric)
                                         ELSE 0 END END,
           round((180 + 170 * sin(sum((b - 0.5) / 5) OVER w))::numeric),
           round((50 + sum((a - 0.5) * 2) OVER w)::numeric),
           CASE WHEN b > 0.005
                THEN round((CASE WHEN drives THEN 20 + 20 * c ELSE c END)::numeric, 1) END
      FROM moments WINDOW w AS (PARTITION BY n ORDER BY ts)
     ORDER BY ts + CASE WHEN hashint8(n + extract(epoch FROM ts)::bigint / 300) %% 20 = 7
                        THEN interval '10 minutes' ELSE interval '0' END
"""
_DIAGNOSTICS = """
    INSERT INTO typed.diagnostics
    SELECT ts, n, round(abs(sin(extract(epoch FROM ts) / 86400 * 3 + n))::numeric, 2),
           CASE WHEN a > 0.005 THEN
               round((abs(sin(floor(extract(epoch FROM ts) / 14400) + n)) * 1500)::numeric) END,
           CASE WHEN drives THEN 0 ELSE 1 + (hashint8(n + extract(epoch FROM ts)::bigint / 3600)
                                             & 3) END
      FROM moments
     ORDER BY ts + CASE WHEN hashint8(n + extract(epoch FROM ts)::bigint / 300) %% 20 = 7
                        THEN interval '10 minutes' ELSE interval '0' END
"""
_DEVICES = """
    INSERT INTO public.device_registry (tenant_id, device_id, model, metadata)
    SELECT %(tenant)s, name, model, jsonb_build_object('fleet', fleet, 'driver', driver,
               'load_capacity', load_capacity, 'nominal_fuel_consumption', nominal_fuel_consumption)
      FROM typed.tags
"""
_OURS = """
    INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, msg_type, {columns})
    SELECT %(tenant)s, time, 'truck_' || tags_id, '{kind}', {columns} FROM typed.{kind}
"""

# Each question twice: of the peer in the words of TSBS, and of a tenant. The driver of a truck, its
# fleet and its model are in tags, or in device_registry.
_LAST = {
    "last location of a truck": ("longitude, latitude", "readings", "t.{name} = 'truck_42'", ""),
    "last location of a fleet": ("longitude, latitude", "readings", "t.fleet = 'South'", ""),
    "low fuel": ("fuel_state", "diagnostics", "t.fleet = 'South'", "AND r.fuel_state < 0.2"),
    "high load": (
        "current_load", "diagnostics", "t.fleet = 'South'",
        "AND r.current_load / t.load_capacity > 0.9",
    ),
}  # fmt: skip
_TEN_MINUTES = """
    WITH driving AS (
        SELECT {key}, time_bucket('10 minutes', {time}) AS ten_minutes FROM {readings} m
         GROUP BY 1, 2 HAVING avg(velocity) > 1)
    SELECT t.fleet, t.{name}, t.driver, avg(d.hours) AS hours
      FROM (SELECT {key}, time_bucket('24 hours', ten_minutes) AS day, count(*) / 6 AS hours
              FROM driving GROUP BY 1, 2) d
      JOIN {tags} t ON t.{id} = d.{key}
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_LONG = """
    SELECT t.{{name}}, t.driver
      FROM {{tags}} t
      JOIN (SELECT {{key}}, time_bucket('10 minutes', {{time}}) AS ten_minutes FROM {{readings}} m
             WHERE {{time}} >= %(end)s::timestamptz - interval '{span}' AND {{time}} < %(end)s
             GROUP BY 1, 2 HAVING avg(velocity) > 1) r ON t.{{id}} = r.{{key}}
     WHERE t.fleet = 'West' GROUP BY 1, 2 HAVING count(r.ten_minutes) > {buckets} ORDER BY 1, 2
"""
QUESTIONS = {
    **{
        name: f"""
    SELECT t.{{name}}, t.driver, r.*
      FROM {{tags}} t
      JOIN LATERAL (SELECT {columns} FROM {{{table}}} m
                     WHERE m.{{key}} = t.{{id}} ORDER BY {{time}} DESC LIMIT 1) r ON true
     WHERE {where} {also} ORDER BY 1
"""
        for name, (columns, table, where, also) in _LAST.items()
    },
    "stationary": """
    SELECT t.{name}, t.driver
      FROM {tags} t JOIN {readings} r ON r.{key} = t.{id}
     WHERE {time} >= %(end)s::timestamptz - interval '10 minutes' AND {time} < %(end)s
       AND t.fleet = 'West' GROUP BY 1, 2 HAVING avg(r.velocity) < 1 ORDER BY 1, 2
""",
    "long driving, 4 hours": _LONG.format(span="4 hours", buckets=14),
    "long daily sessions, 24 hours": _LONG.format(span="24 hours", buckets=60),
    "fuel consumption, actual and projected": """
    SELECT t.fleet, avg(r.fuel_consumption) AS actual, avg(t.nominal_fuel_consumption) AS projected
      FROM {tags} t JOIN {readings} r ON r.{key} = t.{id}
     WHERE r.velocity > 1 AND t.fleet IS NOT NULL AND t.nominal_fuel_consumption IS NOT NULL
     GROUP BY 1 ORDER BY 1
""",
    "daily driving duration": _TEN_MINUTES,
    "daily driving sessions": """
    WITH status AS (
        SELECT {key}, time_bucket('10 minutes', {time}) AS ten_minutes, avg(velocity) > 5 AS driving
          FROM {readings} m GROUP BY 1, 2
    ), changes AS (
        SELECT {key}, ten_minutes AS start, driving,
               lead(ten_minutes) OVER (PARTITION BY {key} ORDER BY ten_minutes) AS stop
          FROM (SELECT *, lag(driving) OVER (PARTITION BY {key} ORDER BY ten_minutes) AS before
                  FROM status) s
         WHERE driving <> before)
    SELECT t.{name}, time_bucket('24 hours', start) AS day, avg(age(stop, start)) AS duration
      FROM {tags} t JOIN changes c ON c.{key} = t.{id}
     WHERE driving GROUP BY 1, 2 ORDER BY 1, 2
""",
    "average load": """
    SELECT t.fleet, t.model, t.load_capacity, avg(d.load / t.load_capacity) AS load
      FROM {tags} t JOIN (SELECT {key}, avg(current_load) AS load FROM {diagnostics} m
                           GROUP BY 1) d ON t.{id} = d.{key}
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""",
    "daily activity": """
    SELECT t.fleet, t.model, d.day, sum(d.readings) / 144 AS activity
      FROM {tags} t
      JOIN (SELECT {key}, time_bucket('24 hours', {time}) AS day,
                   time_bucket('10 minutes', {time}) AS ten_minutes, count(*) AS readings
              FROM {diagnostics} m GROUP BY 1, 2, 3 HAVING avg(status) < 1) d ON t.{id} = d.{key}
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""",
    "breakdowns": """
    WITH ten AS (
        SELECT {key}, time_bucket('10 minutes', {time}) AS ten_minutes,
               count(*) FILTER (WHERE status <> 0)::float / count(*) >= 0.5 AS broken
          FROM {diagnostics} m GROUP BY 1, 2)
    SELECT t.model, count(*)
      FROM {tags} t
      JOIN (SELECT {key}, broken,
                   lead(broken) OVER (PARTITION BY {key} ORDER BY ten_minutes) AS next
              FROM ten) b ON t.{id} = b.{key}
     WHERE NOT broken AND next GROUP BY 1 ORDER BY 1
""",
}
_THEIRS = {
    "tags": "typed.tags", "id": "id", "name": "name", "key": "tags_id", "time": "time",
    "readings": "typed.readings", "diagnostics": "typed.diagnostics",
}  # fmt: skip
_TENANT = {
    "tags": "device_registry", "id": "device_id", "name": "device_id", "key": "device_id",
    "time": "ts",
    "readings": "(SELECT ts, device_id, latitude, longitude, velocity, fuel_consumption"
    " FROM telemetry WHERE msg_type = 'readings')",
    "diagnostics": "(SELECT ts, device_id, fuel_state, current_load, status"
    " FROM telemetry WHERE msg_type = 'diagnostics')",
}  # fmt: skip

_OF_A_COLUMN = functions.Question(
    "metric_series of a declared metric, 3 days by 5 minutes, from rows",
    "SELECT * FROM metric_series('truck_42', 'velocity', %(starts)s, %(ends)s, '5 minutes')",
    functions.filled(
        "5 minutes",
        "SELECT date_bin('5 minutes', ts, '2000-01-03Z') AS b, sum(velocity) AS total,"
        " min(velocity) AS low, max(velocity) AS high, count(*) AS times FROM telemetry"
        " WHERE device_id = 'truck_42' AND velocity IS NOT NULL AND ts >= %(starts)s"
        " AND ts < %(ends)s GROUP BY 1",
    ),
)

# The peer has none of what the upgrade sets in the database.
_AS_IT_COMES = """
    SELECT set_config(name, boot_val, false) FROM pg_settings WHERE name = ANY (%s)
"""


def run(place: Place, *, rounds: int) -> Iterator[Ratio]:
    """Declare the metrics on top of the stock models, then compare ingest, size and questions."""
    with tempfile.TemporaryDirectory() as folder, place.connect() as connection:
        connection.execute(_AS_IT_COMES, (list(TIMESCALEDB_SETTINGS),))
        metrics = {
            "readings": dict.fromkeys(READINGS, "double precision"),
            "diagnostics": dict.fromkeys(DIAGNOSTICS, "double precision") | {"status": "bigint"},
        }
        project = typed_project.make(Path(folder) / "project", place, metrics, TAGS)
        _fill(connection)
        yield from typed_project.ingested(project, place, rounds)
        for table in ("typed.readings", "typed.diagnostics", "timeseries.telemetry"):
            fleet.compress(connection, table)
        connection.execute("ANALYZE typed.tags; ANALYZE device_registry")
        yield _size(connection)
        yield from _questions(place, connection, rounds)
        with place.connect("fleet_app", fleet.tenant(0)) as app:
            yield functions.compared(app, _OF_A_COLUMN, {"starts": START, "ends": END}, rounds)


def _fill(connection: psycopg.Connection) -> None:
    values: dict[str, Any] = {"start": START, "end": END, "trucks": TRUCKS}
    tenants = [fleet.tenant(number) for number in range(2)]
    fleet.register(connection, 2, 0)
    connection.execute("SELECT setseed(0.5)")
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(_PEER, values)
    for statement in (_DRIVES, _READINGS, _DIAGNOSTICS):
        connection.execute(statement, values)
    connection.execute("RESET search_path")
    for tenant in tenants:
        connection.execute(_DEVICES, {"tenant": tenant})
        for kind, metrics in (("readings", READINGS), ("diagnostics", DIAGNOSTICS)):
            statement = _OURS.format(kind=kind, columns=", ".join(metrics))
            connection.execute(statement, {"tenant": tenant})


def _size(connection: psycopg.Connection) -> Ratio:
    query = """
        SELECT hypertable_size('timeseries.telemetry') / 2,
               hypertable_size('typed.readings') + hypertable_size('typed.diagnostics')
    """
    found = connection.execute(query).fetchone()
    assert found is not None
    ours, theirs = found
    return Ratio(
        "questions",
        "size of a tenant's messages : of typed tables, compressed",
        [float(ours / theirs)],
        1.2,
        at_least=False,
        detail=f"{ours / 1e6:.1f} MB : {theirs / 1e6:.1f} MB",
    )


def _questions(place: Place, connection: psycopg.Connection, rounds: int) -> Iterator[Ratio]:
    values = {"end": END}
    ratios: list[list[float]] = []
    with place.connect("fleet_app", fleet.tenant(0)) as app:
        for name, question in QUESTIONS.items():
            ours, theirs = question.format(**_TENANT), question.format(**_THEIRS)
            answers = [
                who.execute(text, values).fetchall()
                for who, text in ((app, ours), (connection, theirs))
            ]
            assert answers[0], f"{name}: no answer"
            assert equal(*answers), f"{name}: other answers"
            # Half a second: the shortest take half a millisecond, which other work disturbs most.
            times = repeats(asking(connection, theirs, values), 0.5)
            pairs = paired(
                asking(app, ours, values, times), asking(connection, theirs, values, times), rounds
            )
            ratios.append([one / other for one, other in pairs])
            single = [(one / times, other / times) for one, other in pairs]
            yield Ratio(
                "questions", name, ratios[-1], 2, at_least=False, detail=milliseconds(single)
            )
    means = [math.exp(statistics.fmean(map(math.log, one))) for one in zip(*ratios, strict=True)]
    yield Ratio("questions", "all thirteen, geometric mean", means, 1.25, at_least=False)
