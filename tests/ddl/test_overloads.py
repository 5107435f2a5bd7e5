"""Functions of one name and other arguments: each is compared, changed and granted by itself."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Column, Engine, Integer, MetaData, Table, Text

from ddl import Function, View
from ddl.kinds.function import FunctionState
from tests.ddl.case import Case, nothing
from tests.support.generated_revisions import Declare

INT: dict[str, Any] = {"arguments": "a int", "returns": "boolean", "body": "RETURN a > 0"}
TEXT: dict[str, Any] = {"arguments": "a text", "returns": "boolean", "body": "RETURN a <> ''"}
ROW: dict[str, Any] = {
    "arguments": "a items, b timestamptz DEFAULT now()",
    "returns": "boolean",
    "body": "RETURN a.id > 0",
}


def declared(*functions: dict[str, Any], name: str = "good", table: bool = True) -> Declare:
    def declare(metadata: MetaData) -> None:
        for function in functions:
            Function(name, **{"volatility": "immutable", **function}, metadata=metadata)
        if table:
            Table(
                "items",
                metadata,
                Column("id", Integer, primary_key=True, autoincrement=False),
                Column("name", Text),
                CheckConstraint(f"{name}(id) AND {name}(name)", name="good"),
            )
            View("good_items", f"SELECT id FROM items WHERE {name}(name)", metadata=metadata)

    return declare


BOTH = [INT, TEXT]
ALL = [*BOTH, ROW]
CHANGES = {
    "created": (nothing, declared(*ALL)),
    "one more": (declared(*BOTH), declared(*ALL)),
    "another body": (declared(*ALL), declared(INT, {**TEXT, "body": "RETURN a IS NOT NULL"}, ROW)),
    "another result": (
        declared({"arguments": "a int", "returns": "int", "body": "RETURN a"}, TEXT, table=False),
        declared({"arguments": "a int", "returns": "text", "body": "RETURN a"}, TEXT, table=False),
    ),
    "another comment": (declared(*ALL), declared({**INT, "comment": "Of numbers."}, TEXT, ROW)),
    "other grants": (
        declared({**INT, "grants": {"r_app": "execute"}}, TEXT, ROW),
        declared(
            INT, {**TEXT, "grants": {"r_app": "execute"}}, {**ROW, "grants": {"r_op": "execute"}}
        ),
    ),
    "created with grants": (nothing, declared({**INT, "grants": {"r_app": "execute"}}, TEXT)),
    "one instead of another": (
        declared(INT, {**TEXT, "arguments": "a varchar"}, table=False),
        declared(INT, {**TEXT, "arguments": "a text"}, table=False),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_up_and_down(engine: Engine, change: str) -> None:
    before, after = CHANGES[change]
    Case(before, after).walk(engine)


def test_only_what_differs_is_changed(engine: Engine) -> None:
    granted = {**TEXT, "grants": {"r_app": "execute"}}
    Case(
        declared(INT, TEXT),
        declared({**INT, "body": "RETURN a > 1"}, granted),
        upgrade="""
            op.replace_function("good", "a int", returns="boolean", language="sql", volatility="immutable", body="RETURN a > 1")
            op.grant("function good(a text)", {"r_app": "execute"})
        """,
        downgrade="""
            op.revoke("function good(a text)", {"r_app": "execute"})
            op.replace_function(
                "good", "a integer", returns="boolean", language="sql", volatility="immutable", body="RETURN (a > 0)",
            )
        """,
    ).walk(engine)


@pytest.mark.parametrize("renames", [(), ("good:fine",)])
def test_each_is_renamed_to_its_own(engine: Engine, renames: tuple[str, ...]) -> None:
    Case(
        declared(*BOTH, table=False),
        declared(*reversed(BOTH), name="fine", table=False),
        upgrade="""
            op.rename("function", "good(a integer)", "fine")
            op.rename("function", "good(a text)", "fine")
        """,
        downgrade="""
            op.rename("function", "fine(a text)", "good")
            op.rename("function", "fine(a integer)", "good")
        """,
        renames=renames,
    ).walk(engine)


def test_renamed_with_what_calls_them(engine: Engine) -> None:
    Case(declared(*ALL), declared(*ALL, name="fine")).walk(engine)


@pytest.mark.parametrize(
    ("declared_as", "by_the_server"),
    [
        ("a int", "a integer"),
        ("int8[]", "bigint[]"),
        ("a varchar(20), b numeric(10,2)[]", "a character varying, b numeric[]"),
        ("a timestamptz, double precision", "a timestamp with time zone, double precision"),
        (
            "IN a float8, OUT b int, INOUT c bool",
            "a double precision, OUT b integer, INOUT c boolean",
        ),
        ("VARIADIC a text[] DEFAULT '{}'", "VARIADIC a text[]"),
        ('"A b" public.items, c "Odd", d plant.sites', '"A b" items, c "Odd", d plant.sites'),
        ("time time, a interval day to second", '"time" time without time zone, a interval'),
    ],
)
def test_types_are_known_in_both_spellings(declared_as: str, by_the_server: str) -> None:
    one, other = FunctionState("f", declared_as), FunctionState("f", by_the_server)
    assert one.declared_as == other.declared_as
