"""The rules of tests/models/catalog_rules, on real databases; and that each of them can fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Connection

from database import privileges
from tests.models.catalog_rules import RULES, broken
from tests.models.inventory import assert_none
from tests.support.alembic_project import config_for
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer


@pytest.fixture(scope="module")
def url(embedded_server: DatabaseServer, migrated_template: str) -> Iterator[str]:
    """A copy of the migrated database for this module, every change in which is rolled back."""
    with engine_of(embedded_server.url("postgres")) as engine, engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sa.text(f"CREATE DATABASE catalog_rules TEMPLATE {migrated_template}"))
    copy = embedded_server.url("catalog_rules")
    with engine_of(copy) as engine, engine.begin() as connection:
        privileges.apply(connection)
    yield copy
    with engine_of(embedded_server.url("postgres")) as engine, engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sa.text("DROP DATABASE catalog_rules"))


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with engine_of(url) as engine, engine.connect() as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize("rule", RULES)
def test_the_database_keeps_the_rule(connection: Connection, rule: str) -> None:
    assert_none(broken(connection, rule))


@pytest.mark.timescaledb
def test_hypertables_keep_the_rules_too(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    """TimescaleDB makes triggers, indexes and relations of its own."""
    with engine_of(make_database(timescaledb_server)) as engine:
        command.upgrade(config_for(engine), "head")
        with engine.connect() as connection:
            assert_none([f"{rule}: {name}" for rule in RULES for name in broken(connection, rule)])


TENANT_TABLE = """
    CREATE TABLE crates (tenant_id uuid NOT NULL REFERENCES tenants, id uuid NOT NULL,
                         site_id uuid, PRIMARY KEY (tenant_id, id));
    COMMENT ON TABLE crates IS 'Crates.';
    ALTER TABLE crates ENABLE ROW LEVEL SECURITY; ALTER TABLE crates FORCE ROW LEVEL SECURITY;
"""
SITE_KEY = """
    ALTER TABLE crates ADD FOREIGN KEY (tenant_id, site_id) REFERENCES sites (tenant_id, site_id);
