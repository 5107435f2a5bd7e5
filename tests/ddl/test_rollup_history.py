"""A rollup that is made anew keeps the buckets that are older than its raw data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Column, Engine, MetaData, Text
from sqlalchemy.exc import ProgrammingError

from ddl import Rollup
from ddl.effects import effects
from ddl.types import SqlType
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.generated_revisions import (
    Declare,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
    run_offline,
)
from tests.support.rollups import (
    BOTH,
    DAYS,
    MEAN,
    MEANS,
    daily,
    fill,
    hourly,
    keyed,
    query,
    readings,
)
from tests.support.time_series import execute, scalar, stored

pytestmark = pytest.mark.timescaledb


ZONE = "'Europe/Berlin'"


@pytest.fixture
def filled(community: Engine) -> Callable[[Declare], Engine]:
    """Makes a database of 90 days of rollups, and 20 of the raw data."""

    def make(declare: Declare) -> Engine:
        fill(community, declare)
        return community

    return make


def change(engine: Engine, after: Declare) -> tuple[str, str]:
    """Upgrade to other models as autogenerate would; returns both directions."""
    with engine.connect() as connection:
        script = migration(connection, metadata_of(after))
    up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    run(engine, up)
    assert_clean(engine, metadata_of(after))
    return up, down


COUNTED = """
SELECT count(*), count(peak),
       (min(bucket) FILTER (WHERE peak IS NOT NULL) AT TIME ZONE 'UTC')::date::text FROM hourly
