"""Types that SQLAlchemy does not know, and where revisions find them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Engine, Integer, MetaData, Table
from sqlalchemy.types import UserDefinedType

from tests.ddl.case import Case, nothing
from tests.support.generated_revisions import Declare


class Box(UserDefinedType[Any]):
    """A type of a project."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "box"


class Position(sa.TypeDecorator[Any]):
    """A type of a project over one of SQLAlchemy's."""

    cache_ok = True
    impl = sa.String(20)


def table(*columns: Column[Any]) -> Declare:
    def declare(metadata: MetaData) -> None:
        own = [column._copy() for column in columns]
        Table("items", metadata, Column("id", Integer, primary_key=True), *own)

    return declare


def test_types_of_a_project_are_written_by_their_sql(engine: Engine) -> None:
    Case(
        table(),
        table(Column("at", Position), Column("edge", Box, nullable=False)),
        upgrade="""
            op.add_column("items", sa.Column("at", op.sql_type("VARCHAR(20)"), nullable=True))
            op.add_column("items", sa.Column("edge", op.sql_type("box"), nullable=False))
        """,
        downgrade="""
            op.drop_column("items", "edge")
            op.drop_column("items", "at")
        """,
    ).walk(engine)


def test_table_and_column_are_created_again_with_them(engine: Engine) -> None:
    Case(table(Column("edge", Box)), table()).walk(engine)
    Case(table(), nothing).walk(engine)
