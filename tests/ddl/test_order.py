"""The order in which objects are created, and drops that are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from alembic.operations import ops
from sqlalchemy import Index, MetaData, Table, text

from ddl import privileges
from ddl.creation import ordered, unit_of
from ddl.edition import POSTGRESQL
from ddl.kinds import KINDS
from ddl.kinds.constraint import ConstraintOperation, ConstraintState
from ddl.kinds.function import FunctionOperation, FunctionState
from ddl.kinds.grant import GrantOperation, GrantState
from ddl.kinds.policy import PolicyOperation, PolicyState
from ddl.kinds.trigger import TriggerOperation, TriggerState
from ddl.kinds.view import ViewOperation, ViewState
from ddl.mention import late_functions
from ddl.shorten import prune

# --- order ---


def views(**queries: str) -> list[ViewState]:
    return [ViewState(name, query) for name, query in queries.items()]


def names(states: Sequence[Any]) -> list[str]:
    """The names in the order in which they are created first; the server may say otherwise."""
    kinds = {kind.state: kind for kind in KINDS}
    relations = {state.key for state in states if isinstance(state, ViewState)}
    listed = [unit_of(kinds[type(one)], one, relations, POSTGRESQL) for one in states]
    return [unit.relation[1] if unit.relation else unit.function for unit in ordered(listed)]


def test_views_come_after_those_they_read() -> None:
    listed = views(
        a='SELECT * FROM b, public.c JOIN (SELECT * FROM "D d") x ON true',
        b="SELECT 1",
        c="TABLE b",
    )
    assert names([*listed, ViewState("D d", "SELECT * FROM c")]) == ["b", "c", "D d", "a"]


def test_mention_that_only_looks_like_one() -> None:
    """Aliases, columns, strings, comments and parts of longer names."""
    listed = views(
        usage="SELECT t AS summary, x.summary, 'from summary' AS s FROM totals /* from summary */",
        summary="SELECT id FROM usage_all JOIN usage ON true -- from summary",
    )
    assert names(listed) == ["usage", "summary"]


def test_text_bodies_may_call_each_other() -> None:
    def calling(name: str, other: str) -> FunctionState:
        return FunctionState(name, body=f"SELECT {other}()", settings=("search_path=''",))

    assert names([calling("a", "b"), calling("b", "a")]) == ["a", "b"]


def late(*functions: FunctionState, ddl: str = "") -> set[str]:
    return late_functions(functions, {("public", "items"), ("public", "Order")}, ddl)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (FunctionState("f", body="RETURN 1"), False),
        (FunctionState("f", body="BEGIN ATOMIC SELECT * FROM items; END"), True),
        (FunctionState("f", body='BEGIN ATOMIC DELETE FROM public."Order"; END'), True),
        (FunctionState("f", body="BEGIN ATOMIC SELECT 1 AS items, 'from items'; END"), False),
        (FunctionState("f", body="SELECT * FROM items"), False),
        (FunctionState("f", "a items[]", body="SELECT 1"), True),
        (FunctionState("f", returns="SETOF items", body="SELECT 1"), True),
        (FunctionState("f", language="plpgsql", body="declare r items; begin end"), True),
        (FunctionState("f", language="plpgsql", body="declare r items.id%type; begin end"), True),
        (FunctionState("f", language="plpgsql", body="begin select from items; end"), False),
    ],
)
def test_functions_that_need_a_table(state: FunctionState, expected: bool) -> None:
    assert (late(state) == {"f"}) is expected


def test_function_that_needs_a_table_through_another() -> None:
    g = FunctionState("g", body="BEGIN ATOMIC SELECT count(*) FROM items; END")
    f = FunctionState("f", body="RETURN g() + 1")
    text = FunctionState("t", body="SELECT g()")
    assert late(f, g, text) == {"f", "g"}


def test_function_that_a_table_needs_comes_first() -> None:
    f = FunctionState("f", body="BEGIN ATOMIC SELECT items.x FROM (VALUES (1)) items (x); END")
    g = FunctionState("g", "items int", body="RETURN f()")
    assert late(f, g) == {"g"}
    assert late(f, g, ddl="CREATE TABLE items (id int DEFAULT g(1))") == set()


# --- prune ---


def drop_table(name: str) -> ops.DropTableOp:
    return ops.DropTableOp(name)


POLICY = PolicyOperation(PolicyState("p", "items", ("r",), using="id < f()"), None)
GRANT = GrantOperation(GrantState("items", privileges.parse({"r": "select"})), None)
TRIGGER = TriggerOperation(TriggerState("t", "items", function="touch()"), None)
INDEX = ops.DropIndexOp("i", "items")
F = FunctionOperation(FunctionState("f", body="BEGIN ATOMIC SELECT 1; END"), None)
F_TEXT = FunctionOperation(FunctionState("f", "a text", body="RETURN a"), None)
F_GRANT = GrantOperation(GrantState("function f()", privileges.parse({"r": "execute"})), None)
FOREIGN = ConstraintOperation(
    ConstraintState("items", "fk", "FOREIGN KEY (id) REFERENCES others (id)"), None
)


def test_prune_what_is_dropped_with_its_table() -> None:
    listed = [GRANT, POLICY, TRIGGER, INDEX, FOREIGN, drop_table("items")]
    assert prune(listed) == listed[-1:]


def test_keep_what_is_in_the_way_of_something_dropped_before_the_table() -> None:
    listed = [GRANT, POLICY, F, drop_table("items")]
    assert prune(listed) == [POLICY, F, listed[-1]]
    listed = [FOREIGN, drop_table("others"), drop_table("items")]
    assert prune(listed) == listed
    listed = [FOREIGN, drop_table("items"), drop_table("others")]
    assert prune(listed) == listed[1:]


def test_keep_what_is_on_another_table() -> None:
    listed = [GRANT, POLICY, drop_table("item"), drop_table("items_old")]
    assert prune(listed) == listed


def test_keep_what_comes_after_the_drop() -> None:
    """Dropped and created again: what is removed from the new one is removed."""
    view = ViewState("items", "SELECT 1")
    listed = [ViewOperation(view, None), ViewOperation(None, view), GRANT]
    assert prune(listed) == listed


def test_keep_an_index_that_calls_what_is_dropped_before_its_table() -> None:
    items = Table("items", MetaData(), Index("i", text("f(a)")))
    listed = [*map(ops.DropIndexOp.from_index, items.indexes), F, drop_table("items")]
    assert prune(listed) == listed


def test_grants_of_a_function_are_dropped_with_its_signature() -> None:
    assert prune([F_GRANT, F]) == [F]
    assert prune([F_GRANT, F_TEXT]) == [F_GRANT, F_TEXT]
