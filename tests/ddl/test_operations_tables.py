"""set_table_options, create_schema, and whole tables created and dropped."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
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
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from ddl import Function, Grant, Policy, RowLevelSecurity, View, schema_grant
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
            op.set_table_options("items", unlogged=True, set={"fillfactor": "80"}, reset=["autovacuum_enabled"])
            op.create_table_comment("items", "it's after", existing_comment="before", schema=None)
        """,
        downgrade="""
            op.create_table_comment("items", "before", existing_comment="it's after", schema=None)
            op.set_table_options("items", unlogged=False, set={"autovacuum_enabled": "false", "fillfactor": "70"})
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
        RowLevelSecurity(),
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
            op.drop_table("Order")
        """,
        downgrade=r"""
            op.create_table(
                "Order",
                sa.Column("from", sa.INTEGER(),
                    sa.Identity(always=False, start=1, increment=1, minvalue=1, maxvalue=2147483647, cycle=False, cache=1),
                    nullable=False),
                sa.Column("name", sa.VARCHAR(length=20, collation="C"),
                    server_default=sa.text("' \\:x 50%'\\:\\:character varying"), nullable=True, comment="It's"),
                sa.Column("upper", sa.TEXT(), sa.Computed("upper((name)::text)", persisted=True), nullable=True),
                sa.Column("at", sa.DATE(), nullable=True),
                comment="It's 50% :x",
                postgresql_with={"fillfactor": "50"},
                prefixes=["UNLOGGED"],
            )
            op.add_index("CREATE INDEX \"Order_at_idx\" ON public.\"Order\" USING btree (at) WHERE (at > '2020-01-01'::date)")
            op.add_constraint("Order", "Order_pkey", 'PRIMARY KEY ("from") DEFERRABLE INITIALLY DEFERRED')
            op.add_constraint("Order", "Order_name_check", "CHECK (((name)::text <> ' :x 50%'::text))")
            op.add_constraint("Order", "Order_name_at_key", "UNIQUE (name, at)")
            op.set_row_level_security(
                "Order", enable=True, force=True, policies={"p": "FOR ALL TO r_app USING (true)"}, grants={"r_app": "select"},
            )
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
        RowLevelSecurity(),
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

            op.create_table(
                "items",
                sa.Column("id", sa.Integer(), nullable=False),
                sa.PrimaryKeyConstraint("id", name=op.f("items_pkey")),
            )

            op.create_table(
                "items",
                sa.Column("id", sa.Integer(), nullable=False),
                sa.Column("name", sa.Text(), nullable=True, comment="name"),
                sa.CheckConstraint("name <> ''", name=op.f("items_name_check")),
                sa.ForeignKeyConstraint(["id"], ["items.id"], name=op.f("items_id_fkey")),
                sa.PrimaryKeyConstraint("id", name=op.f("items_pkey")),
                schema="timeseries",
                comment="items",
            )
            op.create_index(op.f("items_name_idx"), "items", ["name"], unique=False, schema="timeseries")
            op.set_row_level_security(
                "items", enable=True, force=True, grants={"r_app": "select, update (name)"}, schema="timeseries",
            )
            op.create_function(
                "count", "a timeseries.items DEFAULT NULL", returns="bigint", language="sql",
                body="BEGIN ATOMIC SELECT count(*) FROM timeseries.items; END", grants={"r_app": "execute"},
                schema="timeseries",
            )
            op.create_view(
                "item_ids", "SELECT id FROM timeseries.items", security_invoker=True, grants={"r_app": "select"},
                schema="timeseries",
            )
            op.create_policy(
                "p", "items", to="r_app", command="all", using="id IN (SELECT id FROM timeseries.item_ids)",
                schema="timeseries",
            )
            op.create_view("item_ids", "SELECT id FROM timeseries.item_ids", security_invoker=True)
            op.grant("schema timeseries", {"r_app": "usage"})
        """,
        downgrade="""
            op.revoke("schema timeseries", {"r_app": "usage"})
            op.drop_view("item_ids")
            op.drop_policy("p", "items", schema="timeseries")
            op.drop_view("item_ids", schema="timeseries")
            op.drop_function("count", "a timeseries.items", schema="timeseries")
            op.drop_table("items", schema="timeseries")
            op.drop_table("items")
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
            op.drop_table("items")
        """,
        downgrade="""
            op.create_table(
                "items",
                sa.Column("id", sa.INTEGER(), nullable=False),
                sa.Column("at", sa.DATE(), nullable=False),
                sa.PrimaryKeyConstraint("id", "at", name="items_pkey"),
                postgresql_partition_by="RANGE (at)",
            )
            op.add_index("CREATE INDEX items_at_idx ON ONLY public.items USING btree (at)")
            op.grant("items", {"r_app": "select"})
        """,
    ).walk(engine)
