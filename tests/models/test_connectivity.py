"""Connections, their tags and MQTT subscriptions, and rows of the platform."""

from __future__ import annotations

import json
import uuid

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import tenant_pseudonym
from models.shared.base import PLATFORM_TENANT_ID, SYSTEM_USER_ID
from tests.support.seeded_tenant import heard, one, operate, run


def test_tenants_cannot_change_system_rows(engine: Engine) -> None:
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


def test_configuration_cannot_contain_secrets(engine: Engine, acme: uuid.UUID) -> None:
    config = json.dumps({"options": {"password": "x"}})
    with pytest.raises(DBAPIError, match="config_data_without_secrets"):
        run(engine, acme, CONNECT.replace("{}", config))


def test_tags_are_deleted_by_transitions_and_collectors_are_notified(
    engine: Engine, acme: uuid.UUID
) -> None:
    connection = one(run(engine, acme, CONNECT))
    insert = (
        "INSERT INTO tag_metadata (tenant_id, connection_id, driver_type, tag_path, is_subscribed)"
        f" SELECT current_tenant(), '{connection}', 's7', 'DB1.' || n, true"
        " FROM generate_series(1, 20) n"
    )
    assert heard(engine, "tags", lambda: run(engine, acme, insert)) == [tenant_pseudonym(acme)]
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
