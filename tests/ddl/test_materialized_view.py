"""create_materialized_view, alter_materialized_view and drop_materialized_view, with indexes."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Engine, Integer, MetaData, Table, Text
from sqlalchemy.exc import ArgumentError

from ddl import MaterializedView, View
from tests.ddl.case import Case, nothing
from tests.support.drift import fixed
from tests.support.generated_revisions import apply, metadata_of

ROWS = ["INSERT INTO items VALUES (1, 'a'), (2, 'b')"]
UNIQUE = "CREATE UNIQUE INDEX totals_name ON totals (name)"


def table(metadata: MetaData, *items: Any, name: Any = Text) -> None:
    Table(
        "items",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("name", name),
        *items,
    )


def totals(query: str = "SELECT name, count(*) AS n FROM items GROUP BY 1", **options: Any) -> Any:
    defaults: dict[str, Any] = {"indexes": [UNIQUE], "grants": {"r_app": "select"}}
    return MaterializedView("totals", query, **(defaults | options))


def test_create_with_all_options(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        table(metadata)
        MaterializedView(
            "The Totals",
            """
            SELECT name AS "The Name", count(*) AS n, ' :x 50% ' AS text
              FROM items
             GROUP BY 1;
            """,
            with_data=False,
            indexes=[
                'CREATE UNIQUE INDEX "By Name" ON "The Totals" ("The Name")',
                """CREATE INDEX totals_n ON "The Totals" USING btree (n DESC)
                    WHERE text <> ' :x 50% '""",
            ],
            options={"fillfactor": "90", "autovacuum_enabled": "false"},
            grants={"r_app": "select (n)", "Mixed Case": "select"},
            comment="It's :x 50%",
            metadata=metadata,
        )
        View("over", 'SELECT n FROM "The Totals"', metadata=metadata)

    Case(
        table,
        after,
        rows=ROWS,
        upgrade=r"""
            op.create_materialized_view(
                "The Totals",
                (
                    "SELECT name AS \"The Name\", count(*) AS n, ' :x 50% ' AS text\n"
                    "  FROM items\n"
                    " GROUP BY 1"
                ),
                with_data=False, options=["autovacuum_enabled=false", "fillfactor=90"], comment="It's :x 50%",
                grants={"Mixed Case": "select", "r_app": "select (n)"},
            )
            op.add_index('CREATE UNIQUE INDEX "By Name" ON "The Totals" ("The Name")')
            op.add_index(
                (
                    'CREATE INDEX totals_n ON "The Totals" USING btree (n DESC)\n'
                    "                    WHERE text <> ' :x 50% '"
                ),
            )
            op.create_view("over", 'SELECT n FROM "The Totals"', security_invoker=True)
        """,
        downgrade="""
            op.drop_view("over")
            op.drop_materialized_view("The Totals")
        """,
    ).walk(engine)


def test_changed_query_recreates_views_indexes_and_grants(engine: Engine) -> None:
    def declare(metadata: MetaData, view: Any) -> None:
        table(metadata, view)
        View("over", "SELECT n FROM totals", grants={"r_op": "select"}, metadata=metadata)
        MaterializedView("upper_totals", "SELECT sum(n) AS n FROM over", metadata=metadata)

    Case(
        lambda metadata: declare(metadata, totals()),
        lambda metadata: declare(
            metadata, totals("SELECT name, count(*) + 1 AS n FROM items GROUP BY 1")
        ),
        rows=ROWS,
        upgrade="""
            op.drop_materialized_view("upper_totals")
            op.drop_view("over")
            op.drop_materialized_view("totals")
            op.create_materialized_view(
                "totals", "SELECT name, count(*) + 1 AS n FROM items GROUP BY 1", grants={"r_app": "select"},
            )
            op.add_index("CREATE UNIQUE INDEX totals_name ON totals (name)")
            op.create_view("over", "SELECT n FROM totals", security_invoker=True, grants={"r_op": "select"})
            op.create_materialized_view("upper_totals", "SELECT sum(n) AS n FROM over")
        """,
        downgrade=r"""
            op.drop_materialized_view("upper_totals")
            op.drop_view("over")
            op.drop_materialized_view("totals")
            op.create_materialized_view(
                "totals",
                (
                    "SELECT name,\n"
                    "   count(*) AS n\n"
                    "  FROM public.items\n"
                    " GROUP BY name"
                ),
                grants={"r_app": "select"},
            )
            op.add_index("CREATE UNIQUE INDEX totals_name ON public.totals USING btree (name)")
            op.create_view(
                "over",
                (
                    "SELECT n\n"
                    "  FROM public.totals"
                ),
                security_invoker=True, grants={"r_op": "select"},
            )
            op.create_materialized_view(
                "upper_totals",
                (
                    "SELECT sum(n) AS n\n"
                    "  FROM public.over"
                ),
            )
        """,
    ).walk(engine)


def test_column_of_the_table_changes_its_type(engine: Engine) -> None:
    def retyped(type_: Any) -> Any:
        return lambda metadata: table(metadata, totals(), name=type_)

    Case(retyped(Text), retyped(sa.String(20)), rows=ROWS).walk(engine)


def test_comment_is_changed_in_place(engine: Engine) -> None:
    Case(
        lambda metadata: table(metadata, totals(comment="By name")),
        lambda metadata: table(metadata, totals(comment="How many of each")),
        rows=ROWS,
        upgrade="""
            op.alter_materialized_view("totals", comment="How many of each")
        """,
        downgrade="""
            op.alter_materialized_view("totals", comment="By name")
        """,
    ).walk(engine)


def test_indexes_are_changed_without_the_view(engine: Engine) -> None:
    more = "CREATE INDEX totals_n ON totals (n) WHERE n > 1"
    Case(
        lambda metadata: table(metadata, totals()),
        lambda metadata: table(metadata, totals(indexes=[f"{UNIQUE} INCLUDE (n)", more])),
        rows=ROWS,
        upgrade="""
            op.remove_index("totals_name", "totals")
            op.add_index("CREATE INDEX totals_n ON totals (n) WHERE n > 1")
            op.add_index("CREATE UNIQUE INDEX totals_name ON totals (name) INCLUDE (n)")
        """,
        downgrade="""
            op.remove_index("totals_name", "totals")
            op.remove_index("totals_n", "totals")
            op.add_index("CREATE UNIQUE INDEX totals_name ON public.totals USING btree (name)")
        """,
    ).walk(engine)


def test_view_becomes_a_materialized_view(engine: Engine) -> None:
    def plain(metadata: MetaData) -> None:
        table(metadata)
        View("totals", "SELECT count(*) AS n FROM items", metadata=metadata)

    def kept(metadata: MetaData) -> None:
        table(metadata)
        MaterializedView("totals", "SELECT count(*) AS n FROM items", metadata=metadata)

    Case(plain, kept, rows=ROWS).walk(engine)


def test_in_a_schema_of_its_own(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        table(metadata)
        MaterializedView(
            "totals",
            "SELECT count(*) AS n FROM items",
            indexes=['CREATE INDEX ON_N ON "Side Room".totals (n)'],
            grants={"r_app": "select"},
            schema="Side Room",
            metadata=metadata,
        )

    Case(table, after, rows=ROWS).walk(engine)


def test_table_and_view_are_dropped_together(engine: Engine) -> None:
    Case(lambda metadata: table(metadata, totals()), nothing).walk(engine)


def test_refresh_concurrently_and_whether_it_is_filled_is_no_drift(engine: Engine) -> None:
    def unfilled(metadata: MetaData) -> None:
        table(metadata, totals(with_data=False))

    Case(table, unfilled, rows=ROWS).walk(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("REFRESH MATERIALIZED VIEW totals"))
        connection.execute(sa.text("REFRESH MATERIALIZED VIEW CONCURRENTLY totals"))
        fixed(connection, "SELECT", declare=unfilled)


@pytest.mark.parametrize(
    "index",
    [
        "CREATE INDEX a ON items (name)",
        'CREATE INDEX a ON "Totals" (name)',
        "CREATE INDEX a ON timeseries.totals (name)",
        "CREATE INDEX ON totals (name)",
        "totals (name)",
    ],
)
def test_index_of_something_else(index: str) -> None:
    with pytest.raises(ArgumentError, match=r"materialized view public.totals: expected indexes"):
        totals(indexes=[index])


def test_declared_twice() -> None:
    metadata = MetaData()
    MaterializedView("totals", "SELECT 1 AS n", metadata=metadata)
    with pytest.raises(ArgumentError, match="declared twice"):
        MaterializedView("totals", "SELECT 2 AS n", metadata=metadata)


# --- drift ---


def drifting(metadata: MetaData) -> None:
    table(metadata, totals(comment="By name"))


DRIFT = {
    "DROP MATERIALIZED VIEW totals": ["materialized view public.totals expected, missing"],
    "CREATE MATERIALIZED VIEW more AS SELECT 1 AS n; CREATE INDEX more_n ON more (n)": [
        "materialized view public.more found, not declared"
    ],
    "ALTER MATERIALIZED VIEW totals SET (fillfactor = 50)": [
        "materialized view public.totals options: expected nothing, found fillfactor=50"
    ],
    "COMMENT ON MATERIALIZED VIEW totals IS NULL": [
        "materialized view public.totals comment: expected By name, found nothing"
    ],
    "DROP INDEX totals_name": ["index public.totals.totals_name expected, missing"],
    "CREATE INDEX totals_n ON totals (n)": ["index public.totals.totals_n found, not declared"],
    "GRANT SELECT ON totals TO r_op": ["grant public.totals to r_op: not declared: SELECT"],
    "REVOKE ALL ON totals FROM r_app": ["grant public.totals to r_app: missing: SELECT"],
}


def test_drift_is_found_and_fixed(engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(drifting))
    for statements, expected in DRIFT.items():
        with engine.connect() as connection:
            fixed(connection, statements, *expected, declare=drifting)


def test_query_changed_by_hand(engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(drifting))
        fixed(
            connection,
            "DROP MATERIALIZED VIEW totals;"
            " CREATE MATERIALIZED VIEW totals AS SELECT name, 1::bigint AS n FROM items;"
            f" {UNIQUE}; GRANT SELECT ON totals TO r_app;"
            " COMMENT ON MATERIALIZED VIEW totals IS 'By name'",
            "materialized view public.totals definition: expected SELECT name, count(*) AS n"
            " FROM public.items GROUP BY name, found SELECT name, (1)::bigint AS n"
            " FROM public.items",
            declare=drifting,
        )


def test_other_versions(other_version: Engine) -> None:
    def after(metadata: MetaData) -> None:
        table(metadata, totals(), name=BigInteger)
        View("over", "SELECT n FROM totals", grants={"r_op": "select"}, metadata=metadata)

    Case(drifting, after, rows=[]).walk(other_version)
