"""create_view and drop_view."""

from __future__ import annotations

from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text

from ddl import View
from tests.ddl.case import Case

ROWS = ["INSERT INTO items VALUES (1, 'a')"]


def table(metadata: MetaData) -> None:
    Table(
        "items",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("name", Text),
    )


def test_create_views_with_all_options(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        table(metadata)
        View(
            "guarded",
            """
            SELECT id, name AS "The Name", ' :x 50% ' AS text
              FROM items
             WHERE id > 0;
            """,
            security_barrier=True,
            check_option="local",
            grants={"r_app": "select, insert (id), update", "Mixed Case": "select"},
            comment="It's :x 50%",
            metadata=metadata,
        )
        View(
            "cascaded",
            "SELECT id FROM guarded -- all of it",
            security_invoker=False,
            reason="Its readers may see every item.",
            check_option="cascaded",
            metadata=metadata,
        )

    Case(
        table,
        after,
        rows=ROWS,
        upgrade=r"""
            op.create_view(
                "guarded",
                (
                    "SELECT id, name AS \"The Name\", ' :x 50% ' AS text\n"
                    "  FROM items\n"
                    " WHERE id > 0"
                ),
                security_invoker=True, security_barrier=True, check_option="local", comment="It's :x 50%",
                grants={"Mixed Case": "select", "r_app": "insert (id), select, update"},
            )
            op.create_view("cascaded", "SELECT id FROM guarded -- all of it", check_option="cascaded")
        """,
        downgrade="""
            op.drop_view("cascaded")
            op.drop_view("guarded")
        """,
    ).walk(engine)


def test_changed_view_recreates_views_and_grants(engine: Engine) -> None:
    def declare(metadata: MetaData, query: str) -> None:
        table(metadata)
        View("lower", query, grants={"r_app": "select"}, metadata=metadata)
        View(
            "upper", "SELECT count(*) AS n FROM lower", grants={"r_op": "select"}, metadata=metadata
        )

    def before(metadata: MetaData) -> None:
        declare(metadata, "SELECT 1 AS id")

    def after(metadata: MetaData) -> None:
        declare(metadata, "SELECT 1 AS id, 2 AS name")

    Case(
        before,
        after,
        rows=ROWS,
        upgrade="""
            op.drop_view("upper")
            op.drop_view("lower")
            op.create_view("lower", "SELECT 1 AS id, 2 AS name", security_invoker=True, grants={"r_app": "select"})
            op.create_view("upper", "SELECT count(*) AS n FROM lower", security_invoker=True, grants={"r_op": "select"})
        """,
        downgrade=r"""
            op.drop_view("upper")
            op.drop_view("lower")
            op.create_view("lower", "SELECT 1 AS id", security_invoker=True, grants={"r_app": "select"})
            op.create_view(
                "upper",
                (
                    "SELECT count(*) AS n\n"
                    "  FROM public.lower"
                ),
                security_invoker=True, grants={"r_op": "select"},
            )
        """,
    ).walk(engine)


def test_names_in_parts(engine: Engine) -> None:
    """Spaces around the dot, and a string with an escaped quote before the name."""

    def after(metadata: MetaData) -> None:
        table(metadata)
        View("spaced", 'SELECT id FROM "public" . "items"', metadata=metadata)
        View(
            "escaped",
            r"SELECT E'it\'s' AS word, id, name FROM public.items WHERE name <> 'x'",
            metadata=metadata,
        )

    Case(table, after, rows=ROWS).walk(engine)
