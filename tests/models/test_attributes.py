"""Attributes of devices as generated columns: what may be declared, and what they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import ArgumentError

from models.shared.attributes import Attribute
from models.shared.metrics import TYPES


def test_what_can_be_no_column_is_rejected() -> None:
    with pytest.raises(ArgumentError, match='attribute "Fleet": expected the name of a column'):
        Attribute("Fleet")
    with pytest.raises(ArgumentError, match=r'attribute fleet: .* found "real"'):
        Attribute("fleet", "real")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (5, ["5", 5.0, 5, 5, None]),
        (2.5, ["2.5", 2.5, None, None, None]),
        (2**40, [str(2**40), 2.0**40, 2**40, None, None]),
        (2**70, [str(2**70), 2.0**70, None, None, None]),
        (True, ["true", None, None, None, True]),
        ("South's", ["South's", None, None, None, None]),
        (None, [None] * 5),
        ([1], ["[1]", None, None, None, None]),
    ],
)
def test_the_value_that_its_type_holds(engine: Engine, value: Any, found: list[Any]) -> None:
    columns = []
    for kind in TYPES:
        column: Any = Attribute("it", kind).column().column
        columns.append(f'"{kind}" {kind} GENERATED ALWAYS AS ({column.computed.sqltext}) STORED')
    order = ("text", "double precision", "bigint", "integer", "boolean")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE d (metadata jsonb, {', '.join(columns)})"
        )
        values = {"it": value}
        connection.execute(
            sa.text("INSERT INTO d VALUES (CAST(:value AS jsonb))"), {"value": json.dumps(values)}
        )
        listed = ", ".join(f'"{kind}"' for kind in order)
        row = connection.exec_driver_sql(f"SELECT {listed} FROM d").one()
        connection.exec_driver_sql("INSERT INTO d VALUES ('{}'), ('{\"it\": 1e400}')")
    assert list(row) == found
