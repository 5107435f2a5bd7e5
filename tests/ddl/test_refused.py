"""What TimescaleDB Community refuses is refused on plain PostgreSQL, too, in one line."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.util import CommandError
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Column,
    Double,
    Engine,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.exc import ArgumentError

from ddl import (
    Columnstore,
    Function,
    Hypertable,
    RefreshPolicy,
    RetentionPolicy,
    Rollup,
    RowLevelSecurity,
    Trigger,
)
from ddl.community_tables import check_hypertables
from ddl.shadow import ModelError
from tests.ddl.case import SETTINGS, nothing
from tests.support.generated_revisions import assert_clean, metadata_of, migration, rendered, run

STORE = Columnstore(segmentby="device", orderby="ts DESC", after="7 days")


def series(
    metadata: MetaData, *items: Any, name: str = "readings", ts: Any = None, hyper: bool = True
) -> None:
    Table(
        name,
        metadata,
        Column("device", Text, primary_key=True),
        Column("ts", ts or TIMESTAMP(timezone=True), primary_key=True),
        Column("value", Double),
        *([Hypertable("ts", chunk_interval="1 day")] if hyper else []),
        *items,
    )


def trigger(**options: Any) -> Trigger:
    return Trigger("t", timing="after", function="f()", **options)


TABLES = {
    "misspelt": ([Columnstore("devise", "ts DESC", None)], "segmentby expected columns, found devise; write device"),
    "misspelt order": ([Columnstore("device", "tss", None)], "orderby expected columns, found tss; write ts"),
    "an expression": ([Columnstore("device", "lower(device), ts", None)], r"found lower\(device\)"),
    "twice": ([Columnstore("device", "device, ts", None)], "found device, which segmentby has"),
    "no time": ([Columnstore("device", "value", None)], 'write orderby="value, ts DESC"'),
    "no order": ([Columnstore("device, ts", "", None)], "expected a column in orderby"),
    "sparse, misspelt": ([Columnstore("device", "ts", None, sparse_index="bloom(valeu)")], r"found bloom\(valeu\); write value"),
    "sparse, in segmentby": ([Columnstore("device", "ts", None, sparse_index="bloom(value, device)")], "and device in segmentby"),
    "sparse, in orderby": ([Columnstore("device", "ts", None, sparse_index="bloom(ts)")], "and ts in orderby"),
    "sparse, two": ([Columnstore("device", "ts", None, sparse_index="bloom(value),minmax(value)")], "one of each column"),
    "sparse, wide minmax": ([Columnstore("device", "seq, ts", None, sparse_index="minmax(value,seq)"), Column("seq", BigInteger)], "one column in a minmax"),
    "unique": ([UniqueConstraint("device", "value")], "lacks the time column ts"),
    "unique index": ([Index("u", "device", unique=True)], "unique key u lacks the time column"),
    "unique expression": ([Index("u", func.lower("device"), unique=True)], "lacks the time column"),
    "exclusion": ([STORE, ExcludeConstraint(("device", "="), ("ts", "="), name="x")], "exclusion constraint"),
    "row-level security": ([STORE, RowLevelSecurity()], "has row-level security"),
    "reserved name": ([STORE, Column("_ts_meta_count", Text)], "the name _ts_meta_count"),
    "row transition": (
        [trigger(events="insert", new_table="added")],
        "no transition tables for a trigger of rows",
    ),
    "delete transition": (
        [STORE, trigger(events="insert or delete", level="statement", old_table="gone")],
        "DELETE has no transition table",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_table(case: str) -> None:
    items, expected = TABLES[case]
    metadata = MetaData()
    series(metadata, *items)
    with pytest.raises(ArgumentError, match=expected) as caught:
        check_hypertables(metadata)
    assert "\n" not in str(caught.value)


def test_column_of_time() -> None:
    metadata = MetaData()
    series(metadata, ts=BigInteger())
    with pytest.raises(ArgumentError, match="found ts BIGINT; write TIMESTAMP"):
        check_hypertables(metadata)


@pytest.mark.parametrize("item", [STORE, RetentionPolicy("1 year")])
def test_plain_table(item: Any) -> None:
    metadata = MetaData()
    series(metadata, item, hyper=False)
    with pytest.raises(ArgumentError, match="expected a hypertable, found a plain table"):
        check_hypertables(metadata)


def test_reference_to_a_hypertable() -> None:
    metadata = MetaData()
    series(metadata)
    reference = ForeignKeyConstraint(["device", "ts"], ["readings.device", "readings.ts"])
    series(metadata, reference, name="later")
    with pytest.raises(ArgumentError, match="refers to hypertable readings"):
        check_hypertables(metadata)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "crashes on chunks without any"), ("brin(v)", r"found brin\(v\); write None")],
)
def test_sparse_index(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Columnstore("device", "ts DESC", None, sparse_index=text)


def test_layout_is_spelled_as_by_the_server() -> None:
    store = Columnstore('DEVICE,  "Site"', '"ts" desc, seq ASC, v asc nulls first', None)
    assert (store.segmentby, store.orderby) == ('device,"Site"', "ts DESC,seq,v NULLS FIRST")


# --- rollups -------------------------------------------------------------------------------------

GROUPED = "GROUP BY 1, 2"
DAILY = "SELECT device, time_bucket('1 day', ts) AS bucket, count(*) AS n FROM readings"
ALIASED = DAILY.replace("ts)", "readings.ts)")
HOUR, ZONE, DAY = "'1 h'", "'UTC'", "'2001-01-01'"
DAY_WIDTH, INFINITY = "'1 day'", "'infinity'"
QUERIES = {
    "window function": (f"{DAILY.replace('count(*)', 'rank() OVER ()')} {GROUPED}", "a window function"),
    "subquery": (f"{DAILY} WHERE EXISTS (SELECT FROM devices) {GROUPED}", "a subquery or WITH"),
    "with": (f"WITH x AS (SELECT 1) {DAILY}, x {GROUPED}", "a subquery or WITH"),
    "subquery in from": (f"{DAILY}, (SELECT site FROM devices) d {GROUPED}", "a subquery in FROM"),
    "right join": (f"{ALIASED} RIGHT JOIN devices USING (device) {GROUPED}", "RIGHT or FULL JOIN"),
    "full join": (f"{ALIASED} FULL JOIN devices USING (device) {GROUPED}", "RIGHT or FULL JOIN"),
    "distinct": (f"{DAILY.replace('SELECT', 'SELECT DISTINCT')} {GROUPED}", "found DISTINCT"),
    "cube": (f"{DAILY} GROUP BY CUBE (1, 2)", "GROUPING SETS"),
    "limit": (f"{DAILY} {GROUPED} LIMIT 5", "LIMIT"),
    "offset": (f"{DAILY} {GROUPED} OFFSET 5", "LIMIT"),
    "sample": (f"{DAILY} TABLESAMPLE system (1) {GROUPED}", "TABLESAMPLE"),
    "only": (f"{DAILY.replace('FROM', 'FROM ONLY')} {GROUPED}", "FROM ONLY"),
    "union": (f"{DAILY} {GROUPED} UNION ALL {DAILY} {GROUPED}", "UNION"),
    "two hypertables": (f"{DAILY} JOIN others USING (device, ts) {GROUPED}", "expected one hypertable"),
    "no hypertable": (f"{DAILY.replace('readings', 'devices')} {GROUPED}", "expected one hypertable"),
    "no bucket": (f"{DAILY.replace('time_bucket(', 'date_trunc(')} /* time_bucket( */ {GROUPED}", "found 0"),
    "two buckets": (f"{DAILY.replace('device,', f'time_bucket(interval {HOUR}, ts) AS h,')} {GROUPED}", "found 2"),
    "added to a bucket": (f"{DAILY.replace(' AS bucket', f' + interval {HOUR} AS bucket')} {GROUPED}", "found 0"),
    "added to the time": (f"{DAILY.replace('ts)', f'ts + interval {HOUR})')} {GROUPED}", "found"),
    "another column": (f"{DAILY.replace('ts)', 'since)')} {GROUPED}", "expected the time column ts"),
    "months and days": (f"{DAILY.replace('1 day', '1 month 1 day')} {GROUPED}", "of months or of days"),
    "no width": (f"{DAILY.replace('1 day', '0 days')} {GROUPED}", "of some length"),
    "zone": (f"{DAILY} {GROUPED}".replace("ts)", "ts, 'Europe/Nowhere')"), "Europe/Nowhere"),
    "distinct on": (f"{DAILY.replace('SELECT', 'SELECT DISTINCT ON (device)')} {GROUPED}", "found DISTINCT"),
    "subquery in having": (f"{DAILY} {GROUPED} HAVING EXISTS (SELECT FROM devices)", "a subquery or WITH"),
    "width of a column": (f"{DAILY.replace(DAY_WIDTH, 'make_interval(days => length(device))')} {GROUPED}", "found make_interval"),
    "zone of a column": (f"{DAILY.replace('ts)', 'ts, device)')} {GROUPED}", "expected constants .* found device"),
    "origin of today": (f"{DAILY.replace('ts)', 'ts, origin => now())')} {GROUPED}", "found origin => now"),
    "origin at infinity": (f"{DAILY.replace('ts)', f'ts, timestamptz {INFINITY})')} {GROUPED}", "a finite origin"),
    "origin and offset": (
        f"{DAILY.replace('ts)', f'ts, {ZONE}, {DAY}, {HOUR})')} {GROUPED}",
        "origin or offset",
    ),
}  # fmt: skip


def rolled(query: str, **options: Any) -> MetaData:
    metadata = metadata_of(nothing)
    series(metadata, Column("since", TIMESTAMP(timezone=True)))
    series(metadata, name="others")
    site = Column("site", Text)
    Table("devices", metadata, Column("device", Text, primary_key=True), site, Column("ts", TIMESTAMP(timezone=True)))  # fmt: skip
    Rollup("daily", query, metadata=metadata, **options)
    return metadata


@pytest.mark.parametrize("case", QUERIES)
def test_query(case: str, engine: Engine) -> None:
    query, expected = QUERIES[case]
    with engine.connect() as connection, pytest.raises(CommandError, match=expected) as caught:
        migration(connection, rolled(query))
    assert str(caught.value).startswith("rollup public.daily: ")
    assert "\n" not in str(caught.value)


@pytest.mark.timescaledb
def test_queries_that_community_refuses(community: Engine) -> None:
    """None of the list is stricter than the server, and its words are not shown in place of ours."""
    for query, expected in QUERIES.values():
        expected = rf"^rollup public\.daily: .*{expected}.*$"
        with community.connect() as connection, pytest.raises(CommandError, match=expected) as told:
            migration(connection, rolled(query))
        reason: BaseException | None = told.value
        while reason is not None and not isinstance(reason, ModelError):
            reason = reason.__context__
        assert reason is not None, "the server itself takes it"


HOURLY = DAILY.replace("1 day", "1 hour")
OVER = "SELECT device, time_bucket('{}', bucket) AS bucket, sum(n) AS n FROM daily GROUP BY 1, 2"
STACKS = {
    "not a multiple": (DAILY, "36 hours", "a multiple of 1 days, found 1.5 days"),
    "shorter": (DAILY, "1 hour", "a multiple of 1 days"),
    "fixed over months": (DAILY.replace("1 day", "1 month"), "60 days", "of months or with a time zone"),
}  # fmt: skip


@pytest.mark.parametrize("case", STACKS)
def test_rollup_over_a_rollup(case: str, every_edition: Engine) -> None:
    below, width, expected = STACKS[case]
    metadata = rolled(f"{below} {GROUPED}")
    Rollup("above", OVER.format(width), metadata=metadata)
    with every_edition.connect() as connection, pytest.raises(CommandError, match=expected):
        migration(connection, metadata)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"refresh": RefreshPolicy("36 hours", "1 hour", "1 hour")}, "a window of two buckets"),
        ({"columnstore": Columnstore("devise", "bucket", None)}, "found devise; write device"),
        ({"columnstore": Columnstore("device", "n", None)}, "expected the time column bucket"),
    ],
)
def test_policies(options: dict[str, Any], expected: str, every_edition: Engine) -> None:
    with every_edition.connect() as connection, pytest.raises(CommandError, match=expected):
        migration(connection, rolled(f"{DAILY} {GROUPED}", **options))


def test_a_rollup_over_rows_that_policies_hide(engine: Engine) -> None:
    metadata = metadata_of(nothing)
    series(metadata, RowLevelSecurity())
    Rollup("daily", f"{DAILY} {GROUPED}", metadata=metadata)
    with engine.connect() as connection, pytest.raises(CommandError, match="excludes rollups"):
        migration(connection, metadata)


ACCEPTED = (
    f"{ALIASED} LEFT JOIN devices USING (device) {GROUPED} HAVING count(*) > 1 ORDER BY 1",
    f"{DAILY} WHERE value > 0 AND ts < now() GROUP BY time_bucket('1 day', ts), device",
    f"{HOURLY.replace('count(*)', 'count(DISTINCT value) FILTER (WHERE value > 1)')} {GROUPED}",
    f"{ALIASED}, LATERAL (SELECT site FROM devices d WHERE d.device = readings.device) d {GROUPED}",
    DAILY.replace("FROM", ", max(value) FILTER (WHERE value > 1) AS m FROM") + f" {GROUPED}",
    f"{DAILY.replace('device,', '(array_agg(device ORDER BY ts))[1] AS device,')} GROUP BY 2",
    "SELECT device, count(*) AS n FROM readings GROUP BY 1, time_bucket('1 day', ts => ts)",
)


def test_queries_that_every_edition_accepts(every_edition: Engine) -> None:
    for query in ACCEPTED:
        metadata = rolled(query)
        with every_edition.connect() as connection:
            script = migration(connection, metadata)
        run(every_edition, rendered(script.upgrade_ops))
        assert_clean(every_edition, metadata)
        run(every_edition, rendered(script.downgrade_ops))


def test_a_trigger_of_statements(every_edition: Engine) -> None:
    """Transition tables are allowed where the list has no word against them."""
    metadata = metadata_of(nothing)
    Function(
        "f",
        returns="trigger",
        language="plpgsql",
        body="BEGIN RETURN NULL; END",
        settings=SETTINGS,
        metadata=metadata,
    )
    series(metadata, STORE, trigger(events="insert", level="statement", new_table="added"))
    with every_edition.connect() as connection:
        script = migration(connection, metadata)
    run(every_edition, rendered(script.upgrade_ops))
    assert_clean(every_edition, metadata)
