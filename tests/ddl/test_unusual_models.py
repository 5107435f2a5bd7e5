"""Models with what is rarely used: taken all the way, or refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from ddl import Extension
from ddl.base import Declared
from ddl.checks import check_models
from ddl.kinds.extension import ExtensionState
from tests.ddl.case import Case
from tests.support.generated_revisions import (
    Declare,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
)


def items(*parts: Any, schema: str | None = None, name: str = "items") -> Declare:
    def declare(metadata: MetaData) -> None:
        copies = [part._copy() if isinstance(part, Column) else part for part in parts]
        Table(name, metadata, Column("id", Integer, primary_key=True), *copies, schema=schema)

    return declare


def types(metadata: MetaData) -> None:
    """Types with options, and those of extensions."""
    found = {
        "range": postgresql.TSTZRANGE(),
        "multirange": postgresql.NUMMULTIRANGE(),
        "bits": postgresql.BIT(5),
        "varying": postgresql.BIT(5, varying=True),
        "any_bits": postgresql.BIT(varying=True),
        "inet": postgresql.INET(),
        "cidr": postgresql.CIDR(),
        "mac": postgresql.MACADDR(),
        "money": postgresql.MONEY(),
        "fields": postgresql.INTERVAL(fields="DAY TO SECOND", precision=3),
        "years": postgresql.INTERVAL(fields="YEAR TO MONTH"),
        "seconds": sa.Interval(second_precision=2),
        "document": sa.JSON(none_as_null=True),
        "variant": sa.JSON().with_variant(postgresql.JSONB(none_as_null=True), "postgresql"),
        "letters": sa.ARRAY(sa.Enum("a", "b", name="letter", native_enum=False)),
        "grid": sa.ARRAY(Integer, dimensions=2),
        "store": postgresql.HSTORE(),
        "collated": sa.String(10, collation="C"),
    }
    columns = [Column(name, type_) for name, type_ in found.items()]
    body, search = (
        Column("body", Text),
        Column(
            "search",
            postgresql.TSVECTOR,
            Computed("to_tsvector('english', coalesce(body, '100%:x'))", persisted=True),
        ),
    )
    Table(
        "items",
        metadata,
        Column("id", Integer, primary_key=True),
        *columns,
        body,
        search,
        Index(None, "search", postgresql_using="gin"),
        Extension("hstore"),
    )


ODD = ("100%", "a:b", 'say "hi"', "it's", "%(x)s", "a.b", "a,b", "(x)", "line\nbreak", "x" * 63)


def names(metadata: MetaData) -> None:
    """Names that some layer could take for something else."""
    columns = [
        Column(name, Integer, ForeignKey("100% :x.id"), comment=name, server_default="5")
        for name in ODD
    ]
    quoted = [f'"{name}"'.replace('hi"', 'hi""').replace(' "h', ' ""h') for name in ODD]
    Table(
        "100% :x",
        metadata,
        Column("id", Integer, primary_key=True),
        *columns,
        *[Index(f"{number} {name[:40]}", name) for number, name in enumerate(ODD)],
        *[
            CheckConstraint(f"{name} > 0", name=f"{number}%:'\"")
            for number, name in enumerate(quoted)
        ],
        schema=None,
    )


def keys(metadata: MetaData) -> None:
    """Columns that the model calls by another name than the server."""
    Table(
        "kinds",
        metadata,
        Column("A-1", Integer, key="a", autoincrement=False),
        Column("B", Integer, key="b"),
        PrimaryKeyConstraint("a", "b"),
    )
    included = PrimaryKeyConstraint("n", postgresql_include=["b"])
    Table("numbers", metadata, Column("N", Integer, key="n"), Column("B", Text, key="b"), included)
    Table(
        "items",
        metadata,
        Column("Id", Integer, Identity(start=7, increment=3, cycle=True), key="id"),
        Column("X", Integer, key="x", index=True),
        Column("Y", Integer, CheckConstraint("\"Y\" > 0 AND 'a:b%' <> ''", name="y"), key="y"),
        Column("N", Text, key="n"),
        Column("Twice", Integer, Computed('"X" * 2', persisted=True), key="twice"),
        PrimaryKeyConstraint("id", postgresql_include=["y"]),
        ForeignKeyConstraint(["x", "y"], ["kinds.a", "kinds.b"], deferrable=True),
        UniqueConstraint("x", deferrable=True, initially="DEFERRED"),
        CheckConstraint('"X" > 0', name="long_" * 20),
        UniqueConstraint("y", "n", postgresql_nulls_not_distinct=True),
        Index("lowered", sa.text('lower("N") text_pattern_ops'), postgresql_include=["x"]),
        Index(
            "labelled", sa.func.lower(sa.column("N")).label("l"), postgresql_ops={"l": "text_ops"}
        ),
        Index("collated", sa.text('"N" COLLATE "C" DESC NULLS LAST')),
    )


def excluding(metadata: MetaData) -> None:
    """Exclusion constraints, in a schema whose name needs quotes."""
    Table(
        "other items",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("room", Integer, ForeignKey("my schema.other items.id"), index=True),
        Column("during", postgresql.TSTZRANGE),
        Column("network", postgresql.INET),
        ExcludeConstraint(("room", "="), ("during", "&&"), name="one", where=sa.text("room > 0")),
        ExcludeConstraint((sa.column("network"), "&&"), name="two", ops={"network": "inet_ops"}),
        Extension("btree_gist"),
        schema="my schema",
    )


def defaults(metadata: MetaData) -> None:
    """Every way to write a default."""
    found: dict[str, Any] = {
        "a": (Integer, sa.text("5")),
        "b": (Text, "it's 100% :x %(y)s"),
        "c": (sa.TIMESTAMP(timezone=True), sa.func.now()),
        "d": (Integer, sa.literal(5)),
        "e": (Text, sa.literal("it's")),
        "f": (sa.Boolean, sa.false()),
        "g": (postgresql.JSONB, sa.text("'{}'::jsonb")),
        "h": (Text, ""),
        "i": (Text, sa.func.lower("ABC")),
        "j": (sa.ARRAY(Text), "{}"),
        "k": (sa.Numeric(5, 2), sa.literal_column("1.50")),
        "l": (Text, sa.cast("x", Text)),
        "m": (sa.TIMESTAMP, sa.func.timezone("UTC", sa.func.now())),
        "n": (postgresql.BIT(3), sa.text("B'101'")),
    }
    columns = [Column(name, type_, server_default=value) for name, (type_, value) in found.items()]
    Table("items", metadata, Column("id", Integer, primary_key=True), *columns)


def without_tables(declare: Declare) -> Declare:
    """The extensions alone, which no downgrade drops."""
    names = Declared.on(metadata_of(declare)).of(ExtensionState)

    def extensions(metadata: MetaData) -> None:
        for (name,) in names:
            Extension(name, metadata=metadata)

    return extensions


@pytest.mark.parametrize("declare", [types, names, keys, excluding, defaults])
def test_all_the_way(declare: Declare, every_edition: Engine) -> None:
    Case(without_tables(declare), declare).walk(every_edition)


@pytest.mark.parametrize("schema", ["a.b", "it's", 'say "hi"', "100%", "a:b"])
def test_column_of_a_table_in_a_schema_of_any_name(schema: str, engine: Engine) -> None:
    before, after = (items(Column(name, Integer), schema=schema) for name in ("zz", "size"))
    Case(before, after).walk(engine)


@pytest.mark.parametrize("declare", [types, names, keys, excluding, defaults])
def test_onto_a_table_and_away(declare: Declare, engine: Engine) -> None:
    metadata = metadata_of(declare)

    without = without_tables(declare)

    def before(other: MetaData) -> None:
        without(other)
        for table in metadata.tables.values():
            Table(table.name, other, Column("former", Integer), schema=table.schema)

    Case(before, declare).walk(engine)
    with engine.connect() as connection:
        script = migration(connection, metadata_of(without))
    run(engine, rendered(script.upgrade_ops))
    assert_clean(engine, metadata_of(without))
    run(engine, rendered(script.downgrade_ops))
    assert_clean(engine, metadata)


def test_serial_key_of_a_table_that_exists(engine: Engine) -> None:
    """Rows get a number; it is serial again where it was dropped."""

    def bare(metadata: MetaData) -> None:
        Table("items", metadata, Column("note", Text))

    def numbered(metadata: MetaData) -> None:
        Table("items", metadata, Column("note", Text), Column("n", sa.BigInteger, primary_key=True))

    Case(
        bare,
        numbered,
        rows=["INSERT INTO items VALUES ('a'), ('b')"],
        upgrade="""
            op.add_column("items", sa.Column("n", op.sql_type("bigserial"), nullable=False))
            op.add_constraint("items", "items_pkey", "PRIMARY KEY (n)")
        """,
        downgrade="""
            op.remove_constraint("items", "items_pkey")
            op.drop_column("items", "n")
        """,
    ).walk(engine)
    with engine.connect() as connection:
        script = migration(connection, metadata_of(bare))
        assert connection.scalars(sa.text("SELECT n FROM items ORDER BY n")).all() == [1, 2]
    run(engine, rendered(script.upgrade_ops))
    run(engine, rendered(script.downgrade_ops))
    assert_clean(engine, metadata_of(numbered))


NULL_TYPE: Any = sa.types.NullType()
REFUSED: dict[str, tuple[Declare, str]] = {
    "no type": (
        items(Column("c", NULL_TYPE)),
        r"column items\.c: expected a type of PostgreSQL, found NullType\(\); write one of",
    ),
    "another database's": (
        items(Column("c", mysql.TINYINT())),
        r"column items\.c: expected a type of PostgreSQL, found TINYINT\(\); write one of",
    ),
    "virtual": (
        items(Column("c", Integer, Computed("id + 1"))),
        r"column items\.c is generated when it is read, .* write Computed\(…, persisted=True\)",
    ),
    "array of enums": (
        items(Column("c", sa.ARRAY(sa.Enum("a", "b", name="letter")))),
        r"column items\.c is a native enum, letter: .* write c: Mapped\[list\[str\] \| None\]",
    ),
    "64 bytes": (
        items(Column("ü" * 32, Integer)),
        "has 64 bytes, of which PostgreSQL would keep 63; write a shorter one",
    ),
    "no name": (
        items(Column("c", postgresql.INT4RANGE), ExcludeConstraint(("c", "&&"))),
        "ExcludeConstraint of table items: it has no name, .* write name=…",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_at_import(case: str) -> None:
    declare, expected = REFUSED[case]
    with pytest.raises(sa.exc.ArgumentError, match=expected) as caught:
        check_models(metadata_of(declare))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "extension"),
    [
        (Column("c", postgresql.HSTORE()), "hstore"),
        (Column("c", postgresql.UUID(), server_default=sa.text("uuid_generate_v4()")), "uuid-ossp"),
        (
            Index("i", sa.text("(id::text) gin_trgm_ops"), postgresql_using="gin"),
            "pg_trgm",
        ),
        (ExcludeConstraint(("id", "="), name="one", using="gist"), "btree_gist"),
    ],
)
def test_extension_that_is_missing_is_named(part: Any, extension: str, engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(CommandError) as caught:
        migration(connection, metadata_of(items(part)))
    written = f'; the extension {extension} has that: write Extension("{extension}")'
    assert written in str(caught.value)
    assert "\n" not in str(caught.value)
