"""add_constraint and remove_constraint."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Engine,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from tests.ddl.case import Case

ROWS = ["INSERT INTO parent VALUES (1, 1)", "INSERT INTO items VALUES (1, 1, 'a', 5)"]


def tables(metadata: MetaData, *constraints: Any, primary: tuple[str, ...] = ("id",)) -> None:
    Table(
        "parent",
        metadata,
        Column("a", Integer),
        Column("id", Integer),
        PrimaryKeyConstraint("a", "id"),
    )
    Table(
        "items",
        metadata,
        Column("id", Integer, nullable=False, autoincrement=False),
        Column("a", Integer, nullable=False),
        Column("name", Text),
        Column("n", Integer),
        PrimaryKeyConstraint(*primary),
        *constraints,
    )


def test_add_constraints_of_every_kind(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        tables(
            metadata,
            CheckConstraint("name IN ('a', ' \\:x 50%') AND n BETWEEN 1 AND 10", name="kind"),
            ForeignKeyConstraint(
                ["a", "id"],
                ["parent.a", "parent.id"],
                ondelete="SET NULL (id)",
                onupdate="CASCADE",
                deferrable=True,
                initially="DEFERRED",
            ),
            UniqueConstraint("name", deferrable=True),
            UniqueConstraint("n", postgresql_nulls_not_distinct=True, postgresql_include=["name"]),
            ExcludeConstraint(
                (text("int4range(id, n)"), "&&"), where=text("n > 0"), name="overlap", using="gist"
            ),
        )

    Case(
        tables,
        after,
        rows=ROWS,
        upgrade="""
            op.add_constraint("items", "items_kind_check", "CHECK (name IN ('a', ' :x 50%') AND n BETWEEN 1 AND 10)")
            op.add_constraint("items", "items_n_key", "UNIQUE NULLS NOT DISTINCT (n) INCLUDE (name)")
            op.add_constraint("items", "items_name_key", "UNIQUE (name) DEFERRABLE")
            op.add_constraint("items", "overlap", "EXCLUDE USING gist (int4range(id, n) WITH &&) WHERE (n > 0)")
            op.add_constraint(
                "items", "items_a_id_fkey",
                "FOREIGN KEY(a, id) REFERENCES parent (a, id) ON DELETE SET NULL (id) ON UPDATE CASCADE DEFERRABLE INITIALLY"
                    " DEFERRED",
            )
        """,
        downgrade="""
            op.remove_constraint("items", "items_a_id_fkey")
            op.remove_constraint("items", "overlap")
            op.remove_constraint("items", "items_name_key")
            op.remove_constraint("items", "items_n_key")
            op.remove_constraint("items", "items_kind_check")
        """,
    ).walk(engine)


def test_change_constraints(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        tables(
            metadata,
            CheckConstraint("n > 0", name="n"),
            ForeignKeyConstraint(["a", "id"], ["parent.a", "parent.id"]),
            UniqueConstraint("name"),
        )

    def after(metadata: MetaData) -> None:
        tables(
            metadata,
            CheckConstraint("n > 1", name="n"),
            ForeignKeyConstraint(["a", "id"], ["parent.a", "parent.id"], ondelete="CASCADE"),
            UniqueConstraint("name", deferrable=True, initially="DEFERRED"),
            primary=("a", "id"),
        )

    Case(
        before,
        after,
        rows=ROWS,
        upgrade="""
            op.remove_constraint("items", "items_a_id_fkey")
            op.remove_constraint("items", "items_n_check")
            op.remove_constraint("items", "items_name_key")
            op.remove_constraint("items", "items_pkey")
            op.add_constraint("items", "items_n_check", "CHECK (n > 1)")
            op.add_constraint("items", "items_name_key", "UNIQUE (name) DEFERRABLE INITIALLY DEFERRED")
            op.add_constraint("items", "items_pkey", "PRIMARY KEY (a, id)")
            op.add_constraint("items", "items_a_id_fkey", "FOREIGN KEY(a, id) REFERENCES parent (a, id) ON DELETE CASCADE")
        """,
        downgrade="""
            op.remove_constraint("items", "items_a_id_fkey")
            op.remove_constraint("items", "items_pkey")
            op.remove_constraint("items", "items_name_key")
            op.remove_constraint("items", "items_n_check")
            op.add_constraint("items", "items_pkey", "PRIMARY KEY (id)")
            op.add_constraint("items", "items_name_key", "UNIQUE (name)")
            op.add_constraint("items", "items_n_check", "CHECK ((n > 0))")
            op.add_constraint("items", "items_a_id_fkey", "FOREIGN KEY (a, id) REFERENCES public.parent(a, id)")
        """,
    ).walk(engine)


def test_constraint_that_old_rows_need_not_keep(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        tables(
            metadata,
            CheckConstraint("n > 100", name="n", postgresql_not_valid=True),
            ForeignKeyConstraint(["a", "n"], ["parent.a", "parent.id"], postgresql_not_valid=True),
        )

    Case(
        tables,
        after,
        rows=ROWS,
        upgrade="""
            op.add_constraint("items", "items_n_check", "CHECK (n > 100) NOT VALID")
            op.add_constraint("items", "items_a_n_fkey", "FOREIGN KEY(a, n) REFERENCES parent (a, id) NOT VALID")
        """,
        downgrade="""
            op.remove_constraint("items", "items_a_n_fkey")
            op.remove_constraint("items", "items_n_check")
        """,
    ).walk(engine)


def test_names_over_63_bytes(engine: Engine) -> None:
    """SQLAlchemy shortens them; the comparison must know them by the short name."""
    long = "a_column_whose_name_is_so_long_that_its_constraints_pass_63"

    def before(metadata: MetaData) -> None:
        Table("items", metadata, Column("id", Integer, primary_key=True), Column(long, Integer))

    def after(metadata: MetaData) -> None:
        Table(
            "items",
            metadata,
            Column("id", Integer, primary_key=True),
            Column(long, Integer, index=True, unique=True),
            UniqueConstraint("id", long),
        )

    Case(
        before,
        after,
        upgrade="""
            op.add_constraint(
                "items", "items_id_a_column_whose_name_is_so_long_that_its_constr_456c",
                "UNIQUE (id, a_column_whose_name_is_so_long_that_its_constraints_pass_63)",
            )
            op.create_index(
                op.f("items_a_column_whose_name_is_so_long_that_its_constraints_pass_63_idx"), "items",
                ["a_column_whose_name_is_so_long_that_its_constraints_pass_63"], unique=True,
            )
        """,
        downgrade="""
            op.drop_index(op.f("items_a_column_whose_name_is_so_long_that_its_constraints_pass_63_idx"), table_name="items")
            op.remove_constraint("items", "items_id_a_column_whose_name_is_so_long_that_its_constr_456c")
        """,
    ).walk(engine)
