"""What stands in for TimescaleDB's functions gives the same values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from ddl import buckets
from ddl.sql import send


@pytest.fixture(scope="module")
def moments() -> str:
    """Moments around changes of the clock, leap days, ends of months, and both sides of 2000."""
    parts = (
        ("1999-12-20 00:13+00", "2000-01-20", "5 hours"),
        ("1994-01-31 23:59+00", "2034-01-01", "9 days 7 hours"),
        ("2026-03-28 00:00+00", "2026-03-30", "13 min"),
        ("2026-10-24 00:00+00", "2026-10-27", "13 min"),
        ("2026-04-04 00:00+00", "2026-04-06", "17 min"),
        ("2028-02-28 00:00+00", "2028-03-02", "1 hour"),
    )
    series = [
        f"SELECT generate_series('{a}'::timestamptz, '{b}', '{c}') AS ts" for a, b, c in parts
    ]
    return " UNION ALL ".join([*series, "VALUES ('infinity'::timestamptz), ('-infinity')"])


@pytest.fixture
def both(community: Engine) -> Iterator[Connection]:
    """A connection to TimescaleDB that also has what stands in for it elsewhere."""
    with community.connect() as connection:
        send(connection, f"SET TimeZone = 'UTC'; {buckets.creation()}")
        yield connection


WIDTHS = (
    "15 min",
    "1 hour",
    "7 hours",
    "1 day",
    "3 days",
    "7 days",
    "1 month",
    "5 months",
    "1 year",
)
DAYS = WIDTHS[3:]
ZONES = ("Europe/Berlin", "America/St_Johns", "Pacific/Chatham", "Australia/Lord_Howe", "UTC")
CALLS = {
    "timestamptz": (WIDTHS, "time_bucket('{width}', ts)"),
    "timestamp": (WIDTHS, "time_bucket('{width}', ts::timestamp)"),
    "date": (DAYS, "time_bucket('{width}', ts::date)"),
    "origin": (WIDTHS, "time_bucket('{width}', ts, '2021-02-05 07:33+00'::timestamptz)"),
    "origin of timestamp": (
        WIDTHS,
        "time_bucket('{width}', ts::timestamp, '2001-02-05 07:33'::timestamp)",
    ),
    "origin of date": (DAYS, "time_bucket('{width}', ts::date, '2031-02-05'::date)"),
    "offset": (WIDTHS, "time_bucket('{width}', ts, \"offset\" => '-90 min'::interval)"),
    "offset of timestamp": (WIDTHS, "time_bucket('{width}', ts::timestamp, '2 days'::interval)"),
    "offset of date": (DAYS, "time_bucket('{width}', ts::date, '2 days'::interval)"),
    **{zone: (WIDTHS, f"time_bucket('{{width}}', ts, '{zone}')") for zone in ZONES},
    "zone and origin": (
        WIDTHS,
        "time_bucket('{width}', ts, 'Europe/Berlin', origin => '2001-02-05 07:33+00')",
    ),
    "zone and offset": (
        WIDTHS,
        "time_bucket('{width}', ts, timezone => 'Europe/Berlin', \"offset\" => '5 hours')",
    ),
}


@pytest.mark.timescaledb
@pytest.mark.parametrize("call", CALLS)
def test_buckets(call: str, moments: str, both: Connection) -> None:
    widths, spelled = CALLS[call]
    for width in widths:
        theirs = spelled.format(width=width)
        query = (
            f"SELECT count(*), count(*) FILTER (WHERE {theirs} IS DISTINCT FROM"
            f" {buckets.qualified(theirs)}), min(ts) FILTER (WHERE {theirs} IS DISTINCT FROM"
            f" {buckets.qualified(theirs)}) FROM ({moments}) m WHERE isfinite(ts) OR true"
        )
        count, wrong, first = both.exec_driver_sql(query.replace("%", "%%")).one()
        assert count > 1500
        assert wrong == 0, f"{theirs}, first at {first}"


@pytest.mark.timescaledb
@pytest.mark.parametrize("type_", ["smallint", "integer", "bigint"])
def test_numbers(type_: str, both: Connection) -> None:
    for arguments in (
        "w::{0}, n::{0}",
        "w::{0}, n::{0}, o::{0}",
        'w::{0}, n::{0}, "offset" => o::{0}',
    ):
        call = f"time_bucket({arguments.format(type_)})"
        query = (
            f"SELECT count(*) FROM generate_series(-50, 50) n, (VALUES (1), (7), (10)) w (w),"
            f" (VALUES (0), (3), (-4), (25)) o (o) WHERE {call} <> {buckets.qualified(call)}"
        )
        assert both.scalar(sa.text(query)) == 0


@pytest.mark.timescaledb
@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("i * 0.1", "now() + i * 7919 % 1000 * interval '1 s'"),
        (
            "CASE WHEN i % 3 > 0 THEN 'a''b' || i END",
            "CASE WHEN i % 11 > 0 THEN i * 7919 % 1000 END",
        ),
        ("jsonb_build_object('i', i)", "current_date - i * 31 % 100"),
        ("now() + i * interval '1 day'", "NULL::bigint"),
        ("ARRAY[i, NULL]", "(i * 37 % 101)::numeric"),
    ],
)
def test_first_and_last(value: str, moment: str, both: Connection) -> None:
    """Whatever the types; a value whose moment is NULL does not count."""
    rows = f"SELECT i % 7 AS g, {value} AS v, {moment} AS ts FROM generate_series(1, 2000) i"
    called = "SELECT g, first(v, ts), last(v, ts) FROM rows GROUP BY g"
    query = f"WITH rows AS ({rows}) {{}} EXCEPT ALL {{}}".replace("%", "%%")
    assert both.exec_driver_sql(query.format(called, buckets.qualified(called))).all() == []


def test_names_in_strings_and_of_others_stay() -> None:
    query = "SELECT s.first(x), 'last(' || time_bucket ('1 h', ts) -- first(\n, Last (v, ts)"
    expected = query.replace("time_bucket", f"{buckets.SCHEMA}.time_bucket")
    assert buckets.qualified(query) == expected.replace("Last", f"{buckets.SCHEMA}.Last")


@pytest.mark.parametrize(
    ("printed", "neutral"),
    [
        (
            "SELECT r.a,\n public.first(r.b, r.ts) AS b\n   FROM s.readings r\n  WHERE (r.c = 'r.d')",
            "SELECT a,\n first(b, ts) AS b\n   FROM s.readings r\n  WHERE (c = 'r.d')",
        ),
        (
            'SELECT "Order"."user",\n x."Order".y FROM_\n   FROM "Order"\n  GROUP BY "Order".z::"Order".t',
            'SELECT "user",\n x."Order".y FROM_\n   FROM "Order"\n  GROUP BY z::"Order".t',
        ),
        (
            "SELECT r.a,\n r.f(1)\n   FROM (readings r\n     JOIN devices d ON r.a = d.a)",
            "SELECT r.a,\n r.f(1)\n   FROM (readings r\n     JOIN devices d ON r.a = d.a)",
        ),
        (
            (
                "SELECT date_bin('01:00:00'::interval, readings.ts,"
                " '2000-01-03 00:00:00+00'::timestamp with time zone) AS bucket\n   FROM readings"
            ),
            "SELECT time_bucket('01:00:00'::interval, ts) AS bucket\n   FROM readings",
        ),
    ],
)
def test_what_a_server_prints(printed: str, neutral: str) -> None:
    assert buckets.neutral(printed, "public") == neutral
