"""The sequences of serial and identity columns: created and dropped with their column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from alembic.util import CommandError
from sqlalchemy import BigInteger, Column, Engine, Identity, Integer, MetaData, Table, Text, text

from ddl import Grant, RowLevelSecurity
from tests.ddl.case import Case, nothing
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
    run_in,
)


def granted(column: Callable[[], Any], *, of: str = "usage") -> Declare:
    def declare(metadata: MetaData) -> None:
        items = [column(), Column("a", Text)]
        if of:
            items.append(Grant(of, to="r_op", on="sequence items_id_seq"))
        Table("items", metadata, *items)

    return declare


def serial() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def bigserial() -> Column[int]:
    return Column("id", BigInteger, primary_key=True)


def identity() -> Column[int]:
    return Column("id", Integer, Identity(start=5), primary_key=True)


def plain() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=False)


@pytest.mark.parametrize("column", [serial, bigserial, identity])
def test_grants_on_the_sequence_of_a_column(engine: Engine, column: Callable[[], Any]) -> None:
    Case(nothing, granted(column)).walk(engine)


@pytest.mark.parametrize("column", [serial, identity])
def test_change_grants_on_the_sequence_of_a_column(
    engine: Engine, column: Callable[[], Any]
) -> None:
    Case(
        granted(column),
        granted(column, of="select"),
        upgrade="""
            op.revoke("sequence items_id_seq", {"r_op": "usage"})
            op.grant("sequence items_id_seq", {"r_op": "select"})
        """,
        downgrade="""
            op.revoke("sequence items_id_seq", {"r_op": "select"})
            op.grant("sequence items_id_seq", {"r_op": "usage"})
        """,
    ).walk(engine)


@pytest.mark.parametrize("of", ["", "usage"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (serial, bigserial),
        (serial, plain),
        (serial, identity),
        (identity, plain),
        (plain, identity),
    ],
)
def test_column_gains_and_loses_its_sequence(
    engine: Engine, before: Callable[[], Any], after: Callable[[], Any], of: str
) -> None:
    Case(
        granted(before, of="" if before is plain else of),
        granted(after, of="" if after is plain else of),
    ).walk(engine)


def test_serial_becomes_identity(engine: Engine) -> None:
    Case(
        granted(serial),
        granted(identity),
        upgrade="""
            op.alter_column("items", "id", existing_type=sa.INTEGER(), server_default=None, existing_nullable=False)
            op.drop_sequence("items_id_seq")
            op.alter_column_identity(
                "items", "id", "BY DEFAULT START 5 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.grant("sequence items_id_seq", {"r_op": "usage"})
        """,
        downgrade=r"""
            op.revoke("sequence items_id_seq", {"r_op": "usage"})
            op.alter_column_identity(
                "items", "id", None, before="BY DEFAULT START 5 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.create_sequence("items_id_seq", data_type="integer", owned_by="items.id", grants={"r_op": "usage"})
            op.alter_column(
                "items", "id", existing_type=sa.INTEGER(),
                server_default=sa.text("nextval('\"public\".items_id_seq'::regclass)"), existing_nullable=False,
            )
        """,
    ).walk(engine)


@pytest.mark.parametrize("column", [serial, identity])
def test_table_is_dropped_with_the_sequence_of_its_column(
    engine: Engine, column: Callable[[], Any]
) -> None:
    Case(granted(column), nothing).walk(engine)


def test_column_is_dropped_with_its_sequence(engine: Engine) -> None:
    def column(column: Callable[[], Any] | None) -> Declare:
        def declare(metadata: MetaData) -> None:
            items = (
                []
                if column is None
                else [column(), Grant("usage", to="r_op", on="sequence items_id_seq")]
            )
            Table("items", metadata, Column("a", Text), *items)

        return declare

    Case(column(identity), column(None)).walk(engine)


@pytest.mark.parametrize("forced", [False, True])
def test_numbers_go_on_behind_those_that_rows_have(
    engine: Engine, owned: Engine, forced: bool
) -> None:
    """Forced row-level security hides the rows from the owner, who runs the revisions."""

    def declared(column: Callable[[], Any]) -> MetaData:
        def declare(metadata: MetaData) -> None:
            secured = [RowLevelSecurity()] if forced else []
            Table("Items", metadata, column(), Column("a", Text), *secured)

        return metadata_of(declare)

    def counting_down() -> Column[int]:
        return Column(
            "id",
            Integer,
            Identity(start=3, increment=-2, minvalue=-20, maxvalue=9),
            primary_key=True,
        )

    with owned.begin() as connection:
        apply(connection, declared(plain))
    with engine.begin() as connection:
        connection.execute(text("""INSERT INTO "Items" VALUES (7), (-3)"""))

    def inserted(expected: int) -> None:
        with engine.begin() as connection:
            found = connection.scalar(text("""INSERT INTO "Items" (a) VALUES ('') RETURNING id"""))
        assert found == expected

    def changed_to(column: Callable[[], Any]) -> str:
        with owned.begin() as connection:
            script = migration(connection, declared(column))
            run_in(connection, rendered(script.upgrade_ops))
        assert_clean(owned, declared(column))
        return rendered(script.downgrade_ops)

    back = changed_to(identity)
    inserted(8)
    run(owned, back)
    changed_to(counting_down)
    inserted(-5)
    with owned.begin() as connection:
        run_in(
            connection,
            """op.alter_column_identity("Items", "id", None, before="BY DEFAULT")
op.create_sequence("Items_id_seq", data_type="integer", owned_by='"Items".id')
op.execute("""
            "'''ALTER TABLE \"Items\" ALTER id SET DEFAULT nextval('\"Items_id_seq\"')''')",
        )
    inserted(9)


def test_numbers_of_an_empty_table_begin_at_the_start(engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(granted(plain, of="")))
        apply(connection, metadata_of(granted(identity, of="")))
        assert connection.scalar(text("INSERT INTO items (a) VALUES ('') RETURNING id")) == 5


def test_grant_on_a_sequence_that_does_not_exist(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(CommandError, match="items_id_seq"):
        migration(connection, metadata_of(granted(plain)))
