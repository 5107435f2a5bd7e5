"""Functions that answer questions about all rows of a range, and what is true of all of them."""

from __future__ import annotations

import datetime
import itertools
import json
import random
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from database.tenancy import OPERATOR_READ, take_role
from ddl.edition import Edition, detect
from models.monitoring.check_history import bucket_columns
from tests.support.context import choose
from tests.support.questions import (
    ACME,
    GLOBEX,
    NUMBER,
    ODD,
    PAY,
    RANGES,
    SERIES,
    ask,
    refusal,
    same,
)


@pytest.mark.parametrize("name", RANGES)
def test_the_tags_of_a_range_equal_the_rows(asked: Engine, name: str) -> None:
    starts, ends = RANGES[name]
    found = ask(asked, f"SELECT * FROM tag_series(7, {starts}, {ends}, '1 day') WHERE count > 0")
    expected = ask(
        asked,
        "SELECT date_trunc('day', ts, 'UTC'), avg(v_num), min(v_num), max(v_num), count(*)"
        f" FROM tag_values WHERE ts >= {starts} AND ts < {ends} AND v_num <> 'NaN'"
        " GROUP BY 1 ORDER BY 1",
    )
    same(found, expected)


@pytest.mark.parametrize("name", RANGES)
def test_top_devices_equal_the_rows(asked: Engine, name: str) -> None:
    starts, ends = RANGES[name]
    rows = (
        "SELECT device_id, avg(v), min(v), max(v), count(*) FROM (SELECT device_id,"
        " (metrics ->> :metric)::double precision AS v FROM telemetry"
        f" WHERE ts >= {starts} AND ts < {ends} AND {NUMBER}) t GROUP BY 1"
    )
    for by, order in (("avg", 2), ("min", 3), ("max", 4), ("count", 5)):
        for lowest in (False, True):
            found = ask(
                asked,
                f"SELECT * FROM top_devices('rpm', {starts}, {ends}, 2, '{by}', {lowest})",
            )
            direction = "" if lowest else "DESC"
            expected = f"{rows} ORDER BY {order} {direction}, 1 LIMIT 2"
            same(found, ask(asked, expected, metric="rpm"))


def test_newest_values_are_those_of_the_rows(asked: Engine) -> None:
    found = ask(asked, "SELECT * FROM newest_values(:metrics)", metrics=["state", "rpm", ODD])
    expected = ask(
        asked,
        "SELECT DISTINCT ON (device_id, key) device_id, key, value, ts"
        "  FROM telemetry, jsonb_each(metrics) WHERE key = ANY (:metrics)"
        "   AND ts > now() - interval '7 days' ORDER BY 1, 2, ts DESC, seq DESC",
        metrics=["state", "rpm", ODD],
    )
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert len(found) == 9
    one = "SELECT device_id, metric FROM newest_values('{state}', '{pump-2,pump-4,no such}')"
    assert ask(asked, one) == [("pump-2", "state")]
    assert ask(asked, "SELECT * FROM newest_values('{state}', since => '0 s')") == []


@pytest.mark.parametrize("name", RANGES)
def test_availability_and_percentiles_equal_the_rows(asked: Engine, name: str) -> None:
    starts, ends = RANGES[name]
    found = ask(asked, f"SELECT * FROM endpoint_availability({starts}, {ends})")
    rows = f"FROM health_checks WHERE checked_at >= {starts} AND checked_at < {ends}"
    expected = ask(
        asked,
        "SELECT endpoint_id, count(*), count(*) FILTER (WHERE NOT ok),"
        f" avg(ok::int)::double precision {rows} GROUP BY 1 ORDER BY 1",
    )
    same(found, expected)
    counts = ", ".join(f"count(*) FILTER (WHERE {one})" for one in bucket_columns().values())
    same(
        ask(asked, f"SELECT * FROM response_percentiles({starts}, {ends}, '{{0,0.5,1}}', '{PAY}')"),
        ask(
            asked,
            "SELECT endpoint_id, p, percentile_from_buckets(counts, p, slowest), n"
            f"  FROM (SELECT endpoint_id, ARRAY[{counts}]::numeric[] AS counts,"
            "                max(response_ms) AS slowest, count(response_ms) AS n"
            f"          {rows} AND endpoint_id = '{PAY}' GROUP BY 1) e,"
            "       unnest('{0,0.5,1}'::double precision[]) p ORDER BY p",
        ),
    )


