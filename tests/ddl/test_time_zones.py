"""Changed types of moments mean UTC, whatever the time zone of the database and the session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import (
    TIMESTAMP,
    Column,
    Computed,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import TSTZRANGE

from ddl import Columnstore, Hypertable
from ddl.edition import COMMUNITY, detect
from ddl.session import fix
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
    run_offline,
)

LOCAL, ZONED = TIMESTAMP(), TIMESTAMP(timezone=True)
TYPES = {"timestamp": LOCAL, "timestamptz": ZONED, "date": sa.Date(), "text": Text()}
TYPES |= {"time": sa.Time(), "timetz": sa.Time(timezone=True), "timestamp[]": sa.ARRAY(LOCAL)}
TYPES |= {"timestamptz[]": sa.ARRAY(ZONED), "tstzrange": TSTZRANGE(), "text[]": sa.ARRAY(Text)}

CHANGES = [
    ("timestamp", "timestamptz", "2026-05-01 23:30:00", "2026-05-01 23:30:00+00"),
    ("date", "timestamptz", "2026-05-01", "2026-05-01 00:00:00+00"),
    ("text", "timestamptz", "2026-05-01 23:30", "2026-05-01 23:30:00+00"),
    ("text", "timestamptz", "2026-05-01 23:30+02", "2026-05-01 21:30:00+00"),
    ("text", "timetz", "12:30", "12:30:00+00"),
    ("text", "tstzrange", "[2026-05-01,)", '["2026-05-01 00:00:00+00",)'),
    ("text[]", "timestamptz[]", "{2026-05-01}", '{"2026-05-01 00:00:00+00"}'),
    ("timestamp[]", "timestamptz[]", "{2026-05-01}", '{"2026-05-01 00:00:00+00"}'),
    ("timetz", "text", "12:30:00+02", "12:30:00+02"),
    ("timestamptz", "timestamp", "2026-05-01 23:30Z", "2026-05-01 23:30:00"),
    ("timestamptz", "date", "2026-05-01 23:30Z", "2026-05-01"),
    ("timestamptz", "text", "2026-05-01 23:30Z", "2026-05-01 23:30:00+00"),
    ("timestamptz", "text", "infinity", "infinity"),
    ("tstzrange", "text", "[2026-05-01Z,)", '["2026-05-01 00:00:00+00",)'),
]


@pytest.fixture
def in_tokyo(every_edition: Engine) -> Engine:
    """A database whose sessions are nine hours ahead of UTC, and nothing else sets a zone."""
    name = every_edition.url.database
    with every_edition.begin() as connection:
        connection.execute(sa.text(f"ALTER DATABASE \"{name}\" SET TimeZone = 'Asia/Tokyo'"))
    every_edition.dispose()
    return every_edition


def events(moments: Any, *more: Callable[[], Any], ts: Any = ZONED) -> Declare:
    """A hypertable with a column of a type; ``more`` is made anew each time it is declared."""

    def declare(metadata: MetaData) -> None:
        Table(
            "events",
            metadata,
            Column("device", Text, nullable=False),
            Column("ts", ts, nullable=False),
            Column("c", moments),
            *(make() for make in more),
            PrimaryKeyConstraint("device", "ts"),
            Hypertable("ts", chunk_interval="1 day"),
            Columnstore("device", "ts DESC", "7 days"),
        )

    return declare


def changed(engine: Engine, after: Declare) -> tuple[str, str]:
    with engine.connect() as connection:
        script = migration(connection, metadata_of(after))
    return rendered(script.upgrade_ops), rendered(script.downgrade_ops)


def compressed(engine: Engine, *statements: str) -> None:
    """Execute them, then store by column what can be."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(f"SET LOCAL TimeZone = 'UTC'; {statement}"))
        if detect(connection) == COMMUNITY:
            connection.execute(sa.text("SELECT compress_chunk(c) FROM show_chunks('events') c"))


def in_utc(engine: Engine, expression: str) -> Any:
    with engine.connect() as connection:
        connection.execute(sa.text("SET LOCAL TimeZone = 'UTC'"))
        return connection.scalar(sa.text(f"SELECT {expression} FROM events"))


