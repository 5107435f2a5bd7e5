"""What is equal but for its name is renamed without a word; names that go round, too."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
)

from ddl import Answers, Function, Grant, MaterializedView, Policy, RowLevelSecurity, Trigger, View
from tests.ddl.case import SETTINGS, Case
from tests.support.generated_revisions import (
    Declare,
    apply,
    metadata_of,
    migration,
    rendered,
)


def named(
    *,
    function: str = "touch",
    trigger: str = "touched",
    policy: str = "own",
    index: str = "by_note",
    check: str = "positive",
    view: str = "list",
    kept: str = "kept",
    schema: str | None = None,
) -> Declare:
    """One object of each kind, each under a name of choice; functions and views in a schema."""

    def declare(metadata: MetaData) -> None:
        prefix = "" if schema is None else f"{schema}."
        Table("other", metadata, Column("id", Integer), schema="plant")
        Function(
            function,
            "a integer",
            returns="integer",
            body="RETURN a + 1",
            grants={"r_app": "execute"},
            schema=schema,
            metadata=metadata,
        )
        Function(
            f"{function}_trigger",
            returns="trigger",
            language="plpgsql",
            body="BEGIN RETURN NEW; END",
            settings=SETTINGS,
            schema=schema,
            metadata=metadata,
        )
        Table(
            "t",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("note", Text),
            Column("n", Integer, server_default=sa.text(f"{prefix}{function}(1)")),
            sa.CheckConstraint("id > 0", name=check),
            Index(index, "note", postgresql_where=sa.text("note <> 'by_note'")),
            RowLevelSecurity(force=False),
            Policy(policy, to="r_app", using="id = 1"),
            Trigger(
                trigger,
                timing="before",
                events="update",
                function=f"{prefix}{function}_trigger()",
            ),
        )
        View(
            view,
            f"SELECT id, {prefix}{function}(id) AS next FROM t",
            grants={"r_read": "select"},
            schema=schema,
            metadata=metadata,
        )
        View("over", f"SELECT id FROM {prefix}{view}", metadata=metadata)
        MaterializedView(
            kept,
            f"SELECT next FROM {prefix}{view}",
            indexes=[f"CREATE UNIQUE INDEX {kept}_next ON {prefix}{kept} (next)"],
            grants={"r_read": "select"},
            schema=schema,
            metadata=metadata,
        )

    return declare


CHANGES = {
    "function": named(function="bump"),
    "trigger": named(trigger="set"),
    "policy": named(policy="mine"),
    "index": named(index="ix"),
    "check": named(check="above"),
    "view": named(view="listing"),
    "materialized view": named(kept="stored"),
    "all": named(
        function="bump",
        trigger="set",
        policy="mine",
        index="ix",
        check="above",
        view="listing",
        kept="stored",
    ),
    "another schema": named(schema="plant"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_equal_is_renamed(change: str, engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(named()))
        up = rendered(migration(connection, metadata_of(CHANGES[change])).upgrade_ops)
        words = {line.partition("(")[0] for line in up.splitlines() if line.startswith("op.")}
        # Who has grants in another schema may use it.
        assert words <= {"op.rename", "op.set_schema", "op.grant"}, up
        connection.rollback()
    rows = ["INSERT INTO t (id, note) SELECT i, 'n' FROM generate_series(1, 5) i"]
    Case(named(), CHANGES[change], rows=rows).walk(engine)


def test_text_of_each_kind(engine: Engine) -> None:
    Case(
        named(),
        CHANGES["all"],
        upgrade="""
            op.rename("function", "touch(a integer)", "bump")
            op.rename("function", "touch_trigger()", "bump_trigger")
            op.rename("view", "list", "listing")
            op.rename("materialized view", "kept", "stored")
            op.rename("constraint", "t_positive_check", "t_above_check", table="t")
            op.rename("index", "by_note", "ix")
            op.rename("index", "kept_next", "stored_next")
            op.rename("trigger", "touched", "set", table="t")
            op.rename("policy", "own", "mine", table="t")
        """,
        downgrade="""
            op.rename("policy", "mine", "own", table="t")
            op.rename("trigger", "set", "touched", table="t")
            op.rename("index", "stored_next", "kept_next")
            op.rename("index", "ix", "by_note")
            op.rename("constraint", "t_above_check", "t_positive_check", table="t")
            op.rename("materialized view", "stored", "kept")
            op.rename("view", "listing", "list")
            op.rename("function", "bump_trigger()", "touch_trigger")
            op.rename("function", "bump(a integer)", "touch")
        """,
    ).walk(engine)


def test_of_two_that_are_equal_one_is_renamed(engine: Engine) -> None:
    def indexes(*names: str) -> Declare:
        def declare(metadata: MetaData) -> None:
            Table("t", metadata, Column("a", Integer), *(Index(name, "a") for name in names))

        return declare

    Case(
        indexes("x", "y"),
        indexes("z"),
        upgrade="""
            op.rename("index", "x", "z")
            op.remove_index("y", "t")
        """,
        downgrade="""
            op.add_index("CREATE INDEX y ON public.t USING btree (a)")
            op.rename("index", "z", "x")
        """,
    ).walk(engine)


# --- sequences ---


def counted(name: str, table: str = "t", *, numbered: bool = False) -> Declare:
    def declare(metadata: MetaData) -> None:
        count = Sequence(name, start=7, metadata=metadata)
        Table(
            table,
            metadata,
            Column("id", Integer, *([Identity()] if numbered else []), primary_key=True),
            Column("n", Integer, server_default=count.next_value()),
            Grant("usage", to="r_app", on=f"sequence {table}_id_seq"),
        )

    return declare


@pytest.mark.parametrize("numbered", [False, True])
def test_sequences_keep_their_count(numbered: bool, engine: Engine) -> None:
    """That of a serial or identity column follows its table; another one has to be said."""
    Case(
        counted("a", numbered=numbered),
        counted("b", "u", numbered=numbered),
        rows=["INSERT INTO t DEFAULT VALUES", "INSERT INTO t DEFAULT VALUES"],
        renames=("t:u", "a:b"),
    ).walk(engine)
    with engine.begin() as connection:
        insert = sa.text("INSERT INTO u DEFAULT VALUES RETURNING id, n")
        assert connection.execute(insert).one() == (3, 9)


def test_sequence_is_not_renamed_unasked(engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(counted("a")))
        script = migration(connection, metadata_of(counted("b")))
        assert 'op.create_sequence("b", start=7)' in rendered(script.upgrade_ops)
        asked: list[str] = []
        migration(
            connection,
            metadata_of(counted("b")),
            Answers(ask=lambda one: asked.append(str(one))),  # type: ignore[func-returns-value,arg-type]
        )
    assert asked == ["sequence public.a to public.b"]


# --- names that go round ---


def pair(first: str, second: str, *, column: str = "x", other: str = "y") -> Declare:
    """Two tables of different shapes, which refer to each other's keys."""

    def declare(metadata: MetaData) -> None:
        Table(
            first,
            metadata,
            Column("id", Integer, Identity(), primary_key=True),
            Column(column, Text),
            Column(other, Text),
            UniqueConstraint(column, other),
            Index(None, column),
        )
        Table(
            second,
            metadata,
            Column("id", Integer, Identity(), primary_key=True),
            Column("of", Integer, ForeignKey(f"{first}.id")),
            Index(None, "of"),
        )

    return declare


