"""Types of projects, types that SQLAlchemy does not know or only half, and enums."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import Column, Engine, Integer, MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine, UserDefinedType

from ddl.types import SqlType, check_types
from tests.ddl.case import Case, nothing
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
)


class Box(UserDefinedType[Any]):
    """A type of a project."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "box"


class Position(sa.TypeDecorator[Any]):
    """A type of a project over one of SQLAlchemy's."""

    cache_ok = True
    impl = sa.String(20)


def table(*columns: Column[Any]) -> Declare:
    def declare(metadata: MetaData) -> None:
        own = [column._copy() for column in columns]
        Table("items", metadata, Column("id", Integer, primary_key=True), *own)

    return declare


def test_types_of_a_project_are_written_by_their_sql(engine: Engine) -> None:
    Case(
        table(),
        table(Column("at", Position), Column("edge", Box, nullable=False)),
        upgrade="""
            op.add_column("items", sa.Column("at", op.sql_type("VARCHAR(20)"), nullable=True))
            # fails where public.items has rows: edge is NOT NULL without a default
            op.add_column("items", sa.Column("edge", op.sql_type("box"), nullable=False))
        """,
        downgrade="""
            op.drop_column("items", "edge")
            op.drop_column("items", "at")
        """,
    ).walk(engine)


def test_table_and_column_are_created_again_with_them(engine: Engine) -> None:
    Case(table(Column("edge", Box)), table()).walk(engine)
    Case(table(), nothing).walk(engine)


UNUSUAL = """
    xml point path polygon line circle box jsonpath pg_lsn money bit(3) varbit(5) tsvector tsquery
    int4range datemultirange inet cidr macaddr macaddr8 "char" name oid regclass xid8 pg_snapshot
    "char"[] name[] text[][] numeric(10,2)[] numeric timestamp(3) timestamp(3)[] timestamptz(3)
    timetz(2) interval(3) interval_year_to_month interval_day_to_second(2) char(5) varchar float4[]
""".replace("interval_", "interval ").replace("_to_", " to ")


def test_unusual_types(engine: Engine) -> None:
    listed = re.findall(r"interval (?:year|day) to \S+|\S+", UNUSUAL)
    columns = [Column(f"c{number}", SqlType(one)) for number, one in enumerate(listed)]
    Case(table(), table(*columns)).walk(engine)
    Case(table(), nothing).walk(engine)


@pytest.mark.parametrize(
    "type_",
    [
        sa.Interval(second_precision=2),
        postgresql.INTERVAL(fields="YEAR TO MONTH"),
        sa.ARRAY(postgresql.TIMESTAMP(timezone=True, precision=3), dimensions=2),
        postgresql.BIT(5, varying=True),
        sa.String(5, collation="C"),
        sa.Uuid(native_uuid=False),
        sa.Text().with_variant(postgresql.CIDR(), "postgresql"),
        sa.Enum("a", "b", native_enum=False, length=7),
        sa.Boolean(create_constraint=True, name="yes"),
    ],
    ids=repr,
)
def test_options_of_types(engine: Engine, type_: TypeEngine[Any]) -> None:
    Case(table(), table(Column("c", type_))).walk(engine)
    Case(table(), nothing).walk(engine)


# --- enums and domains ---


def listed(*values: str) -> Declare:
    type_ = sa.Enum(*values, native_enum=False, create_constraint=True, name="mood")
    return table(Column("mood", type_, nullable=False))


def test_values_of_an_enum_that_is_text(engine: Engine) -> None:
    with engine.begin() as connection:
        script = migration(connection, metadata_of(listed("sad", "ok")))
        assert rendered(script.upgrade_ops).endswith(
            """\
    sa.Column("mood", sa.String(length=3), nullable=False),
    sa.PrimaryKeyConstraint("id", name=op.f("items_pkey")),
)
op.add_constraint("items", "items_mood_check", "CHECK (mood IN ('sad', 'ok'))")"""
        )
        apply(connection, metadata_of(listed("sad", "ok")))
        connection.execute(sa.text("INSERT INTO items VALUES (1, 'ok')"))
    assert_clean(engine, metadata_of(listed("sad", "ok")))
    with engine.connect() as connection:
        script = migration(connection, metadata_of(listed("ok", "happy")))
    up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    assert up == (
        """\
op.remove_constraint("items", "items_mood_check")
op.alter_column_type("items", "mood", "character varying(5)")
op.add_constraint("items", "items_mood_check", "CHECK (mood IN ('ok', 'happy'))")"""
    )
    run(engine, up)
    assert_clean(engine, metadata_of(listed("ok", "happy")))
    run(engine, down)
    # The server spells the CHECK of a varchar differently when it is created by its own spelling.
    assert_clean(engine, metadata_of(listed("sad", "ok")))


class Mood(sa.TypeDecorator[str]):
    """An enum in disguise."""

    cache_ok = True
    impl = sa.Enum("sad", "it's ok", name="mood")


WHY = (
    "is a native enum, mood: PostgreSQL can take no value from it, and its comparison keeps"
    " row-level security from using an index; write c: "
)
ARRAY = """CheckConstraint("c <@ ARRAY['sad', 'it''s ok']", name="c")"""
DOMAIN = (
    "is of the domain email, which revisions do not evolve; give the column its type, TEXT, and"
    """ write in __table_args__ CheckConstraint("c ~ '@'", name="c")"""
)
ENUM = """Mapped[str | None], and in __table_args__ one_of("c", ("sad", "it's ok"))"""


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        (sa.Enum("sad", "it's ok", name="mood"), WHY + ENUM),
        (postgresql.ENUM("sad", "it's ok", name="mood", create_type=False), WHY + ENUM),
        (Mood(), WHY + ENUM),
        (sa.Text().with_variant(postgresql.ENUM("a", name="mood"), "postgresql"), 'one_of("c", ("a",))'),
        (
            postgresql.ARRAY(Mood()),
            f"""{WHY}Mapped[list[str] | None], and in __table_args__ {ARRAY}""",
        ),
        (
            postgresql.DOMAIN("email", sa.Text(), check="VALUE ~ '@'"),
            DOMAIN,
        ),
    ],
)  # fmt: skip
def test_native_enums_and_domains(engine: Engine, type_: Any, expected: str) -> None:
    metadata = metadata_of(table(Column("c", type_), Column("also", Mood(), nullable=False)))
    with engine.connect() as connection, pytest.raises(CommandError) as refused:
        migration(connection, metadata)
    first, second = str(refused.value).splitlines()
    assert first.startswith("column items.c ")
    assert first.endswith(expected)
    assert second.startswith("column items.also is a native enum, mood")
    assert "also: Mapped[str], " in second


@pytest.mark.parametrize(
    "type_",
    [
        sa.Enum("a", native_enum=False),
        sa.ARRAY(sa.Enum("a", native_enum=False)),
    ],
)
def test_what_is_text_to_the_server_is_no_native_enum(type_: Any) -> None:
    check_types(metadata_of(table(Column("c", type_))))
