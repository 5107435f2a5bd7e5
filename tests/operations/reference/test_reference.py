"""Reference data is applied: once, repeatedly, concurrently, interrupted, after changes by hand."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from database import privileges
from models.shared.base import PLATFORM_TENANT_ID, SYSTEM_USER_ID
from operations import reference
from operations.reference.permissions import ACTIONS
from operations.reference.retired import RETIRED
from operations.reference.tiers import TIERS
from tests.support.engines import engine_of
from tests.support.reference_data import (
    COPIED,
    WRITTEN,
    change,
    changed,
    counts,
    provision,
    read,
    versions,
)

# --- what there is ---


def test_everything_is_written_and_reported(engine: Engine):
    changes = changed(engine)
    assert changes == WRITTEN | {"built-in rows copied into 1 tenants": 818}
    assert counts(engine) == WRITTEN | COPIED


def test_the_platform_and_its_system_user(engine: Engine):
    reference.apply(engine)
    [tenant] = read(engine, "SELECT tenant_id, slug, status FROM tenants")
    assert tenant == (PLATFORM_TENANT_ID, "platform", "active")
    [user] = read(engine, "SELECT id, is_system, is_active FROM users")
    assert user == (SYSTEM_USER_ID, True, True)
    assert read(engine, "SELECT FROM tenant_members") == []


def test_tiers_are_stored_as_declared(engine: Engine):
    reference.apply(engine)
    found = read(engine, "SELECT * FROM account_tiers ORDER BY sort_order")
    assert [{key: row._mapping[key] for key in TIERS[0]} for row in found] == TIERS
    assert all(row.is_active and row.stripe_price_id is None for row in found)


def test_every_permission_is_granted_and_the_owner_has_all(engine: Engine):
    reference.apply(engine)
    query = "SELECT action FROM role_template_permissions WHERE template = 'owner'"
    assert {action for (action,) in read(engine, query)} == ACTIONS
    assert (
        read(
            engine,
            "SELECT action FROM permissions EXCEPT SELECT action FROM role_template_permissions",
        )
        == []
    )


def test_modules_fit_where_they_should(engine: Engine):
    reference.apply(engine)
    found = read(
        engine,
        "SELECT c.slot_key, count(*) FROM template_slot_compat c"
        " JOIN device_templates m USING (tenant_id) WHERE m.id = c.module_template_id"
        " GROUP BY c.slot_key",
    )
    assert dict(found) == {"analog_1": 1, "analog_2": 1, "onewire_1": 2, "fsk_radio": 3}


# --- again ---


def test_a_second_run_writes_nothing(engine: Engine):
    reference.apply(engine)
    tenant = provision(engine, "acme")
    before = versions(engine)
    assert changed(engine) == {}
    assert versions(engine) == before
    assert read(engine, "SELECT sync_tenant(:t)", t=tenant) == [(0,)]


def test_two_concurrent_runs_both_succeed(engine: Engine):
    results: list[dict[str, int]] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(changed(engine))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert sorted(sum(result.values()) for result in results) == [0, 0, sum(WRITTEN.values()) + 818]
    assert counts(engine) == WRITTEN | COPIED


def test_a_killed_run_changes_nothing_and_can_be_repeated(engine: Engine, migrated_database: str):
    """The server ends the session in the middle, as a restart would."""
    with engine_of(migrated_database) as doomed:

        @sa.event.listens_for(doomed, "before_cursor_execute")
        def kill(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT INTO template_slots"):
                pid = cursor.connection.info.backend_pid
                with engine.connect() as other:
                    other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

        with pytest.raises(sa.exc.OperationalError):
            reference.apply(doomed)
    assert counts(engine) == dict.fromkeys(WRITTEN | COPIED, 0)
    reference.apply(engine)
    assert counts(engine) == WRITTEN | COPIED


def test_privileges_of_the_database_are_restored(engine: Engine):
    reference.apply(engine)
    with engine.begin() as connection:
        name = engine.url.database
        connection.exec_driver_sql(f'GRANT CREATE, TEMPORARY ON DATABASE "{name}" TO PUBLIC')
    assert changed(engine).keys() == {"privileges and settings of the database"}
    with engine.connect() as connection:
        assert privileges.problems(connection) == []


# --- what people change ---


def test_changes_by_hand_are_reverted(engine: Engine):
    reference.apply(engine)
    change(engine, "UPDATE account_tiers SET limits = '{\"users\": 3}' WHERE tier_id = 'free'")
    change(engine, "UPDATE units_of_measure SET symbol = 'C' WHERE name = 'degree Celsius'")
    change(engine, "DELETE FROM role_template_permissions WHERE action = 'dashboards.share'")
    change(engine, "INSERT INTO role_template_permissions VALUES ('viewer', 'devices.delete')")
    change(engine, "UPDATE template_metrics SET unit = '%' WHERE metric_key = 'cpu_temp'")
    change(
        engine,
        "INSERT INTO template_commands (tenant_id, template_id, command_key, display_name)"
        " SELECT tenant_id, id, 'explode', 'Explode' FROM device_templates"
        "  WHERE slug = 'lifeline-gateway-v1'",
    )
    changes = changed(engine)
    assert changes.pop("role_template_permissions") == 5 + 1
    assert changes == {
        "account_tiers": 1,
        "units_of_measure": 1,
        "template_metrics": 1,
        "template_commands": 1,
    }
    [(limits, touched)] = read(
        engine,
        "SELECT limits, updated_at > created_at FROM account_tiers WHERE tier_id = 'free'",
    )
    assert limits == TIERS[0]["limits"]
    assert touched
    assert changed(engine) == {}


def test_prices_and_sales_are_set_once(engine: Engine):
    reference.apply(engine)
    own = (
        "monthly_price_cents = 1, annual_price_cents = 10, is_active = false,"
        " stripe_price_id = 'price_1'"
    )
    change(engine, f"UPDATE account_tiers SET {own} WHERE tier_id = 'growth'")
    change(engine, f"UPDATE device_plans SET {own} WHERE plan_id = 'basic'")
    change(engine, "UPDATE tenants SET name = 'Fleet Inc.', slug = 'fleet'")
    change(engine, "UPDATE tenant_settings SET value = '60' WHERE key LIKE 'monitoring.check%'")
    before = versions(engine)
    assert changed(engine) == {}
    assert versions(engine) == before


def test_other_rows_are_left_alone(engine: Engine):
    reference.apply(engine)
    change(engine, "INSERT INTO account_tiers (tier_id, name) VALUES ('special', 'Special')")
    change(engine, "INSERT INTO permissions (action, category) VALUES ('pumps.read', 'Pumps')")
    change(engine, "INSERT INTO role_template_permissions VALUES ('viewer', 'pumps.read')")
    change(engine, "INSERT INTO units_of_measure (name, symbol, category) VALUES ('b', 'b', 'c')")
    # The new permission reaches the tenant; nothing else changes.
    assert changed(engine) == {"built-in rows copied into 1 tenants": 1}
    assert counts(engine)["account_tiers"] == 5


def test_retired_rows_are_no_longer_sold_or_deleted_if_unused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    reference.apply(engine)
    change(engine, "INSERT INTO account_tiers (tier_id, name) VALUES ('old', 'Old')")
    change(engine, "INSERT INTO units_of_measure (name, symbol, category) VALUES ('u', 'u', 'c')")
    change(engine, "INSERT INTO role_templates (name) VALUES ('clerk')")
    change(
        engine,
        "INSERT INTO permissions (action, category) VALUES ('fax.send', 'x'), ('fax.read', 'x')",
    )
    change(
        engine,
        "INSERT INTO role_template_permissions"
        " VALUES ('clerk', 'fax.send'), ('viewer', 'fax.read')",
    )
    change(
        engine,
        "INSERT INTO device_templates (tenant_id, slug, name, category) VALUES"
        " (:p, 'fax', 'Fax', 'edge_device'), (:p, 'telex', 'Telex', 'edge_device')",
        p=PLATFORM_TENANT_ID,
    )
    change(
        engine,
        "INSERT INTO device_registry (tenant_id, device_id, template_id)"
        " SELECT tenant_id, 'telex-1', id FROM device_templates WHERE slug = 'telex'",
    )
    tenant = provision(engine, "acme")
    change(engine, "DELETE FROM role_permissions WHERE action = 'fax.send'")
    for name, retired in {
        "account_tiers": ("old",),
        "units_of_measure": ("u",),
        "role_templates": ("clerk",),
        "permissions": ("fax.send", "fax.read"),
        "device_templates": ("fax", "telex"),
    }.items():
        monkeypatch.setitem(RETIRED, name, retired)

    changes = changed(engine)

    assert changes == {
        "account_tiers": 1,
        "units_of_measure": 1,
        "role_templates": 1,
        "permissions": 1,
        "device_templates": 1,
        "role_template_permissions": 1,
    }
    assert read(engine, "SELECT is_active FROM account_tiers WHERE tier_id = 'old'") == [(False,)]
    # Tenants still have it in a role, so the action stays; no new tenant gets it.
    assert read(engine, "SELECT action FROM permissions WHERE category = 'x'") == [("fax.read",)]
    kept = "SELECT count(*) FROM role_permissions WHERE tenant_id = :t AND action = 'fax.read'"
    assert read(engine, kept, t=tenant) == [(1,)]
    slugs = "SELECT slug FROM device_templates WHERE tenant_id = :p AND category = 'edge_device'"
    assert read(engine, slugs, p=PLATFORM_TENANT_ID) == [("telex",)]
    assert changed(engine) == {}
