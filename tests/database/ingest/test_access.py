"""Who may deliver messages, and what remains on the connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, NullPool

from database.engine import make_engine
from database.ingest import Ingested, ingest
from database.tenancy import TenancyError, tenant_transaction
from tests.support.telemetry import (
    ONE,
    TWO,
    message,
)


def test_a_login_of_fleet_ingest_is_enough_and_reads_nothing(
    engine: Engine, login: Callable[..., sa.URL]
) -> None:
    own = make_engine(login("fleet_ingest"), poolclass=NullPool)
    sent = [message(1), message(2, device_id="nobody")]
    assert ingest(own, sent) == Ingested(1, 0, 1)
    assert ingest(own, sent) == Ingested(0, 1, 1)
    for table in ("telemetry", "telemetry_hourly", "quarantine_events"):
        for schema in ("timeseries", "public"):
            with own.connect() as connection, pytest.raises(sa.exc.ProgrammingError) as refused:
                connection.exec_driver_sql(f"SELECT count(*) FROM {schema}.{table}")
            assert "permission denied" in str(refused.value)
    with own.connect() as connection, pytest.raises(sa.exc.ProgrammingError):
        connection.exec_driver_sql("SELECT notes FROM device_registry")


def test_another_login_is_refused(engine: Engine, login: Callable[..., sa.URL]) -> None:
    with pytest.raises(TenancyError, match="may not act as fleet_ingest"):
        ingest(make_engine(login("fleet_app"), poolclass=NullPool), [message(1)])


def test_each_tenant_sees_its_own(engine: Engine) -> None:
    ingest(engine, [message(n, tenant_id=(ONE, TWO)[n % 3 == 0]) for n in range(30)])
    for tenant, expected in ((ONE, 20), (TWO, 10)):
        with tenant_transaction(engine, tenant) as connection:
            found = connection.exec_driver_sql("SELECT tenant_id FROM telemetry").scalars().all()
        assert found == [tenant] * expected


def test_role_and_settings_end_with_the_batch(migrated_database: str, engine: Engine) -> None:
    single = make_engine(migrated_database, pool_size=1, max_overflow=0)
    ingest(single, [message(1)])
    ingest(single, [message(1)])
    with single.connect() as connection:
        row = connection.exec_driver_sql(
            "SELECT current_user = session_user, to_regclass('pg_temp.telemetry_staging')"
        ).one()
    assert tuple(row) == (True, None)
    single.dispose()
