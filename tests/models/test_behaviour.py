"""What the database does by itself in connectivity, monitoring, billing, jobs and dashboards.

Everything is asked as the role that a service has, in a database with reference data.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import OPERATOR, take_role, tenant_transaction
from models.shared.base import PLATFORM_TENANT_ID, SYSTEM_USER_ID
from tests.support.engines import engine_of

OWNER = uuid.UUID(int=0x0E)


@pytest.fixture
def engine(seeded_database: str) -> Iterator[Engine]:
    with engine_of(seeded_database) as engine:
        yield engine


@pytest.fixture
def acme(engine: Engine) -> uuid.UUID:
    return provision(engine, "acme")


def provision(engine: Engine, slug: str) -> uuid.UUID:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO users (id, email) VALUES ('{OWNER}', 'ann@acme.example')"
            " ON CONFLICT DO NOTHING"
        )
        take_role(connection, OPERATOR, None)
        made = connection.exec_driver_sql(
            f"SELECT provision_tenant('{slug}', '{slug}', '{OWNER}', 'growth')"
        )
        return uuid.UUID(str(made.scalar_one()))


def run(engine: Engine, tenant: uuid.UUID, *statements: str) -> list[Any]:
    """As fleet_app; the rows of the last statement."""
    with tenant_transaction(engine, tenant) as connection:
        return execute(connection, *statements)


def execute(connection: Connection, *statements: str) -> list[Any]:
    rows: list[Any] = []
    for statement in statements:
        result = connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        rows = list(result) if result.returns_rows else []
    return rows


def operate(engine: Engine, *statements: str) -> list[Any]:
    """As fleet_operator."""
    with engine.begin() as connection:
        take_role(connection, OPERATOR, None)
        return execute(connection, *statements)


def one(rows: list[Any]) -> Any:
    [[value]] = rows
    return value


@contextmanager
def waiting_behind(engine: Engine, tenant: uuid.UUID, first: str, second: str) -> Iterator[Any]:
    """Two sessions: ``first`` is not committed yet when ``second`` begins; yields the second."""
    with ThreadPoolExecutor(1) as pool:
        with tenant_transaction(engine, tenant) as connection:
            execute(connection, first)
            other = pool.submit(run, engine, tenant, second)
            blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            deadline = time.monotonic() + 20
            while one(execute(connection, blocked)) == 0:
                assert not other.done(), "the second session did not wait for the first"
                assert time.monotonic() < deadline
        yield other


def heard(engine: Engine, channel: str, act: Any) -> list[str]:
    """Payloads on a channel while ``act`` runs."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute(f"LISTEN {channel}")
        act()
        return [n.payload for n in listener.notifies(timeout=0.3)]


# --- jobs


def queue(engine: Engine, tenant: uuid.UUID, **values: Any) -> uuid.UUID:
    columns = {"type": "'export'", **values}
    names, given = ", ".join(columns), ", ".join(map(str, columns.values()))
    statement = (
        f"INSERT INTO jobs (tenant_id, {names}) VALUES (current_tenant(), {given}) RETURNING id"
    )
    return uuid.UUID(str(one(run(engine, tenant, statement))))


TAKE = "SELECT id FROM take_job('{}', '{{export}}')"


def test_a_job_is_taken_once(engine: Engine, acme: uuid.UUID) -> None:
    jobs = {queue(engine, acme) for _ in range(3)}
    with engine.begin() as first, engine.begin() as second:
        taken = []
        for number, connection in enumerate((first, second)):
            take_role(connection, OPERATOR, None)
            taken += execute(connection, TAKE.format(f"w{number}"))
        assert len({row.id for row in taken}) == 2
        assert {row.id for row in taken} < jobs
    assert {row.id for row in operate(engine, TAKE.format("w3"))} < jobs
    assert operate(engine, TAKE.format("w4")) == []


def test_a_job_is_not_taken_before_its_time_nor_by_another_kind(
    engine: Engine, acme: uuid.UUID
) -> None:
    queue(engine, acme, run_at="now() + interval '1 hour'")
    queue(engine, acme, type="'report'")
    assert operate(engine, TAKE.format("w")) == []