def test_time_in_a_state(asked: Engine) -> None:
    at = "date_trunc('hour', now()) - interval '2 days'"
    with asked.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO timeseries.telemetry (tenant_id, device_id, ts, metrics)"
            f" SELECT '{ACME}', 'press', {at} + minutes * interval '1 minute', metrics"
            '  FROM (VALUES (-90, \'{"mode": "stopped"}\'::jsonb), (-30, \'{"mode": "idle"}\'),'
            '   (-10, \'{"x": 1}\'), (15, \'{"mode": "on"}\'), (20, \'{"mode": "on"}\'),'
            '   (30, \'{"mode": true}\'), (33, \'{"mode": null}\'), (40, \'{"mode": "on"}\'),'
            '   (170, \'{"mode": "idle"}\')) v (minutes, metrics)'
        )
        take_role(connection, OPERATOR_READ, ACME)

        def states(starts: str, ends: str, more: str = "") -> list[tuple[Any, ...]]:
            query = f"SELECT * FROM time_in_state('press', 'mode', {starts}, {ends}{more})"
            found = connection.execute(sa.text(query))
            return [(row[0], row[1].total_seconds() / 60, row[2], row[3]) for row in found]

        two_hours = states(at, f"{at} + interval '2 hours'", ", '1 hour'")
        assert two_hours == [
            ("on", 75, 75 / 120, 2),
            (None, 27, pytest.approx(27 / 120), 2),
            ("idle", 15, 15 / 120, 1),
            ("true", 3, 3 / 120, 1),
        ]
        assert sum(row[1] for row in states(f"{at} - interval '3 days'", at)) == 3 * 24 * 60
        assert states(at, at) == []
        assert states("now() + interval '1 hour'", "now() + interval '2 hours'") == []
        assert states("now() - interval '1 year'", "now() - interval '364 days'") == [
            (None, 24 * 60, 1, 1)
        ]
        connection.rollback()


@pytest.mark.parametrize("seed", range(4))
def test_the_time_in_states_of_random_messages(asked: Engine, seed: int) -> None:
    """Minute by minute: late, repeated and contradictory messages, gaps, nothing at all."""
    choose = random.Random(seed)
    start = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    minute = datetime.timedelta(minutes=1)
    sent = {
        (choose.randrange(0, 240), seq): choose.choice(["a", "a", "b", "c", None])
        for seq in range(choose.choice([0, 3, 60]))
    }
    with asked.connect() as connection:
        for (at, seq), state in sent.items():
            values = {"at": start + at * minute, "seq": seq, "metrics": json.dumps({"mode": state})}
            connection.execute(_MESSAGE, values | {"tenant": ACME})
            event = {"a": "connected", "b": "disconnected"}.get(state or "", "connection_lost")
            connection.execute(_EVENT, values | {"tenant": ACME, "event": event})
        take_role(connection, OPERATOR_READ, ACME)
        for _ in range(12):
            began, ended = sorted(choose.choices(range(241), k=2))
            valid = choose.choice([1, 7, 45, 600])
            values = {"starts": start + began * minute, "ends": start + ended * minute}
            asked_for = values | {"valid": valid * minute}
            found = connection.execute(
                sa.text("SELECT * FROM time_in_state('press', 'mode', :starts, :ends, :valid)"),
                asked_for,
            )
            assert states(found) == by_minute(sent, began, ended, valid)
            found = connection.execute(
                sa.text("SELECT * FROM time_connected('press', :starts, :ends)"), values
            )
            names = {"a": "connected", "b": "disconnected", "c": "connection_lost"}
            events = {at: names.get(state or "", "connection_lost") for at, state in sent.items()}
            assert states(found) == by_minute(events, began, ended, 90 * 24 * 60)
        connection.rollback()


_MESSAGE = sa.text(
    "INSERT INTO timeseries.telemetry (tenant_id, device_id, ts, seq, metrics)"
    " VALUES (:tenant, 'press', :at, :seq, CAST(:metrics AS jsonb))"
)
_EVENT = sa.text(
    "INSERT INTO timeseries.device_connection_events (tenant_id, device_id, ts, seq, event)"
    " VALUES (:tenant, 'press', :at, :seq, :event)"
)

States = dict[str | None, tuple[float, int]]


def states(found: sa.CursorResult[Any]) -> States:
    """State to minutes and number of times."""
    return {row.state: (row.lasted.total_seconds() / 60, row.times) for row in found}


