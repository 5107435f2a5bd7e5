"""Changed types of columns with rows: nothing that an assignment refuses is lost by a cast."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import util
from sqlalchemy import Column, Connection, Engine, MetaData, Table

from ddl import found_by
from ddl.casts import cast
from ddl.differences import lines
from ddl.effects import effects
from ddl.risk import Risk
from ddl.types import SqlType
from tests.ddl.case import Case
from tests.support.generated_revisions import Declare, apply, metadata_of, migration, rendered, run

TYPES = {
    "integer": ["1", "-70000"],
    "bigint": ["1", "9007199254740993"],
    "smallint": ["7"],
    "boolean": ["true"],
    "real": ["1.5", "1.2345678e-12"],
    "double precision": ["1.5", "0.12345678901234567"],
    "numeric": ["1", "0.123456789012345678901"],
    "numeric(10,2)": ["12.34"],
    "numeric(4,0)": ["12"],
    "text": ["a", "1.239", "2026-05-01 12:30:15.123456+02", '{"b": 1,  "a": 2}', "{1,2}", "a  "],
    "character varying(20)": ["12345678901234567890", "10101"],
    "character(5)": ["ab"],
    "name": ["ab"],
    "date": ["2026-05-01"],
    "timestamp without time zone": ["2026-05-01 12:30:15.123456"],
    "timestamp(0) without time zone": ["2026-05-01 12:30:15"],
    "timestamp with time zone": ["2026-05-01 23:30:15.123456+00"],
    "time without time zone": ["12:30:15.123456"],
    "time with time zone": ["12:30:15.123456+02"],
    "interval": ["1 year 2 days 12:30:15.123456"],
    "interval day to minute": ["2 days 12:30:00"],
    "json": ['{"b": 1,  "a": 2}', "1.5"],
    "jsonb": ['{"a": 2}', "1.5", "true"],
    "uuid": ["0196-8a5b3c4d-7e1f-8a2b-3c4d5e6f7a8b".replace("-", "")],
    "bytea": ["\\x0102"],
    "inet": ["10.0.0.1/8"],
    "cidr": ["10.0.0.0/8"],
    "bit(5)": ["10101"],
    "bit(3)": ["101"],
    "bit varying": ["1010101"],
    "int4range": ["[1,5)"],
    "int4multirange": ["{[1,5),[7,9)}"],
    "box": ["(1,1),(0,0)"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "public.mood": ["happy"],
    "public.weather": ["happy"],
    "public.code": ["abc"],
    "public.price": ["1.25"],
    "integer[]": ["{1,2}"],
    "text[]": ["{a,b}", "{1,2}"],
    "character varying(3)[]": ["{a,b}"],
    "double precision[]": ["{1.25}"],
    "timestamp with time zone[]": ["{2026-05-01 23:30:15+00}"],
    "timestamp without time zone[]": ["{2026-05-01 23:30:15}"],
}
"""Types in the server's spelling, each with values that it keeps as they stand."""


TEXTS = ("text", "character varying(20)", "character(5)", "name", "public.code")

TABLES = {type_: f"t{number}" for number, type_ in enumerate(TYPES)}
PAIRS = list(itertools.permutations(TYPES, 2))

# INSERT assigns like ALTER COLUMN … TYPE, and takes the expression that USING has.
ASSIGNED = """
CREATE FUNCTION pg_temp.assigned(source text, target text, value text) RETURNS boolean AS $$
BEGIN
    EXECUTE format('EXPLAIN INSERT INTO %I (c) SELECT %s FROM %I', target, value, source);
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END $$ LANGUAGE plpgsql"""

