"""alter_column_type, alter_column_identity, set_table_options, create_schema, and the order of
Alembic's own operations on tables and columns."""

# ruff: noqa: E501 (revisions are quoted as Alembic writes them)

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Engine,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from ddl import Function, Grant, Policy, RowSecurity, View, schema_grant
from tests.ddl.case import Case, nothing

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
            op.alter_column('items', 'n',
                       existing_type=sa.INTEGER(),
                       server_default=None,
                       existing_nullable=True)
            op.alter_column_type("items", "n", "text", collation='"C"')
            op.alter_column('items', 'n',
                       existing_type=sa.Text(collation='C'),
                       server_default=sa.text("'a' || 'b'"),
                       nullable=False)
            op.alter_column('items', 'name',
                       existing_type=sa.TEXT(),
                       server_default=None,
                       existing_nullable=True)
            op.alter_column_type("items", "name", "numeric(10,2)")
            op.alter_column('items', 'name',
                       existing_type=sa.Numeric(precision=10, scale=2),
                       comment="It's :x 50%",
                       existing_nullable=True)
        """,
        downgrade="""
            op.alter_column('items', 'name',
                       existing_type=sa.Numeric(precision=10, scale=2),
                       comment=None,
                       existing_comment="It's :x 50%",
                       existing_nullable=True)
            op.alter_column_type("items", "name", "text")
            op.alter_column('items', 'name',
                       existing_type=sa.TEXT(),
                       server_default=sa.text("'6'::text"),
                       existing_nullable=True)
            op.alter_column('items', 'n',
                       existing_type=sa.Text(collation='C'),
                       server_default=None,
                       nullable=True)
            op.alter_column_type("items", "n", "integer")
            op.alter_column('items', 'n',
                       existing_type=sa.INTEGER(),
                       server_default=sa.text('5'),
                       existing_nullable=True)
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
                "items",
                "changed",
                "BY DEFAULT START 50 INCREMENT -2 MINVALUE -2147483648 MAXVALUE 50 CACHE 3 CYCLE",
                before="ALWAYS START 5 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.alter_column_identity(
                "items",
                "no_longer",
                None,
                before="BY DEFAULT START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.alter_column('items', 'no_longer',
                       existing_type=sa.INTEGER(),
                       server_default='4',
                       nullable=True)
            op.alter_column('items', 'to_identity',
                       existing_type=sa.BIGINT(),
                       server_default=None,
                       nullable=False)
            op.alter_column_identity(
                "items",
                "to_identity",
                "ALWAYS START 100 INCREMENT 1 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1 NO CYCLE",
            )
        """,
        downgrade="""
            op.alter_column_identity(
                "items",
                "to_identity",
                None,
                before="ALWAYS START 100 INCREMENT 1 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1 NO CYCLE",
            )
            op.alter_column('items', 'to_identity',
                       existing_type=sa.BIGINT(),
                       server_default=sa.text("'3'::bigint"),
                       nullable=True)
            op.alter_column('items', 'no_longer',
                       existing_type=sa.INTEGER(),
                       server_default=None,
                       nullable=False)
            op.alter_column_identity(
                "items",
                "no_longer",
                "BY DEFAULT START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.alter_column_identity(
                "items",
                "changed",
                "ALWAYS START 5 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
                before="BY DEFAULT START 50 INCREMENT -2 MINVALUE -2147483648 MAXVALUE 50 CACHE 3 CYCLE",
            )
        """,
    ).walk(engine)


def test_table_options(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(
            metadata,
            postgresql_with={"fillfactor": 70, "autovacuum_enabled": "false"},
            comment="before",
        )

    def after(metadata: MetaData) -> None:
        table(
            metadata,
            postgresql_with={"fillfactor": 80},
            prefixes=["UNLOGGED"],
            comment="it's after",
        )

    Case(
        before,
        after,
        rows=ROWS,
        upgrade="""
            op.set_table_options(
                "items",
                unlogged=True,
                set={"fillfactor": "80"},
                reset=["autovacuum_enabled"],
            )
            op.create_table_comment(
                'items',
                "it's after",
                existing_comment='before',
                schema=None
            )
        """,
        downgrade="""
            op.create_table_comment(
                'items',
                'before',
                existing_comment="it's after",
                schema=None
            )
            op.set_table_options(
                "items",
                unlogged=False,
                set={"autovacuum_enabled": "false", "fillfactor": "70"},
            )
        """,
    ).walk(engine)


def test_columns_come_and_go(engine: Engine) -> None:
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
            op.drop_column('items', 'n')
            op.drop_column('items', 'name')
            op.add_column('items', sa.Column('m', sa.Integer(), server_default='2', nullable=False, comment='m'))
            op.add_column('items', sa.Column('twice', sa.Integer(), sa.Computed('m * 2', persisted=True), nullable=True))
            op.add_column('items', sa.Column('listed', postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=True))
            op.add_column('items', sa.Column('data', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text('\'{"a: b": 1}\'::jsonb'), nullable=False))
            op.add_constraint("items", "items_m_check", "CHECK (m > 0)")
            op.create_index(op.f('items_m_idx'), 'items', ['m'], unique=False)
            op.grant("items", {"r_app": "select (m)"})
        """,
        downgrade="""
            op.revoke("items", {"r_app": "select (m)"})
            op.drop_index(op.f('items_m_idx'), table_name='items')
            op.remove_constraint("items", "items_m_check")
            op.drop_column('items', 'data')
            op.drop_column('items', 'listed')
            op.drop_column('items', 'twice')
            op.drop_column('items', 'm')
            op.add_column('items', sa.Column('name', sa.TEXT(), nullable=True))
            op.add_column('items', sa.Column('n', sa.INTEGER(), nullable=True))
        """,
    ).walk(engine)