def test_a_job_that_fails_is_tried_again_later_and_then_not(
    engine: Engine, acme: uuid.UUID
) -> None:
    job = queue(engine, acme, max_attempts=2)
    fail = f"SELECT fail_job('{acme}', '{job}', 'w', 'no space')"
    operate(engine, TAKE.format("w"))
    assert one(operate(engine, fail)) == "queued"
    assert operate(engine, TAKE.format("w")) == [], "it waits"
    operate(engine, "UPDATE jobs SET run_at = now()", TAKE.format("w"))
    assert one(operate(engine, fail)) == "failed"
    assert one(operate(engine, fail)) is None


def test_the_job_of_a_lost_worker_becomes_free(engine: Engine, acme: uuid.UUID) -> None:
    job = queue(engine, acme, max_attempts=2)
    operate(engine, TAKE.format("lost"))
    assert operate(engine, TAKE.format("w")) == []
    operate(engine, "UPDATE jobs SET last_heartbeat_at = now() - interval '6 minutes'")
    operate(engine, TAKE.format("w"))
    [row] = operate(engine, TAKE.format("w"))
    assert row.id == job
    assert one(operate(engine, f"SELECT beat_job('{acme}', '{job}', 'lost')")) is None
    assert one(operate(engine, f"SELECT beat_job('{acme}', '{job}', 'w')")) is True


def test_a_tenant_asks_its_job_to_stop_and_the_worker_does(engine: Engine, acme: uuid.UUID) -> None:
    job = queue(engine, acme)
    operate(engine, TAKE.format("w"))
    run(engine, acme, f"UPDATE jobs SET cancellation_requested = true WHERE id = '{job}'")
    assert one(operate(engine, f"SELECT beat_job('{acme}', '{job}', 'w')")) is False
    assert one(operate(engine, f"SELECT finish_job('{acme}', '{job}', 'w')")) is True
    assert one(operate(engine, f"SELECT status FROM jobs WHERE id = '{job}'")) == "cancelled"
    with pytest.raises(DBAPIError, match="permission denied"):
        run(engine, acme, f"UPDATE jobs SET status = 'queued' WHERE id = '{job}'")
    with pytest.raises(DBAPIError, match="cannot go from cancelled to queued"):
        operate(engine, "UPDATE jobs SET status = 'queued', finished_at = NULL")


def test_new_jobs_are_told_once_a_statement(engine: Engine, acme: uuid.UUID) -> None:
    insert = (
        "INSERT INTO jobs (tenant_id, type)"
        " SELECT current_tenant(), 'export' FROM generate_series(1, 50)"
    )
    assert heard(engine, "jobs", lambda: run(engine, acme, insert)) == [str(acme)]
    beat = "UPDATE jobs SET progress = '{}'"
    assert heard(engine, "jobs", lambda: operate(engine, beat)) == []


def test_many_tenants_are_told_by_one_word(engine: Engine) -> None:
    insert = (
        "INSERT INTO tenants (slug, name) SELECT 't' || n, 'T' FROM generate_series(1, {}) n",
        "INSERT INTO jobs (tenant_id, type) SELECT tenant_id, 'x' FROM tenants WHERE slug ~ '^t'",
        "DELETE FROM jobs",
    )
    few = heard(engine, "jobs", lambda: operate(engine, insert[0].format(200), *insert[1:2]))
    assert len(set(few)) == 200
    operate(engine, "INSERT INTO tenants (slug, name) VALUES ('t-one-more', 'T')")
    assert heard(engine, "jobs", lambda: operate(engine, *insert[1:2])) == ["*"]


# --- endpoints and incidents

ENDPOINT = uuid.UUID(int=0x77)


@pytest.fixture
def watched(engine: Engine, acme: uuid.UUID) -> uuid.UUID:
    endpoint(engine, acme, ENDPOINT)
    return acme


def endpoint(engine: Engine, tenant: uuid.UUID, id_: uuid.UUID) -> None:
    run(
        engine,
        tenant,
        "INSERT INTO projects (tenant_id, name) VALUES (current_tenant(), 'shop')"
        " ON CONFLICT DO NOTHING",
        "INSERT INTO endpoints (tenant_id, id, project_id, name, url) SELECT current_tenant(),"
        f" '{id_}', id, '{id_}', 'https://shop.example/' FROM projects WHERE name = 'shop'",
    )


