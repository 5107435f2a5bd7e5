"""Slots of subscriptions, their status transitions, usage and rate limits."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from tests.support.seeded_tenant import one, operate, provision, run


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


def test_slots_stay_between_zero_and_their_limit(
    engine: Engine, acme: uuid.UUID, subscription: uuid.UUID
) -> None:
    call = "SELECT {}_slot('" + f"{acme}', '{subscription}', 'basic')"
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda _: one(operate(engine, call.format("take"))), range(6)))
    assert sorted(left for left in taken if left is not None) == [0, 1]
    with ThreadPoolExecutor(6) as pool:
        freed = list(pool.map(lambda _: one(operate(engine, call.format("free"))), range(6)))
    assert sorted(left for left in freed if left is not None) == [1, 2]


def test_subscriptions_follow_their_transitions_and_are_audited(
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
