"""Settings hold no secrets, and addresses no passwords, wherever a model has either."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql import JSONB

import models
from database.engine import make_engine
from tests.support.databases import MakeDatabase
from tests.support.time_series import migrate

SETTINGS = re.compile(r"(.*_)?(config|config_data|options|actions|transport_defaults)|value")
COLUMNS = [
    (table.name, column)
    for table in models.metadata.tables.values()
    if table.schema is None
    for column in table.columns
]
IN_JSON = [
    (table, column.name)
    for table, column in COLUMNS
    if isinstance(column.type, JSONB) and SETTINGS.fullmatch(column.name)
]
ADDRESSES = [(table, column.name) for table, column in COLUMNS if "url" in column.name]


@pytest.fixture(scope="module")
def engine(make_shared_database: MakeDatabase) -> Any:
    engine = make_engine(make_shared_database(like=migrate))
    yield engine
    engine.dispose()


def condition(engine: Engine, table: str, name: str) -> str:
    """The CHECK as the server spells it."""
    query = sa.text(
        "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint"
        " WHERE conrelid = CAST(:table AS regclass) AND conname = :name"
    )
    with engine.connect() as connection:
        found = connection.scalar(query, {"table": table, "name": f"ck_{table}_{name}"})
    assert found is not None, f"{table} has no CHECK ck_{table}_{name}"
    return str(found)


def holds(engine: Engine, expression: str, column: str, kind: str, value: str) -> bool:
    query = f"SELECT {expression} FROM (SELECT CAST(%s AS {kind}) AS {column}) AS row"
    with engine.connect() as connection:
        return bool(connection.exec_driver_sql(query, (value,)).scalar_one())


def test_there_are_as_many_as_there_were() -> None:
    assert len(IN_JSON) >= 14
    assert len(ADDRESSES) >= 5


@pytest.mark.parametrize(("table", "column"), IN_JSON)
def test_settings_hold_no_secrets(engine: Engine, table: str, column: str) -> None:
    expression = condition(engine, table, f"{column}_without_secrets")
    for value, fits in (
        ('{"host": "broker", "password_ref": "vault/7"}', True),
        ('{"password": "hunter2"}', False),
        ('{"deep": [{"Api-Key": "k", "apiKey": "k"}]}', False),
        ('["https://user:hunter2@broker"]', False),
        ('{"url": "https://user@broker:8883/?a=1:2@3"}', True),
    ):
        assert holds(engine, expression, column, "jsonb", value) is fits, value


@pytest.mark.parametrize(("table", "column"), ADDRESSES)
def test_addresses_hold_no_password(engine: Engine, table: str, column: str) -> None:
    expression = condition(engine, table, f"{column}_without_password")
    for value, fits in (
        ("https://example.com:8443/a?b=c:d@e", True),
        ("https://user@example.com", True),
        ("https://user:hunter2@example.com", False),
        ("mqtts://:hunter2@broker:8883/#x", False),
    ):
        assert holds(engine, expression, column, "text", value) is fits, value


def test_errors_show_no_parameters(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as refused:
        connection.execute(sa.text("SELECT CAST(:value AS int)"), {"value": "hunter2x"})
    assert "SQL parameters hidden" in str(refused.value)