def check(
    engine: Engine, tenant: uuid.UUID, minute: int, *, ok: bool, of: uuid.UUID = ENDPOINT
) -> str:
    moment = f"date_trunc('hour', now()) + interval '{minute} minutes'"
    said = run(engine, tenant, f"SELECT record_check('{of}', {moment}, {ok}, 200, 12.5)")
    return str(one(said))


def test_checks_that_fail_make_one_incident_and_one_that_passes_ends_it(
    engine: Engine, watched: uuid.UUID
) -> None:
    assert check(engine, watched, 0, ok=True) == "healthy"
    said = [check(engine, watched, minute, ok=False) for minute in (1, 2, 3, 4)]
    assert said == ["degraded", "degraded", "down", "down"]
    assert check(engine, watched, 4, ok=False) == "repeated"
    [incident] = run(engine, watched, "SELECT number, status, title FROM incidents")
    assert (incident.number, incident.status) == (1, "open")
    [status] = run(
        engine, watched, "SELECT mode, health_pct, consecutive_failures FROM endpoint_status"
    )
    assert tuple(status) == ("down", 0, 4)
    check(engine, watched, 5, ok=True)
    [ended] = run(engine, watched, "SELECT status, time_to_resolve, resolution FROM incidents")
    assert ended.status == "resolved"
    assert ended.time_to_resolve is not None
    kinds = run(engine, watched, "SELECT kind FROM incident_events ORDER BY at, kind DESC")
    assert {row.kind for row in kinds} == {"opened", "resolved"}


def test_a_fallback_that_works_keeps_an_endpoint_up(engine: Engine, watched: uuid.UUID) -> None:
    spare = uuid.UUID(int=0x78)
    endpoint(engine, watched, spare)
    run(
        engine,
        watched,
        "INSERT INTO endpoint_dependencies (tenant_id, endpoint_id, depends_on_id, role)"
        f" VALUES (current_tenant(), '{ENDPOINT}', '{spare}', 'fallback')",
    )
    check(engine, watched, 0, ok=True, of=spare)
    for minute in (1, 2, 3):
        check(engine, watched, minute, ok=False)
    [status] = run(
        engine,
        watched,
        "SELECT health_pct, mode, active_fallback_id FROM endpoint_status"
        f" WHERE endpoint_id = '{ENDPOINT}'",
    )
    assert tuple(status) == (80, "degraded", spare)


def test_due_checks_go_to_one_worker_each(engine: Engine, watched: uuid.UUID) -> None:
    take = "SELECT id FROM take_due_checks('{}')"
    with engine.begin() as first:
        take_role(first, OPERATOR, None)
        assert [row.id for row in execute(first, take.format("w1"))] == [ENDPOINT]
        assert operate(engine, take.format("w2")) == []
    assert operate(engine, take.format("w2")) == [], "the next is an interval away"


def test_an_incident_goes_forward_only(engine: Engine, acme: uuid.UUID) -> None:
    run(engine, acme, "INSERT INTO incidents (tenant_id, title) VALUES (current_tenant(), 'x')")
    run(engine, acme, f"UPDATE incidents SET status = 'acknowledged', acknowledged_by = '{OWNER}'")
    [row] = run(engine, acme, "SELECT acknowledged_at, resolved_at FROM incidents")
    assert row.acknowledged_at is not None
    with pytest.raises(DBAPIError, match="cannot go from acknowledged to open"):
        run(engine, acme, "UPDATE incidents SET status = 'open'")
    run(engine, acme, "UPDATE incidents SET status = 'resolved'")
    with pytest.raises(DBAPIError, match="From resolved it goes to: nowhere"):
        run(engine, acme, "UPDATE incidents SET status = 'investigating'")


def test_numbers_of_incidents_have_no_holes_in_two_sessions(
    engine: Engine, acme: uuid.UUID
) -> None:
    insert = "INSERT INTO incidents (tenant_id, title) VALUES (current_tenant(), 'x')"
    with waiting_behind(engine, acme, insert, insert) as other:
        other.result()
    numbers = run(engine, acme, "SELECT number FROM incidents ORDER BY number")
    assert [row.number for row in numbers] == [1, 2]


