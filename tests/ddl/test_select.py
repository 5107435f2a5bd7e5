"""What a query selects and groups by is read from the server's spelling."""

from __future__ import annotations

import pytest

from ddl.rollup_history import altered, common
from ddl.select import parsed

QUERY = """
 SELECT raw.device,
    time_bucket('01:00:00'::interval, raw.ts) AS bucket,
    (raw.state IS DISTINCT FROM 'from, where (group by'::text) AS "From",
    percentile_cont((0.5)::double precision) WITHIN GROUP (ORDER BY raw.v) AS median,
    avg(raw.v) FILTER (WHERE (raw.v > (1)::double precision)) AS "it's"
   FROM raw
  WHERE (raw.v <> (7)::double precision)
  GROUP BY raw.device, (time_bucket('01:00:00'::interval, raw.ts)), (raw.state IS DISTINCT FROM 'from, where (group by'::text)
 HAVING (count(*) > 1)
"""


def test_clauses_in_parentheses_and_quotes_are_none() -> None:
    found = parsed(QUERY)
    assert list(found.columns) == ["device", "bucket", "From", "median", "it's"]
    assert found.columns["median"].endswith("WITHIN GROUP (ORDER BY raw.v)")
    assert list(found.keys) == ["device", "bucket", "From"]
    assert found.is_keyed
    assert found.source == "raw"
    assert found.condition == "where (raw.v <> (7)::double precision) having (count(*) > 1)"


def test_a_key_that_is_not_selected_tells_no_rows_apart() -> None:
    query = QUERY.replace("SELECT raw.device,", "SELECT")
    assert not parsed(query).is_keyed
    assert not common(query, query.replace("AS median", "AS middle")).kept


@pytest.mark.parametrize(
    ("before", "after", "copied", "lost", "added"),
    [
        ("AS median", "AS middle", ["it's"], ["median"], ["middle"]),
        ("(0.5)", "(0.9)", ["it's"], ["median"], ["median"]),
        ("avg(", "max(", ["median"], ["it's"], ["it's"]),
    ],
)
def test_a_column_is_its_expression(
    before: str, after: str, copied: list[str], lost: list[str], added: list[str]
) -> None:
    found = common(QUERY, QUERY.replace(before, after))
    assert [*found.copied] == copied
    assert [*found.lost] == lost
    assert [*found.added] == added
    assert found.reversed() == common(QUERY.replace(before, after), QUERY)


BUCKET = "time_bucket('01:00:00'::interval, raw.ts"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BUCKET, f"{BUCKET}, 'Europe/Berlin'::text"),
        (BUCKET, f"{BUCKET}, '2020-01-01 00:00:00+00'::timestamp with time zone"),
        (BUCKET, f"{BUCKET}, '00:30:00'::interval"),
        ("01:00:00", "1 mon"),
        ("SELECT raw.device,", "SELECT raw.device, raw.site,"),
        ("FROM raw\n", "FROM other\n"),
    ],
    ids=["zone", "origin", "offset", "width", "group", "source"],
)
def test_rows_of_other_buckets_or_groups_are_not_taken_over(before: str, after: str) -> None:
    """In either direction: a person is asked."""
    later = QUERY.replace(before, after)
    if "raw.site" in after:
        later = later.replace("GROUP BY raw.device,", "GROUP BY raw.device, raw.site,")
    for found in (common(QUERY, later), common(later, QUERY)):
        assert not found.kept
        assert not found.narrowed


def test_what_reads_an_altered_column_is_altered() -> None:
    assert altered(QUERY, QUERY, {"v"}) == {"median", "it's"}
    assert altered(QUERY, QUERY.replace("01:00:00", "02:00:00")) == set()