GIVEN_BACK = """
CREATE FUNCTION pg_temp.given_back(source text, target text, there text, back text, nr int)
RETURNS text AS $$
DECLARE
    found text;
BEGIN
    EXECUTE format('INSERT INTO %I SELECT -1, %s FROM %I WHERE id = %s',
                   target, there, source, nr);
    EXECUTE format('INSERT INTO %I SELECT -2, %s FROM %I WHERE id = -1', source, back, target);
    EXECUTE format('SELECT string_agg(c::text, $d$ became $d$ ORDER BY id DESC)'
                   ' FROM %I WHERE id IN (-2, %s)', source, nr) INTO found;
    RAISE EXCEPTION '%', found USING ERRCODE = 'UND01';
EXCEPTION WHEN SQLSTATE 'UND01' THEN
    RETURN found;
WHEN OTHERS THEN
    RETURN 'refused';
END $$ LANGUAGE plpgsql"""


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A transaction with a table for each type, in which the session's zone is not UTC."""
    with engine.connect() as connection:
        for statement in (
            "SET LOCAL TimeZone = 'Asia/Tokyo'",
            "CREATE TYPE mood AS ENUM ('happy', 'sad')",
            "CREATE TYPE weather AS ENUM ('happy')",
            "CREATE DOMAIN code AS varchar(20) CHECK (VALUE <> '')",
            "CREATE DOMAIN price AS numeric(10,2)",
            ASSIGNED,
            GIVEN_BACK,
        ):
            connection.execute(sa.text(statement))
        for type_, table in TABLES.items():
            connection.execute(sa.text(f"CREATE TEMP TABLE {table} (id int, c {type_})"))
            for row, value in enumerate(TYPES[type_]):
                insert = sa.text(f"INSERT INTO {table} VALUES ({row}, CAST(:value AS {type_}))")
                connection.execute(insert, {"value": value})
        yield connection


def test_using_stands_where_the_server_does_not_assign(connection: Connection) -> None:
    query = sa.text("SELECT pg_temp.assigned(:source, :target, :value)")
    wrong = []
    for before, after in PAIRS:
        found = cast(connection, "t.c", before, after)
        tables = {"source": TABLES[before], "target": TABLES[after]}
        assigns = connection.scalar(query, tables | {"value": "c"})
        by_using = connection.scalar(query, tables | {"value": found.using or "c"})
        if found.refusal:
            if assigns:
                wrong.append((before, after, found))
        elif not by_using or assigns != (found.using is None):
            wrong.append((before, after, found))
    assert not wrong, "\n".join(map(str, wrong))


def test_what_loses_nothing_gives_back_every_value_or_is_refused(connection: Connection) -> None:
    """There and back, as in an upgrade and its downgrade."""
    query = sa.text("SELECT pg_temp.given_back(:source, :target, :there, :back, :nr)")
    wrong = []
    for before, after in PAIRS:
        there = cast(connection, "t.c", before, after)
        back = cast(connection, "t.c", after, before)
        if there.loses or there.refusal or back.refusal:
            continue
        if there.using is not None and before in TEXTS:
            continue  # read as the other type, a text loses its spelling
        parameters = {
            "source": TABLES[before],
            "target": TABLES[after],
            "there": there.using or "c",
            "back": back.using or "c",
        }
        zone = there.zone or back.zone or "Asia/Tokyo"
        connection.execute(sa.text(f"SET LOCAL TimeZone = '{zone}'"))
        for row in range(len(TYPES[before])):
            found = str(connection.scalar(query, parameters | {"nr": row}))
            if found != "refused" and len(set(found.split(" became "))) > 1:
                wrong.append((before, after, found))
    assert not wrong, "\n".join(map(str, wrong))


def test_what_always_fits_is_refused_for_no_value(connection: Connection) -> None:
    pairs = [
        (one, other) for one, other in PAIRS if cast(connection, "t.c", one, other).always_fits
    ]
    assert ("integer", "bigint") in pairs
    assert ("character varying(20)", "text") in pairs
    for before, after in pairs:
        using = cast(connection, "t.c", before, after).using
        insert = f"INSERT INTO {TABLES[after]} SELECT -3, {using or 'c'} FROM {TABLES[before]}"
        connection.execute(sa.text(insert.replace(":", "\\:")))


# --- whole revisions, over rows ---


def items(type_: str) -> Declare:
    def declare(metadata: MetaData) -> None:
        Table("items", metadata, Column("id", sa.Integer), Column("c", SqlType(type_)))

    return declare


def prepared(engine: Engine, type_: str, value: str) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(items(type_)))
        statement = sa.text(f"INSERT INTO items VALUES (1, CAST(:value AS {type_}))")
        connection.execute(statement, {"value": value})