def test_two_sessions_do_not_close_a_ring_of_dependencies(
    engine: Engine, watched: uuid.UUID
) -> None:
    spare = uuid.UUID(int=0x78)
    endpoint(engine, watched, spare)
    insert = (
        "INSERT INTO endpoint_dependencies (tenant_id, endpoint_id, depends_on_id)"
        " VALUES (current_tenant(), '{}', '{}')"
    )
    there, back = insert.format(ENDPOINT, spare), insert.format(spare, ENDPOINT)
    with (
        waiting_behind(engine, watched, there, back) as other,
        pytest.raises(DBAPIError, match="would depend on itself"),
    ):
        other.result()
    assert one(run(engine, watched, "SELECT count(*) FROM endpoint_dependencies")) == 1


def test_a_suggestion_is_taken_once(engine: Engine, watched: uuid.UUID) -> None:
    spare = uuid.UUID(int=0x78)
    endpoint(engine, watched, spare)
    suggestion = one(
        run(
            engine,
            watched,
            "INSERT INTO dependency_suggestions (tenant_id, endpoint_id, depends_on_id, confidence,"
            f" reason) VALUES (current_tenant(), '{ENDPOINT}', '{spare}', 0.9, 'same host')"
            " RETURNING id",
        )
    )
    approve = f"SELECT approve_suggestion('{suggestion}', '{OWNER}')"
    assert [one(run(engine, watched, approve)) for _ in range(2)] == [True, None]
    assert one(run(engine, watched, "SELECT count(*) FROM endpoint_dependencies")) == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("timeout_seconds", "60"),
        ("interval_seconds", "5"),
        ("url", "'https://user:secret@shop.example'"),
        ("options", """'{"headers": {"Authorization": "Bearer x"}}'"""),
    ],
)
def test_what_an_endpoint_cannot_be(
    engine: Engine, watched: uuid.UUID, column: str, value: str
) -> None:
    with pytest.raises(DBAPIError, match="violates check constraint"):
        run(engine, watched, f"UPDATE endpoints SET {column} = {value}")


# --- billing


@pytest.fixture
def subscription(engine: Engine, acme: uuid.UUID) -> uuid.UUID:
    statement = (
        "INSERT INTO subscriptions (tenant_id, scope, tier_id)"
        f" VALUES ('{acme}', 'tenant', 'growth') RETURNING subscription_id"
    )
    made = uuid.UUID(str(one(operate(engine, statement))))
    operate(
        engine,
        "INSERT INTO subscription_tier_allocations (tenant_id, subscription_id, plan_id,"
        f" slot_limit) VALUES ('{acme}', '{made}', 'basic', 2)",
    )
    return made


def test_slots_stay_between_none_and_their_limit(
    engine: Engine, acme: uuid.UUID, subscription: uuid.UUID
) -> None:
    call = "SELECT {}_slot('" + f"{acme}', '{subscription}', 'basic')"
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda _: one(operate(engine, call.format("take"))), range(6)))
    assert sorted(left for left in taken if left is not None) == [0, 1]
    with ThreadPoolExecutor(6) as pool:
        freed = list(pool.map(lambda _: one(operate(engine, call.format("free"))), range(6)))
    assert sorted(left for left in freed if left is not None) == [1, 2]


def test_a_subscription_changes_by_allowed_steps_and_leaves_a_trail(
    engine: Engine, acme: uuid.UUID, subscription: uuid.UUID
) -> None:
    operate(engine, "UPDATE subscriptions SET status = 'grace'")
    with pytest.raises(DBAPIError, match="cannot go from grace to trial"):
        operate(engine, "UPDATE subscriptions SET status = 'trial'")
    trail = run(
        engine, acme, "SELECT event_type, previous_state FROM subscription_audit ORDER BY id"
    )
    assert [row.event_type for row in trail] == ["created", "grace"]
    assert trail[1].previous_state["status"] == "active"
    with pytest.raises(DBAPIError, match="permission denied"):
        run(engine, acme, "UPDATE subscriptions SET status = 'active'")