"""


# --- one rollup -------------------------------------------------------------------------------


@pytest.mark.parametrize("real_time", [True, False])
def test_a_new_column_keeps_every_bucket(
    filled: Callable[[Declare], Engine], real_time: bool
) -> None:
    """Where there is raw data it has its values at once, without a refresh."""
    options = {"materialized_only": not real_time}
    engine = filled(hourly(**options))
    before = query(engine, MEANS)
    assert len(before) == 2 * (89 * 24 + real_time)
    start = catalog_states(engine)
    up, down = change(engine, hourly(BOTH, **options))
    assert 'op.drop_rollup("hourly", set_aside=True)' in up
    assert 'keys=["device", "bucket"], copied=["mean"]' in up
    assert query(engine, MEANS) == before
    assert query(engine, COUNTED) == [(len(before), 2 * (20 * 24 + real_time), "2026-03-11")]
    assert not scalar(engine, "SELECT count(*) FROM hourly WHERE peak < mean")
    run(engine, down)
    assert query(engine, MEANS) == before
    assert not unequal_states(catalog_states(engine), start)
    run_offline(engine, up)
    assert query(engine, MEANS) == before


def test_a_column_that_goes_takes_only_itself(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly(BOTH))
    before = query(engine, MEANS)
    up, down = change(engine, hourly())
    assert 'op.drop_rollup("hourly", set_aside=True, lost=["peak"])' in up
    assert query(engine, MEANS) == before
    run(engine, down)
    assert query(engine, MEANS) == before


def test_a_rollup_over_a_rollup_comes_along(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly(over=daily()))
    before = query(engine, MEANS), query(engine, DAYS)
    assert len(before[1]) > 2 * 88
    up, down = change(engine, hourly(BOTH, over=daily()))
    assert up.index('op.drop_rollup("daily", set') < up.index('op.drop_rollup("hourly", set')
    assert up.index('op.create_rollup(\n    "hourly"') < up.index('op.create_rollup(\n    "daily"')
    assert (query(engine, MEANS), query(engine, DAYS)) == before
    run(engine, down)
    assert (query(engine, MEANS), query(engine, DAYS)) == before


def test_rollups_over_stored_rows_only_come_along(filled: Callable[[Declare], Engine]) -> None:
    """The rule of such a rollup names none of what its query reads."""
    stored = {"materialized_only": True}
    engine = filled(hourly(over=daily(**stored), **stored))
    before = query(engine, MEANS), query(engine, DAYS)
    change(engine, hourly(BOTH, over=daily(**stored), **stored))
    assert (query(engine, MEANS), query(engine, DAYS)) == before


def test_a_new_column_over_a_new_column(filled: Callable[[Declare], Engine]) -> None:
    """No day is computed of hours that are partly without the value."""
    engine = filled(hourly(over=daily()))
    execute(engine, "DELETE FROM readings WHERE ts < TIMESTAMPTZ '2026-03-11 12:00Z'")
    means = query(engine, DAYS)
    both = "avg(mean) AS mean, max(peak) AS peak, count(peak) AS hours"
    change(engine, hourly(BOTH, over=daily(both)))
    assert query(engine, DAYS) == means
    counted = "SELECT hours, count(*), min(day AT TIME ZONE 'UTC')::date::text FROM daily"
    found = query(engine, f"{counted} WHERE day < '2026-03-31Z' GROUP BY hours ORDER BY 3")
    assert found == [(None, 2 * 70, "2026-01-01"), (24, 2 * 19, "2026-03-12")]


def test_a_column_under_another_name_keeps_its_values(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly(over=daily()))
    before = query(engine, MEANS), query(engine, DAYS)
    both = BOTH.replace("mean", "average")
    up, down = change(engine, hourly(both, over=daily("avg(average) AS mean")))
    assert up.startswith('op.rename("rollup column", "mean", "average", table="hourly")')
    assert 'copied=["average"]' in up
    assert "lost" not in up
    assert (query(engine, MEANS.replace("mean", "average")), query(engine, DAYS)) == before
    run(engine, down)
    assert (query(engine, MEANS), query(engine, DAYS)) == before


def test_months_and_local_days_keep_every_bucket(filled: Callable[[Declare], Engine]) -> None:
    def calendar(values: str) -> Declare:
        def declare(metadata: MetaData) -> None:
            for name, arguments in (("months", "'1 month', ts"), ("days", f"'1 day', ts, {ZONE}")):
                Rollup(
                    name,
                    f"SELECT device, time_bucket({arguments}) AS bucket, {values} FROM readings"
                    " GROUP BY 1, 2",
                    metadata=metadata,
                )

        return hourly(over=declare)

    engine = filled(calendar(MEAN))
    kept = [MEANS.replace("hourly", name) for name in ("months", "days")]
    before = [query(engine, one) for one in kept]
    assert [len(one) for one in before] == [2 * 3, 2 * 90]
    _, down = change(engine, calendar(BOTH))
    assert [query(engine, one) for one in kept] == before
    first = "SELECT (min(bucket) AT TIME ZONE {})::text FROM {} WHERE peak IS NOT NULL"
    # March is not over, and computed whenever it is read; the raw data begins an hour into 11 March.
    assert scalar(engine, first.format("'UTC'", "months")) == "2026-03-01 00:00:00"
    assert scalar(engine, first.format(ZONE, "days")) == "2026-03-12 00:00:00"
    run(engine, down)
    assert [query(engine, one) for one in kept] == before


def test_a_column_of_the_source_that_goes(filled: Callable[[Declare], Engine]) -> None:
    def with_site(metadata: MetaData) -> None:
        readings(metadata)
        metadata.tables["readings"].append_column(Column("site", Text))

    engine = filled(hourly(f"{MEAN}, max(site) AS site", table=with_site))
    before = query(engine, MEANS)
    up, down = change(engine, hourly())
    assert up.splitlines()[:2] == [
        'op.drop_rollup("hourly", set_aside=True, lost=["site"])',
        'op.drop_column("readings", "site")',
    ]
    assert query(engine, MEANS) == before
    run(engine, down)
    assert query(engine, MEANS) == before


# --- what is kept of a group ------------------------------------------------------------------


def test_buckets_without_raw_rows_stay(filled: Callable[[Declare], Engine]) -> None:
    """Rows of one tenant may be deleted earlier than the chunk, and within a bucket."""
    engine = filled(hourly())
    execute(
        engine, "DELETE FROM readings WHERE device = 'b' AND ts < TIMESTAMPTZ '2026-03-20 12:30Z'"
    )
    before = query(engine, MEANS)
    change(engine, hourly(BOTH))
    assert query(engine, MEANS) == before
    first = "SELECT device, min(bucket AT TIME ZONE 'UTC')::text FROM hourly WHERE peak IS NOT NULL"
    assert query(engine, f"{first} GROUP BY 1 ORDER BY 1") == [
        ("a", "2026-03-11 00:00:00"),
        ("b", "2026-03-20 13:00:00"),
    ]


def test_groups_without_a_value(filled: Callable[[Declare], Engine]) -> None:
    """NULL is a group like any other."""
    engine = filled(hourly(table=keyed(Text)))
    for table in ("readings", stored(engine, "hourly")):
        execute(engine, f"UPDATE {table} SET device = NULL WHERE device = 'b'")
    execute(
        engine,
        "DELETE FROM readings WHERE device IS NULL AND ts < TIMESTAMPTZ '2026-03-20 12:30Z'",
    )
    before = query(engine, MEANS)
    change(engine, hourly(BOTH, table=keyed(Text)))
    assert query(engine, MEANS) == before
    first = "SELECT min(bucket AT TIME ZONE 'UTC')::text FROM hourly WHERE peak IS NOT NULL"
    assert scalar(engine, f"{first} AND device IS NULL") == "2026-03-20 13:00:00"


def test_groups_that_their_type_calls_equal(
    community: Engine, filled: Callable[[Declare], Engine]
) -> None:
    execute(community, "CREATE SCHEMA ext", "CREATE EXTENSION citext SCHEMA ext")
    engine = filled(hourly(table=keyed(SqlType("ext.citext"))))
    execute(engine, "UPDATE readings SET device = upper(device::text)::ext.citext")
    before = [(device.lower(), *rest) for device, *rest in query(engine, MEANS)]
    change(engine, hourly(BOTH, table=keyed(SqlType("ext.citext"))))
    assert [(device.lower(), *rest) for device, *rest in query(engine, MEANS)] == before


def test_late_rows_are_taken_up(filled: Callable[[Declare], Engine]) -> None:
    """A refresh policy would not reach back that far."""
    engine = filled(hourly())
    execute(engine, "INSERT INTO readings VALUES ('a', '2026-03-15 10:10Z', 1e9)")
    late = "SELECT max(mean) > 1e8 FROM hourly"
    assert not scalar(engine, late)
    change(engine, hourly(BOTH))
    assert scalar(engine, late)


def test_no_raw_data_at_all(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly(over=daily()))
    execute(engine, "TRUNCATE readings")
    hours = scalar(engine, "SELECT count(*) FROM hourly WHERE bucket < '2026-03-31Z'")
    days = scalar(engine, "SELECT count(*) FROM daily WHERE day < '2026-03-31Z'")
    change(engine, hourly(BOTH, over=daily("avg(mean) AS mean, max(peak) AS peak")))
    assert query(engine, "SELECT count(*), count(peak) FROM hourly") == [(hours, 0)]
    assert query(engine, "SELECT count(*), count(peak) FROM daily") == [(days, 0)]


# --- what cannot be kept ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (hourly(), hourly(width="2 hours")),
        (hourly(), hourly(where="WHERE value > 0")),
        (hourly(), hourly("max(value) AS mean")),
    ],
    ids=["bucket", "condition", "meaning"],
)
def test_what_would_be_lost_is_said_in_numbers(
    before: Declare, after: Declare, filled: Callable[[Declare], Engine]
) -> None:
    """And the raw data fills the new rollup as far as it goes."""
    engine = filled(before)
    with engine.connect() as connection:
        script = migration(connection, metadata_of(after))
    (dropped,) = [one for one in effects(script.upgrade_ops.ops) if one.risk.loses]
    assert dropped.acceptance == "# accept drop-rollup public.hourly:"
    assert "1656 buckets from 2026-01-01 to 2026-03-10 have no raw data" in dropped.reason
    assert "; to keep them, give the new one another name" in dropped.reason or (
        "to keep them as they are, write set_aside=True" in dropped.reason
    )
    up, down = change(engine, after)
    assert 'op.drop_rollup("hourly")' in up
    assert "filled=True" in up
    since = "SELECT min(bucket) = '2026-03-11Z', count(DISTINCT bucket::date) FROM hourly"
    assert query(engine, since) == [(True, 21)]
    run(engine, down)
    assert query(engine, since) == [(True, 21)]


def test_rows_of_a_former_condition_are_kept_if_a_person_says_so(
    filled: Callable[[Declare], Engine],
) -> None:
    engine = filled(hourly())
    before = query(engine, MEANS)
    after = metadata_of(hourly(where="WHERE value > 0"))
    with engine.connect() as connection:
        script = migration(connection, after)
    (dropped,) = [one for one in effects(script.upgrade_ops.ops) if one.risk.loses]
    kept = "keys=['device', 'bucket'], copied=['mean']"
    assert f"write set_aside=True here, and {kept} in place of filled=True" in dropped.reason
    up = rendered(script.upgrade_ops).replace("filled=True", kept)
    run(engine, up.replace('drop_rollup("hourly")', 'drop_rollup("hourly", set_aside=True)'))
    assert_clean(engine, after)
    assert query(engine, MEANS) == before


def test_a_rollup_that_is_dropped_says_what_it_had(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly(over=daily()))
    stored = scalar(
        engine,
        "SELECT '_timescaledb_internal.' || materialization_hypertable_name"
        "  FROM timescaledb_information.continuous_aggregates WHERE view_name = 'daily'",
    )
    execute(engine, f"INSERT INTO {stored} VALUES ('a', '2023-01-01Z', 1)")
    with engine.connect() as connection:
        script = migration(connection, metadata_of(readings))
    told = {one.name: one.reason for one in effects(script.upgrade_ops.ops) if one.risk.loses}
    assert "1656 buckets from 2026-01-01" in told["public.hourly"]
    assert "70 buckets from 2023-01-01 to 2026-03-10, 3.2 years," in told["public.daily"]


def test_a_column_of_another_meaning_does_not_go_on(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly(BOTH, over=daily("avg(mean) AS mean, max(peak) AS peak")))
    means = query(engine, MEANS), query(engine, DAYS)
    after = hourly(
        "avg(value) AS mean, min(value) AS peak",
        over=daily("avg(mean) AS mean, max(peak) AS peak"),
    )
    up, _ = change(engine, after)
    assert 'op.drop_rollup("daily", set_aside=True, lost=["peak"])' in up
    assert 'op.drop_rollup("hourly", set_aside=True, lost=["peak"])' in up
    assert (query(engine, MEANS), query(engine, DAYS)) == means
    since = "SELECT min(bucket) = '2026-03-11Z' FROM hourly WHERE peak IS NOT NULL"
    assert scalar(engine, since)
    assert scalar(engine, since.replace("bucket", "day").replace("hourly", "daily"))


def test_history_that_was_not_set_aside(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly())
    with engine.connect() as connection:
        up = rendered(migration(connection, metadata_of(hourly(BOTH))).upgrade_ops)
    with pytest.raises(ProgrammingError, match=r"public\.hourly: its history was not set aside"):
        run(engine, up.replace(", set_aside=True", ""))
    assert scalar(engine, "SELECT count(*) FROM hourly") == 2 * (89 * 24 + 1)


def test_a_column_of_another_type(filled: Callable[[Declare], Engine]) -> None:
    engine = filled(hourly())
    with engine.connect() as connection:
        up = rendered(
            migration(connection, metadata_of(hourly("avg(value)::int AS x"))).upgrade_ops
        )
    up = up.replace("filled=True", 'keys=["device", "bucket"], copied=["x"]')
    with pytest.raises(ProgrammingError, match="x was missing and is integer"):
        run(engine, up.replace('("hourly")', '("hourly", set_aside=True)'))
