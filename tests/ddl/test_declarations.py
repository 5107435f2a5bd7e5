"""Mistakes in declarations are reported at import, without a database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Index, Integer, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import (
    Declared,
    Function,
    Grant,
    Policy,
    RowLevelSecurity,
    Trigger,
    View,
    check_models,
    check_roles,
    privileges,
)
from ddl.kinds.row_level_security import RowLevelSecurityState
from ddl.privileges import Privilege

# --- grants ---

PRIVILEGES = st.frozensets(
    st.builds(
        Privilege,
        st.sampled_from(["r_app", "r_op", "Mixed Case", "a, b", "PUBLIC"]),
        st.sampled_from(["select", "insert", "update"]),
        st.sampled_from(["", "id", "from", "Mixed, Col", 'quo"te', "par(en"]),
        st.booleans(),
    )
)


@given(PRIVILEGES)
def test_grants_are_read_as_they_are_spelled(granted: frozenset[Privilege]) -> None:
    assert privileges.parse(privileges.spell(granted)) == granted


def test_grants_as_a_person_writes_them() -> None:
    found = privileges.parse({"a": 'SELECT, Update(Name, "From"),\n delete  with grant option'})
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
        metadata,
        RowLevelSecurity(),
        Policy("p", to="r_op", using="true"),
        Grant("select", to="r_app"),
    )
    expected = r'table items: r_app is granted select.*write Policy\("…", to="r_app"'
    with pytest.raises(ArgumentError, match=expected):
        check_models(metadata)


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param([Policy("p", to="r_app", using="true", permissive=False)], id="restrictive"),
        pytest.param([Policy("p", to="r_app", command="select", using="true")], id="command"),
    ],
)
def test_grant_that_its_policies_do_not_back(policies: list[Policy]) -> None:
    metadata = MetaData()
    table(metadata, RowLevelSecurity(), *policies, Grant("select, update (id)", to="r_app"))
    with pytest.raises(ArgumentError, match=r"no permissive policy lets it (select|update)"):
        check_models(metadata)


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([RowLevelSecurity(), Policy("p", to="PUBLIC", using="true")], id="PUBLIC"),
        pytest.param([RowLevelSecurity(), Policy("p", to="public", using="true")], id="public"),
        pytest.param(
            [RowLevelSecurity(), Policy("p", to=["x", "r_app"], using="true")], id="several"
        ),
        pytest.param([RowLevelSecurity(enable=False)], id="switched off"),
        pytest.param([], id="no row-level security"),
    ],
)
def test_grant_that_is_backed(items: list[Any]) -> None:
    metadata = MetaData()
    table(metadata, *items, Grant("select, truncate", to="r_app"))
    check_models(metadata)


def test_text_body_without_search_path() -> None:
    expected = 'function f has a text body .*settings=\\{"search_path": "pg_catalog, pg_temp"\\}'
    for language, body in (("sql", "SELECT 1"), ("plpgsql", "begin return 1; end")):
        with pytest.raises(ArgumentError, match=expected):
            Function("f", returns="int", language=language, body=body)


@pytest.mark.parametrize(
    ("declare", "title"),
    [
        (lambda m: View("v", "SELECT 1", metadata=m), "view public.v"),
        (
            lambda m: Function("f", returns="int", body="RETURN 1", metadata=m),
            r"function public.f\(\)",
        ),
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


def test_function_of_the_same_types() -> None:
    metadata = MetaData()
    Function("f", "a int", returns="int", body="RETURN a", metadata=metadata)
    Function("f", "a text", returns="text", body="RETURN a", metadata=metadata)
    with pytest.raises(
        ArgumentError, match=r"function public.f\(b integer\) .*f\(a int\).*another name"
    ):
        Function("f", "b integer", returns="int", body="RETURN b", metadata=metadata)


def test_states_stay_out_of_table_info() -> None:
    """Alembic would write them into revisions."""
    metadata = MetaData()
    items = table(metadata, RowLevelSecurity())
    assert items.info == {}
    assert list(Declared.on(metadata).of(RowLevelSecurityState)) == [("public", "items")]


def test_index_that_no_transaction_can_build() -> None:
    metadata = MetaData()
    Table("items", metadata, Column("a", Integer), Index("i", "a", postgresql_concurrently=True))
    with pytest.raises(ArgumentError, match="index i on items: a revision is one transaction"):
        check_models(metadata)


def test_roles_have_to_be_declared() -> None:
    metadata = MetaData()
    grants = (Grant("select", to="r_apps"), Grant("select", to="PUBLIC"))
    Table("items", metadata, Column("a", Integer), Policy("p", to="else", using="true"), *grants)
    with pytest.raises(ArgumentError) as refused:
        check_roles(metadata, ("r_app",), "ROLES")
    unknown = "which is not declared; add it in ROLES"
    assert str(refused.value).splitlines() == [
        f"policy public.items.p names the role else, {unknown}",
        f"grant public.items names the role r_apps, {unknown}; did you mean r_app?",
    ]


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (
            lambda: Trigger("t", on="items", timing="after", function="f()"),
            "Trigger: has no argument on; it takes name, timing, events, ",
        ),
        (lambda: Policy(), "Policy: missing a required argument: 'name'; it takes name, "),
        (
            lambda: Function(
                "f", "", "void", "sql", "x", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
            ),
            "Function: too many positional arguments; it takes name, arguments, ",
        ),
    ],
)
def test_arguments_that_a_declaration_does_not_take(declare: Any, said: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        declare()
    assert str(refused.value).startswith(said)
