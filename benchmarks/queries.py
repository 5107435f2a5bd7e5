"""Queries of a tenant compared with the owner's for one tenant; rollups compared with raw data."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import psycopg

from benchmarks import fleet
from benchmarks.fleet import Readings
from benchmarks.measure import Action, Ratio, equal, milliseconds, paired, repeats
from benchmarks.place import Place

QUERIES = {
    # With its type: in the columnstore the messages of a device are in order for each type only.
    "last value per device": """
        SELECT DISTINCT ON (device_id) device_id, ts, metrics FROM {}
         WHERE msg_type = 'telemetry' ORDER BY device_id, ts DESC
    """,
    "an hour of one device": """
        SELECT ts, metrics FROM {} WHERE device_id = 'device-3' AND ts >= %(hour)s
           AND ts < %(hour)s::timestamptz + interval '1 hour' ORDER BY ts
    """,
    "a day's aggregate": """
        SELECT count(*), avg((metrics->>'temperature')::float8),
               max((metrics->>'temperature')::float8)
          FROM {} WHERE ts >= %(day)s AND ts < %(day)s::timestamptz + interval '1 day'
    """,
    "top devices of a week": """
        SELECT device_id, max((metrics->>'temperature')::float8) AS hottest FROM {}
         WHERE ts >= %(day)s AND ts < %(day)s::timestamptz + interval '7 days'
         GROUP BY 1 ORDER BY 2 DESC LIMIT 3
    """,
}
"""Name to query; {} is the relation, for the owner a subquery that selects the tenant."""


def run(place: Place, readings: Readings, *, rounds: int) -> Iterator[Ratio]:
    """Compare on rows first, then on the columnstore; then the rollup, and the sizes."""
    with place.connect() as connection:
        fleet.register(connection, readings.tenants, readings.devices)
        fleet.fill(connection, readings)
        connection.execute("VACUUM ANALYZE timeseries.telemetry")
        yield from _queries(place, connection, readings, "rows", rounds)
        yield from _rollup(place, connection, readings, "rows", rounds)
        fleet.compress(connection)
        yield from _queries(place, connection, readings, "columnstore", rounds)
        yield from _rollup(place, connection, readings, "columnstore", rounds)


def _queries(
    place: Place, connection: psycopg.Connection, readings: Readings, store: str, rounds: int
) -> Iterator[Ratio]:
    tenant = fleet.tenant(readings.tenants // 2)
    day = readings.start + datetime.timedelta(days=readings.days // 2)
    values = {"day": day, "hour": day + datetime.timedelta(hours=7)}
    literal = f"(SELECT * FROM timeseries.telemetry WHERE tenant_id = '{tenant}') AS telemetry"
    with place.connect("fleet_app", tenant) as app:
        for name, query in QUERIES.items():
            bound, free = query.format("telemetry"), query.format(literal)
            assert (
                app.execute(bound, values).fetchall() == connection.execute(free, values).fetchall()
            )

            times = repeats(asking(connection, free, values))
            pairs = paired(
                asking(app, bound, values, times), asking(connection, free, values, times), rounds
            )
            yield Ratio(
                f"tenant : owner, on {store}",
                name,
                [one / other for one, other in pairs],
                1.25,
                at_least=False,
                detail=f"{times} times: {milliseconds(pairs)}",
            )


def asking(
    who: psycopg.Connection, query: str, values: dict[str, datetime.datetime], times: int = 1
) -> Action:
    """The work of a round: ``times`` times the query."""

    def ask(_: int) -> None:
        for _ in range(times):
            who.execute(query, values).fetchall()

    return ask


_RAW = """
    SELECT device_id, m.key AS metric, date_trunc('day', ts, 'UTC') AS day,
           avg(m.value::float8), min(m.value::float8), max(m.value::float8), count(*)
      FROM telemetry, jsonb_each(metrics) m
     WHERE ts >= %(start)s AND ts < %(end)s AND jsonb_typeof(m.value) = 'number'
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_DAILY = """
    SELECT device_id, metric, bucket, avg, min, max, count FROM telemetry_daily
     WHERE bucket >= %(start)s AND bucket < %(end)s ORDER BY 1, 2, 3
"""


def _rollup(
    place: Place, connection: psycopg.Connection, readings: Readings, store: str, rounds: int
) -> Iterator[Ratio]:
    values = {"start": readings.start, "end": readings.end}
    if store == "rows":
        call = "CALL refresh_continuous_aggregate('timeseries.telemetry_daily', %s, %s)"
        connection.execute(call, (readings.start, readings.end))
        connection.execute("VACUUM ANALYZE timeseries.telemetry_daily")
    with place.connect("fleet_app", fleet.tenant(1)) as app:
        answers = [app.execute(one, values).fetchall() for one in (_DAILY, _RAW)]
        assert answers[0], "a month by day: no answer"
        assert equal(*answers), "a month by day: other answers"

        # Counted, since this program takes longer to read the rows than the server to find them.
        stored, computed = (
            asking(app, f"SELECT count(answer) FROM ({one}) AS answer", values)
            for one in (_DAILY, _RAW)
        )
        pairs = paired(stored, computed, rounds)
    yield Ratio(
        "rollup",
        f"a month by day: from {store} : telemetry_daily",
        [other / one for one, other in pairs],
        50,
        detail=milliseconds([(other, one) for one, other in pairs]),
    )
