"""Notifications: routed once, taken by one worker, tried again, given up; no secrets in clear."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from database.tenancy import tenant_pseudonym
from tests.support.acme_and_globex import (
    ACME,
    BOB,
    GLOBEX,
    SITE,
    listener,
    operator,
    rejected,
    rows,
    run,
    second_of_two,
)

MAIL, CHAT = uuid.UUID(int=0xC1), uuid.UUID(int=0xC2)
RAISE = "SELECT alert_id FROM raise_alert('f/{0}', 'hot', {1}, 's', device_id => '{0}')"
TAKE = "SELECT job_id, tenant_id, attempt FROM take_notification_jobs('{}', {})"
FINISH = "SELECT finish_notification_job('{}', '{}', {}, tenant => '{}', error => {})"


def channel(channel_id: uuid.UUID, name: str, tenant: uuid.UUID = ACME) -> str:
    return (
        "INSERT INTO notification_channels (tenant_id, id, name, channel_type)"
        f" VALUES ('{tenant}', '{channel_id}', '{name}', 'email')"
    )


def rule(channel_id: uuid.UUID = MAIL, tenant: uuid.UUID = ACME, **columns: str) -> str:
    """A routing rule; the values are SQL."""
    values = {"tenant_id": f"'{tenant}'", "channel_id": f"'{channel_id}'", **columns}
    return (
        f"INSERT INTO notification_routing_rules ({', '.join(values)})"
        f" VALUES ({', '.join(values.values())})"
    )


def raised(engine: Engine, device: str = "pump", severity: int = 3, **where: Any) -> int:
    found: int = run(engine, RAISE.format(device, severity), **where)[0][0]
    return found


def routed(engine: Engine, alert: int, event: str = "opened", **where: Any) -> list[Any]:
    query = f"SELECT channel_id FROM route_alert({alert}, '{event}') ORDER BY 1"
    return [found for (found,) in run(engine, query, **where)]


def taken(engine: Engine, worker: str = "w", wanted: int = 10) -> list[tuple[Any, ...]]:
    with operator(engine) as connection:
        return rows(connection, TAKE.format(worker, wanted))


def finished(
    engine: Engine, job: uuid.UUID, delivered: bool, worker: str = "w", tenant: uuid.UUID = ACME
) -> str | None:
    error = "NULL" if delivered else "'connection rejected'"
    with operator(engine) as connection:
        statement = FINISH.format(job, worker, delivered, tenant, error)
        found: str | None = rows(connection, statement)[0][0]
        return found


def change(engine: Engine, assignments: str) -> None:
    """All jobs, as the platform."""
    with operator(engine) as connection:
        connection.execute(sa.text(f"UPDATE notification_jobs SET {assignments}"))


SECRETS: list[dict[str, Any]] = [
    {"password": "x"},
    {"smtp": {"PassWord": "x"}},
    {"headers": [{"X-Api-Key": "x", "authToken": "x"}]},
    {"client_secret": None},
    {"headers": {"Authorization": "Bearer x"}},
    {"routing_key": "x"},
    {"webhook_url": "https://chat.test/x"},
    {"url": "https://ann:hunter2@mail.test/"},
    {"a": [1, [{"b": {"apikey": 1}}]]},
]


@pytest.fixture
def desk(fleet: Engine) -> Iterator[Engine]:
    """Acme has two channels, Globex one; nothing is routed yet."""
    run(fleet, channel(MAIL, "Mail"))
    run(fleet, channel(CHAT, "Chat"))
    run(fleet, channel(MAIL, "Mail", GLOBEX), GLOBEX)
    return fleet


@pytest.mark.parametrize(
    ("table", "column", "others"),
    [
        ("notification_channels", "config", {"name": "'n'", "channel_type": "'http'"}),
        (
            "message_routes",
            "destination_config",
            {"name": "'n'", "topic_filter": "'#'", "destination_type": "'webhook'"},
        ),
        (
            "dead_letter_messages",
            "destination_config",
            {"original_topic": "'t'", "payload": "'1'", "destination_type": "'webhook'"},
        ),
    ],
)
def test_settings_cannot_contain_secrets(
    fleet: Engine, table: str, column: str, others: dict[str, str]
) -> None:
    statement = (
        f"INSERT INTO {table} (tenant_id, {column}, {', '.join(others)})"
        f" VALUES ('{ACME}', :config, {', '.join(others.values())})"
    )
    for config in SECRETS:
        assert rejected(fleet, statement, config=json.dumps(config)) == "23514", config
    run(fleet, statement, config="{}")


def test_settings_may_refer_to_secrets(fleet: Engine) -> None:
    config = {
        "url": "https://mail.test:8443/hook?a=b:c@d",
        "password_ref": "mail/acme",
        "to": ["ann@acme.test"],
        "port": 587,
        "note": "the password is in the vault",
    }
    run(
        fleet,
        "INSERT INTO notification_channels (tenant_id, name, channel_type, config, secret_ref)"
        f" VALUES ('{ACME}', 'n', 'email', :config, 'mail/acme')",
        config=json.dumps(config),
    )
    assert rejected(fleet, channel(uuid.uuid4(), "x").replace("'email'", "'pigeon'")) == "23514"


@pytest.mark.parametrize(
    ("columns", "matches"),
    [
        ({}, True),
        ({"min_severity": "3"}, True),
        ({"min_severity": "4"}, False),
        ({"alert_types": "'{cold,hot}'"}, True),
        ({"alert_types": "'{cold}'"}, False),
        ({"site_id": f"'{SITE}'"}, True),
        ({"device_prefixes": "'{lamp,pu}'"}, True),
        ({"device_prefixes": "'{lamp}'"}, False),
        ({"device_tag": "'area'"}, True),
        ({"device_tag": "'area'", "device_tag_value": "'north'"}, True),
        ({"device_tag": "'area'", "device_tag_value": "'south'"}, False),
        ({"device_tag": "'owner'"}, False),
        ({"deliver_on": "'{acknowledged,closed}'"}, False),
        ({"is_enabled": "false"}, False),
    ],
)
def test_rules_select_alerts(desk: Engine, columns: dict[str, str], matches: bool) -> None:
    run(
        desk,
        "INSERT INTO device_tags (tenant_id, device_id, tag, value)"
        f" VALUES ('{ACME}', 'pump', 'area', 'north')",
    )
    run(desk, rule(**columns))
    assert routed(desk, raised(desk)) == ([MAIL] if matches else [])


def test_a_rule_of_a_site_matches_only_there_and_is_deleted_with_it(desk: Engine) -> None:
    run(desk, rule(site_id=f"'{SITE}'"))
    assert routed(desk, raised(desk, "lamp")) == []
    run(desk, "DELETE FROM sites")
    assert run(desk, "SELECT count(*) FROM notification_routing_rules") == [(0,)]


def test_each_channel_is_notified_once(desk: Engine) -> None:
    for _ in range(2):
        run(desk, rule(MAIL, deliver_on="'{opened,closed}'"))
    run(desk, rule(CHAT))
    alert = raised(desk)
    assert routed(desk, alert) == [MAIL, CHAT]
    assert routed(desk, alert) == [], "said already"
    assert routed(desk, alert, "closed") == [MAIL]
    again = f"SELECT count(*) FROM route_alert({alert}, 'opened', occurrence => 1)"
    assert run(desk, again) == [(2,)], "a reminder"


def test_two_sessions_queue_it_once(desk: Engine) -> None:
    run(desk, rule())
    alert = raised(desk)
    statement = f"SELECT job_id FROM route_alert({alert}, 'opened')"
    assert second_of_two(desk, statement, statement) == []
    assert run(desk, "SELECT count(*) FROM notification_jobs") == [(1,)]
    by_hand = (
        "INSERT INTO notification_jobs (tenant_id, channel_id, alert_id, event)"
        f" VALUES ('{ACME}', '{MAIL}', {alert}, 'opened')"
    )
    assert rejected(desk, by_hand) == "23505"
    run(
        desk,
        by_hand.replace("event)", "event, user_id)").replace("'opened')", f"'opened', '{BOB}')"),
    )


def test_flapping_alerts_are_throttled(desk: Engine) -> None:
    run(desk, rule(throttle_minutes="10"))
    assert routed(desk, raised(desk)) == [MAIL]
    run(desk, "UPDATE fleet_alert SET status = 'closed'")
    flapping = raised(desk)
    assert routed(desk, flapping) == []
    assert routed(desk, raised(desk, "lamp")) == [MAIL], "another fingerprint"
    with operator(desk) as connection:
        connection.execute(
            sa.text("UPDATE notification_jobs SET created_at = now() - interval '11 minutes'")
        )
    assert routed(desk, flapping) == [MAIL]


def test_silenced_alerts_and_disabled_channels_queue_nothing(desk: Engine) -> None:
    run(desk, rule())
    alert = raised(desk)
    run(desk, "UPDATE fleet_alert SET silenced_until = now() + interval '1 hour'")
    assert routed(desk, alert) == []
    run(desk, "UPDATE fleet_alert SET silenced_until = NULL")
    run(desk, "UPDATE notification_channels SET is_enabled = false")
    assert routed(desk, alert) == []


def test_nothing_of_another_tenant_is_routed(desk: Engine) -> None:
    run(desk, rule(MAIL, GLOBEX), GLOBEX)
    alert = raised(desk)
    assert routed(desk, alert) == []
    assert routed(desk, alert, tenant=GLOBEX) == []
    across = rule(CHAT, GLOBEX)
    assert rejected(desk, across, GLOBEX) == "23503", "a channel of Acme"


def queued(engine: Engine, tenant: uuid.UUID = ACME, jobs: int = 1) -> None:
    run(engine, rule(MAIL, tenant), tenant)
    for number in range(jobs):
        alert = run(engine, RAISE.format("pump", 3).replace("f/", f"{number}/"), tenant)[0][0]
        assert routed(engine, alert, tenant=tenant) == [MAIL]


def test_two_workers_share_the_queue(desk: Engine) -> None:
    queued(desk, ACME, 3)
    queued(desk, GLOBEX, 2)
    with operator(desk) as first, operator(desk) as second:
        ours, theirs = rows(first, TAKE.format("a", 3)), rows(second, TAKE.format("b", 9))
    assert (len(ours), len(theirs)) == (3, 2)
    assert len({job for job, *_ in ours + theirs}) == 5
    assert {tenant for _, tenant, _ in ours + theirs} == {ACME, GLOBEX}
    assert taken(desk) == []


def test_the_application_takes_only_jobs_of_its_tenant(desk: Engine) -> None:
    queued(desk, ACME)
    queued(desk, GLOBEX)
    assert [tenant for _, tenant, _ in run(desk, TAKE.format("w", 9))] == [ACME]
    assert rejected(desk, FINISH.format(uuid.uuid4(), "w", True, ACME, "NULL")) == "42501"


def test_a_delivered_job_is_completed_and_logged(desk: Engine) -> None:
    queued(desk)
    ((job, *_),) = taken(desk)
    assert finished(desk, job, True, worker="another") is None
    assert finished(desk, job, True, tenant=GLOBEX) is None
    assert finished(desk, job, True) == "completed"
    assert finished(desk, job, True) is None
    log = "SELECT job_id, channel_id, event, attempt, success, error FROM notification_log"
    assert run(desk, log) == [(job, MAIL, "opened", 1, True, None)]
    assert run(desk, log, GLOBEX) == []
    found = run(desk, "SELECT status, finished_at IS NOT NULL, locked_until FROM notification_jobs")
    assert found == [("completed", True, None)]


def test_delays_between_attempts_grow_until_the_job_fails(desk: Engine) -> None:
    queued(desk)
    wait = "SELECT extract(epoch FROM next_run_at - updated_at)::float FROM notification_jobs"
    for attempt, least in enumerate((30, 60, 120, 240), start=1):
        ((job, _, counted),) = taken(desk)
        assert counted == attempt
        assert finished(desk, job, False) == "pending"
        assert least <= run(desk, wait)[0][0] <= least * 1.25
        assert taken(desk) == [], "not before its time"
        change(desk, "next_run_at = now()")
    ((job, *_),) = taken(desk)
    assert finished(desk, job, False) == "failed"
    change(desk, "next_run_at = now()")
    assert taken(desk) == []
    found = run(desk, "SELECT status, attempts, last_error FROM notification_jobs")
    assert found == [("failed", 5, "connection rejected")]
    assert run(desk, "SELECT count(*) FROM notification_log WHERE NOT success") == [(5,)]
    again = "status = 'pending', attempts = 0, finished_at = NULL, next_run_at = now()"
    run(desk, f"UPDATE notification_jobs SET {again}")
    assert [attempt for *_, attempt in taken(desk)] == [1]


def test_a_worker_loses_its_job_when_the_lease_ends(desk: Engine) -> None:
    queued(desk)
    ((job, *_),) = taken(desk, "lost")
    assert taken(desk, "next") == []
    change(desk, "locked_until = now()")
    assert taken(desk, "next") == [(job, ACME, 2)]
    assert finished(desk, job, True, worker="lost") is None
    change(desk, "locked_until = now(), attempts = 5")
    assert taken(desk, "third") == [], "tried often enough"
    found = run(desk, "SELECT status, last_error FROM notification_jobs")
    assert found == [("failed", "the worker fell silent")]


def test_expired_jobs_are_not_delivered(desk: Engine) -> None:
    queued(desk)
    run(desk, "UPDATE notification_channels SET is_enabled = false")
    assert taken(desk) == []
    assert run(desk, "SELECT status FROM notification_jobs") == [("pending",)]
    change(desk, "expires_at = now()")
    assert taken(desk) == []
    found = run(desk, "SELECT status, last_error FROM notification_jobs")
    assert found == [("canceled", "not delivered in time")]


def test_a_job_is_about_exactly_one_object(desk: Engine) -> None:
    alert = raised(desk)
    insert = "INSERT INTO notification_jobs (tenant_id, channel_id, event, alert_id, incident_id)"
    for about in ("NULL, NULL", f"{alert}, '{uuid.uuid4()}'"):
        assert rejected(desk, f"{insert} VALUES ('{ACME}', '{MAIL}', 'opened', {about})") == "23514"
    change_to = "UPDATE notification_jobs SET status = '{}'"
    queued(desk)
    for status in ("processing", "completed", "sent"):
        assert rejected(desk, change_to.format(status)) == "23514"


def test_listeners_are_notified_of_pending_jobs_only(desk: Engine) -> None:
    run(desk, rule(MAIL))
    run(desk, rule(CHAT))
    alert = raised(desk)
    with listener(desk, "notification_jobs") as heard:
        assert routed(desk, alert) == [MAIL, CHAT]
        assert heard() == [tenant_pseudonym(ACME)], "two jobs, one statement"
        routed(desk, alert)
        jobs = taken(desk)
        finished(desk, jobs[0][0], True)
        assert heard() == []
        finished(desk, jobs[1][0], False)
        assert heard() == [tenant_pseudonym(ACME)], "pending again"


def test_deleting_a_channel_deletes_its_jobs_but_not_its_log(desk: Engine) -> None:
    queued(desk)
    ((job, *_),) = taken(desk)
    finished(desk, job, True)
    run(desk, f"DELETE FROM notification_channels WHERE id = '{MAIL}'")
    assert run(desk, "SELECT count(*) FROM notification_jobs") == [(0,)]
    assert run(desk, "SELECT job_id FROM notification_log") == [(job,)]
    assert run(desk, "SELECT count(*) FROM fleet_alert") == [(1,)]
