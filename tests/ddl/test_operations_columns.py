"""alter_column_type, alter_column_identity, and the order of Alembic's own operations."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Engine,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from ddl import Grant
from tests.ddl.case import Case

ROWS = ["INSERT INTO items (id, n, name) VALUES (1, 1, '5')"]


def table(metadata: MetaData, *more: Any, n: Any = None, name: Any = None, **options: Any) -> None:
    Table(
        "items",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("n", Integer) if n is None else n,
        Column("name", Text) if name is None else name,
        *more,
        **options,
    )


def test_type_collation_default_and_not_null_of_columns_with_rows(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(
            metadata,
            n=Column("n", Integer, server_default="5"),
            name=Column("name", Text, server_default="6"),
        )

    def after(metadata: MetaData) -> None:
        table(
            metadata,
            n=Column("n", Text(collation="C"), server_default=text("'a' || 'b'"), nullable=False),
            name=Column("name", Numeric(10, 2), comment="It's :x 50%"),
        )

    Case(
        before,
        after,
        rows=ROWS,
        upgrade="""
            op.alter_column("items", "n", existing_type=sa.INTEGER(), server_default=None, existing_nullable=True)
            op.alter_column_type("items", "n", "text", collation='"C"')
            op.alter_column(
                "items", "n", existing_type=sa.Text(collation="C"), server_default=sa.text("'a' || 'b'"), nullable=False,
            )
            op.alter_column("items", "name", existing_type=sa.TEXT(), server_default=None, existing_nullable=True)
            # fails where a value of public.items.name does not fit numeric(10,2)
            op.alter_column_type(
                "items", "name", "numeric(10,2)", using="name::numeric", loses="digits after the decimal point beyond 2",
            )
            op.alter_column(
                "items", "name", existing_type=sa.Numeric(precision=10, scale=2), comment="It's :x 50%", existing_nullable=True,
            )
        """,
        downgrade="""
            op.alter_column(
                "items", "name", existing_type=sa.Numeric(precision=10, scale=2), comment=None, existing_comment="It's :x 50%",
                existing_nullable=True,
            )
            op.alter_column_type("items", "name", "text")
            op.alter_column(
                "items", "name", existing_type=sa.TEXT(), server_default=sa.text("'6'::text"), existing_nullable=True,
            )
            op.alter_column("items", "n", existing_type=sa.Text(collation="C"), server_default=None, nullable=True)
            # fails where a value of public.items.n does not fit integer
            op.alter_column_type("items", "n", "integer", using="n::integer")
            op.alter_column("items", "n", existing_type=sa.INTEGER(), server_default=sa.text("5"), existing_nullable=True)
        """,
    ).walk(engine)


def test_identity(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(
            metadata,
            Column("to_identity", BigInteger, nullable=True, server_default="3"),
            Column("changed", Integer, Identity(always=True, start=5), nullable=False),
            Column("no_longer", Integer, Identity(), nullable=False),
        )

    def after(metadata: MetaData) -> None:
        table(
            metadata,
            Column("to_identity", BigInteger, Identity(always=True, start=100), nullable=False),
            Column(
                "changed",
                Integer,
                Identity(increment=-2, maxvalue=50, cycle=True, cache=3),
                nullable=False,
            ),
            Column("no_longer", Integer, server_default="4"),
        )

    Case(
        before,
        after,
        rows=ROWS,
        upgrade="""
            op.alter_column_identity(
                "items", "changed", "BY DEFAULT START 50 INCREMENT -2 MINVALUE -2147483648 MAXVALUE 50 CACHE 3 CYCLE",
                before="ALWAYS START 5 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.alter_column_identity(
                "items", "no_longer", None,
                before="BY DEFAULT START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.alter_column("items", "no_longer", existing_type=sa.INTEGER(), server_default="4", nullable=True)
            op.alter_column("items", "to_identity", existing_type=sa.BIGINT(), server_default=None, nullable=False)
            op.alter_column_identity(
                "items", "to_identity", "ALWAYS START 100 INCREMENT 1 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1 NO CYCLE",
            )
        """,
        downgrade="""
            op.alter_column_identity(
                "items", "to_identity", None,
                before="ALWAYS START 100 INCREMENT 1 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1 NO CYCLE",
            )
            op.alter_column(
                "items", "to_identity", existing_type=sa.BIGINT(), server_default=sa.text("'3'::bigint"), nullable=True,
            )
            op.alter_column("items", "no_longer", existing_type=sa.INTEGER(), server_default=None, nullable=False)
            op.alter_column_identity(
                "items", "no_longer", "BY DEFAULT START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.alter_column_identity(
                "items", "changed", "ALWAYS START 5 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
                before="BY DEFAULT START 50 INCREMENT -2 MINVALUE -2147483648 MAXVALUE 50 CACHE 3 CYCLE",
            )
        """,
    ).walk(engine)


def test_columns_are_added_and_dropped(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Table(
            "items",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("twice", Integer, Computed("m * 2", persisted=True)),
            Column("m", Integer, nullable=False, server_default="2", comment="m"),
            Column("listed", ARRAY(Text), server_default=text("'{}'::text[]")),
            Column("data", JSONB, nullable=False, server_default=text("'{\"a\\: b\": 1}'::jsonb")),
            Index(None, "m"),
            CheckConstraint("m > 0", name="m"),
            Grant("select (m)", to="r_app"),
        )

    Case(
        table,
        after,
        rows=ROWS,
        upgrade=r"""
            # if it became m: alembic -x rename=items.n:items.m revision --autogenerate
            op.drop_column("items", "n")
            op.drop_column("items", "name")
            op.add_column("items", sa.Column("m", sa.Integer(), server_default="2", nullable=False, comment="m"))
            op.add_column("items", sa.Column("twice", sa.Integer(), sa.Computed("m * 2", persisted=True), nullable=True))
            op.add_column(
                "items",
                sa.Column("listed", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=True),
            )
            op.add_column(
                "items",
                sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{\"a: b\": 1}'::jsonb"),
                    nullable=False),
            )
            op.add_constraint("items", "items_m_check", "CHECK (m > 0)")
            op.create_index(op.f("items_m_idx"), "items", ["m"], unique=False)
            op.grant("items", {"r_app": "select (m)"})
        """,
        downgrade="""
            op.revoke("items", {"r_app": "select (m)"})
            op.drop_index(op.f("items_m_idx"), table_name="items")
            op.remove_constraint("items", "items_m_check")
            op.drop_column("items", "data")
            op.drop_column("items", "listed")
            op.drop_column("items", "twice")
            op.drop_column("items", "m")
            op.add_column("items", sa.Column("name", sa.TEXT(), nullable=True))
            op.add_column("items", sa.Column("n", sa.INTEGER(), nullable=True))
        """,
    ).walk(engine)
