"""What a person reads when the server refuses a declaration: one line, not the statement."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.util import CommandError
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from ddl import View
from tests.support.generated_revisions import metadata_of, migration

MANY = [Column(f"measured_value_number_{number}", Integer) for number in range(60)]


WRONG: list[tuple[Any, str]] = [
    (
        CheckConstraint("measured_value_number_7 > limt", name="limited"),
        """CREATE TABLE items: column "limt" does not exist
        (at: … CHECK (measured_value_number_7 > limt) ))""",
    ),
    (
        Column("sum", Integer, Computed("id + nothing", persisted=True)),
        """CREATE TABLE items: column "nothing" does not exist
        (at: … INTEGER GENERATED ALWAYS AS (id + nothing) STORED, CONSTRAINT items_pkey
        PRIMARY KEY (id) ))""",
    ),
    (
        Column("n", Integer, server_default=text("'five'")),
        """CREATE TABLE items: invalid input syntax for type integer: "five"
        (at: … INTEGER, n INTEGER DEFAULT 'five', CONSTRAINT items_pkey PRIMARY KEY (id) ))""",
    ),
    (
        Index("items_lower_idx", text("lowr(name)")),
        """CREATE INDEX items_lower_idx ON items: function lowr(text) does not exist. No function
        matches the given name and argument types. You might need to add explicit type casts
        (at: CREATE INDEX items_lower_idx ON items (lowr(name)))""",
    ),
]


@pytest.mark.parametrize(("declared", "said"), WRONG)
def test_statement_is_named_and_quoted_only_around_the_mistake(
    engine: Engine, declared: Any, said: str
) -> None:
    def declare(metadata: MetaData) -> None:
        many = [column._copy() for column in MANY]
        id_ = Column("id", Integer, primary_key=True)
        Table("items", metadata, id_, Column("name", Text), *many, declared)

    with engine.connect() as connection, pytest.raises(CommandError) as caught:
        migration(connection, metadata_of(declare))
    assert str(caught.value) == f"the server refuses a declaration: {' '.join(said.split())}"


def test_view_is_named(engine: Engine) -> None:
    def declare(metadata: MetaData) -> None:
        View("v", f"SELECT 1 AS a, {', '.join(['2'] * 60)} FROM nowhere", metadata=metadata)

    with engine.connect() as connection, pytest.raises(CommandError) as caught:
        migration(connection, metadata_of(declare))
    said = str(caught.value)
    assert said.startswith('the server refuses a declaration: CREATE VIEW v: relation "nowhere"')
    assert len(said) < 200
    assert "\n" not in said
