"""Who has stolen a login of fleet_ingest stores no more of a tenant than its rate allows."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import pytest
from psycopg.errors import ConfigurationLimitExceeded
from sqlalchemy import Connection, Engine, NullPool
from sqlalchemy.exc import DBAPIError

from database.engine import make_engine
from tests.database.ingest.conftest import with_devices
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.rates import left, limit
from tests.support.telemetry import ONE, TWO, count, rows

ROW = f"VALUES ('{ONE}', 'd1', now() + interval '{{}} ms')"
COLUMNS = "(tenant_id, device_id, ts)"
ASK = f"SELECT ingest_room(ARRAY['{ONE}'::uuid])"
CHANGES = (
    "UPDATE ingest_rates SET records_per_minute = 1000000",
    "UPDATE ingest_rates SET level = burst",
    "UPDATE ingest_rates SET level_at = 'epoch'",
    "DELETE FROM ingest_rates",
    f"INSERT INTO ingest_rates VALUES ('{TWO}', 1, 1, 1, now())",
    "SELECT level FROM ingest_rates",
    "SELECT FROM ingest_rates FOR UPDATE",
    "SELECT FROM ingest_debits",
    "DELETE FROM ingest_debits",
    "TRUNCATE ingest_debits",
    f"INSERT INTO ingest_debits VALUES ('{ONE}', txid_current(), 0, 1000000, now())",
    "ALTER TABLE timeseries.telemetry DISABLE TRIGGER count_ingested",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION limited_tenants() RETURNS uuid[] RETURN '{}'",
)


@pytest.fixture(params=servers("embedded", "timescaledb"))
def owner(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    with engine_of(make_database(named_server(request), like=with_devices)) as engine:
        limit(engine, 1, 3)
        yield engine


@pytest.fixture
def thief(owner: Engine) -> Iterator[Engine]:
    name = f"thief_{uuid.uuid4().hex[:8]}"
    with owner.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE fleet_ingest")
    engine = make_engine(
        owner.url.set(username=name, password="x"),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    yield engine
    engine.dispose()
    with owner.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {name}")
        connection.exec_driver_sql(f"DROP ROLE {name}")


def test_neither_limit_nor_bucket_is_its_to_change(owner: Engine, thief: Engine) -> None:
    before = rows(owner, "SELECT * FROM ingest_rates")
    refused = "permission denied|must be owner|row-level security"
    with thief.connect() as connection:
        for statement in CHANGES:
            with pytest.raises(DBAPIError, match=refused):
                connection.exec_driver_sql(statement)
    assert rows(owner, "SELECT * FROM ingest_rates") == before


def execute(connection: Connection, statements: str) -> None:
    """Run them; of an error nothing is left but the error itself."""
    try:
        connection.exec_driver_sql(statements)
    except DBAPIError as error:
        connection.exec_driver_sql("ROLLBACK")
        raise (error.orig or error) from None


def test_no_way_in_goes_past_the_count(owner: Engine, thief: Engine) -> None:
    """Rolled back in part, of settings of its own, beside its own triggers, or into a chunk."""
    with owner.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO timeseries.telemetry {COLUMNS} {ROW.format(0)}, ('{TWO}', 'd1', now())"
        )
        found = connection.exec_driver_sql(
            "SELECT DISTINCT tableoid::regclass::text FROM timeseries.telemetry"
        )
        places = ["timeseries.telemetry", "ingest.telemetry", *found.scalars()]
    attempts = 0
    with thief.connect() as connection:
        run = connection.exec_driver_sql
        run("SET fleetschema.judged = on")
        run("SET fleetschema.counted = '-1000000'")
        run(
            "CREATE TEMPORARY TABLE mine"
            " (n int CHECK (set_config('fleetschema.judged', 'on', false) = 'on'))"
        )
        for place in places * 3:
            insert = f"INSERT INTO {place} {COLUMNS} {ROW}"
            for statement in (
                insert,
                f"WITH one AS ({insert} RETURNING 1) INSERT INTO mine SELECT 1 FROM one",
                f"BEGIN; SAVEPOINT a; {ASK}; ROLLBACK TO a; {insert}; COMMIT",
                f"BEGIN ISOLATION LEVEL SERIALIZABLE; {insert}; COMMIT",
            ):
                attempts += 1
                with contextlib.suppress(ConfigurationLimitExceeded):
                    execute(connection, statement.format(attempts))
    assert attempts >= 24
    assert count(owner) == 2 + 3, "those of the owner, and the burst"
    assert left(owner) == pytest.approx(0, abs=0.5)
    assert rows(owner, "SELECT burst FROM ingest_rates")[0][0] == 3
