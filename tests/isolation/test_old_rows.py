"""A tenant makes no chunks that retention would drop: all tenants' questions would look at them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from database.tenancy import tenant_transaction
from tests.database.ingest.conftest import with_devices
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.telemetry import ONE, rows

STORE = """
    INSERT INTO {view} (tenant_id, device_id, ts{more})
    SELECT current_tenant(), 'd1', now() - CAST(:age AS interval){values}
"""
SERIES = {"telemetry": (400, "", ""), "device_connection_events": (90, ", event", ", 'connected'")}
"""Days of retention, and what else a row has to have."""


@pytest.fixture(params=servers("embedded", "timescaledb"))
def engine(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """A tenant with devices, on both kinds of servers."""
    with engine_of(make_database(named_server(request), like=with_devices)) as engine:
        yield engine


def test_rows_that_retention_would_delete_are_refused(engine: Engine) -> None:
    for series, (days, more, values) in SERIES.items():
        for view in (series, f"{series}_to_store"):
            store = sa.text(STORE.format(view=view, more=more, values=values))
            with tenant_transaction(engine, ONE) as connection:
                connection.execute(store, {"age": f"{days - 1} days {len(view)} minutes"})
            with (
                pytest.raises(ProgrammingError, match=f'check option for view "{series}_to_store"'),
                tenant_transaction(engine, ONE) as connection,
            ):
                connection.execute(store, {"age": f"{days + 1} days"})
        oldest = f"SELECT count(*), now() - min(ts) < interval '{days} days' FROM timeseries."
        assert rows(engine, oldest + series) == [(2, True)]
    # A time zone in which a day has 23 or 25 hours moves nothing.
    with tenant_transaction(engine, ONE) as connection:
        connection.exec_driver_sql("SET LOCAL TimeZone = 'Europe/Berlin'")
        found = connection.exec_driver_sql("SELECT count(*) FROM telemetry_to_store").scalar_one()
        assert found == 2
