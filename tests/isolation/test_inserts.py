"""A row of another tenant is refused in the same words, whether that tenant has it or not."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, Table
from sqlalchemy.exc import DBAPIError

from database.tenancy import tenant_transaction
from models.shared.base import TIMESERIES
from tests.isolation.conftest import ME, OTHER
from tests.support.two_tenants import tenant_tables

NOT_APPENDED = {"quarantine_events", "notification_log"}
SERIES = [
    table
    for table in tenant_tables()
    if table.schema == TIMESERIES and table.name not in NOT_APPENDED
]


@pytest.mark.parametrize("table", SERIES, ids=lambda table: table.name)
def test_a_row_of_the_other_is_refused_alike(marked: Engine, table: Table) -> None:
    key = [column.name for column in table.primary_key.columns]
    time = list(table.columns)[1].name
    names = [
        column.name
        for column in table.columns
        if column.name in key or not (column.nullable or column.server_default or column.computed)
    ]
    listed = ", ".join(names)
    with marked.connect() as connection:
        there = connection.exec_driver_sql(
            f"SELECT {listed} FROM {TIMESERIES}.{table.name} WHERE tenant_id = %s LIMIT 1", (OTHER,)
        ).one()
    absent = [
        value.replace(microsecond=7) if name == time else value
        for name, value in zip(names, there, strict=True)
    ]
    said = []
    for values in (list(there), absent):
        with pytest.raises(DBAPIError) as refused, tenant_transaction(marked, ME) as connection:
            connection.execute(
                sa.table(table.name, *map(sa.column, names)).insert(),
                dict(zip(names, values, strict=True)),
            )
        said.append(str(refused.value.orig).splitlines()[0])
    assert said == [f'new row violates check option for view "{table.name}"'] * 2