def test_usage_stops_at_its_limit(engine: Engine, acme: uuid.UUID) -> None:
    count = f"SELECT count_usage('{acme}', 'api_requests', 4, 10)"
    assert [one(operate(engine, count)) for _ in range(3)] == [4, 8, None]
    assert one(run(engine, acme, "SELECT used FROM usage_counters")) == 8


def test_an_event_of_stripe_counts_once(engine: Engine) -> None:
    receive = "SELECT receive_stripe_event('evt_1', 'invoice.paid')"
    assert [one(operate(engine, receive)) for _ in range(2)] == [True, None]


def test_the_rate_limit_of_a_window(engine: Engine, acme: uuid.UUID) -> None:
    hit = "SELECT hit_rate_limit('export', 2, interval '1 day')"
    assert [one(run(engine, acme, hit)) for _ in range(3)] == [True, True, False]
    assert one(run(engine, provision(engine, "globex"), hit)) is True


# --- devices


@pytest.fixture
def device(engine: Engine, acme: uuid.UUID) -> uuid.UUID:
    run(
        engine,
        acme,
        "INSERT INTO device_registry (tenant_id, device_id) VALUES (current_tenant(), 'd1')",
        "INSERT INTO device_state (tenant_id, device_id) VALUES (current_tenant(), 'd1')",
    )
    return acme


def test_versions_of_a_twin(engine: Engine, device: uuid.UUID) -> None:
    want = "SELECT set_desired_state('d1', '{}', {})"
    assert one(run(engine, device, want.format('{"fan": 1}', 0))) == 1
    assert one(run(engine, device, want.format('{"fan": 2}', 0))) is None, "somebody was faster"
    assert one(run(engine, device, want.format('{"led": 1}', 1))) == 2
    report = "SELECT report_state('d1', '{}', {})"
    assert one(run(engine, device, report.format('{"fan": 1}', 2))) is True
    assert one(run(engine, device, report.format('{"fan": 0}', 1))) is None, "too late"
    assert one(run(engine, device, report.format('{"fan": 0}', 9))) is None, "nobody wanted it"
    [row] = run(engine, device, "SELECT desired_state, reported_state FROM device_state")
    assert (row.desired_state, row.reported_state) == ({"fan": 1, "led": 1}, {"fan": 1})
    with pytest.raises(DBAPIError, match="reported version 1 after version 2"):
        run(engine, device, "UPDATE device_state SET reported_version = 1")
    with pytest.raises(DBAPIError, match="given by the database"):
        run(engine, device, "UPDATE device_state SET desired_version = 7")


def test_the_state_of_a_device_is_told_when_it_changes(engine: Engine, device: uuid.UUID) -> None:
    online = "UPDATE device_state SET status = 'online', last_seen_at = now()"
    assert heard(engine, "device_state", lambda: run(engine, device, online)) == [str(device)]
    assert heard(engine, "device_state", lambda: run(engine, device, online)) == []


CAMPAIGN = uuid.UUID(int=0xCA)


@pytest.fixture
def campaign(engine: Engine, acme: uuid.UUID) -> uuid.UUID:
    group, image = uuid.UUID(int=0x61), uuid.UUID(int=0xF1)
    run(
        engine,
        acme,
        "INSERT INTO device_registry (tenant_id, device_id)"
        " SELECT current_tenant(), 'd' || n FROM generate_series(0, 9) n",
        "INSERT INTO device_groups (tenant_id, group_id, name)"
        f" VALUES (current_tenant(), '{group}', 'all')",
        "INSERT INTO device_group_members (tenant_id, group_id, device_id)"
        f" SELECT current_tenant(), '{group}', device_id FROM device_registry",
        "INSERT INTO firmware_versions (tenant_id, id, version, file_url)"
        f" VALUES (current_tenant(), '{image}', '2.0', 'https://x.example/2.0')",
        "INSERT INTO ota_campaigns (tenant_id, id, name, firmware_version_id, target_group_id,"
        f" rollout_rate, abort_threshold) VALUES (current_tenant(), '{CAMPAIGN}', 'two',"
        f" '{image}', '{group}', 4, 0.1)",
    )
    assert one(run(engine, acme, f"SELECT start_campaign('{CAMPAIGN}')")) == 10
    return acme


