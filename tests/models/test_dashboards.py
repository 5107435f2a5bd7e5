"""Folders of dashboards, and the default one."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from tests.support.seeded_tenant import OWNER, execute, run, waiting_behind


def test_two_sessions_cannot_create_a_cycle_of_folders(engine: Engine, acme: uuid.UUID) -> None:
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
        pytest.raises(DBAPIError, match="cannot contain itself"),
    ):
        other.result()


def test_a_folder_is_in_a_folder_of_the_same_person(engine: Engine, acme: uuid.UUID) -> None:
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
    with pytest.raises(DBAPIError, match="cannot be in a folder of another person"):
        run(engine, acme, insert.format(uuid.UUID(int=3), other, f"'{parent}'"))


def test_one_dashboard_is_the_default(engine: Engine, acme: uuid.UUID) -> None:
    insert = (
        "INSERT INTO dashboard_configs (tenant_id, user_id, name, is_default, is_shared)"
        " VALUES (current_tenant(), {}, 'd', true, true)"
    )
    run(engine, acme, insert.format("NULL"), insert.format(f"'{OWNER}'"))
    for whose in ("NULL", f"'{OWNER}'"):
        with pytest.raises(DBAPIError, match="uq_dashboard_configs_default"):
            run(engine, acme, insert.format(whose))