def by_minute(
    sent: dict[tuple[int, int], str | None], began: int, ended: int, valid: int
) -> States:
    """The same, from the state in each minute."""
    minutes = []
    for now in range(began, ended):
        known = [key for key in sent if key[0] <= now and key[0] > began - valid]
        newest = max(known, default=(-valid, 0))
        minutes.append(sent.get(newest) if now < newest[0] + valid else None)
    return {
        state: (
            minutes.count(state),
            sum(one == state for one, _ in itertools.groupby(minutes)),
        )
        for state in set(minutes)
    }


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (SERIES.replace("'pump-1'", "NULL"), "metric_series: expected a device_id, found NULL"),
        (SERIES.replace("'rpm'", "NULL"), "expected the name of a metric, found NULL"),
        (SERIES.replace("'1 hour'", "'0 s'"), "expected width to be months, days or a time, as in"),
        (SERIES.replace("'1 hour'", "'-1 day'"), "found -1 days"),
        (SERIES.replace("'1 hour'", "'1 day 1 hour'"), "found 1 day 01:00:00"),
        (SERIES.replace("'1 hour'", "NULL"), "minutes, found NULL"),
        (SERIES.replace("'1 hour'", "'1 us'"), "expected at most 100000 buckets"),
        (SERIES.replace("'1 hour'", "'1 day', NULL"), "expected a time zone such as Europe/Berlin"),
        (SERIES.replace("'1 hour'", "'1 day', 'Mars'"), 'time zone "Mars" not recognized'),
        (SERIES.replace("'1 hour'", "'1 day', fill => 'x'"), "null, previous or linear, found x"),
        (SERIES.replace("now(),", "NULL,"), "expected starts and ends to be moments"),
        (SERIES.replace("now(),", "'infinity',"), "found 2"),
        (SERIES.replace("now(),", "'2001-01-01Z',"), "ends not before starts"),
        ("SELECT top_devices('rpm', now(), now(), -1)", "most to be a number of devices, found -1"),
        (
            "SELECT top_devices('rpm', now(), now(), 1, 'x; y')",
            "avg, min, max or count, found x; y",
        ),
        ("SELECT newest_values(NULL)", "expected the names of metrics"),
        ("SELECT newest_values('{a}', since => NULL)", "expected since to be a time"),
        (
            "SELECT response_percentiles(now(), now(), '{0.5,95}')",
            "between 0 and 1, found {0.5,95}",
        ),
        ("SELECT response_percentiles(now(), now(), '{NULL}')", "between 0 and 1, found {NULL}"),
        ("SELECT endpoint_availability(NULL, now())", "found NULL and 2"),
        (SERIES.replace("'1 hour'", "'1 day', NULL, 'x'"), "expected a time zone"),
        ("SELECT time_connected(NULL, now(), now())", "expected a device_id, found NULL"),
        ("SELECT time_in_state('d', 'm', now(), now(), '0')", "expected valid_for to be a time"),
    ],
)
def test_a_wrong_argument_is_named(asked: Engine, wrong: str, said: str) -> None:
    assert said in refusal(asked, wrong)


QUESTIONS = (
    SERIES + " WHERE count > 0",
    "SELECT * FROM tag_series(7, now() - interval '1 day', now(), '1 hour') WHERE count > 0",
    "SELECT * FROM top_devices('rpm', now() - interval '9 days', now())",
    "SELECT * FROM newest_values('{rpm}')",
    "SELECT * FROM time_in_state('pump-1', 'state', current_date - interval '1 day', current_date)",
    "SELECT * FROM endpoint_availability(now() - interval '9 days', now())",
    "SELECT * FROM response_percentiles(now() - interval '9 days', now())",
)


@pytest.mark.parametrize("query", QUESTIONS)
def test_each_answers_for_the_current_tenant(asked: Engine, query: str) -> None:
    """Also an operator, whose tables have the rows of all."""
    answers = {tenant: ask(asked, query, tenant) for tenant in (ACME, GLOBEX)}
    assert all(answers.values())
    with asked.begin() as connection:
        for tenant in (ACME, GLOBEX):
            take_role(connection, OPERATOR_READ, tenant)
            assert [tuple(row) for row in connection.execute(sa.text(query))] == answers[tenant]
        take_role(connection, OPERATOR_READ, None)
        known = [row for row in connection.execute(sa.text(query)) if row[0] is not None]
        assert known == []


def test_what_the_rows_no_longer_have_comes_from_the_rollup(asked: Engine) -> None:
    """So it is read from there, and no more than the edges from the rows."""
    whole = RANGES["whole days"]
    queries = (
        f"SELECT * FROM metric_series('pump-1', 'rpm', {whole[0]}, {whole[1]}, '1 day')",
        f"SELECT * FROM metric_series('pump-1', 'rpm', {whole[0]}, {whole[1]}, '1 hour')",
        f"SELECT * FROM top_devices('rpm', {whole[0]}, {whole[1]})",
        f"SELECT * FROM endpoint_availability({whole[0]}, {whole[1]})",
        f"SELECT * FROM response_percentiles({whole[0]}, {whole[1]})",
    )
    with asked.connect() as connection:
        if detect(connection) is not Edition.COMMUNITY:
            pytest.skip("rollups are views")
        choose(connection, ACME, local=False)
        before = [connection.exec_driver_sql(query).all() for query in queries]
        connection.exec_driver_sql(
            "DELETE FROM timeseries.telemetry WHERE ts < now() - interval '4 days'"
        )
        connection.exec_driver_sql(
            "DELETE FROM timeseries.health_checks WHERE checked_at < now() - interval '4 days'"
        )
        assert [connection.exec_driver_sql(query).all() for query in queries] == before
        connection.rollback()
