"""Columns of hypertables whose chunks are stored by column change, on every edition."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Double,
    Engine,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from ddl import Columnstore, Hypertable, RetentionPolicy
from ddl.edition import COMMUNITY, detect
from ddl.effects import effects
from ddl.risk import Risk
from tests.ddl.case import Case
from tests.support.commands import ROOT
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
)
from tests.support.time_series import alone

ROWS = """
INSERT INTO readings (device, ts, site, value, n)
SELECT 'd' || i % 3, timestamptz '2026-01-01 UTC' + i * interval '1 hour', 's' || i % 2, i / 3.0, i
  FROM generate_series(1, 60) i"""
COMPRESS = "SELECT compress_chunk(c) FROM show_chunks('readings') c"


def readings(
    *more: Any,
    site: Any = Text,
    value: Any = Double,
    n: Any = Integer,
    segmentby: str = "device",
    orderby: str = "ts DESC",
    sparse_index: str | None = None,
) -> Declare:
    """A hypertable; None is a column that is not there."""

    def declare(metadata: MetaData) -> None:
        typed = {"site": site, "value": value, "n": n}
        Table(
            "readings",
            metadata,
            Column("device", Text, nullable=False),
            Column("ts", TIMESTAMP(timezone=True), nullable=False),
            *(Column(name, type_) for name, type_ in typed.items() if type_ is not None),
            *more,
            PrimaryKeyConstraint("device", "ts"),
            Hypertable("ts", chunk_interval="1 day"),
            Columnstore(segmentby, orderby, "7 days", sparse_index=sparse_index),
            RetentionPolicy("900 days"),
        )

    return declare


def with_column(column: Callable[[], Any], **options: Any) -> Declare:
    """The hypertable with something more, made anew each time it is declared."""
    return lambda metadata: readings(column(), **options)(metadata)


def rows_for(engine: Engine) -> list[str]:
    """Rows in three chunks, stored by column where the edition can."""
    with engine.connect() as connection:
        return [ROWS, COMPRESS] if detect(connection) == COMMUNITY else [ROWS]


CHANGES = {
    "wider type": (readings(), readings(n=BigInteger)),
    "two types": (readings(), readings(n=BigInteger, value=Numeric)),
    "text to number": (readings(), readings(site=sa.String(40))),
    "type of a column of the layout": (
        readings(segmentby="device,site"),
        readings(site=sa.String(40), segmentby="device,site"),
    ),
    "column of the layout dropped": (
        readings(segmentby="device,site"),
        readings(site=None),
    ),
    "column of the order dropped": (readings(orderby="n DESC,ts DESC"), readings(n=None)),
    "column dropped and another added": (
        readings(segmentby="device,site"),
        with_column(lambda: Column("room", Text), site=None, segmentby="device,room"),
    ),
    "column added to the layout": (
        readings(site=None),
        readings(segmentby="device,site"),
    ),
    "sparse indexes": (readings(), readings(sparse_index="minmax(value), bloom(n,site)")),
    "sparse indexes left to TimescaleDB": (readings(sparse_index="minmax(n)"), readings()),
    "column of a sparse index dropped": (
        readings(sparse_index="bloom(n), minmax(site)"),
        readings(site=None, sparse_index="bloom(n)"),
    ),
    "type of a column of a sparse index": (
        readings(sparse_index="bloom(n,site)"),
        readings(n=BigInteger, sparse_index="bloom(site,n)"),
    ),
    "column outside the layout dropped": (readings(), readings(site=None)),
    "nullable column": (readings(), with_column(lambda: Column("m", Integer))),
    "literal default": (
        readings(),
        with_column(lambda: Column("m", Integer, nullable=False, server_default="5")),
    ),
    "list as default": (
        readings(),
        with_column(
            lambda: Column("m", sa.ARRAY(Text), nullable=False, server_default=text("'{}'::text[]"))
        ),
    ),
    "computed default": (
        readings(),
        with_column(lambda: Column("m", TIMESTAMP(timezone=True), server_default=text("now()"))),
    ),
    "computed default, not null": (
        readings(),
        with_column(
            lambda: Column("m", sa.Uuid, server_default=text("gen_random_uuid()"), nullable=False)
        ),
    ),
    "generated column": (
        readings(),
        with_column(lambda: Column("m", Integer, Computed("n * 2", persisted=True))),
    ),
    "generated column dropped": (
        with_column(lambda: Column("m", Integer, Computed("n * 2", persisted=True))),
        readings(),
    ),
    "computed default dropped": (
        with_column(lambda: Column("m", TIMESTAMP(timezone=True), server_default=text("now()"))),
        readings(),
    ),
    "check": (readings(), with_column(lambda: CheckConstraint("n > 0", name="n"))),
    "unique": (readings(), with_column(lambda: sa.UniqueConstraint("device", "ts", "n"))),
    "index": (readings(), with_column(lambda: sa.Index(None, "site", "ts"))),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_change_keeps_all_rows(change: str, every_edition: Engine) -> None:
    before, after = CHANGES[change]
    rows = [
        statement.replace(", site", "").replace(", 's' || i % 2", "")
        if change == "column added to the layout"
        else statement
        for statement in rows_for(every_edition)
    ]
    Case(before, after, rows=rows).walk(every_edition)
    with every_edition.connect() as connection:
        found = connection.execute(sa.text("SELECT * FROM readings")).mappings().all()
    assert len(found) == 60
    assert sum(row["value"] for row in found) == pytest.approx(610)
    if "m" in found[0] and change not in ("nullable column", "literal default", "list as default"):
        assert None not in [row["m"] for row in found]


@pytest.mark.timescaledb
@pytest.mark.parametrize("change", CHANGES)
def test_chunks_of_either_layout_follow(change: str, community: Engine) -> None:
    """Chunks that got the new layout are in the way of the downgrade as the old ones were."""
    before, after = CHANGES[change]
    with community.begin() as connection:
        apply(connection, metadata_of(before))
        site = "site" in metadata_of(before).tables["readings"].columns
        rows = ROWS if site else ROWS.replace(", site", "").replace(", 's' || i % 2", "")
        connection.execute(sa.text(rows))
    again = COMPRESS.replace("(c)", "(c, recompress => true)")
    with community.begin() as connection:
        connection.execute(sa.text(again))
    with community.connect() as connection:
        script = migration(connection, metadata_of(after))
    for operations in (script.upgrade_ops, script.downgrade_ops, script.upgrade_ops):
        run(community, rendered(operations))
        with community.begin() as connection:
            connection.execute(sa.text(again))
            found = sa.text("SELECT count(*), sum(value) FROM readings")
            assert tuple(connection.execute(found).one()) == (60, pytest.approx(610))


def test_revision_disables_the_columnstore_for_types(every_edition: Engine) -> None:
    with every_edition.begin() as connection:
        apply(connection, metadata_of(readings()))
        script = migration(connection, metadata_of(readings(n=BigInteger)))
    remark = (
        "# TimescaleDB changes columns so only while all rows are stored by row;"
        " the columnstore policy then stores them by column again, chunk by chunk\n"
    )
    create = (
        'op.create_columnstore("readings", segmentby="device", orderby="ts DESC", after="7 days")'
    )
    expected = """
        {}op.drop_columnstore("readings")
        {}op.alter_column_type("readings", "n", "{}")
        {}
    """
    expected = "".join(line.strip() + "\n" for line in expected.strip().splitlines()).strip()
    assert rendered(script.upgrade_ops) == expected.format(remark, "", "bigint", create)
    fails = "# fails where a value of public.readings.n does not fit integer\n"
    assert rendered(script.downgrade_ops) == expected.format(remark, fails, "integer", create)


@pytest.mark.timescaledb
def test_revision_says_how_much_is_stored_by_row_again(community: Engine) -> None:
    with community.begin() as connection:
        apply(connection, metadata_of(readings()))
        for statement in (ROWS, COMPRESS):
            connection.execute(sa.text(statement))
    with community.connect() as connection:
        script = migration(connection, metadata_of(readings(n=BigInteger)))
    size = r"3 chunks of \d+ kB that become \d+ kB"
    assert re.search(f"are stored by row, here {size}, once more", rendered(script.upgrade_ops))
    first = effects(script.upgrade_ops.ops)[0]
    assert first.risk is Risk.BLOCKING
    assert re.search(f"{size}$", first.reason)
    assert "by row, here" not in rendered(script.downgrade_ops)


@pytest.mark.timescaledb
def test_a_new_column_is_filled_chunk_by_chunk(community: Engine) -> None:
    """By the statement of the documentation: what one run did is left alone by the next."""
    page = (ROOT / "docs" / "adding-a-table.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sql\n(DO \$\$.*?END LOOP;\nEND \$\$;)\n```", page, re.S)
    words = {"'timeseries'": "'public'", "pump_readings": "readings", "exact": "m", "flow": "n"}
    for old, new in words.items():
        block = block.replace(old, new)
    with community.begin() as connection:
        apply(connection, metadata_of(readings()))
        for statement in (ROWS, COMPRESS):
            connection.execute(sa.text(statement))
        apply(connection, metadata_of(with_column(lambda: Column("m", BigInteger))))
        connection.execute(sa.text("ALTER TABLE readings ADD CONSTRAINT stop CHECK (m < 50)"))
    filled = "SELECT count(m), count(*) FILTER (WHERE m <> n) FROM readings"
    chunks = "SELECT count(*), count(*) FILTER (WHERE is_compressed)"
    chunks += " FROM timescaledb_information.chunks"
    with pytest.raises(sa.exc.IntegrityError):
        alone(community, block)
    assert [*map(tuple, alone(community, filled))] == [(47, 0)]
    assert [*map(tuple, alone(community, chunks))] == [(3, 3)]
    alone(community, "ALTER TABLE readings DROP CONSTRAINT stop", block)
    assert [*map(tuple, alone(community, filled))] == [(60, 0)]
    assert [*map(tuple, alone(community, chunks))] == [(3, 3)]
    assert_clean(community, metadata_of(with_column(lambda: Column("m", BigInteger))))


def test_column_of_the_layout_is_dropped_after_it(every_edition: Engine) -> None:
    with every_edition.begin() as connection:
        apply(connection, metadata_of(readings(segmentby="device,site")))
        script = migration(connection, metadata_of(readings(site=None)))
    columnstore = (
        'op.alter_columnstore("readings", segmentby="device", orderby="ts DESC", after="7 days"'
    )
    assert rendered(script.upgrade_ops).splitlines() == [
        f"{columnstore}, recompress=True)",
        'op.drop_column("readings", "site")',
    ]
    assert rendered(script.downgrade_ops).splitlines() == [
        'op.add_column("readings", sa.Column("site", sa.TEXT(), nullable=True))',
        columnstore.replace('"device"', '"device,site"') + ")",
    ]


def test_not_null_without_default_is_set_in_a_second_step(every_edition: Engine) -> None:
    """TimescaleDB refuses to add such a column even to an empty hypertable."""

    def after(metadata: MetaData) -> None:
        readings(Column("m", Integer, nullable=False))(metadata)

    Case(
        readings(),
        after,
        upgrade="""
            op.add_column("readings", sa.Column("m", sa.Integer(), nullable=True))
            # fails where public.readings has rows: m is NOT NULL without a default
            op.alter_column("readings", "m", existing_type=sa.Integer(), nullable=False)
        """,
        downgrade="""
            op.alter_column("readings", "m", existing_type=sa.Integer(), nullable=True)
            op.drop_column("readings", "m")
        """,
    ).walk(every_edition)