ROUND = {
    "tables": (pair("b", "a"), ("a:b", "b:a")),
    "columns": (pair("a", "b", column="y", other="x"), ("a.x:a.y", "a.y:a.x")),
    "both": (
        pair("b", "a", column="y", other="x"),
        ("a:b", "b:a", "a.x:b.y", "a.y:b.x"),
    ),
    "one after the other": (pair("b", "c"), ("a:b", "b:c")),
}


@pytest.mark.parametrize("change", ROUND)
def test_round(change: str, engine: Engine) -> None:
    after, renames = ROUND[change]
    rows = [
        "INSERT INTO a (x, y) SELECT 'x' || i, 'y' || i FROM generate_series(1, 5) i",
        "INSERT INTO b (of) SELECT id FROM a",
    ]
    Case(pair("a", "b"), after, rows=rows, renames=renames).walk(engine)
    moved = metadata_of(after)
    table = next(one for one in moved.tables.values() if "of" not in one.c)
    columns = [column.name for column in table.c][1:]
    with engine.connect() as connection:
        found = connection.execute(sa.select(table.c[columns[0]], table.c[columns[1]])).all()
    assert sorted(found) == [(f"x{i}", f"y{i}") for i in range(1, 6)]


def shaped(
    view: str = "list", kept: str = "kept", function: str = "touch", more: str = ""
) -> Declare:
    """A view, a materialized view and a function, each with something ``more``."""

    def declare(metadata: MetaData) -> None:
        Table("t", metadata, Column("id", Integer), Column("note", Text), Column("n", Integer))
        column = f", n AS {more}" if more else ""
        for class_, name in ((View, view), (MaterializedView, kept)):
            class_(name, f"SELECT id, note{column} FROM t", metadata=metadata)
        body = f"RETURN a + b + 1{' + 1' if more else ''}"
        arguments = "a integer, b integer"
        Function(function, arguments, returns="integer", body=body, metadata=metadata)

    return declare


@pytest.mark.parametrize(
    ("new", "option", "drop"),
    [
        ({"view": "listed"}, "list:listed", 'op.drop_view("list")'),
        ({"kept": "stored"}, "kept:stored", 'op.drop_materialized_view("kept")'),
        ({"function": "add"}, "touch:add", 'op.drop_function("touch", "a integer, b integer")'),
    ],
)
def test_what_is_nearly_equal_is_told_at_its_drop(
    new: dict[str, str], option: str, drop: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(shaped()))
    after = metadata_of(shaped(**new, more="m"))
    with engine.connect() as connection:
        up = rendered(migration(connection, after).upgrade_ops)
    name = option.partition(":")[2]
    command = f"alembic -x rename={option} revision --autogenerate"
    assert f"# if it became {name}: {command}\n{drop}" in up
    assert up.count("# if it became") == 1
    Case(shaped(), shaped(**new, more="m"), renames=(option,)).walk(engine)


def test_another_shape_is_no_rename(engine: Engine) -> None:
    def other(metadata: MetaData) -> None:
        Table("t", metadata, Column("id", Integer), Column("note", Text), Column("n", Integer))
        View("sums", "SELECT sum(n) AS n FROM t", metadata=metadata)
        MaterializedView("notes", "SELECT note, count(*) AS n FROM t GROUP BY 1", metadata=metadata)
        arguments = "a integer, b integer"
        Function("f", arguments, returns="integer", body="RETURN 7", metadata=metadata)

    with engine.begin() as connection:
        apply(connection, metadata_of(shaped()))
        up = rendered(migration(connection, metadata_of(other)).upgrade_ops)
    assert "if it became" not in up