def stored(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(sa.text("SELECT c::text FROM items")))


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        ("text", "varchar(20)", "x" * 39),
        ("varchar(50)", "char(5)", "x" * 6),
        ("text[]", "varchar(3)[]", "{long}"),
        ("text", "bit(3)", "10101"),
        ("bit(5)", "bit(3)", "10101"),
        ("integer", "varchar(3)", "1234"),
        ("bigint", "smallint", "70000"),
        ("text", "integer", "five"),
        ("text", "uuid", "none"),
    ],
)
def test_what_does_not_fit_is_refused_in_both_directions(
    every_edition: Engine, before: str, after: str, value: str
) -> None:
    prepared(every_edition, before, value)
    with every_edition.connect() as connection:
        narrowing = migration(connection, metadata_of(items(after)))
    with pytest.raises(sa.exc.DBAPIError):
        run(every_edition, rendered(narrowing.upgrade_ops))
    assert stored(every_edition) == value
    with every_edition.begin() as connection:
        connection.execute(sa.text("DROP TABLE items"))
        apply(connection, metadata_of(items(after)))
    with every_edition.connect() as connection:
        widening = migration(connection, metadata_of(items(before)))
    run(every_edition, rendered(widening.upgrade_ops))
    with every_edition.begin() as connection:
        connection.execute(sa.text("INSERT INTO items VALUES (1, :value)"), {"value": value})
    with pytest.raises(sa.exc.DBAPIError):
        run(every_edition, rendered(widening.downgrade_ops))
    assert stored(every_edition) == value


def call_of(operations: Any) -> str:
    """Without the line about values that do not fit."""
    return re.sub("^# fails where a value of .*\n", "", rendered(operations))


@pytest.mark.parametrize(
    ("before", "after", "call", "back"),
    [
        (
            "numeric(10,2)",
            "numeric(10,0)",
            '"numeric(10,0)", loses="digits after the decimal point")',
            '"numeric(10,2)")',
        ),
        (
            "timestamptz",
            "date",
            '"date", loses="the time of day", zone="UTC")',
            '"timestamp with time zone", zone="UTC")',
        ),
        (
            "float8",
            "integer",
            '"integer", loses="digits after the decimal point")',
            '"double precision")',
        ),
        (
            "interval",
            "interval(0)",
            '"interval(0)", loses="fractions of a second")',
            '"interval")',
        ),
        (
            "text",
            "varchar(20)",
            '"character varying(20)")',
            '"text")',
        ),
        (
            "integer",
            "bigint",
            '"bigint")',
            '"integer")',
        ),
    ],
)
def test_revision_says_what_is_lost(
    engine: Engine, before: str, after: str, call: str, back: str
) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(items(before)))
        script = migration(connection, metadata_of(items(after)))
    assert call_of(script.upgrade_ops) == f'op.alter_column_type("items", "c", {call}'
    assert call_of(script.downgrade_ops) == f'op.alter_column_type("items", "c", {back}'
    assert script.upgrade_ops is not None
    (effect,) = effects(script.upgrade_ops.ops)
    assert (effect.risk is Risk.DESTRUCTIVE) == ("loses" in call)
    assert not effect.risk.loses or effect.reason in call.replace('loses="', "loses ")


def test_types_without_a_cast_are_refused_at_generation_and_shown_by_check(engine: Engine) -> None:
    prepared(engine, "integer", "1")
    with engine.connect() as connection:
        script = migration(connection, metadata_of(items("uuid")))
    assert [line.split("  ")[-1].strip() for line in lines(found_by(script))] == [
        "type: expected uuid, found integer"
    ]
    expected = (
        r"column public\.items\.c: .* none from integer to uuid; add a column of the new type"
    )
    with pytest.raises(util.CommandError, match=expected):
        rendered(script.upgrade_ops)


def test_collation_alone_assigns(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        Table("items", metadata, Column("id", sa.Integer), Column("c", sa.String(9)))

    def after(metadata: MetaData) -> None:
        column = Column("c", sa.String(9, collation="C"))
        Table("items", metadata, Column("id", sa.Integer), column)

    Case(
        before,
        after,
        rows=["INSERT INTO items VALUES (1, 'a')"],
        upgrade='op.alter_column_type("items", "c", "character varying(9)", collation=\'"C"\')',
        downgrade='op.alter_column_type("items", "c", "character varying(9)")',
    ).walk(engine)
