"""Routes of messages: MQTT topic filters, and what becomes of messages that cannot be handed on."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine

from tests.support.acme_and_globex import ACME, GLOBEX, rejected, run


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("#", ["a", "a/b", "a/b/c"], []),
        ("a/#", ["a", "a/b", "a/b/c"], ["ab", "b/a"]),
        ("+/b", ["a/b", "/b"], ["a/b/c", "b"]),
        ("a/+/c", ["a/b/c"], ["a/c", "a/b/b/c"]),
        ("plant.1/(x)", ["plant.1/(x)"], ["plant-1/(x)", "plant.1/x"]),
        ("a", ["a"], ["a/b", "ba"]),
    ],
)
def test_topics_of_routes(
    fleet: Engine, pattern: str, matching: list[str], others: list[str]
) -> None:
    run(
        fleet,
        "INSERT INTO message_routes (tenant_id, name, topic_filter, destination_type)"
        f" VALUES ('{ACME}', 'r', :f, 'webhook')",
        f=pattern,
    )
    query = "SELECT name FROM message_routes WHERE is_enabled AND :topic ~ topic_pattern"
    for topic in matching:
        assert run(fleet, query, topic=topic) == [("r",)], topic
    for topic in others:
        assert run(fleet, query, topic=topic) == [], topic


@pytest.mark.parametrize("pattern", ["", "a/#/b", "a#", "a+/b", "a/b+"])
def test_invalid_topic_filters_are_rejected(fleet: Engine, pattern: str) -> None:
    statement = (
        "INSERT INTO message_routes (tenant_id, name, topic_filter, destination_type)"
        f" VALUES ('{ACME}', 'r', :f, 'webhook')"
    )
    assert rejected(fleet, statement, f=pattern) == "23514"


def test_dead_letters_outlive_their_route(fleet: Engine) -> None:
    route = uuid.uuid4()
    run(
        fleet,
        "INSERT INTO message_routes (tenant_id, id, name, topic_filter, destination_type)"
        f" VALUES ('{ACME}', '{route}', 'r', '#', 'webhook')",
    )
    letter = (
        "INSERT INTO dead_letter_messages (tenant_id, route_id, original_topic, payload,"
        f" destination_type) VALUES ('{ACME}', '{route}', 't', '[1]', 'webhook')"
    )
    run(fleet, letter)
    assert rejected(fleet, letter.replace("'[1]'", "'null'")) == "23514"
    assert rejected(fleet, letter.replace(str(ACME), str(GLOBEX)), GLOBEX) == "23503"
    run(fleet, "DELETE FROM message_routes")
    assert run(fleet, "SELECT route_id, status FROM dead_letter_messages") == [(None, "failed")]
    replayed = "UPDATE dead_letter_messages SET status = 'replayed'"
    assert rejected(fleet, replayed) == "23514"
    run(fleet, f"{replayed}, replayed_at = now()")