def everything(metadata: MetaData) -> None:
    Table(
        "Order",
        metadata,
        Column("from", Integer, Identity(), nullable=False),
        Column("name", String(20, collation="C"), server_default=" :x 50%", comment="It's"),
        Column("upper", Text, Computed("upper(name)", persisted=True)),
        Column("at", Date),
        PrimaryKeyConstraint("from", deferrable=True, initially="DEFERRED"),
        UniqueConstraint("name", "at"),
        CheckConstraint("name <> ' \\:x 50%'", name="name"),
        Index(None, "at", postgresql_where=text("at > '2020-01-01'")),
        RowSecurity(),
        Policy("p", to="r_app", using="true"),
        Grant("select", to="r_app"),
        comment="It's 50% :x",
        prefixes=["UNLOGGED"],
        postgresql_with={"fillfactor": 50},
    )


def test_drop_a_table_with_everything(engine: Engine) -> None:
    Case(
        everything,
        nothing,
        upgrade="""
            op.drop_table('Order')
        """,
        downgrade=r"""
            op.create_table('Order',
            sa.Column('from', sa.INTEGER(), sa.Identity(always=False, start=1, increment=1, minvalue=1, maxvalue=2147483647, cycle=False, cache=1), nullable=False),
            sa.Column('name', sa.VARCHAR(length=20, collation='C'), server_default=sa.text("' \\:x 50%'\\:\\:character varying"), nullable=True, comment="It's"),
            sa.Column('upper', sa.TEXT(), sa.Computed('upper((name)::text)', persisted=True), nullable=True),
            sa.Column('at', sa.DATE(), nullable=True),
            comment="It's 50% :x",
            postgresql_with={'fillfactor': '50'},
            prefixes=['UNLOGGED']
            )
            op.add_index(
                "CREATE INDEX \"Order_at_idx\" ON public.\"Order\" USING btree (at) WHERE (at > '2020-01-01'::date)",
            )
            op.add_constraint("Order", "Order_name_check", "CHECK (((name)::text <> ' :x 50%'::text))")
            op.add_constraint("Order", "Order_name_at_key", "UNIQUE (name, at)")
            op.add_constraint(
                "Order",
                "Order_pkey",
                'PRIMARY KEY ("from") DEFERRABLE INITIALLY DEFERRED',
            )
            op.create_policy("p", "Order", to="r_app", using="true")
            op.set_row_security("Order", enable=True, force=True)
            op.grant("Order", {"r_app": "select"})
        """,
    ).walk(engine)


