"""NOT NULL on tables with rows: refused when its revision is generated, said in the revision."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import Column, Engine, Identity, Integer, MetaData, Table, Text

from ddl import (
    Columnstore,
    Grant,
    Hypertable,
    Policy,
    RenamedFrom,
    RowLevelSecurity,
    filled,
    schema_grant,
)
from ddl.types import SqlType
from tests.ddl.case import Case
from tests.support.generated_revisions import Declare, apply, metadata_of, migration, rendered, run


def items(*more: Any, hidden: bool = False, reader: str | None = "r_read") -> Declare:
    def declare(metadata: MetaData) -> None:
        metadata.info["validate_as"] = reader
        rules: list[Any] = []
        if hidden:
            schema_grant("usage", on="public", to="r_read", metadata=metadata)
            rules = [
                RowLevelSecurity(),
                Policy("read", to="r_read", command="select", using="true"),
                Grant("select", to="r_read"),
            ]
        columns = [column._copy() for column in more]
        Table("items", metadata, Column("id", Integer, primary_key=True), *columns, *rules)

    return declare


def refused(engine: Engine, after: Declare) -> str | None:
    """Why the revision is not written; None if it is."""
    metadata = metadata_of(after)
    with engine.connect() as connection:
        script = migration(connection, metadata)
        assert script.upgrade_ops is not None
        try:
            filled.refuse(script.upgrade_ops.ops, connection, metadata.info.get("validate_as"))
        except CommandError as error:
            return str(error)
    return None


def prepared(engine: Engine, before: Declare, *rows: str) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(before))
        for statement in rows:
            connection.execute(sa.text(statement))


TOO_LONG = "x" * 39
TWO = "INSERT INTO items (id) VALUES (1), (2)"
M = Column("m", Integer, nullable=False)


def test_new_column_without_default(every_edition: Engine) -> None:
    prepared(every_edition, items(), TWO)
    assert refused(every_edition, items(M)) == (
        "column public.items.m: it is new and NOT NULL without a default, and public.items has"
        " 2 rows without a value for it; declare a server_default, or declare the column nullable,"
        " fill it, and make it NOT NULL in a later revision (see docs/adding-a-table.md, NOT NULL"
        " on a busy table)"
    )


@pytest.mark.parametrize(
    "column",
    [
        Column("m", Integer),
        Column("m", Integer, server_default="1", nullable=False),
        Column("m", Integer, Identity(), nullable=False),
        Column("m", Integer, sa.Computed("id * 2", persisted=True), nullable=False),
    ],
)
def test_new_column_that_every_row_has_a_value_for(engine: Engine, column: Column[Any]) -> None:
    prepared(engine, items(), TWO)
    assert refused(engine, items(column)) is None
    with engine.connect() as connection:
        script = migration(connection, metadata_of(items(column)))
    assert "# fails" not in rendered(script.upgrade_ops)
    run(engine, rendered(script.upgrade_ops))


def test_values_that_are_missing(every_edition: Engine) -> None:
    rows = "INSERT INTO items VALUES (1, 1), (2, NULL)"
    prepared(every_edition, items(Column("m", Integer)), rows)
    assert refused(every_edition, items(M)) == (
        "column public.items.m: expected NOT NULL, found 1 row without a value; give them one"
        " first, in a revision before this one or by hand: UPDATE items SET m = … WHERE m IS NULL"
    )
    with every_edition.begin() as connection:
        connection.execute(sa.text("UPDATE items SET m = 0 WHERE m IS NULL"))
    assert refused(every_edition, items(M)) is None


def of_type(type_: str) -> Column[Any]:
    return Column("c", SqlType(type_))


@pytest.mark.parametrize(
    ("before", "after", "values", "spelled"),
    [
        ("text", "varchar(20)", [TOO_LONG, TOO_LONG, "short"], "character varying(20)"),
        ("varchar(50)", "char(5)", ["123456", "1234567"], "character(5)"),
        ("numeric(10,2)", "numeric(4,1)", ["1000", "-12345.6", "1.25"], "numeric(4,1)"),
        ("numeric(5,2)", "numeric(4,1)", ["999.96", "-999.99", "999"], "numeric(4,1)"),
        ("bigint", "integer", ["3000000000", "-3000000000", "7"], "integer"),
        ("double precision", "smallint", ["1e9", "nan", "1"], "smallint"),
        ("text", "uuid", ["no", "0", str(uuid.UUID(int=1))], "uuid"),
        ("text[]", "varchar(3)[]", ["{long}", "{a,longer}", "{a}"], "character varying(3)[]"),
        ("bit(5)", "bit(3)", ["10101", "00000"], "bit(3)"),
    ],
)
def test_values_that_do_not_fit(
    every_edition: Engine, before: str, after: str, values: list[str], spelled: str
) -> None:
    rows = [f"INSERT INTO items VALUES ({nr}, '{value}')" for nr, value in enumerate(values)]
    prepared(every_edition, items(of_type(before)), *rows, "INSERT INTO items VALUES (-1)")
    assert refused(every_edition, items(of_type(after))) == (
        f"column public.items.c: expected values that fit {spelled}, found 2 rows whose value does"
        f" not; change them first, in a revision before this one or by hand: UPDATE items SET c = …"
        f" WHERE …; or declare a type that holds them"
    )
    with every_edition.begin() as connection:
        connection.execute(sa.text("DELETE FROM items WHERE id < 2"))
    assert refused(every_edition, items(of_type(after))) is None
    with every_edition.begin() as connection:
        apply(connection, metadata_of(items(of_type(after))))


@pytest.mark.parametrize(
    "name", ["loop", "counted", "counting", "misfits", 'a "b" % :c', "fitting"]
)
def test_names_that_the_count_uses_itself(engine: Engine, name: str) -> None:
    rows = "INSERT INTO items VALUES (1, 'five'), (2, 'six'), (3, '7')"
    prepared(engine, items(Column(name, Text)), rows.replace(":", "\\:"))
    assert "found 2 rows" in str(refused(engine, items(Column(name, Integer))))


def test_table_that_is_renamed_as_well(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        columns = (Column("id", Integer, primary_key=True), Column("d", sa.String(3)))
        Table("things", metadata, *columns, RenamedFrom("items", d="c"))

    prepared(engine, items(Column("c", Text)), "INSERT INTO items VALUES (1, 'long')")
    assert "things.d: expected values that fit character varying(3), found 1 row" in str(
        refused(engine, after)
    )


def test_compressed_chunks_are_counted(community: Engine) -> None:
    def series(type_: str) -> Declare:
        def declare(metadata: MetaData) -> None:
            Table(
                "series",
                metadata,
                Column("ts", sa.DateTime(timezone=True), primary_key=True),
                Column("device", Integer),
                of_type(type_),
                Hypertable("ts", chunk_interval="7 days"),
                Columnstore(segmentby="device", orderby="ts DESC", after="7 days"),
            )

        return declare

    rows = "INSERT INTO series SELECT now() - day * interval '1 day', 1, repeat('x', day)"
    prepared(
        community,
        series("text"),
        f"{rows} FROM generate_series(1, 40) day",
        "SELECT compress_chunk(c) FROM show_chunks('series') c",
    )
    assert "found 20 rows" in str(refused(community, series("varchar(20)")))


def test_a_type_that_may_not_hold_what_is_elsewhere_gets_a_line(engine: Engine) -> None:
    Case(
        items(of_type("integer")),
        items(of_type("bigint")),
        rows=[TWO],
        upgrade='op.alter_column_type("items", "c", "bigint")',
        downgrade="""
            # fails where a value of public.items.c does not fit integer
            op.alter_column_type("items", "c", "integer")
        """,
    ).walk(engine)


def test_rows_that_policies_hide_from_the_owner(owned: Engine) -> None:
    text = Column("c", Text)
    prepared(owned, items(text), "INSERT INTO items VALUES (1, 'long'), (2, 'longer')")
    with owned.begin() as connection:
        script = migration(connection, metadata_of(items(text, hidden=True)))
    run(owned, rendered(script.upgrade_ops))
    with owned.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM items")) == 0
    assert "2 rows" in str(refused(owned, items(text, M, hidden=True)))
    assert "2 rows" in str(refused(owned, items(Column("c", sa.String(3)), hidden=True)))
    # Nothing is claimed of rows that nobody may read.
    assert refused(owned, items(text, M, hidden=True, reader=None)) is None


def test_empty_table_gets_a_line_for_other_databases(engine: Engine) -> None:
    Case(
        items(),
        items(M),
        upgrade="""
            # fails where public.items has rows: m is NOT NULL without a default
            op.add_column("items", sa.Column("m", sa.Integer(), nullable=False))
        """,
        downgrade='op.drop_column("items", "m")',
    ).walk(engine)
    assert refused(engine, items()) is None


def test_downgrade_says_that_it_cannot_fill_the_column(engine: Engine) -> None:
    name = Column("name", Text, nullable=False)
    prepared(engine, items(name), "INSERT INTO items VALUES (1, 'a')")
    assert refused(engine, items()) is None
    with engine.connect() as connection:
        script = migration(connection, metadata_of(items()))
    assert rendered(script.downgrade_ops) == (
        "# fails where public.items has rows: name is NOT NULL without a default\n"
        'op.add_column("items", sa.Column("name", sa.TEXT(), nullable=False))'
    )