NEXT = f"SELECT next_ota_devices('{CAMPAIGN}')"
STATUS = "SELECT status, succeeded, failed FROM ota_campaigns"


def report(engine: Engine, tenant: uuid.UUID, device: str, *steps: str) -> None:
    for step in steps:
        run(
            engine,
            tenant,
            f"UPDATE ota_device_status SET status = '{step}' WHERE device_id = '{device}'",
        )


def test_a_rollout_goes_on_as_devices_finish(engine: Engine, campaign: uuid.UUID) -> None:
    assert one(run(engine, campaign, f"SELECT start_campaign('{CAMPAIGN}')")) is None
    begun = [row[0] for row in run(engine, campaign, NEXT)]
    assert sorted(begun) == ["d0", "d1", "d2", "d3"]
    assert run(engine, campaign, NEXT) == []
    while begun:
        report(engine, campaign, begun.pop(), "installing", "success")
        begun += [row[0] for row in run(engine, campaign, NEXT)]
    assert tuple(run(engine, campaign, STATUS)[0]) == ("completed", 10, 0)


def test_too_many_failures_abort_a_rollout(engine: Engine, campaign: uuid.UUID) -> None:
    """One of ten is a tenth, the second is more; reported at the same moment, none is lost."""
    run(engine, campaign, NEXT)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda device: report(engine, campaign, device, "failed"), ("d0", "d1")))
    assert tuple(run(engine, campaign, STATUS)[0]) == ("aborted", 0, 2)
    assert run(engine, campaign, NEXT) == []
    with pytest.raises(DBAPIError, match="cannot go from downloading to success"):
        report(engine, campaign, "d2", "success")


# --- connectivity and dashboards


def test_system_rows_stay(engine: Engine) -> None:
    """The platform's own service is tenant-bound too, and must not break them by mistake."""
    for statement in (
        "UPDATE connections SET name = 'x'",
        "DELETE FROM connections",
        "UPDATE tag_metadata SET description = 'x'",
        "DELETE FROM tag_metadata",
    ):
        with pytest.raises(DBAPIError, match=r"system row of .* cannot be changed by a tenant"):
            run(engine, PLATFORM_TENANT_ID, statement)
    with pytest.raises(DBAPIError):
        operate(engine, f"DELETE FROM users WHERE id = '{SYSTEM_USER_ID}'")


CONNECT = (
    "INSERT INTO connections (tenant_id, name, type, config_data)"
    " VALUES (current_tenant(), 'line 1', 's7', '{}') RETURNING id"
)


def test_a_deleted_connection_frees_its_name(engine: Engine, acme: uuid.UUID) -> None:
    run(engine, acme, CONNECT.replace("{}", '{"host": "10.0.0.1"}'))
    with pytest.raises(DBAPIError, match="uq_connections_name_live"):
        run(engine, acme, CONNECT)
    run(engine, acme, "UPDATE connections SET deleted_at = now(), enabled = false")
    run(engine, acme, CONNECT)


def test_secrets_are_no_configuration(engine: Engine, acme: uuid.UUID) -> None:
    config = json.dumps({"options": {"password": "x"}})
    with pytest.raises(DBAPIError, match="config_data_without_secrets"):
        run(engine, acme, CONNECT.replace("{}", config))


def test_tags_are_deleted_by_steps_and_collectors_hear(engine: Engine, acme: uuid.UUID) -> None:
    connection = one(run(engine, acme, CONNECT))
    insert = (
        "INSERT INTO tag_metadata (tenant_id, connection_id, driver_type, tag_path, is_subscribed)"
        f" SELECT current_tenant(), '{connection}', 's7', 'DB1.' || n, true"
        " FROM generate_series(1, 20) n"
    )
    assert heard(engine, "tags", lambda: run(engine, acme, insert)) == [str(acme)]
    with pytest.raises(DBAPIError, match="cannot go from active to deleted"):
        run(
            engine,
            acme,
            "UPDATE tag_metadata SET status = 'deleted', deleted_at = now(), is_subscribed = false",
        )
    run(engine, acme, "UPDATE tag_metadata SET status = 'pending_delete', is_subscribed = false")


