"""create_function, create_function(replace=True) and drop_function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Engine, Integer, MetaData, Table

from ddl import Function, Grant, Policy, RowLevelSecurity
from tests.ddl.case import SETTINGS, Case, nothing


def test_create_functions_of_both_kinds(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Function(
            "tenant",
            returns="uuid",
            body="RETURN nullif(current_setting('app.tenant', true), '')::uuid",
            volatility="stable",
            parallel="safe",
            leakproof=True,
            grants={"r_app": "execute", "Mixed Case": "execute"},
            comment="Whose rows these are",
            metadata=metadata,
        )
        Function(
            "note",
            "message text DEFAULT 'a, b', VARIADIC parts numeric(10, 2)[] DEFAULT '{1.5}'",
            returns="TABLE (a integer, b text)",
            language="plpgsql",
            volatility="immutable",
            parallel="restricted",
            strict=True,
            security_definer=True,
            reason="It reads nothing.",
            body="""
            begin
              -- What is quoted stays quoted: $$ 'x' "y" \\n 50% :z $function$
              return query select 1, message;
            end
            """,
            settings={"search_path": "pg_catalog, pg_temp", "statement_timeout": "5s"},
            grants={"r_op": "execute with grant option"},
            metadata=metadata,
        )

    Case(
        nothing,
        after,
        upgrade=r"""
            op.create_function(
                "note", "message text DEFAULT 'a, b', VARIADIC parts numeric(10, 2)[] DEFAULT '{1.5}'",
                returns="TABLE (a integer, b text)", language="plpgsql", volatility="immutable", parallel="restricted",
                strict=True, security_definer=True, settings=["search_path=pg_catalog, pg_temp", "statement_timeout=5s"],
                body=(
                    "begin\n"
                    "  -- What is quoted stays quoted: $$ 'x' \"y\" \\n 50% :z $function$\n"
                    "  return query select 1, message;\n"
                    "end"
                ),
                grants={"r_op": "execute with grant option"},
            )
            op.create_function(
                "tenant", returns="uuid", language="sql", volatility="stable", parallel="safe", leakproof=True,
                body="RETURN nullif(current_setting('app.tenant', true), '')::uuid", comment="Whose rows these are",
                grants={"Mixed Case": "execute", "r_app": "execute"},
            )
        """,
        downgrade="""
            op.drop_function("tenant")
            op.drop_function("note", "message text, VARIADIC parts numeric(10, 2)[]")
        """,
    ).walk(engine)


def declared(**given: Any) -> Callable[[MetaData], None]:
    values: dict[str, Any] = {
        "arguments": "a int",
        "returns": "integer",
        "body": "RETURN a + 1",
        "volatility": "immutable",
        "grants": {"r_app": "execute"},
    }

    def declare(metadata: MetaData) -> None:
        Function("plus", metadata=metadata, **{**values, **given})
        Table(
            "items",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            RowLevelSecurity(),
            Policy("p", to="r_app", using="plus(id) > 0"),
            Grant("select", to="r_app"),
        )

    return declare


def test_replace_a_function_in_use(engine: Engine) -> None:
    """Nothing that uses it is dropped, and its grants stay."""
    after = declared(
        body="begin return a + 2; end",
        language="plpgsql",
        settings=SETTINGS,
        volatility="stable",
        strict=True,
        comment="Adds two",
    )
    Case(
        declared(),
        after,
        upgrade="""
            op.replace_function(
                "plus", "a int", returns="integer", language="plpgsql", volatility="stable", strict=True,
                settings="search_path=pg_catalog, pg_temp", body="begin return a + 2; end", comment="Adds two",
            )
        """,
        downgrade="""
            op.replace_function(
                "plus", "a integer", returns="integer", language="sql", volatility="immutable", body="RETURN (a + 1)",
            )
        """,
    ).walk(engine)


def test_another_result_recreates_what_uses_it(engine: Engine) -> None:
    after = declared(returns="bigint")
    Case(
        declared(),
        after,
        upgrade="""
            op.drop_policy("p", "items")
            op.drop_function("plus", "a integer")
            op.create_function(
                "plus", "a int", returns="bigint", language="sql", volatility="immutable", body="RETURN a + 1",
                grants={"r_app": "execute"},
            )
            op.create_policy("p", "items", to="r_app", command="all", using="plus(id) > 0")
        """,
        downgrade="""
            op.drop_policy("p", "items")
            op.drop_function("plus", "a int")
            op.create_function(
                "plus", "a integer", returns="integer", language="sql", volatility="immutable", body="RETURN (a + 1)",
                grants={"r_app": "execute"},
            )
            op.create_policy("p", "items", to="r_app", command="all", using="(public.plus(id) > 0)")
        """,
    ).walk(engine)


def test_text_body_comes_before_the_table_that_it_names(engine: Engine) -> None:
    """The server must not check it yet; from the next statement on it checks again."""

    def after(metadata: MetaData) -> None:
        Function(
            "latest",
            returns="integer",
            body="SELECT max(id) FROM public.items",
            settings=SETTINGS,
            metadata=metadata,
        )
        Table("items", metadata, Column("id", Integer, primary_key=True))

    Case(
        nothing,
        after,
        upgrade="""
            op.create_function(
                "latest", returns="integer", language="sql", settings="search_path=pg_catalog, pg_temp",
                body="SELECT max(id) FROM public.items",
            )

            op.create_table(
                "items",
                sa.Column("id", sa.Integer(), nullable=False),
                sa.PrimaryKeyConstraint("id", name=op.f("items_pkey")),
            )
        """,
        downgrade="""
            op.drop_table("items")
            op.drop_function("latest")
        """,
    ).walk(engine)


def test_types_of_arguments_and_result(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Table("items", metadata, Column("id", Integer, primary_key=True))
        Function(
            "of_rows",
            "item items, INOUT at date, listed items[] = '{}', OUT n int",
            returns="record",
            body="BEGIN ATOMIC SELECT at, item.id + cardinality(listed); END",
            metadata=metadata,
        )
        Function(
            "all_rows",
            returns="SETOF items",
            body="BEGIN ATOMIC TABLE items; END",
            metadata=metadata,
        )

    Case(
        nothing,
        after,
        upgrade="""
            op.create_table(
                "items",
                sa.Column("id", sa.Integer(), nullable=False),
                sa.PrimaryKeyConstraint("id", name=op.f("items_pkey")),
            )
            op.create_function("all_rows", returns="SETOF items", language="sql", body="BEGIN ATOMIC TABLE items; END")
            op.create_function(
                "of_rows", "item items, INOUT at date, listed items[] = '{}', OUT n int", returns="record", language="sql",
                body="BEGIN ATOMIC SELECT at, item.id + cardinality(listed); END",
            )
        """,
        downgrade="""
            op.drop_function("of_rows", "item items, INOUT at date, listed items[], OUT n int")
            op.drop_function("all_rows")
            op.drop_table("items")
        """,
    ).walk(engine)
