"""Declarations and text without a database: mistakes are named at import, texts survive."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

import pytest
from alembic.operations import ops
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import Declared, Function, Grant, Policy, RowSecurity, Trigger, View, check_policies, sql
from ddl.constraint import ConstraintOperation, ConstraintState
from ddl.function import FunctionOperation, FunctionState
from ddl.grant import GrantOperation, GrantState, Privilege
from ddl.order import by_mention, late_functions
from ddl.plan import prune
from ddl.policy import PolicyOperation, PolicyState
from ddl.trigger import TriggerOperation, TriggerState
from ddl.view import ViewOperation, ViewState

# --- Python text ---

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'\"\\\n\r\t%:$"))
VALUES = st.recursive(
    TEXT | st.booleans() | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_python_literal_means_its_value(value: Any) -> None:
    assert ast.literal_eval(sql.python_literal(value)) == value


@given(st.lists(VALUES, max_size=3), st.dictionaries(st.sampled_from("abc"), VALUES))
def test_python_call_means_its_arguments(positional: list[Any], keywords: dict[str, Any]) -> None:
    """Also after Alembic has put white space before every line, and its template once more."""
    source = sql.python_call("name", positional, keywords)
    indented = "if True:\n" + re.sub(r"(?m)^", "        ", source)
    call = ast.parse(indented).body[0].body[0].value  # type: ignore[attr-defined]
    assert ast.unparse(call.func) == "op.name"
    assert [ast.literal_eval(argument) for argument in call.args] == positional
    assert {k.arg: ast.literal_eval(k.value) for k in call.keywords} == keywords


@given(TEXT)
def test_string_quotes_as_the_formatter_would(value: str) -> None:
    assert sql.python_literal(value.replace("\n", "")).startswith(
        "'" if '"' in value and "'" not in value else '"'
    )


# --- SQL text ---


@given(TEXT)
def test_dollar_quotes_hold_any_body(body: str) -> None:
    quoted = sql.dollar_quoted(body)
    tag = quoted[: quoted.index("$", 1) + 1]
    assert quoted.index(tag, len(tag)) == len(tag) + len(body)
    assert quoted == f"{tag}{body}{tag}"


@given(TEXT)
def test_escaped_text_is_the_text(value: str) -> None:
    from sqlalchemy import text
    from sqlalchemy.dialects import postgresql

    compiled = text(sql.escaped(value)).compile(dialect=postgresql.dialect(paramstyle="named"))
    assert str(compiled) == value


@given(st.text("ab\"' .%Ü", min_size=1), st.booleans())
def test_identifier_round_trip(name: str, upper: bool) -> None:
    name = name.upper() if upper else name
    assert sql.unquoted(sql.ident(name)) == name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("a int", ["a int"]),
        ("a  numeric(10, 2),\n b text", ["a numeric(10, 2)", "b text"]),
        ("a text DEFAULT 'x, (y'", ["a text DEFAULT 'x, (y'"]),
        ("a int DEFAULT f(1, g(2), 3), b int[]", ["a int DEFAULT f(1, g(2), 3)", "b int[]"]),
        (
            '"a,b" int, c int DEFAULT (ARRAY[1, 2])[1]',
            ['"a,b" int', "c int DEFAULT (ARRAY[1, 2])[1]"],
        ),
        ("a text DEFAULT 'it''s  two'", ["a text DEFAULT 'it''s  two'"]),
    ],
)
def test_split_list(text: str, parts: list[str]) -> None:
    assert sql.split_list(text) == parts


@pytest.mark.parametrize(
    ("arguments", "signature"),
    [
        ("", ""),
        ("a int DEFAULT 3, b text = 'x = y', c date := now()", "a int, b text, c date"),
        ("a text default 'a, b default c', OUT b numeric(10,2)", "a text, OUT b numeric(10,2)"),
        ("\"default x\" int, VARIADIC b int[] DEFAULT '{}'", '"default x" int, VARIADIC b int[]'),
    ],
)
def test_signature_is_the_arguments_without_defaults(arguments: str, signature: str) -> None:
    assert FunctionState("f", arguments).signature == signature


@pytest.mark.parametrize(
    ("language", "body", "expected"),
    [
        ("sql", "RETURN 1", True),
        ("sql", "return(1)", True),
        ("sql", "BEGIN\n  ATOMIC SELECT 1; END", True),
        ("sql", "SELECT 1", False),
        ("sql", "", False),
        ("sql", "returning", False),
        ("plpgsql", "begin return 1; end", False),
    ],
)
def test_standard_body(language: str, body: str, expected: bool) -> None:
    assert FunctionState("f", language=language, body=body).standard_body is expected


# --- grants ---

PRIVILEGES = st.frozensets(
    st.builds(
        Privilege,
        st.sampled_from(["r_app", "Mixed Case", "PUBLIC"]),
        st.sampled_from(["select", "insert", "update"]),
        st.sampled_from(["", "id", "from", "Mixed, Col", 'quo"te', "par(en"]),
        st.booleans(),
    )
)


@given(PRIVILEGES)
def test_grants_are_read_as_they_are_spelled(privileges: frozenset[Privilege]) -> None:
    assert GrantState.parse(GrantState.spell(privileges)) == privileges


def test_grants_as_a_person_writes_them() -> None:
    found = GrantState.parse({"a": 'SELECT, Update(Name, "From"),\n delete  with grant option'})
    assert found == {
        Privilege("a", "select"),
        Privilege("a", "update", "name"),
        Privilege("a", "update", "From"),
        Privilege("a", "delete", "", True),
    }


@pytest.mark.parametrize("text", ["select on items", "update (a", "all", "ALL (a)"])
def test_grants_that_mean_nothing_certain(text: str) -> None:
    with pytest.raises(ArgumentError, match='grant to r_app: expected "select, update'):
        Grant(text, to="r_app")


# --- mistakes ---


def table(metadata: MetaData, *items: Any) -> Table:
    return Table("items", metadata, Column("id", Integer), *items)


def test_grant_that_no_policy_backs() -> None:
    metadata = MetaData()
    table(
        metadata, RowSecurity(), Policy("p", to="r_op", using="true"), Grant("select", to="r_app")
    )
    expected = r'table items: r_app is granted select.*write Policy\("…", to="r_app"'
    with pytest.raises(ArgumentError, match=expected):
        check_policies(metadata)


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param([Policy("p", to="r_app", using="true", permissive=False)], id="restrictive"),
        pytest.param([Policy("p", to="r_app", command="select", using="true")], id="command"),
    ],
)
def test_grant_that_its_policies_do_not_back(policies: list[Policy]) -> None:
    metadata = MetaData()
    table(metadata, RowSecurity(), *policies, Grant("select, update (id)", to="r_app"))
    with pytest.raises(ArgumentError, match=r"no permissive policy lets it (select|update)"):
        check_policies(metadata)


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([RowSecurity(), Policy("p", to="PUBLIC", using="true")], id="PUBLIC"),
        pytest.param([RowSecurity(), Policy("p", to="public", using="true")], id="public"),
        pytest.param([RowSecurity(), Policy("p", to=["x", "r_app"], using="true")], id="several"),
        pytest.param([RowSecurity(enable=False)], id="switched off"),
        pytest.param([], id="no row security"),
    ],
)
def test_grant_that_is_backed(items: list[Any]) -> None:
    metadata = MetaData()
    table(metadata, *items, Grant("select, truncate", to="r_app"))
    check_policies(metadata)


def test_text_body_without_search_path() -> None:
    expected = 'function f has a text body .*settings=\\{"search_path": "pg_catalog, pg_temp"\\}'
    for language, body in (("sql", "SELECT 1"), ("plpgsql", "begin return 1; end")):
        with pytest.raises(ArgumentError, match=expected):
            Function("f", returns="int", language=language, body=body)


@pytest.mark.parametrize(
    ("declare", "title"),
    [
        (lambda m: View("v", "SELECT 1", metadata=m), "view public.v"),
        (lambda m: Function("f", returns="int", body="RETURN 1", metadata=m), r"function f\(\)"),
    ],
)
def test_declared_twice(declare: Callable[[MetaData], Any], title: str) -> None:
    metadata = MetaData()
    declare(metadata)
    with pytest.raises(ArgumentError, match=f"{title} is declared twice; keep one declaration"):
        declare(metadata)


def test_declared_twice_on_a_table() -> None:
    twice = [Policy("p", to="r_app", using=using) for using in ("true", "false")]
    with pytest.raises(ArgumentError, match=r"policy public.items.p is declared twice"):
        table(MetaData(), *twice)
    twice_fired = [
        Trigger("t", timing="before", events=event, function="f()")
        for event in ("insert", "update")
    ]
    with pytest.raises(ArgumentError, match=r"trigger public.items.t is declared twice"):
        table(MetaData(), *twice_fired)


def test_overloaded_function() -> None:
    metadata = MetaData()
    Function("f", "a int", returns="int", body="RETURN a", metadata=metadata)
    with pytest.raises(ArgumentError, match=r"function f\(a text\) .*f\(a int\).*another name"):
        Function("f", "a text", returns="text", body="RETURN a", metadata=metadata)


def test_states_stay_out_of_table_info() -> None:
    """Alembic would write them into revisions."""
    metadata = MetaData()
    items = table(metadata, RowSecurity())
    assert items.info == {}
    assert list(Declared.on(metadata).of("row security")) == [("public", "items")]


# --- order ---


def views(**queries: str) -> list[ViewState]:
    return [ViewState(name, query) for name, query in queries.items()]


def names(states: list[Any]) -> list[str]:
    return [state.name for state in by_mention(states)]


def test_views_come_after_those_they_read() -> None:
    listed = views(
        a='SELECT * FROM b, public.c JOIN (SELECT * FROM "D d") x ON true',
        b="SELECT 1",
        c="TABLE b",
    )
    assert names([*listed, ViewState("D d", "SELECT * FROM c")]) == ["b", "c", "D d", "a"]


def test_circle_of_views() -> None:
    with pytest.raises(ArgumentError, match=r"need each other: view public\.\w -> view public\.\w"):
        by_mention(views(a="SELECT * FROM b", b="SELECT * FROM a"))


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
GRANT = GrantOperation(GrantState("items", GrantState.parse({"r": "select"})), None)
TRIGGER = TriggerOperation(TriggerState("t", "items", function="touch()"), None)
INDEX = ops.DropIndexOp("i", "items")
F = FunctionOperation(FunctionState("f", body="BEGIN ATOMIC SELECT 1; END"), None)
F_TEXT = FunctionOperation(FunctionState("f", "a text", body="RETURN a"), None)
F_GRANT = GrantOperation(GrantState("function f()", GrantState.parse({"r": "execute"})), None)
FOREIGN = ConstraintOperation(
    ConstraintState("items", "fk", "FOREIGN KEY (id) REFERENCES others (id)"), None
)


def test_prune_what_dies_with_its_table() -> None:
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
    """Dropped and made again: what is taken from the new one is taken."""
    view = ViewState("items", "SELECT 1")
    listed = [ViewOperation(view, None), ViewOperation(None, view), GRANT]
    assert prune(listed) == listed


def test_grants_of_a_function_go_with_its_own_signature() -> None:
    assert prune([F_GRANT, F]) == [F]
    assert prune([F_GRANT, F_TEXT]) == [F_GRANT, F_TEXT]