"""
FOREIGN_KEY = "a foreign key has an index that leads with its columns"
PREFIX = "no index is a prefix of another"
PUBLIC = "nothing is granted to PUBLIC"
COMMENT = "every table, view and function has a comment"
FIRST = "tenant_id is the first column of a tenant table, and leads its key"
VIEW = "a view that takes rows has a check option"
MONEY = "money is counted in integer cents"
SEARCH_PATH = "a function with a text body fixes its search_path"

# What breaks a rule, and the start of the line that must name it.
BREAKS = [
    (FOREIGN_KEY, TENANT_TABLE + SITE_KEY, "crates_tenant_id_site_id_fkey (crates)"),
    (
        FOREIGN_KEY,
        TENANT_TABLE + SITE_KEY + "CREATE INDEX x ON crates (tenant_id, site_id) WHERE id = id",
        "crates_tenant_id_site_id_fkey (crates)",
    ),
    (
        FOREIGN_KEY,
        TENANT_TABLE + SITE_KEY + "CREATE INDEX x ON crates (site_id, id, tenant_id)",
        "crates_tenant_id_site_id_fkey (crates)",
    ),
    (FOREIGN_KEY, "DROP INDEX ix_device_registry_site_id", "fk_device_registry_site_id"),
    (PREFIX, "CREATE INDEX x ON sites (tenant_id)", "x (sites) is a prefix of"),
    (PREFIX, "CREATE INDEX x ON sites (tenant_id, site_id)", "x (sites) is a prefix of pk_sites"),
    (PREFIX, "CREATE UNIQUE INDEX x ON sites (tenant_id, site_id)", "pk_sites (sites) is a prefix"),
    (
        PREFIX,
        "CREATE INDEX x ON users (lower(email)); CREATE INDEX y ON users (lower(email), id)",
        "x (users) is a prefix of uq_users_email",
    ),
    (
        "row security of a tenant table is on and forced",
        "ALTER TABLE sites NO FORCE ROW LEVEL SECURITY",
        "sites: enabled t, forced f",
    ),
    (
        "row security of a tenant table is on and forced",
        "ALTER TABLE sites DISABLE ROW LEVEL SECURITY",
        "sites: enabled f, forced t",
    ),
    (
        "a foreign key between tenant tables carries tenant_id",
        """CREATE UNIQUE INDEX x ON sites (site_id);
           ALTER TABLE device_registry
             ADD CONSTRAINT y FOREIGN KEY (site_id) REFERENCES sites (site_id)""",
        "y (device_registry): {site_id} to {site_id}",
    ),
    (
        SEARCH_PATH,
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'begin return 1; end'",
        "f()",
    ),
    (SEARCH_PATH, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "f()"),
    (SEARCH_PATH, "ALTER FUNCTION set_updated_at() RESET search_path", "set_updated_at()"),
    (PUBLIC, "GRANT SELECT ON sites TO PUBLIC", "SELECT on sites"),
    (PUBLIC, "GRANT UPDATE (name) ON sites TO PUBLIC", "UPDATE on sites.name"),
    (PUBLIC, "CREATE FUNCTION f() RETURNS int RETURN 1", "EXECUTE on f()"),
    (PUBLIC, "GRANT USAGE ON SCHEMA timeseries TO PUBLIC", "USAGE on schema timeseries"),
    (PUBLIC, "CREATE SEQUENCE s; GRANT USAGE ON s TO PUBLIC", "USAGE on s"),
    (
        PUBLIC,
        "GRANT CONNECT ON DATABASE catalog_rules TO PUBLIC",
        "CONNECT on this database",
    ),
    (COMMENT, "COMMENT ON TABLE sites IS NULL", "sites"),
    (COMMENT, "COMMENT ON VIEW telemetry IS NULL", "telemetry"),
    (COMMENT, "COMMENT ON FUNCTION uuid7() IS NULL", "uuid7()"),
    (
        FIRST,
        "CREATE TABLE crates (id uuid, tenant_id uuid, PRIMARY KEY (tenant_id, id))",
        "crates: column 2, key {2,1}",
    ),
    (
        FIRST,
        "CREATE TABLE crates (tenant_id uuid NOT NULL, id uuid PRIMARY KEY)",
        "crates: column 1, key {2}",
    ),
    (
        FIRST,
        "CREATE TABLE timeseries.crates (tenant_id uuid)",
        "timeseries.crates: column 1",
    ),
    (VIEW, "ALTER VIEW telemetry RESET (check_option)", "telemetry: fleet_app may INSERT"),
    (
        VIEW,
        "ALTER VIEW audit_events RESET (check_option)",
        "audit_events.action: fleet_app",
    ),
    (
        VIEW,
        "GRANT INSERT ON telemetry_hourly TO fleet_app",
        "telemetry_hourly: fleet_app may INSERT",
    ),
    ("there is no native enum", "CREATE TYPE mood AS ENUM ('good')", "mood"),
    ("moments have a time zone", "ALTER TABLE sites ADD at timestamp", "sites.at: timestamp with"),
    ("moments have a time zone", "ALTER TABLE sites ADD at timestamp[]", "sites.at: timestamp"),
    ("text has no length", "ALTER TABLE sites ADD x varchar(9)", "sites.x: character varying(9)"),
    ("text has no length", "ALTER TABLE sites ADD x char(2)", "sites.x: character(2)"),
    ("JSON is jsonb", "ALTER TABLE sites ADD x json", "sites.x: json"),
    (
        "numbers come from identity columns, not from serial",
        "ALTER TABLE sites ADD x bigserial",
        "sites.x: nextval('sites_x_seq'",
    ),
    (MONEY, "ALTER TABLE subscriptions ADD price float", "subscriptions.price: double"),
    (MONEY, "ALTER TABLE subscriptions ADD x money", "subscriptions.x: money"),
    (
        MONEY,
        "ALTER TABLE subscriptions ADD paid_cents numeric",
        "subscriptions.paid_cents:",
    ),
]


@pytest.mark.parametrize(("rule", "statements", "finding"), BREAKS)
def test_what_breaks_a_rule_is_named(
    connection: Connection, rule: str, statements: str, finding: str
) -> None:
    before = broken(connection, rule)
    connection.exec_driver_sql(statements)
    new = [line for line in broken(connection, rule) if line not in before]
    assert any(line.startswith(finding) for line in new), new


def test_every_rule_has_a_counter_example() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(RULES)


ALLOWED = [
    (
        FOREIGN_KEY,
        TENANT_TABLE
        + SITE_KEY
        + "CREATE INDEX x ON crates (tenant_id, site_id) WHERE site_id IS NOT NULL",
    ),
    (FOREIGN_KEY, TENANT_TABLE + SITE_KEY + "CREATE INDEX x ON crates (site_id, tenant_id, id)"),
    (PREFIX, "CREATE INDEX x ON sites (tenant_id) WHERE name = ''"),
    (PREFIX, "CREATE UNIQUE INDEX x ON users (id, email); CREATE INDEX y ON users (email, id)"),
    (PREFIX, "CREATE INDEX x ON sites USING hash (tenant_id)"),
    (PREFIX, "CREATE INDEX x ON sites (tenant_id DESC)"),
    (MONEY, "ALTER TABLE sites ADD cost_per_day_cents bigint"),
    ("moments have a time zone", "ALTER TABLE sites ADD at timestamptz, ADD day date"),
    ("numbers come from identity columns, not from serial", TENANT_TABLE),
]


@pytest.mark.parametrize(("rule", "statements"), ALLOWED)
def test_what_keeps_a_rule_is_not_named(connection: Connection, rule: str, statements: str) -> None:
    connection.exec_driver_sql(statements)
    assert_none(broken(connection, rule))
