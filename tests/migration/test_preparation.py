"""What an upgrade says before its first revision."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import MetaData

from database.console import Progress
from database.migration import preparation
from database.migration.preparation import PreparationError
from ddl import Extension
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of


def test_extension_that_the_server_does_not_have(make_database: MakeDatabase) -> None:
    metadata = MetaData()
    Extension("no_such_thing", metadata=metadata)
    lines: list[str] = []
    with engine_of(make_database()) as engine, engine.connect() as connection:
        expected = (
            "nothing was changed; it lacks extension no_such_thing, which the server does not"
            " have .*pg_available_extensions"
        )
        with pytest.raises(PreparationError, match=expected):
            preparation.prepare(connection, metadata, Progress(lines.append))
        connection.rollback()
        assert not sa.inspect(connection).get_table_names()
    assert lines == []


def test_extension_that_exists(make_database: MakeDatabase) -> None:
    metadata = MetaData()
    Extension("plpgsql", metadata=metadata)
    with engine_of(make_database()) as engine, engine.connect() as connection:
        preparation.prepare(connection, metadata, Progress(lambda text: None))
        assert "schema_history" in sa.inspect(connection).get_table_names()
