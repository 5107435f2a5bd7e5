"""create_view and drop_view."""

from __future__ import annotations

from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text

from ddl import Function, Trigger, View
from tests.ddl.case import SETTINGS, Case
from tests.support.generated_revisions import Declare, apply, metadata_of

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


def test_defaults_of_a_view_that_inserts_by_a_trigger(engine: Engine) -> None:
    def viewed(**defaults: str) -> Declare:
        def declare(metadata: MetaData) -> None:
            table(metadata)
            Function(
                "take",
                returns="trigger",
                language="plpgsql",
                settings=SETTINGS,
                body="BEGIN INSERT INTO public.items VALUES (new.id, new.name); RETURN new; END",
                metadata=metadata,
            )
            insert = Trigger("take", timing="instead of", events="insert", function="take()")
            View(
                "named",
                "SELECT id, upper(name) AS name FROM items",
                triggers=[insert],
                defaults=defaults,
                metadata=metadata,
            )

        return declare

    before, after = viewed(name="'a:b 50%'"), viewed(id="1 + 1", name="now()::text")
    with engine.connect() as connection:
        apply(connection, metadata_of(before))
        connection.exec_driver_sql("INSERT INTO named (id) VALUES (1)")
        connection.exec_driver_sql("INSERT INTO named VALUES (2, NULL)")
        found = connection.exec_driver_sql("SELECT name FROM items ORDER BY id").scalars().all()
        assert found == ["a:b 50%", None]
    Case(before, after).walk(engine)


def commented(view: str | None, function: str | None) -> Declare:
    def declare(metadata: MetaData) -> None:
        table(metadata)
        Function(
            "twice",
            "n int",
            returns="int",
            body="RETURN 2 * n",
            comment=function,
            metadata=metadata,
        )
        View(
            "shown",
            "SELECT id, twice(id) AS n FROM items",
            grants={"r_app": "select"},
            comment=view,
            metadata=metadata,
        )
        View("more", "SELECT id FROM shown", metadata=metadata)

    return declare


def test_a_comment_is_changed_without_what_it_is_about(engine: Engine) -> None:
    """Neither the view nor those over it are dropped, and no body is repeated."""
    Case(
        commented("It's :x 50%", None),
        commented("Some", "Itself"),
        upgrade="""
            op.execute("COMMENT ON FUNCTION public.twice(n int) IS 'Itself'")
            op.execute("COMMENT ON VIEW shown IS 'Some'")
        """,
        downgrade=r"""
            op.execute("COMMENT ON VIEW shown IS 'It''s \\:x 50%'")
            op.execute("COMMENT ON FUNCTION public.twice(n integer) IS NULL")
        """,
    ).walk(engine)
