"""Columns that models call by another key than the database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from ddl import Grant
from tests.ddl.case import Case, nothing
from tests.support.generated_revisions import Declare


def items(*columns: Any) -> Declare:
    def declare(metadata: MetaData) -> None:
        own = [item._copy() if isinstance(item, Column) else item for item in columns]
        Table("items", metadata, Column("id", Integer, primary_key=True, key="number"), *own)

    return declare


def used(metadata: MetaData) -> None:
    Table(
        "makers",
        metadata,
        Column("ident", Integer, key="id", primary_key=True, autoincrement=False),
        Column("no", Integer, key="number", unique=True),
    )
    Table(
        "items",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False, key="number"),
        Column("type", Text, key="kind", nullable=False, server_default="x", comment="It's."),
        Column("maker_id", Integer, ForeignKey("makers.id"), key="maker", index=True),
        Column("other", Integer, key="type"),
        Column("upper", Text, Computed("upper(type)", persisted=True), key="shout"),
        ForeignKeyConstraint(["type"], ["makers.number"], ondelete="SET NULL (other)"),
        UniqueConstraint("kind", "type"),
        UniqueConstraint("maker", name="including", postgresql_include=["type"]),
        CheckConstraint("type <> ''", name="named"),
        ExcludeConstraint(("kind", "="), using="hash", name="once", ops={"kind": "text_ops"}),
        Index(None, "kind", unique=True, postgresql_where=text("other > 0")),
        Index("pattern", "kind", postgresql_ops={"kind": "text_pattern_ops"}),
        Grant("select (type, maker_id)", to="r_app"),
    )


def test_keys_are_not_names(engine: Engine) -> None:
    Case(nothing, used).walk(engine)
    Case(used, nothing).walk(engine)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (items(), items(Column("type", Text, key="kind"))),
        (
            items(Column("type", Text, key="kind")),
            items(Column("type", Integer, key="kind", nullable=False, server_default="1")),
        ),
        (
            items(Column("type", Text, key="kind"), Column("kind", Text, key="type")),
            items(Column("kind", Integer, key="type")),
        ),
    ],
)
def test_change_columns_with_keys(engine: Engine, before: Declare, after: Declare) -> None:
    Case(before, after).walk(engine)
