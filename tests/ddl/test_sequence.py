"""create_sequence, alter_sequence and drop_sequence."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Integer,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
)

from ddl import Function, Grant
from tests.ddl.case import Case, nothing
from tests.support.generated_revisions import Declare


def table(*items: Any, schema: str | None = None) -> Declare:
    def declare(metadata: MetaData) -> None:
        Table(
            "items",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            *items,
            schema=schema,
        )

    return declare


def test_create_sequences_with_all_options(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        order_no = Sequence(
            "order_no",
            start=100,
            increment=5,
            minvalue=50,
            maxvalue=900,
            cache=10,
            cycle=True,
            data_type=Integer(),
            metadata=metadata,
        )
        Sequence("Count Down", increment=-1, data_type=SmallInteger(), metadata=metadata)
        table(
            Column("no", Integer, order_no, server_default=order_no.next_value()),
            Column("client", BigInteger, Sequence("client_no", metadata=metadata)),
            Grant("usage", to="r_op", on="sequence order_no"),
            Grant("select", to="Mixed Case", on="sequence Count Down"),
        )(metadata)

    Case(
        nothing,
        after,
        upgrade="""
            op.create_sequence("Count Down", data_type="smallint", increment=-1, grants={"Mixed Case": "select"})
            op.create_sequence("client_no")
            op.create_sequence(
                "order_no", data_type="integer", start=100, increment=5, minimum=50, maximum=900, cache=10, cycle=True,
                grants={"r_op": "usage"},
            )

            op.create_table(
                "items",
                sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
                sa.Column("no", sa.Integer(), server_default=sa.text("nextval('order_no')"), nullable=True),
                sa.Column("client", sa.BigInteger(), nullable=True),
                sa.PrimaryKeyConstraint("id", name=op.f("items_pkey")),
            )
        """,
        downgrade="""
            op.drop_table("items")
            op.drop_sequence("order_no")
            op.drop_sequence("client_no")
            op.drop_sequence("Count Down")
        """,
    ).walk(engine)


def test_change_options_in_place(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        Sequence("order_no", metadata=metadata)

    def after(metadata: MetaData) -> None:
        Sequence("order_no", increment=10, maxvalue=500, data_type=Integer(), metadata=metadata)

    Case(
        before,
        after,
        rows=["SELECT nextval('order_no') FROM generate_series(1, 7)"],
        upgrade="""
            op.alter_sequence("order_no", data_type="integer", increment=10, maximum=500)
        """,
        downgrade="""
            op.alter_sequence("order_no")
        """,
    ).walk(engine)
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT nextval('order_no')")) == 17


def test_sequence_in_a_schema_of_its_own_with_grants(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        numbers = Sequence("Order No", schema="Side Room", metadata=metadata)
        table(
            Column("no", BigInteger, server_default=numbers.next_value()),
            Column("serial", Integer),
            Grant("usage, select", to="r_op", on="sequence Order No"),
            schema="Side Room",
        )(metadata)
        Table(
            "numbered",
            metadata,
            Column("id", Integer, primary_key=True),
            Grant("usage", to="r_op", on="sequence numbered_id_seq"),
            schema="Side Room",
        )

    Case(nothing, after).walk(engine)


def test_schema_that_only_a_sequence_is_in(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Sequence("numbers", schema="elsewhere", metadata=metadata)

    Case(
        nothing,
        after,
        upgrade="""
            op.create_schema("elsewhere")
            op.create_sequence("numbers", schema="elsewhere")
        """,
        downgrade="""
            op.drop_sequence("numbers", schema="elsewhere")
            op.drop_schema("elsewhere")
        """,
    ).walk(engine)


def test_function_between_a_sequence_and_a_table(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Sequence("order_no", metadata=metadata)
        Function(
            "next_order",
            returns="text",
            body="RETURN 'A' || nextval('order_no')",
            metadata=metadata,
        )
        table(Column("no", Text, server_default=sa.text("next_order()")))(metadata)

    Case(nothing, after).walk(engine)


def test_default_is_removed_before_its_sequence(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        numbers = Sequence("order_no", metadata=metadata)
        table(Column("no", BigInteger, server_default=numbers.next_value()))(metadata)

    Case(
        before,
        table(Column("no", BigInteger)),
        upgrade="""
            op.alter_column("items", "no", existing_type=sa.BIGINT(), server_default=None, existing_nullable=True)
            op.drop_sequence("order_no")
        """,
        downgrade=r"""
            op.create_sequence("order_no")
            op.alter_column(
                "items", "no", existing_type=sa.BIGINT(), server_default=sa.text("nextval('\"public\".order_no'::regclass)"),
                existing_nullable=True,
            )
        """,
    ).walk(engine)


def test_column_and_table_come_back_with_the_default_of_a_sequence(engine: Engine) -> None:
    def sequence(metadata: MetaData) -> Sequence:
        return Sequence("order_no", metadata=metadata)

    def before(metadata: MetaData) -> None:
        default = sequence(metadata).next_value()
        table(Column("no", Integer, server_default=default))(metadata)
        Table("keyed", metadata, Column("id", Integer, server_default=default, primary_key=True))

    def after(metadata: MetaData) -> None:
        sequence(metadata)
        table()(metadata)

    Case(before, after).walk(engine)


@pytest.mark.parametrize("of_server", [False, True])
def test_key_that_a_sequence_numbers(engine: Engine, of_server: bool) -> None:
    def after(metadata: MetaData) -> None:
        numbers = Sequence("order_no", metadata=metadata)
        default = numbers.next_value() if of_server else None
        Table(
            "items",
            metadata,
            Column("id", Integer, numbers, server_default=default, primary_key=True),
            Column("a", Text),
        )

    Case(nothing, after).walk(engine)
