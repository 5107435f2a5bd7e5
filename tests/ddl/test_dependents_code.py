"""Functions, views and policies are dropped before what they depend on changes, then recreated."""

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
    Index,
    Integer,
    MetaData,
    Table,
    text,
)

from ddl import Function, Grant, Policy, RowLevelSecurity, Trigger, View
from tests.ddl.case import SETTINGS, Case, nothing

ROWS = ["INSERT INTO items (id, n) SELECT g, g FROM generate_series(1, 3) g"]


def signature(arguments: str, result: str) -> Callable[[MetaData], None]:
    """A function called from everywhere possible: all of that must be recreated for a new signature."""

    def declare(metadata: MetaData) -> None:
        Function(
            "rate",
            arguments,
            returns="integer",
            body=f"RETURN {result}",
            volatility="immutable",
            grants={"r_app": "execute"},
            metadata=metadata,
        )
        Table(
            "items",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("n", Integer, server_default=text("rate(5)")),
            Column("rated", Integer, Computed("rate(n)", persisted=True)),
            CheckConstraint("rate(n) > 0", name="rate"),
            Index("items_rate_idx", text("rate(n)"), unique=True),
            RowLevelSecurity(),
            Policy("by_rate", to="r_app", using="rate(n) > 1"),
            Grant("select, insert, update (rated)", to="r_app"),
            Trigger(
                "on_rate",
                timing="before",
                events="update",
                function="nop()",
                when="rate(old.n) <> rate(new.n)",
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
            "rate_of_rates",
            returns="integer",
            body="BEGIN ATOMIC SELECT sum(rate(rated))::integer FROM items; END",
            metadata=metadata,
        )
        View(
            "rates",
            "SELECT rate(rated) AS r FROM items",
            grants={"r_op": "select"},
            metadata=metadata,
        )

    return declare


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(("a integer", "a"), ("b integer", "b"), id="name of an argument"),
        pytest.param(("a integer", "a"), ("a bigint", "a::integer"), id="type of an argument"),
        pytest.param(
            ("a integer", "a"), ("a integer, b integer DEFAULT 1", "a + b"), id="more arguments"
        ),
        pytest.param(("a integer", "a"), ("a integer DEFAULT 2", "a"), id="default of an argument"),
    ],
)
def test_signature_of_a_function_in_use(
    engine: Engine, before: tuple[str, str], after: tuple[str, str]
) -> None:
    Case(signature(*before), signature(*after), rows=ROWS).walk(engine)


def test_dropping_a_function_and_all_its_uses(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Table(
            "items",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("n", Integer, server_default=text("6")),
            Column("rated", Integer, Computed("n", persisted=True)),
            RowLevelSecurity(),
            Policy("by_rate", to="r_app", using="n > 1"),
            Grant("select, insert, update (rated)", to="r_app"),
        )
        View("rates", "SELECT rated AS r FROM items", grants={"r_op": "select"}, metadata=metadata)

    Case(signature("a integer", "a"), after, rows=ROWS).walk(engine)


def test_same_text_of_the_body_keeps_what_uses_it(engine: Engine) -> None:
    """Spelled ``int`` in the model, ``integer`` by the server: no reason to rebuild a policy."""

    def declare(body: str) -> Callable[[MetaData], None]:
        def models(metadata: MetaData) -> None:
            Function("f", "a int", returns="int", body=body, metadata=metadata)
            Table(
                "t",
                metadata,
                Column("id", Integer, primary_key=True),
                RowLevelSecurity(),
                Policy("p", to="r_app", using="f(id) > 0"),
                Grant("select", to="r_app"),
            )

        return models

    Case(
        declare("RETURN a"),
        declare("RETURN a + 1"),
        upgrade="""
            op.replace_function("f", "a int", returns="int", language="sql", body="RETURN a + 1")
        """,
        downgrade="""
            op.replace_function("f", "a integer", returns="integer", language="sql", body="RETURN a")
        """,
    ).walk(engine)


def test_functions_and_views_over_each_other(engine: Engine) -> None:
    """A view over a function over a view over a function; names sort the other way round."""

    def declare(metadata: MetaData) -> None:
        Function(
            "z",
            returns="bigint",
            body="BEGIN ATOMIC SELECT count(*) FROM t; END",
            metadata=metadata,
        )
        Function("y", returns="bigint", body="RETURN z() + 1", metadata=metadata)
        View("x", "SELECT id, y() AS y FROM t", metadata=metadata)
        Function(
            "w", returns="SETOF x", body="BEGIN ATOMIC SELECT * FROM x; END", metadata=metadata
        )
        Function("v", "a t[]", returns="integer", body="RETURN cardinality(a)", metadata=metadata)
        View("u", "SELECT count(*) AS n FROM w()", grants={"r_app": "select"}, metadata=metadata)
        Function(
            "r",
            returns="integer",
            language="plpgsql",
            body="declare r public.t%rowtype; begin return 1; end",
            settings=SETTINGS,
            metadata=metadata,
        )
        Table(
            "t",
            metadata,
            Column("id", Integer, primary_key=True),
            RowLevelSecurity(),
            Policy("p", to="r_app", using="id < y() AND EXISTS (SELECT FROM u)"),
            Grant("select", to="r_app"),
        )

    Case(nothing, declare).walk(engine)


def test_functions_and_views_over_each_other_are_dropped(engine: Engine) -> None:
    def declare(kind: Any) -> Callable[[MetaData], None]:
        def models(metadata: MetaData) -> None:
            Table("t", metadata, Column("id", kind, primary_key=True, autoincrement=False))
            Function(
                "z", returns="SETOF t", body="BEGIN ATOMIC SELECT * FROM t; END", metadata=metadata
            )
            View("y", "SELECT max(id) AS y FROM z()", metadata=metadata)
            Function(
                "x",
                returns="integer",
                body="BEGIN ATOMIC SELECT y::integer FROM y; END",
                metadata=metadata,
            )
            View("a", "SELECT x() AS x", grants={"r_app": "select"}, metadata=metadata)

        return models

    Case(declare(Integer), declare(BigInteger)).walk(engine)


def test_altered_policy_reads_a_view_that_is_made_in_the_same_revision(engine: Engine) -> None:
    def declare(using: str, view: str) -> Callable[[MetaData], None]:
        def models(metadata: MetaData) -> None:
            Table(
                "items",
                metadata,
                Column("id", Integer, primary_key=True),
                RowLevelSecurity(),
                Policy("p", to="r_app", using=using),
                Grant("select", to="r_app"),
            )
            View("v", view, metadata=metadata)

        return models

    before = declare("true", "SELECT 1 AS a")
    after = declare("EXISTS (SELECT FROM v)", "SELECT 2 AS b")
    Case(before, after).walk(engine)


def test_functions_with_long_signatures_come_after_what_they_call(engine: Engine) -> None:
    """The identity of a function can be longer than the 63 bytes of a name."""
    arguments = ", ".join(f"argument_number_{number} integer DEFAULT 0" for number in range(8))

    def declare(metadata: MetaData) -> None:
        Table("t", metadata, Column("id", Integer, primary_key=True))
        for name, called in (("z_called", "0"), ("a_calls", "z_called(argument_number_0 => 1)")):
            Function(
                name,
                arguments,
                returns="bigint",
                body=f"BEGIN ATOMIC SELECT count(*) + {called} FROM t; END",
                metadata=metadata,
            )

    Case(nothing, declare).walk(engine)
