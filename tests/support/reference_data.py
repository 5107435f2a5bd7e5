"""Reference data: the number of its rows, and functions to read and change it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from operations import reference
from tests.support.context import choose

WRITTEN = {
    "permissions": 150,
    "role_templates": 12,
    "role_template_permissions": 806,
    "units_of_measure": 52,
    "account_tiers": 4,
    "device_plans": 3,
    "users": 1,
    "tenants": 1,
    "system_settings": 5,
    "tenant_settings": 6,
    "poll_groups": 10,
    "connections": 1,
    "tag_metadata": 19,
    "device_templates": 4,
    "template_metrics": 13,
    "template_commands": 3,
    "template_slots": 4,
    "template_slot_compat": 7,
}
COPIED = {"roles": 12, "role_permissions": 806}
"""Rows of each tenant, the platform included."""


@contextmanager
def acting(engine: Engine, role: str, tenant: uuid.UUID | None = None) -> Iterator[Connection]:
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT set_config('role', :role, true)"), {"role": role})
        if tenant is not None:
            choose(connection, tenant)
        yield connection


def change(engine: Engine, statement: str, **values: Any) -> int:
    with acting(engine, "fleet_operator") as connection:
        return connection.execute(sa.text(statement), values).rowcount


def read(engine: Engine, query: str, **values: Any) -> Any:
    with acting(engine, "fleet_operator") as connection:
        return connection.execute(sa.text(query), values).all()


def changed(engine: Engine) -> dict[str, int]:
    """Apply the reference data; returns subject to rows changed."""
    return {entry.name: entry.changed for entry in reference.apply(engine) if entry.changed}


def counts(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}"))
            for name in (*WRITTEN, *COPIED)
        }


def versions(engine: Engine) -> dict[str, Any]:
    """The identity of each row's version, which any write changes."""
    with engine.connect() as connection:
        return {
            name: sorted(connection.execute(sa.text(f"SELECT xmin::text, ctid::text FROM {name}")))
            for name in (*WRITTEN, *COPIED)
        }


def provision(engine: Engine, slug: str) -> uuid.UUID:
    with acting(engine, "fleet_operator") as connection:
        found: uuid.UUID = connection.execute(
            sa.text(
                "WITH owner AS (INSERT INTO users (email) VALUES (:email) RETURNING id)"
                " SELECT id FROM owner"
            ),
            {"email": f"owner@{slug}.example"},
        ).scalar_one()
        made: uuid.UUID = connection.execute(
            sa.text("SELECT provision_tenant(:slug, :slug, :owner, 'growth')"),
            {"slug": slug, "owner": found},
        ).scalar_one()
    return made
