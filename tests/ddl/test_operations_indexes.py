"""add_index and remove_index, beside Alembic's create_index."""

from __future__ import annotations

from sqlalchemy import Column, Engine, Index, Integer, MetaData, Table, Text, desc, text
from sqlalchemy.dialects.postgresql import JSONB

from tests.ddl.case import Case

ROWS = ["INSERT INTO items VALUES (1, 'a', '{}')"]


def table(metadata: MetaData, *indexes: Index) -> None:
    Table(
        "items",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("name", Text),
        Column("data", JSONB),
        *indexes,
    )


def test_create_indexes(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        table(
            metadata,
            Index(None, "name", postgresql_where=text("name <> ' \\:x 50%'")),
            Index(
                "items_both",
                text("lower(name)"),
                desc("id"),
                unique=True,
                postgresql_include=["data"],
            ),
            Index(
                "items_data",
                "data",
                postgresql_using="gin",
                postgresql_ops={"data": "jsonb_path_ops"},
            ),
            Index("Items Pattern", "name", postgresql_ops={"name": "text_pattern_ops"}),
            Index("items_text", text("(data ->> ' \\:x')"), postgresql_with={"fillfactor": 50}),
        )

    Case(
        table,
        after,
        rows=ROWS,
        upgrade=r"""
            op.create_index("Items Pattern", "items", ["name"], unique=False, postgresql_ops={"name": "text_pattern_ops"})
            op.create_index(
                "items_both", "items", [sa.literal_column("lower(name)"), sa.literal_column("id DESC")], unique=True,
                postgresql_include=["data"],
            )
            op.create_index(
                "items_data", "items", ["data"], unique=False, postgresql_using="gin",
                postgresql_ops={"data": "jsonb_path_ops"},
            )
            op.create_index(
                op.f("items_name_idx"), "items", ["name"], unique=False, postgresql_where=sa.text("name <> ' \\:x 50%'"),
            )
            op.create_index(
                "items_text", "items", [sa.literal_column("(data ->> ' :x')")], unique=False,
                postgresql_with={"fillfactor": 50},
            )
        """,
        downgrade=r"""
            op.drop_index("items_text", table_name="items", postgresql_with={"fillfactor": 50})
            op.drop_index(op.f("items_name_idx"), table_name="items", postgresql_where=sa.text("name <> ' \\:x 50%'"))
            op.drop_index("items_data", table_name="items", postgresql_using="gin", postgresql_ops={"data": "jsonb_path_ops"})
            op.drop_index("items_both", table_name="items", postgresql_include=["data"])
            op.drop_index("Items Pattern", table_name="items", postgresql_ops={"name": "text_pattern_ops"})
        """,
    ).walk(engine)


def test_change_an_index(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(metadata, Index(None, "name", postgresql_where=text("id > 1")))

    def after(metadata: MetaData) -> None:
        table(metadata, Index(None, "name", postgresql_where=text("id > 2")))

    Case(
        before,
        after,
        rows=ROWS,
        upgrade="""
            op.remove_index("items_name_idx", "items")
            op.create_index(op.f("items_name_idx"), "items", ["name"], unique=False, postgresql_where=sa.text("id > 2"))
        """,
        downgrade="""
            op.drop_index(op.f("items_name_idx"), table_name="items", postgresql_where=sa.text("id > 2"))
            op.add_index("CREATE INDEX items_name_idx ON public.items USING btree (name) WHERE (id > 1)")
        """,
    ).walk(engine)


def test_drop_an_index_with_everything(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(
            metadata,
            Index(
                "items_all",
                text('lower(name) COLLATE "C"'),
                desc("id").nulls_last(),
                unique=True,
                postgresql_include=["data"],
                postgresql_where=text("name LIKE 'it''s \\:x 50%'"),
                postgresql_nulls_not_distinct=True,
            ),
        )

    Case(
        before,
        table,
        rows=ROWS,
        upgrade="""
            op.remove_index("items_all", "items")
        """,
        downgrade=r"""
            op.add_index(
                'CREATE UNIQUE INDEX items_all ON public.items USING btree (lower(name) COLLATE "C", id DESC NULLS LAST)'
                    " INCLUDE (data) NULLS NOT DISTINCT WHERE (name ~~ 'it''s :x 50%'::text)",
            )
        """,
    ).walk(engine)
