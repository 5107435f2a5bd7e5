"""Reference data of tenants, and databases to which it cannot be applied."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine

from database import privileges
from database.errors import FleetSchemaError
from database.migration.preparation import PreparationError
from models.shared.base import PLATFORM_TENANT_ID
from operations import reference
from operations.reference import ReferenceDataError, synchronization
from tests.support.alembic_project import config_for
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.plain_owner import plain_owner
from tests.support.reference_data import (
    COPIED,
    WRITTEN,
    acting,
    change,
    changed,
    counts,
    provision,
    read,
    versions,
)
from tests.support.servers import DatabaseServer

# --- tenants ---


def test_changes_and_deletions_of_a_tenant_are_kept(engine: Engine):
    reference.apply(engine)
    tenant = provision(engine, "acme")
    with acting(engine, "fleet_app", tenant) as connection:
        for statement in (
            "UPDATE device_templates SET name = 'Ours' WHERE slug = 'lifeline-gateway-v1'",
            "UPDATE template_metrics SET unit = 'K' WHERE metric_key = 'cpu_temp'",
            "DELETE FROM device_templates WHERE slug = 'lifeline-gps-tracker'",
            "UPDATE tenant_settings SET value = '600' WHERE key LIKE 'monitoring.check%'",
            "DELETE FROM tenant_settings WHERE key = 'display.timezone'",
            "INSERT INTO roles (tenant_id, name) VALUES (current_tenant(), 'welder')",
        ):
            assert connection.execute(sa.text(statement)).rowcount == 1
    before = versions(engine)
    assert changed(engine) == {}
    assert versions(engine) == before


def test_every_tenant_gets_new_rows_even_suspended_ones(engine: Engine):
    reference.apply(engine)
    active, suspended, deleted = (provision(engine, slug) for slug in ("a", "s", "d"))
    status = "UPDATE tenants SET status = :s, deleted_at = :at WHERE tenant_id = :t"
    change(engine, status, s="suspended", at=None, t=suspended)
    change(engine, status, s="deleted", at="2030-01-01", t=deleted)
    change(engine, "INSERT INTO permissions (action, category) VALUES ('pumps.read', 'Pumps')")
    change(engine, "INSERT INTO role_template_permissions VALUES ('viewer', 'pumps.read')")
    assert changed(engine) == {"built-in rows copied into 3 tenants": 3}
    holders = read(engine, "SELECT tenant_id FROM role_permissions WHERE action = 'pumps.read'")
    assert {row.tenant_id for row in holders} == {PLATFORM_TENANT_ID, active, suspended}


def test_a_failure_for_one_tenant_does_not_affect_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    reference.apply(engine)
    for slug in ("a", "b", "c"):
        provision(engine, slug)
    change(engine, "INSERT INTO permissions (action, category) VALUES ('pumps.read', 'Pumps')")
    change(engine, "INSERT INTO role_template_permissions VALUES ('viewer', 'pumps.read')")
    monkeypatch.setattr(synchronization, "LOCK_TIMEOUT", "100ms")
    with engine.begin() as busy:
        busy.execute(sa.text("SELECT FROM tenants WHERE slug = 'b' FOR UPDATE"))
        with pytest.raises(
            ReferenceDataError, match=r"^1 of 4 tenants .*: b \(canceling .*timeout"
        ):
            reference.apply(engine)
    assert changed(engine) == {"built-in rows copied into 1 tenants": 1}


def test_tenants_cannot_write_reference_data(engine: Engine):
    reference.apply(engine)
    tenant = provision(engine, "acme")
    refused = [
        f"{verb} {table}{rest}"
        for table in (
            "permissions",
            "role_templates",
            "role_template_permissions",
            "units_of_measure",
            "account_tiers",
            "device_plans",
        )
        for verb, rest in (("DELETE FROM", ""), ("INSERT INTO", " DEFAULT VALUES"))
    ]
    refused += [
        "UPDATE account_tiers SET limits = '{}'",
        "UPDATE device_plans SET monthly_price_cents = 0",
        "UPDATE units_of_measure SET symbol = 'x'",
        "UPDATE tenants SET account_tier_id = 'enterprise'",
        "UPDATE roles SET name = 'x' WHERE is_system",
        "DELETE FROM role_permissions",
        "UPDATE device_templates SET source = 'tenant'",
        "SELECT sync_tenant(current_tenant())",
    ]
    for statement in refused:
        with (
            pytest.raises(sa.exc.ProgrammingError) as error,
            acting(engine, "fleet_app", tenant) as connection,
        ):
            connection.execute(sa.text(statement))
        assert error.value.orig.sqlstate == "42501", statement
    platforms = "DELETE FROM {} WHERE tenant_id = '00000000-0000-0000-0000-000000000000'"
    for name in ("device_templates", "template_metrics", "tenant_settings"):
        with acting(engine, "fleet_app", tenant) as connection:
            assert connection.execute(sa.text(platforms.format(name))).rowcount == 0
    assert changed(engine) == {}


# --- where it cannot be done ---


@pytest.mark.parametrize("revision", ["base", "0001", "0004", "0006"])
def test_an_unmigrated_database_is_refused_and_left_alone(
    make_database: MakeDatabase, revision: str
):
    with engine_of(make_database()) as engine:
        if revision != "base":
            command.upgrade(config_for(engine), revision)
        with pytest.raises(ReferenceDataError, match=r"is at revision .*run: alembic upgrade head"):
            reference.apply(engine)
        with engine.connect() as connection:
            assert bool(privileges.problems(connection)) is (revision == "base")
            present = sa.inspect(connection).has_table("permissions")
            query = sa.text("SELECT count(*) FROM permissions")
            assert not present or connection.scalar(query) == 0


def test_a_cluster_without_the_roles_is_refused(bare_cluster: DatabaseServer):
    with (
        engine_of(bare_cluster.url("postgres")) as engine,
        pytest.raises(ReferenceDataError, match=r"no role fleet_app.*run: alembic upgrade head"),
    ):
        reference.apply(engine)


def test_an_owner_that_is_no_superuser_can_apply_it(engine: Engine, migrated_database: str):
    with plain_owner(migrated_database) as url, engine_of(url) as owned:
        assert changed(owned) == WRITTEN | {"built-in rows copied into 1 tenants": 818}
        provision(owned, "acme")
        assert changed(owned) == {}


def test_a_login_that_may_not_act_as_operator_gets_an_error(engine: Engine, migrated_database: str):
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
        connection.exec_driver_sql(f'GRANT CONNECT ON DATABASE "{engine.url.database}" TO {name}')
    url = sa.make_url(migrated_database).set(username=name, password=name)
    try:
        with (
            engine_of(url.render_as_string(hide_password=False)) as stranger,
            pytest.raises(PreparationError, match=f"^role {name} cannot .* set MIGRATION_"),
        ):
            reference.apply(stranger)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")


def test_missing_rows_are_an_error(engine: Engine):
    """Here a trigger discards what is inserted."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN CASE WHEN new.name <> 'kelvin' THEN new END; END $$;"
            " CREATE TRIGGER swallow BEFORE INSERT ON units_of_measure FOR EACH ROW"
            " EXECUTE FUNCTION swallow()"
        )
    with pytest.raises(FleetSchemaError, match=r"units_of_measure: expected 52 rows .* found 51"):
        reference.apply(engine)
    assert counts(engine) == dict.fromkeys(WRITTEN | COPIED, 0)
