"""Who may deliver messages, and what remains on the connection."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, NullPool

from database.engine import make_engine
from database.ingest import Ingested, ingest
from database.tenancy import TenancyError, take_role, tenant_transaction
from tests.support.declared_tables import HYPERTABLES
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.telemetry import NOW, ONE, TWO, message, populate, rows
from tests.support.time_series import migrate


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


def test_role_and_settings_end_with_the_batch(database: str) -> None:
    single = make_engine(database, pool_size=1, max_overflow=0)
    ingest(single, [message(1)])
    ingest(single, [message(1)])
    with single.connect() as connection:
        row = connection.exec_driver_sql(
            "SELECT current_user = session_user, to_regclass('pg_temp.telemetry_staging')"
        ).one()
    assert tuple(row) == (True, None)
    single.dispose()


@pytest.mark.timescaledb
def test_no_door_lets_a_moment_far_ahead_in(
    timescaledb_server: DatabaseServer, make_database: Any
) -> None:
    """Where the owner or a tenant writes with SQL of its own, an old chunk or none."""
    with engine_of(make_database(timescaledb_server, like=migrate)) as engine:
        populate(engine)
        assert ingest(engine, [message(1)]).stored == 1
        for table, columns, values in (
            ("telemetry", "ts, device_id", "%s, 'd1'"),
            ("tag_values", "ts, tag_id, connection_id", "%s, 1, gen_random_uuid()"),
            ("device_health_telemetry", "ts, device_id", "%s, 'd1'"),
            ("device_connection_events", "ts, device_id, event", "%s, 'd1', 'connected'"),
            ("health_checks", "checked_at, endpoint_id, ok", "%s, gen_random_uuid(), true"),
        ):
            for role, schema in ((None, "timeseries"), ("fleet_app", "public")):
                insert = (
                    f"INSERT INTO {schema}.{table} (tenant_id, {columns}) VALUES (%s, {values})"
                )
                for days, fits in ((0.9, True), (1.1, False), (9000, False)):
                    ts = NOW + datetime.timedelta(days=days, seconds=len(schema))
                    with engine.connect() as connection, connection.begin():
                        if role is not None:
                            take_role(connection, role, ONE)
                        if fits:
                            connection.exec_driver_sql(insert, (ONE, ts))
                        else:
                            with pytest.raises(sa.exc.IntegrityError, match="not_ahead"):
                                connection.exec_driver_sql(insert, (ONE, ts))
                            connection.rollback()


def test_no_series_takes_moments_ahead() -> None:
    for table in HYPERTABLES:
        names = {constraint.name for constraint in table.constraints}
        assert any(re.fullmatch(rf"ck_{table.name}_\w+_not_ahead", str(one)) for one in names)


@pytest.mark.parametrize("ts", ["2500-01-01", "infinity"])
def test_what_nobody_judges_is_not_ahead_either(engine: Engine, ts: str) -> None:
    """Retention would never reach it, and a counter of that day would stand for ever."""
    insert = (
        "INSERT INTO timeseries.quarantine_events (tenant_id, ts, id, reason, topic)"
        " VALUES (%s, %s, gen_random_uuid(), 'forged', '')"
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_ingest")
        connection.exec_driver_sql(insert, (ONE, NOW))
        with pytest.raises(sa.exc.IntegrityError, match="not_ahead"):
            connection.exec_driver_sql(insert, (ONE, ts))
        connection.rollback()


@pytest.mark.parametrize("view", ["telemetry", "telemetry_to_store"])
def test_when_a_row_was_stored_is_for_the_server_to_say(engine: Engine, view: str) -> None:
    insert = f"INSERT INTO {view} (tenant_id, ts, device_id{{}}) VALUES (%s, now(), 'd1'{{}})"
    with tenant_transaction(engine, ONE) as connection:
        connection.exec_driver_sql(insert.format("", ""), (ONE,))
    with (
        pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        tenant_transaction(engine, ONE) as connection,
    ):
        connection.exec_driver_sql(insert.format(", ingested_at", ", '2000-01-01'"), (ONE,))
    assert rows(engine, "SELECT now() - ingested_at < '1 minute' FROM timeseries.telemetry") == [
        (True,)
    ]


@pytest.mark.parametrize("table", ["audit_events", "notification_log"])
def test_who_delivers_messages_cannot_forge_a_log(engine: Engine, table: str) -> None:
    query = "SELECT has_table_privilege('fleet_ingest', 'timeseries.{}', 'insert')"
    assert rows(engine, query.format(table))[0][0] is False