def test_values_stored_by_column(in_tokyo: Engine) -> None:
    """Each change in a column of its own, of rows that are stored by column."""
    columns = [f"c{number}" for number in range(len(CHANGES))]

    def declared(side: int) -> Declare:
        return lambda metadata: events(
            Text,
            *(
                lambda name=name, type_=change[side]: Column(name, TYPES[type_])
                for name, change in zip(columns, CHANGES, strict=True)
            ),
        )(metadata)

    before, after = map(declared, (0, 1))
    with in_tokyo.begin() as connection:
        apply(connection, metadata_of(before))
    values = ", ".join(f"'{value}'" for _, _, value, _ in CHANGES)
    names = ", ".join(columns)
    compressed(
        in_tokyo, f"INSERT INTO events (device, ts, {names}) VALUES ('a', '2026-05-01', {values})"
    )
    started = [in_utc(in_tokyo, f"{name}::text") for name in columns]
    up, down = changed(in_tokyo, after)
    for text in (up, down, up):
        run(in_tokyo, text)
        found = [in_utc(in_tokyo, f"{name}::text") for name in columns]
        if text == up:
            assert found == [expected for *_, expected in CHANGES]
    run(in_tokyo, down)
    again = [in_utc(in_tokyo, f"{name}::text") for name in columns]
    kept = [
        n for n, (one, other, *_) in enumerate(CHANGES) if "text" not in one and other != "date"
    ]
    assert [again[n] for n in kept] == [started[n] for n in kept]
    run_offline(in_tokyo, up)
    assert [in_utc(in_tokyo, f"{name}::text") for name in columns] == [row[3] for row in CHANGES]


@pytest.mark.parametrize(("before", "after"), [(LOCAL, ZONED), (ZONED, LOCAL)])
def test_time_column_with_its_chunks(before: Any, after: Any, in_tokyo: Engine) -> None:
    """Each row stays in the chunk of its day: nine hours later it would not."""
    with in_tokyo.begin() as connection:
        apply(connection, metadata_of(events(Text, ts=before)))
    compressed(
        in_tokyo,
        "INSERT INTO events SELECT 'a', timestamp '2026-05-01 00:10' + i * interval '20 h', 'x'"
        "  FROM generate_series(0, 5) i",
    )
    up, down = changed(in_tokyo, events(Text, ts=after))
    days = "string_agg(ts::text, ' ' ORDER BY ts)"
    listed = in_utc(in_tokyo, days)
    run(in_tokyo, up)
    assert_clean(in_tokyo, metadata_of(events(Text, ts=after)))
    assert in_utc(in_tokyo, days).replace("+00", "") == listed.replace("+00", "")
    narrow = sa.text(
        "SELECT count(*) FROM events WHERE ts >= '2026-05-02 16:00Z' AND ts < '2026-05-02 17:00Z'"
    )
    with in_tokyo.begin() as connection:
        connection.execute(sa.text("SET LOCAL TimeZone = 'UTC'"))
        assert connection.scalar(narrow) == 1
    run(in_tokyo, down)
    assert in_utc(in_tokyo, days) == listed


def test_default_and_generated_column_over_it(in_tokyo: Engine) -> None:
    def declare(type_: Any, expression: str) -> Declare:
        def default() -> Any:
            return Column("since", type_, server_default=sa.text("'2026-05-01'"))

        def generated() -> Any:
            return Column("day", sa.Date, Computed(expression, persisted=True))

        return lambda metadata: events(Text, default, generated)(metadata)

    before = declare(LOCAL, "since::date")
    after = declare(ZONED, "(since AT TIME ZONE 'UTC')::date")
    with in_tokyo.begin() as connection:
        apply(connection, metadata_of(before))
    insert = "INSERT INTO events (device, ts) VALUES ('{}', '2026-05-01')"
    compressed(in_tokyo, insert.format("a"))
    up, down = changed(in_tokyo, after)
    found = "string_agg(DISTINCT since::text || ' ' || day, ',')"
    for text, zone in ((up, "+00"), (down, ""), (up, "+00")):
        run(in_tokyo, f"op.execute({fix(local=True)!r})\n{text}")
        assert in_utc(in_tokyo, found) == f"2026-05-01 00:00:00{zone} 2026-05-01"
    assert_clean(in_tokyo, metadata_of(after))
    compressed(in_tokyo, insert.format("b"))
    assert in_utc(in_tokyo, found) == "2026-05-01 00:00:00+00 2026-05-01"
