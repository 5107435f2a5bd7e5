"""NOT NULL on tables with rows: refused when its revision is generated, said in the revision."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import Column, Engine, Identity, Integer, MetaData, Table, Text

from ddl import Grant, Policy, RowLevelSecurity, filled, schema_grant
from tests.ddl.case import Case
from tests.support.generated_revisions import Declare, apply, metadata_of, migration, rendered, run


def items(*more: Any, hidden: bool = False, reader: str | None = "r_read") -> Declare:
    def declare(metadata: MetaData) -> None:
        metadata.info["validate_as"] = reader
        rules: list[Any] = []
        if hidden:
            schema_grant("usage", on="public", to="r_read", metadata=metadata)
            rules = [
                RowLevelSecurity(),
                Policy("read", to="r_read", command="select", using="true"),
                Grant("select", to="r_read"),
            ]
        columns = [column._copy() for column in more]
        Table("items", metadata, Column("id", Integer, primary_key=True), *columns, *rules)

    return declare


def refused(engine: Engine, after: Declare) -> str | None:
    """Why the revision is not written; None if it is."""
    metadata = metadata_of(after)
    with engine.connect() as connection:
        script = migration(connection, metadata)
        assert script.upgrade_ops is not None
        try:
            filled.refuse(script.upgrade_ops.ops, connection, metadata.info["validate_as"])
        except CommandError as error:
            return str(error)
    return None


def prepared(engine: Engine, before: Declare, *rows: str) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(before))
        for statement in rows:
            connection.execute(sa.text(statement))


TWO = "INSERT INTO items VALUES (1), (2)"
M = Column("m", Integer, nullable=False)


def test_new_column_without_default(every_edition: Engine) -> None:
    prepared(every_edition, items(), TWO)
    assert refused(every_edition, items(M)) == (
        "column public.items.m: it is new and NOT NULL without a default, and public.items has"
        " 2 rows without a value for it; declare a server_default, or declare the column nullable,"
        " fill it, and make it NOT NULL in a later revision (see docs/adding-a-table.md, NOT NULL"
        " on a busy table)"
    )


@pytest.mark.parametrize(
    "column",
    [
        Column("m", Integer),
        Column("m", Integer, server_default="1", nullable=False),
        Column("m", Integer, Identity(), nullable=False),
        Column("m", Integer, sa.Computed("id * 2", persisted=True), nullable=False),
    ],
)
def test_new_column_that_every_row_has_a_value_for(engine: Engine, column: Column[Any]) -> None:
    prepared(engine, items(), TWO)
    assert refused(engine, items(column)) is None
    with engine.connect() as connection:
        script = migration(connection, metadata_of(items(column)))
    assert "# fails" not in rendered(script.upgrade_ops)
    run(engine, rendered(script.upgrade_ops))


def test_values_that_are_missing(every_edition: Engine) -> None:
    rows = "INSERT INTO items VALUES (1, 1), (2, NULL)"
    prepared(every_edition, items(Column("m", Integer)), rows)
    assert refused(every_edition, items(M)) == (
        "column public.items.m: expected NOT NULL, found 1 row without a value; give them one"
        " first, in a revision before this one or by hand: UPDATE items SET m = … WHERE m IS NULL"
    )
    with every_edition.begin() as connection:
        connection.execute(sa.text("UPDATE items SET m = 0 WHERE m IS NULL"))
    assert refused(every_edition, items(M)) is None


def test_rows_that_policies_hide_from_the_owner(owned: Engine) -> None:
    prepared(owned, items(), TWO)
    with owned.begin() as connection:
        script = migration(connection, metadata_of(items(hidden=True)))
    run(owned, rendered(script.upgrade_ops))
    with owned.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM items")) == 0
    assert "2 rows" in str(refused(owned, items(M, hidden=True)))
    # Nothing is claimed of rows that nobody may read.
    assert refused(owned, items(M, hidden=True, reader=None)) is None


def test_empty_table_gets_a_line_for_other_databases(engine: Engine) -> None:
    Case(
        items(),
        items(M),
        upgrade="""
            # fails where public.items has rows: m is NOT NULL without a default
            op.add_column("items", sa.Column("m", sa.Integer(), nullable=False))
        """,
        downgrade='op.drop_column("items", "m")',
    ).walk(engine)
    assert refused(engine, items()) is None


def test_downgrade_says_that_it_cannot_fill_the_column(engine: Engine) -> None:
    name = Column("name", Text, nullable=False)
    prepared(engine, items(name), "INSERT INTO items VALUES (1, 'a')")
    assert refused(engine, items()) is None
    with engine.connect() as connection:
        script = migration(connection, metadata_of(items()))
    assert rendered(script.downgrade_ops) == (
        "# fails where public.items has rows: name is NOT NULL without a default\n"
        'op.add_column("items", sa.Column("name", sa.TEXT(), nullable=False))'
    )