def test_births_of_a_node_are_one_row(engine: Engine, acme: uuid.UUID) -> None:
    connection = one(run(engine, acme, CONNECT))
    insert = (
        "INSERT INTO sparkplug_discovery (tenant_id, connection_id, group_id, edge_node_id,"
        f" birth_payload) VALUES (current_tenant(), '{connection}', 'g', 'n', '{{}}')"
        " ON CONFLICT ON CONSTRAINT uq_sparkplug_discovery_node"
        " DO UPDATE SET last_birth_at = now()"
    )
    run(engine, acme, insert, insert)
    assert one(run(engine, acme, "SELECT count(*) FROM sparkplug_discovery")) == 1


def test_two_sessions_do_not_close_a_ring_of_folders(engine: Engine, acme: uuid.UUID) -> None:
    first, second = uuid.UUID(int=1), uuid.UUID(int=2)
    run(
        engine,
        acme,
        *(
            "INSERT INTO dashboard_folders (tenant_id, id, user_id, name)"
            f" VALUES (current_tenant(), '{id_}', '{OWNER}', 'f')"
            for id_ in (first, second)
        ),
    )
    move = "UPDATE dashboard_folders SET parent_folder_id = '{}' WHERE id = '{}'"
    with (
        waiting_behind(
            engine, acme, move.format(first, second), move.format(second, first)
        ) as other,
        pytest.raises(DBAPIError, match="cannot lie within itself"),
    ):
        other.result()


def test_a_folder_lies_in_one_of_the_same_person(engine: Engine, acme: uuid.UUID) -> None:
    other, parent = uuid.UUID(int=0x0F), uuid.UUID(int=1)
    with engine.begin() as connection:
        execute(
            connection,
            f"INSERT INTO users (id, email) VALUES ('{other}', 'bob@acme.example')",
            "INSERT INTO tenant_members (tenant_id, user_id, status)"
            f" VALUES ('{acme}', '{other}', 'active')",
        )
    insert = (
        "INSERT INTO chart_folders (tenant_id, id, user_id, name, parent_folder_id)"
        " VALUES (current_tenant(), '{}', '{}', 'f', {})"
    )
    run(engine, acme, insert.format(parent, OWNER, "NULL"))
    run(engine, acme, insert.format(uuid.UUID(int=2), OWNER, f"'{parent}'"))
    with pytest.raises(DBAPIError, match="lies in a folder of another person"):
        run(engine, acme, insert.format(uuid.UUID(int=3), other, f"'{parent}'"))


def test_a_subscription_keeps_its_last_messages(engine: Engine, acme: uuid.UUID) -> None:
    connection = one(run(engine, acme, CONNECT))
    subscription = one(
        run(
            engine,
            acme,
            "INSERT INTO mqtt_subscriptions (tenant_id, connection_id, topic, message_buffer_size)"
            f" VALUES (current_tenant(), '{connection}', 'a/#', 3) RETURNING id",
        )
    )
    run(
        engine,
        acme,
        "INSERT INTO mqtt_message_buffer (tenant_id, subscription_id, topic, payload, received_at)"
        f" SELECT current_tenant(), '{subscription}', 'a', jsonb_build_object('n', n),"
        " now() + n * interval '1 second' FROM generate_series(1, 10) n",
    )
    kept = run(engine, acme, "SELECT payload->>'n' AS n FROM mqtt_message_buffer ORDER BY 1")
    assert sorted(int(row.n) for row in kept) == [8, 9, 10]


def test_one_dashboard_is_the_default(engine: Engine, acme: uuid.UUID) -> None:
    insert = (
        "INSERT INTO dashboard_configs (tenant_id, user_id, name, is_default, is_shared)"
        " VALUES (current_tenant(), {}, 'd', true, true)"
    )
    run(engine, acme, insert.format("NULL"), insert.format(f"'{OWNER}'"))
    for whose in ("NULL", f"'{OWNER}'"):
        with pytest.raises(DBAPIError, match="uq_dashboard_configs_default"):
            run(engine, acme, insert.format(whose))
