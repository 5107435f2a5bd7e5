"""A series by bucket: from rollups and rows the same as from rows alone."""

from __future__ import annotations

import datetime
from itertools import groupby

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from tests.support.questions import (
    NUMBER,
    ODD,
    RANGES,
    WIDTHS,
    ask,
    same,
)

METRICS = ("rpm", ODD, "long" + "-" * 300, "absent")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", RANGES)
def test_a_series_equals_the_rows(asked: Engine, name: str, width: str) -> None:
    starts, ends = RANGES[name]
    [(buckets,)] = ask(asked, f"SELECT bucket_starts({starts}, {ends}, '{width}')")
    for metric in METRICS:
        found = ask(
            asked,
            f"SELECT * FROM metric_series('pump-1', :metric, {starts}, {ends}, '{width}')",
            metric=metric,
        )
        expected = ask(
            asked,
            f"SELECT {WIDTHS[width]}, avg(v), min(v), max(v), count(*) FROM (SELECT ts,"
            " (metrics ->> :metric)::double precision AS v FROM telemetry"
            f" WHERE device_id = 'pump-1' AND ts >= {starts} AND ts < {ends} AND {NUMBER}) t"
            " GROUP BY 1 ORDER BY 1",
            metric=metric,
        )
        same([row for row in found if row[4]], expected)
        assert [row[0] for row in found] == buckets
        assert all(row[1:4] == (None, None, None) for row in found if not row[4])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "America/Havana"])
@pytest.mark.parametrize("width", ["1 day", "7 days", "1 month"])
def test_days_of_a_time_zone_equal_the_rows(asked: Engine, width: str, zone: str) -> None:
    starts, ends = RANGES["odd edges"]
    unit = {"7 days": "week"}.get(width, width.removeprefix("1 "))
    found = ask(
        asked,
        f"SELECT bucket AT TIME ZONE '{zone}', avg, min, max, count"
        f"  FROM metric_series('pump-2', 'rpm', {starts}, {ends}, '{width}', '{zone}')"
        " WHERE count > 0",
    )
    expected = ask(
        asked,
        f"SELECT date_trunc('{unit}', ts AT TIME ZONE '{zone}'), avg(v), min(v), max(v), count(*)"
        " FROM (SELECT ts, (metrics ->> :metric)::double precision AS v FROM telemetry"
        f" WHERE device_id = 'pump-2' AND ts >= {starts} AND ts < {ends} AND {NUMBER}) t"
        " GROUP BY 1 ORDER BY 1",
        metric="rpm",
    )
    same(found, expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # The days on which summer time begins and ends have 23 and 25 hours.
        (
            "'2026-03-28 12:00Z', '2026-03-30 12:00Z', '1 day', 'Europe/Berlin'",
            ["2026-03-27 23:00", "2026-03-28 23:00", "2026-03-29 22:00"],
        ),
        (
            "'2026-10-24 22:00Z', '2026-10-26 12:00Z', '1 day', 'Europe/Berlin'",
            ["2026-10-24 22:00", "2026-10-25 23:00"],
        ),
        # Midnight occurs twice there; the day begins with the first.
        (
            "'2026-11-01 04:30Z', '2026-11-01 05:30Z', '1 day', 'America/Havana'",
            ["2026-11-01 04:00"],
        ),
        # A midnight that does not exist, and a day that does not.
        (
            "'2018-11-03 12:00Z', '2018-11-04 12:00Z', '1 day', 'America/Sao_Paulo'",
            ["2018-11-03 03:00", "2018-11-04 03:00"],
        ),
        (
            "'2011-12-29 12:00Z', '2011-12-31 12:00Z', '1 day', 'Pacific/Apia'",
            ["2011-12-29 10:00", "2011-12-30 10:00", "2011-12-31 10:00"],
        ),
        ("'2026-02-03Z', '2026-09-01Z', '3 months'", ["2026-01-01", "2026-04-01", "2026-07-01"]),
        ("'1999-12-31 23:00Z', '2000-01-01Z', '1 year'", ["1999-01-01"]),
        ("'2026-11-25Z', '2026-11-27Z', '1 week'", ["2026-11-23"]),
        (
            "'2026-11-25 10:07Z', '2026-11-25 10:45Z', '15 minutes'",
            ["2026-11-25 10:00", "2026-11-25 10:15", "2026-11-25 10:30"],
        ),
        ("'2026-11-25 10:07Z', '2026-11-25 10:07Z', '15 minutes'", []),
        ("'2026-11-25 10:00Z', '2026-11-25 10:15Z', '15 minutes'", ["2026-11-25 10:00"]),
    ],
)
def test_where_buckets_start(engine: Engine, arguments: str, expected: list[str]) -> None:
    with engine.connect() as connection:
        for zone in ("UTC", "Asia/Tokyo"):
            connection.exec_driver_sql(f"SET timezone = '{zone}'")
            found = connection.scalar(sa.text(f"SELECT bucket_starts({arguments})"))
            moments = [moment.astimezone(datetime.UTC) for moment in found]
            assert [f"{moment:%Y-%m-%d %H:%M}" for moment in moments] == [
                moment if ":" in moment else f"{moment} 00:00" for moment in expected
            ]


def test_an_endless_width_is_named(engine: Engine) -> None:
    """Intervals without an end exist from PostgreSQL 17 on."""
    with engine.connect() as connection, pytest.raises(DBAPIError, match="or a time, as in"):
        connection.exec_driver_sql("SELECT bucket_starts(now(), now(), 'infinity')")


def test_gaps_are_filled_as_asked(asked: Engine) -> None:
    series = (
        "SELECT avg FROM metric_series('pump-1', 'rpm', now() - interval '22 days',"
        " now() - interval '16 days', '8 hours', fill => '{}')"
    )
    empty, previous, linear = (
        [row[0] for row in ask(asked, series.format(fill))]
        for fill in ("null", "previous", "linear")
    )
    # At its edges the range may begin or end within a bucket without rows.
    runs = [
        list(run)
        for missing, run in groupby(range(len(empty)), lambda at: empty[at] is None)
        if missing
    ]
    gap = max(runs, key=len)
    assert 4 <= len(gap) <= 6
    before, after = empty[gap[0] - 1], empty[gap[-1] + 1]
    assert [previous[at] for at in gap] == [before] * len(gap)
    step = (after - before) / (len(gap) + 1)
    assert [linear[at] for at in gap] == pytest.approx(
        [before + step * (at - gap[0] + 1) for at in gap]
    )
    known = [at for at, value in enumerate(empty) if value is not None]
    assert [previous[at] for at in known] == [linear[at] for at in known]
    assert [previous[at] for at in known] == [empty[at] for at in known]
