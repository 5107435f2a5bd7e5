"""grant and revoke on everything that can be granted."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, text

from ddl import Function, Grant, View, schema_grant
from tests.ddl.case import Case, nothing
from tests.support.generated_revisions import Declare


def declare(metadata: MetaData, *grants: Grant, view: str = "", function: str = "") -> None:
    Table(
        "items",
        metadata,
        Column("id", Integer),
        Column("From", Integer),
        Column("n", Integer),
        *grants,
    )
    View(
        "item_ids",
        "SELECT id FROM items",
        grants={"r_app": view} if view else None,
        metadata=metadata,
    )
    Function(
        "plus",
        "a int, b int DEFAULT 1",
        returns="int",
        body="RETURN a + b",
        grants={"r_app": function} if function else None,
        metadata=metadata,
    )


def test_grant_on_tables_columns_views_functions_and_schemas(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        declare(
            metadata,
            Grant('select, insert, update (id, "From")', to="r_app"),
            Grant("references (id), delete with grant option, truncate, trigger", to="Mixed Case"),
            Grant("select (n)", to="PUBLIC"),
            view="select, update (id)",
            function="execute",
        )
        schema_grant("usage", on="public", to="r_app", metadata=metadata)
        schema_grant("usage, create", on="public", to="r_op", metadata=metadata)

    Case(
        declare,
        after,
        upgrade="""
            op.grant("function plus(a int, b int)", {"r_app": "execute"})
            op.grant("item_ids", {"r_app": "select, update (id)"})
            op.grant(
                "items",
                {
                    "Mixed Case": "delete with grant option, references (id), trigger, truncate",
                    "PUBLIC": "select (n)",
                    "r_app": 'insert, select, update ("From", id)',
                },
            )
            op.grant("schema public", {"r_app": "usage", "r_op": "create, usage"})
        """,
        downgrade="""
            op.revoke("schema public", {"r_app": "usage", "r_op": "create, usage"})
            op.revoke(
                "items",
                {
                    "Mixed Case": "delete with grant option, references (id), trigger, truncate",
                    "PUBLIC": "select (n)",
                    "r_app": 'insert, select, update ("From", id)',
                },
            )
            op.revoke("item_ids", {"r_app": "select, update (id)"})
            op.revoke("function plus(a int, b int)", {"r_app": "execute"})
        """,
    ).walk(engine)


def test_change_only_what_differs(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        declare(
            metadata,
            Grant("select, update (id, n), delete", to="r_app"),
            Grant("select", to="r_op"),
        )

    def after(metadata: MetaData) -> None:
        declare(metadata, Grant("select with grant option, update (n), insert (id)", to="r_app"))

    Case(
        before,
        after,
        upgrade="""
            op.revoke("items", {"r_app": "delete, select, update (id)", "r_op": "select"})
            op.grant("items", {"r_app": "insert (id), select with grant option"})
        """,
        downgrade="""
            op.revoke("items", {"r_app": "insert (id), select with grant option"})
            op.grant("items", {"r_app": "delete, select, update (id)", "r_op": "select"})
        """,
    ).walk(engine)


def test_several_grants_to_one_role_add_up(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        declare(metadata, Grant("select", to="r_app"), Grant("update (n)", to="r_app"))

    Case(
        declare,
        after,
        upgrade="""
            op.grant("items", {"r_app": "select, update (n)"})
        """,
        downgrade="""
            op.revoke("items", {"r_app": "select, update (n)"})
        """,
    ).walk(engine)


def test_roles_with_grants_in_a_schema_may_use_it(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Table("items", metadata, Column("a", Text), Grant("select (a)", to="r_app"), schema="side")
        names = "SELECT 'a' AS a"
        View("names", names, grants={"r_read": "select"}, schema="side", metadata=metadata)

    Case(nothing, after).walk(engine)
    with engine.connect() as connection:
        connection.execute(text("SET ROLE r_app"))
        assert connection.execute(text("SELECT a FROM side.items")).all() == []


@pytest.mark.parametrize("at_first", [{}, {"fillfactor": 50}])
def test_a_new_column_comes_before_its_grant(engine: Engine, at_first: dict[str, int]) -> None:
    """Also where the table itself is altered, which is no creation that the rest belongs to."""

    def declared(options: dict[str, int], *columns: str) -> Declare:
        def declare(metadata: MetaData) -> None:
            grant = Grant(f"select ({', '.join(columns)})", to="r_app")
            found = [Column(name, Integer) for name in columns]
            Table("items", metadata, *found, grant, postgresql_with=options)

        return declare

    then = {} if at_first else {"fillfactor": 50}
    Case(declared(at_first, "a", "b"), declared(then, "b", "c")).walk(engine)
