"""No value that one tenant may write makes a worker of all tenants fail."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from alembic import command
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from database.tenancy import OPERATOR, take_role
from tests.models.conftest import with_acme_and_globex
from tests.support.acme_and_globex import GLOBEX, run
from tests.support.alembic_project import config_for
from tests.support.databases import MakeDatabase, named_server, richest_or_each
from tests.support.engines import engine_of
from tests.support.extreme_values import WORK, Change, changes, fill, work_on
from tests.support.time_series import RAW_SQL

MOST = 1_100_000
"""Characters that a worker reads of one row."""

# Functions that operators may call, and that no worker calls for all tenants at once.
_OF_ONE_TENANT = """
    endpoint_availability metric_series newest_values response_percentiles tag_series time_connected
    time_in_state top_devices conditions_in_order copy_device_templates provision_tenant sync_tenant
"""
_OF_OPERATORS = "count_usage free_slot take_slot receive_stripe_event limited_tenants"
_OF_PEOPLE = "take_account_mail"
_OF_NO_TABLE = """
    bucket_starts called_by_another current_tenant endpoint_mode numeric_metrics tenant_pseudonym
    percentile_from_buckets uuid7 verified_tenant
"""
LEFT_OUT = " ".join((_OF_ONE_TENANT, _OF_OPERATORS, _OF_PEOPLE, _OF_NO_TABLE)).split()


@pytest.fixture(scope="module", params=richest_or_each("embedded", "timescaledb"))
def shared(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """Two tenants with rows for every worker; no test changes anything."""
    url = make_shared_database(named_server(request), like=with_acme_and_globex)
    with engine_of(url) as engine:
        with engine.begin() as connection:
            fill(connection)
        yield engine


def work(connection: Connection, statements: Sequence[str] = WORK) -> str | None:
    """What fails when a worker does what there is to do; None if nothing does."""
    for statement in statements:
        try:
            result = connection.exec_driver_sql(statement, execution_options=RAW_SQL)
            read = [len(str(tuple(row))) for row in result] if result.returns_rows else []
        except Exception as error:
            return f"{statement}: {type(error).__name__}: {str(error)[:200]}"
        if max(read, default=0) > MOST:
            return f"{statement}: a row of {max(read):,} characters"
    return None


def test_no_value_of_one_tenant_stops_the_work_for_others(shared: Engine) -> None:
    found: list[tuple[Change, str]] = []
    taken = 0
    with shared.connect() as connection:
        for table, statements in work_on(connection).items():
            assert statements, f"WORK of tests.support.extreme_values has nothing of {table}"
            for change in changes(connection, table):
                attempt = connection.begin_nested()
                if change.run(connection):
                    taken += 1
                    if said := work(connection, statements):
                        found.append((change, said))
                attempt.rollback()
    assert taken > 500
    assert found == [], "\n".join(f"{change}: {said}" for change, said in found)


def test_workers_find_what_both_have(shared: Engine) -> None:
    """Otherwise nothing would be read."""
    with shared.connect() as connection:
        take_role(connection, OPERATOR, None)
        assert work(connection) is None
        ended = "SELECT count(DISTINCT tenant_id) FROM {} WHERE {}"
        for table, condition in (
            ("jobs", "status = 'failed'"),
            ("notification_jobs", "status = 'completed' AND attempts = 2"),
            ("fleet_alert", "escalation_level = 1 AND trigger_count = 2"),
            ("endpoint_status", "checked_by = 'w'"),
            ("device_state", "status = 'stale'"),
        ):
            query = ended.format(table, condition)
            assert connection.exec_driver_sql(query).scalar() == 2, (table, condition)


def test_every_function_for_workers_is_called(shared: Engine) -> None:
    with shared.connect() as connection:
        functions = connection.exec_driver_sql(
            "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND prorettype <> 'trigger'::regtype"
            " AND has_function_privilege('fleet_operator', oid, 'EXECUTE')"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = pg_proc.oid"
            "                    AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e')"
        ).scalars()
        names = set(functions)
    assert names == {*re.findall(r"\b(\w+)\(", " ".join(WORK))} & names | {*LEFT_OUT}


# What a tenant could write before the database refused it: columns and values of new rows.
_DEEP = "jsonb_build_object('a', (repeat('[', 3000) || repeat(']', 3000))::jsonb)"
_WIDE = "(SELECT jsonb_agg('1e131071'::jsonb) FROM generate_series(1, 9200))"
_WIDE = f"jsonb_build_object('a', {_WIDE})"
_HUGE = "'{\"a\": 1e400}'"
OLD_JOBS = {
    "params": _DEEP,
    "params, run_at": f"{_WIDE}, now()",
    "params, max_attempts, run_at": f"{_HUGE}, 1500, '-infinity'",
    "params, status, finished_at": f"{_HUGE}, 'failed', 'infinity'",
    "attempts, max_attempts, progress": f"1500, 2147483647, {_DEEP}",
    "result, created_at, run_at": f"{_HUGE}, '-infinity', '-infinity'",
    "status, attempts, worker_id, started_at, last_heartbeat_at": (
        "'running', 1, 'w', '-infinity', now()"
    ),
}
OLD_NOTIFICATIONS = {
    "occurrence, attempts, max_attempts, next_run_at": "1, 1500, 2147483647, '-infinity'",
    "occurrence, payload": f"2, {_WIDE}",
    "occurrence, payload, attempts, max_attempts": f"3, {_HUGE}, 9, 1",
    "occurrence, status, worker, locked_until": "4, 'processing', 'w', now() + interval '1 h'",
}
OLD_LAYERS = {
    "'-infinity'": "'0050-01-01 BC'",
    "'0049-01-01 BC'": "now()",
    "'10000-01-01'": "'11000-01-01'",
    "'12000-01-01'": "NULL",
}
OLD = (
    *(
        f"INSERT INTO jobs (tenant_id, type, {columns}) SELECT current_tenant(), 'export', {values}"
        for columns, values in OLD_JOBS.items()
    ),
    *(
        f"INSERT INTO notification_jobs (tenant_id, channel_id, alert_id, event, {columns})"
        f" SELECT tenant_id, channel_id, alert_id, event, {values}"
        "   FROM notification_jobs WHERE occurrence = 0"
        for columns, values in OLD_NOTIFICATIONS.items()
    ),
    *(
        "INSERT INTO oncall_layers (tenant_id, schedule_id, layer_order, starts_at, ends_at)"
        f" SELECT tenant_id, id, 1, {starts}, {ends} FROM oncall_schedules"
        for starts, ends in OLD_LAYERS.items()
    ),
    f"UPDATE endpoints SET options = {_DEEP}, created_at = 'infinity' WHERE name = 'e'",
    "UPDATE endpoints SET url = repeat('x', 1200000), updated_at = 'infinity' WHERE name = 'f'",
    f"UPDATE fleet_alert SET details = {_HUGE}",
    f"UPDATE device_state SET reported_state = {_HUGE}",
    f"UPDATE device_registry SET metadata = {_HUGE}",
)
# What no worker changes stays, for whoever needs it, and the upgrade names it.
_STAYS = "ck_device_registry_metadata_written_out"


def _validated(connection: Connection, statement: str) -> bool:
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
    except IntegrityError:
        return False
    return True


def test_an_upgrade_mends_what_is_there(make_database: MakeDatabase) -> None:
    with engine_of(make_database(like=with_acme_and_globex)) as engine:
        with engine.begin() as connection:
            fill(connection)
        command.downgrade(config_for(engine), "0082")
        for statement in OLD:
            run(engine, statement.replace(":", r"\:"), GLOBEX)
        command.upgrade(config_for(engine), "head")
        with engine.connect() as connection:
            take_role(connection, OPERATOR, None)
            assert work(connection) is None
            connection.exec_driver_sql("RESET ROLE")
            later = connection.exec_driver_sql(
                "SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', conrelid::regclass,"
                " conname) FROM pg_constraint WHERE NOT convalidated"
                " AND connamespace = 'public'::regnamespace",
                execution_options=RAW_SQL,
            ).scalars()
            stay = [one for one in later.all() if not _validated(connection, one)]
            assert [one.rpartition(" ")[2] for one in stay] == [_STAYS]
