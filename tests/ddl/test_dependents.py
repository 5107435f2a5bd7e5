"""What depends on something that changes is dropped before it and created again after it.

PostgreSQL refuses to change the type of a column that a policy, a view, a trigger, a generated
column or an SQL-standard function reads, and to drop a function, key or table in use. Every case
here fails in one of its two directions if a single operation stands in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from ddl import Function, Grant, Policy, RowLevelSecurity, Trigger, View
from tests.ddl.case import SETTINGS, Case, nothing

ROWS = ["INSERT INTO items (id, n) SELECT g, g FROM generate_series(1, 3) g"]


def everything_on(
    column_type: Any, expression: str = "n * 2", more: bool = True
) -> Callable[[MetaData], None]:
    """Every kind of object that can depend on the column ``n``, on views and on each other."""

    def declare(metadata: MetaData) -> None:
        items = Table(
            "items",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("n", column_type, server_default="7"),
            Column("twice", column_type, Computed(expression, persisted=True)),
            CheckConstraint("n > 0", name="positive"),
            CheckConstraint("twice > 0", name="twice"),
            Index(None, "n", postgresql_where=text("n > 5")),
            Index(None, "twice"),
            RowLevelSecurity(),
            Policy("by_n", to="r_app", using="n > 1 AND twice < 100"),
            Grant("select, update (n)", to="r_app"),
            Grant("select (twice)", to="r_op"),
            Policy("op", to="r_op", command="select", using="true"),
            Trigger(
                "on_n",
                timing="before",
                events="update of n",
                function="nop()",
                when="old.n IS DISTINCT FROM new.n",
            ),
        )
        Function(
            "nop",
            returns="trigger",
            language="plpgsql",
            body="begin return new; end",
            settings=SETTINGS,
            metadata=metadata,
        )
        Function(
            "total",
            returns="numeric",
            body="BEGIN ATOMIC SELECT sum(n + twice) FROM items; END",
            grants={"r_app": "execute"},
            metadata=metadata,
        )
        View(
            "doubled",
            "SELECT id, n, twice FROM items",
            grants={"r_app": "select"},
            metadata=metadata,
        )
        View("doubled_big", "SELECT * FROM doubled WHERE n > 5", metadata=metadata)
        View("totals", "SELECT total() AS total", grants={"r_op": "select"}, metadata=metadata)
        Function(
            "count_big",
            returns="bigint",
            body="BEGIN ATOMIC SELECT count(*) FROM doubled_big; END",
            metadata=metadata,
        )
        if more:
            Table("more", metadata, Column("id", Integer, ForeignKey(items.c.id), primary_key=True))

    return declare


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(everything_on(Integer), everything_on(BigInteger), id="type"),
        pytest.param(everything_on(Integer), everything_on(Integer, "n * 3"), id="expression"),
        pytest.param(everything_on(Integer), nothing, id="all of it"),
    ],
)
def test_everything_that_depends_on_a_column(
    engine: Engine, before: Callable[[MetaData], None], after: Callable[[MetaData], None]
) -> None:
    Case(before, after, rows=ROWS).walk(engine)


def test_dropping_a_column_drops_what_depends_on_it(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Table(
            "items",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            RowLevelSecurity(),
            Policy("by_n", to="r_app", using="id > 1"),
            Grant("select", to="r_app"),
        )
        View("doubled", "SELECT id FROM items", grants={"r_app": "select"}, metadata=metadata)
        View("doubled_big", "SELECT * FROM doubled", metadata=metadata)

    Case(everything_on(Integer), after, rows=ROWS).walk(engine)


def keyed(*key: str, foreign: bool = True) -> Callable[[MetaData], None]:
    """A primary key on which a foreign key and a view (GROUP BY the key) depend."""

    def declare(metadata: MetaData) -> None:
        Table(
            "parent",
            metadata,
            Column("tenant", Integer, nullable=False),
            Column("id", Integer, nullable=False),
            Column("name", Text),
            PrimaryKeyConstraint(*key),
        )
        columns = [f"parent_{name}" for name in key]
        Table(
            "child",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("parent_tenant", Integer),
            Column("parent_id", Integer),
            *(
                [ForeignKeyConstraint(columns, [f"parent.{name}" for name in key])]
                if foreign
                else []
            ),
        )
        View(
            "names",
            f"SELECT {', '.join(key)}, name, count(*) AS n FROM parent GROUP BY {', '.join(key)}",
            grants={"r_app": "select"},
            metadata=metadata,
        )

    return declare


def test_primary_key_that_a_foreign_key_refers_to(engine: Engine) -> None:
    rows = [
        "INSERT INTO parent VALUES (1, 1, 'a'), (2, 2, 'b')",
        "INSERT INTO child VALUES (1, 1, 1)",
    ]
    Case(keyed("id"), keyed("tenant", "id"), rows=rows).walk(engine)


def test_unique_key_and_table_that_refers_to_it_in_one_revision(engine: Engine) -> None:
    """CREATE TABLE contains the foreign key, so the key it refers to must come earlier."""

    def declare(child: bool, kind: Any = Integer) -> Callable[[MetaData], None]:
        def models(metadata: MetaData) -> None:
            unique = [UniqueConstraint("a", "b")] if child else []
            extra = [Column("b", kind)] if child else []
            Table(
                "parent",
                metadata,
                Column("id", Integer, primary_key=True),
                Column("a", kind),
                *extra,
                *unique,
            )
            if child:
                Table(
                    "child",
                    metadata,
                    Column("id", Integer, primary_key=True),
                    Column("a", kind),
                    Column("b", kind),
                    ForeignKeyConstraint(["a", "b"], ["parent.a", "parent.b"]),
                )

        return models

    Case(declare(False), declare(True, Text), rows=["INSERT INTO parent VALUES (1, 1)"]).walk(
        engine
    )


def test_both_ends_of_a_foreign_key_change_their_type(engine: Engine) -> None:
    """Between the two changes no foreign key could be implemented."""

    def declare(kind: Any) -> Callable[[MetaData], None]:
        def models(metadata: MetaData) -> None:
            Table("parent", metadata, Column("id", kind, primary_key=True))
            Table("child", metadata, Column("id", kind, ForeignKey("parent.id"), primary_key=True))

        return models

    one = "11111111-1111-1111-1111-111111111111"
    rows = [f"INSERT INTO parent VALUES ('{one}')", f"INSERT INTO child VALUES ('{one}')"]
    Case(declare(Text), declare(Uuid), rows=rows).walk(engine)


def circle(metadata: MetaData) -> None:
    Table("a", metadata, Column("id", Integer, primary_key=True), Column("b", ForeignKey("b.id")))
    Table(
        "b",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("a", ForeignKey("a.id")),
        Column("parent", ForeignKey("b.id")),
    )
    Table("c", metadata, Column("id", ForeignKey("a.id"), primary_key=True))


@pytest.mark.filterwarnings("ignore:Cannot correctly sort tables")
@pytest.mark.parametrize(("before", "after"), [(nothing, circle), (circle, nothing)])
def test_tables_that_refer_to_each_other(
    engine: Engine, before: Callable[[MetaData], None], after: Callable[[MetaData], None]
) -> None:
    Case(before, after).walk(engine)


def one_table_dropped(both: bool) -> Callable[[MetaData], None]:
    """``gone`` has all that a table can have, with traffic in both directions."""

    def declare(metadata: MetaData) -> None:
        Function(
            "touched",
            returns="trigger",
            language="plpgsql",
            body="begin return new; end",
            settings=SETTINGS,
            metadata=metadata,
        )
        Table(
            "stays",
            metadata,
            Column("id", Integer, primary_key=True),
            *([Column("gone_id", ForeignKey("gone.id"))] if both else []),
            RowLevelSecurity(),
            Policy(
                "p",
                to="r_app",
                using="id IN (SELECT id FROM gone_ids)" if both else "id > 0",
            ),
            Grant("select", to="r_app"),
        )
        if not both:
            return
        Table(
            "gone",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("stays_id", ForeignKey("stays.id", use_alter=True)),
            Column("n", Integer, Computed("id + 1", persisted=True), comment="n"),
            CheckConstraint("n > 0", name="n"),
            UniqueConstraint("n", deferrable=True, initially="DEFERRED"),
            Index(None, "stays_id", postgresql_where=text("n > 1")),
            RowLevelSecurity(),
            # A policy over a function that reads the table itself, as for memberships.
            Policy("p", to="r_app", using="id < highest()"),
            Policy("q", to="r_op", command="select", using="EXISTS (SELECT FROM gone_ids)"),
            Grant("select, insert (id)", to="r_app"),
            Grant("select", to="r_op"),
            Trigger("t", timing="before", events="update of id", function="touched()"),
            comment="all of it",
            postgresql_with={"fillfactor": 70},
        )
        Function(
            "highest",
            returns="integer",
            body="BEGIN ATOMIC SELECT max(id) FROM gone; END",
            security_definer=True,
            reason="The policy of the table calls it.",
            grants={"r_app": "execute"},
            metadata=metadata,
        )
        View("gone_ids", "SELECT id FROM gone", grants={"r_app": "select"}, metadata=metadata)
        View("gone_ids_2", "SELECT g.*, s.gone_id FROM gone_ids g, stays s", metadata=metadata)

    return declare


@pytest.mark.filterwarnings("ignore:Cannot correctly sort tables")
@pytest.mark.parametrize("dropped", [True, False])
def test_table_with_all_that_is_on_it_and_over_it(engine: Engine, dropped: bool) -> None:
    with_it, without_it = one_table_dropped(True), one_table_dropped(False)
    Case(*((with_it, without_it) if dropped else (without_it, with_it))).walk(engine)


def test_table_becomes_a_view(engine: Engine) -> None:
    """Its grants are the same before and after, but are lost in between."""

    def before(metadata: MetaData) -> None:
        Table("summary", metadata, Column("n", Integer), Grant("select", to="r_app"))
        View("other", "SELECT 1 AS n", grants={"r_app": "select"}, metadata=metadata)

    def after(metadata: MetaData) -> None:
        View("summary", "SELECT 1 AS n", grants={"r_app": "select"}, metadata=metadata)
        Table("other", metadata, Column("n", Integer), Grant("select", to="r_app"))

    Case(before, after).walk(engine)