def second_schema(metadata: MetaData) -> None:
    Table("items", metadata, Column("id", Integer, primary_key=True))
    Table(
        "items",
        metadata,
        Column("id", Integer, ForeignKey("items.id"), primary_key=True),
        Column("name", Text, comment="name"),
        Index(None, "name"),
        CheckConstraint("name <> ''", name="name"),
        RowSecurity(),
        Policy("p", to="r_app", using="id IN (SELECT id FROM timeseries.item_ids)"),
        Grant("select, update (name)", to="r_app"),
        schema="timeseries",
        comment="items",
    )
    View(
        "item_ids",
        "SELECT id FROM timeseries.items",
        grants={"r_app": "select"},
        schema="timeseries",
        metadata=metadata,
    )
    View("item_ids", "SELECT id FROM timeseries.item_ids", metadata=metadata)
    Function(
        "count",
        "a timeseries.items DEFAULT NULL",
        returns="bigint",
        body="BEGIN ATOMIC SELECT count(*) FROM timeseries.items; END",
        grants={"r_app": "execute"},
        schema="timeseries",
        metadata=metadata,
    )
    schema_grant("usage", on="timeseries", to="r_app", metadata=metadata)


def test_second_schema(engine: Engine) -> None:
    Case(
        nothing,
        second_schema,
        upgrade="""
            op.create_schema("timeseries")
            op.create_table('items',
            sa.Column('id', sa.Integer(), nullable=False),
            sa.PrimaryKeyConstraint('id', name=op.f('items_pkey'))
            )
            op.create_table('items',
            sa.Column('id', sa.Integer(), nullable=False),
            sa.Column('name', sa.Text(), nullable=True, comment='name'),
            sa.CheckConstraint("name <> ''", name=op.f('items_name_check')),
            sa.ForeignKeyConstraint(['id'], ['items.id'], name=op.f('items_id_fkey')),
            sa.PrimaryKeyConstraint('id', name=op.f('items_pkey')),
            schema='timeseries',
            comment='items'
            )
            op.create_index(op.f('items_name_idx'), 'items', ['name'], unique=False, schema='timeseries')
            op.create_function(
                "count",
                "a timeseries.items DEFAULT NULL",
                returns="bigint",
                body="BEGIN ATOMIC SELECT count(*) FROM timeseries.items; END",
                schema="timeseries",
            )
            op.set_row_security("items", enable=True, force=True, schema="timeseries")
            op.create_view(
                "item_ids",
                definition="SELECT id FROM timeseries.items",
                schema="timeseries",
            )
            op.create_policy(
                "p",
                "items",
                to="r_app",
                using="id IN (SELECT id FROM timeseries.item_ids)",
                schema="timeseries",
            )
            op.create_view("item_ids", definition="SELECT id FROM timeseries.item_ids")
            op.grant("function count(a timeseries.items)", {"r_app": "execute"}, schema="timeseries")
            op.grant("item_ids", {"r_app": "select"}, schema="timeseries")
            op.grant("items", {"r_app": "select, update (name)"}, schema="timeseries")
            op.grant("schema timeseries", {"r_app": "usage"})
        """,
        downgrade="""
            op.revoke("schema timeseries", {"r_app": "usage"})
            op.drop_view("item_ids")
            op.drop_policy("p", "items", schema="timeseries")
            op.drop_view("item_ids", schema="timeseries")
            op.drop_function("count", "a timeseries.items", schema="timeseries")
            op.drop_table('items', schema='timeseries')
            op.drop_table('items')
            op.drop_schema("timeseries")
        """,
    ).walk(engine)


def partitioned(metadata: MetaData) -> None:
    Table(
        "items",
        metadata,
        Column("id", Integer, nullable=False),
        Column("at", Date, nullable=False, index=True),
        PrimaryKeyConstraint("id", "at"),
        Grant("select", to="r_app"),
        postgresql_partition_by="RANGE (at)",
    )


def test_drop_a_partitioned_table(engine: Engine) -> None:
    rows = [
        "CREATE TABLE items_2020 PARTITION OF items FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "DROP TABLE items_2020",
    ]
    Case(
        partitioned,
        nothing,
        rows=rows,
        upgrade="""
            op.drop_table('items')
        """,
        downgrade="""
            op.create_table('items',
            sa.Column('id', sa.INTEGER(), nullable=False),
            sa.Column('at', sa.DATE(), nullable=False),
            sa.PrimaryKeyConstraint('id', 'at', name='items_pkey'),
            postgresql_partition_by='RANGE (at)'
            )
            op.add_index("CREATE INDEX items_at_idx ON ONLY public.items USING btree (at)")
            op.grant("items", {"r_app": "select"})
        """,
    ).walk(engine)
