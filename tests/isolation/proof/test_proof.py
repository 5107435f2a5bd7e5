"""Every relation by every role, operation and context: what is reached is what the page says.

The database is generated, and so are the statements; docs/schema/isolation.md is read as it is. A
line of a failure names role, operation and relation, what the page says, and what was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database.context import ContextKey
from models.shared.roles import ROLE_NAMES
from operations.access import context
from tests.isolation.proof import page as pages
from tests.isolation.proof.asking import RAW
from tests.isolation.proof.probes import CONTEXTS
from tests.isolation.proof.proving import ROLES, Proof, proving
from tests.isolation.proof.relations import NOBODY
from tests.isolation.proof.surroundings import (
    attempts,
    calls,
    changed,
    effects,
    functions,
    privileges,
)
from tests.isolation.proof.tenants import ONE, TWO
from tests.support.context import SIGNED
from tests.support.databases import LONG, MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.servers import describe_server
from tests.support.signed import key_in
from tests.support.time_series import migrate

pytestmark = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=servers(
        "embedded", "timescaledb", *(("embedded-16", "machine", "apache") if LONG else ())
    ),
)
def proof(
    request: pytest.FixtureRequest, make_shared_database: MakeDatabase, editions: set[str]
) -> Iterator[Proof]:
    """One database for the module; what a test does is undone."""
    server = named_server(request)
    with engine_of(make_shared_database(server, like=migrate)) as engine, proving(engine) as found:
        yield found
        tally = found.tally
        editions.add(
            f"{describe_server(server)} with {tally.statements:,} statements of the isolation proof"
            f" on {len(tally.relations)} relations"
        )


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reaches_what_the_page_says_and_nothing_else(proof: Proof, role: str) -> None:
    probes = proof.probes(role)
    assert proof.findings(role, probes, CONTEXTS["own"](), True) == []
    untouched = _every_relation(proof.engine) - {probe.relation for probe in probes}
    assert untouched == set(), "no statement was about them"
    assert {probe.operation for probe in probes} >= pages.read().needs.keys() - NOT_IN_BLOCKS


NOT_IN_BLOCKS = {"COPY TO", "COPY FROM", "REFERENCES"}
"""Tried by other tests."""


def _every_relation(engine: Engine) -> set[str]:
    query = """SELECT format('%I.%I', relnamespace::regnamespace::text, relname) FROM pg_class
                WHERE relkind NOT IN ('i', 'I', 'c') AND relpersistence <> 't'"""
    with engine.connect() as connection:
        return set(connection.exec_driver_sql(query, execution_options=RAW).scalars())


@pytest.mark.parametrize("role", ROLES)
def test_copy_reaches_what_the_page_says(proof: Proof, role: str) -> None:
    assert proof.copies(role) == []


@pytest.mark.parametrize("begin", [name for name in CONTEXTS if name != "own"])
def test_without_a_tenant_nothing_of_one_is_reached(proof: Proof, begin: str) -> None:
    assert proof.findings("fleet_app", proof.rows("fleet_app"), CONTEXTS[begin](), False) == []


@pytest.mark.parametrize("role", [role for role in ROLES if role != "fleet_app"])
def test_others_reach_no_more_without_a_tenant(proof: Proof, role: str) -> None:
    probes = [one for one in proof.rows(role) if one.operation == "SELECT"]
    assert proof.findings(role, probes, CONTEXTS["none"](), False) == []


def test_names_lead_nowhere_else(proof: Proof) -> None:
    """Each relation by its bare name, with every schema on the search_path."""
    schemas = sorted({one.name.partition(".")[0] for one in proof.relations.values()})
    begin = f"{CONTEXTS['own']()}; SET LOCAL search_path = {', '.join(schemas)}"
    names = {one.name.rpartition(".")[2] for one in proof.relations.values() if one.kind != "t"}
    reached = []
    with proof.login("fleet_app") as connection:
        driver: Any = connection.connection.driver_connection
        for name in sorted(names):
            driver.execute(begin)
            try:
                rows = driver.execute(f"SELECT tenant_id FROM {name} LIMIT 50".encode()).fetchall()
            except Exception:
                rows = []
            driver.rollback()
            if any(tenant == TWO.tenant for (tenant,) in rows):
                reached.append(name)
    proof.tally.statements += len(names)
    assert reached == []


def test_a_signed_database_takes_no_forged_tenant(proof: Proof, tmp_path: Path) -> None:
    """Nor an expired one, nor one without a token; and its own as before."""
    context.rotate(proof.engine, tmp_path / "key")
    with proof.engine.begin() as connection:
        context.sign(connection)
    key = key_in(tmp_path / "key")
    tokens = {
        "own": key.token(ONE.tenant),
        "forged": key.token(ONE.tenant).replace(str(ONE.tenant), str(TWO.tenant)),
        "of another key": ContextKey(b"x" * 32).token(TWO.tenant),
        "expired": key.token(TWO.tenant, -1),
        "absent": "",
    }
    probes = proof.rows("fleet_app")
    try:
        for name, token in tokens.items():
            own = name == "own"
            tenant = ONE.tenant if own else TWO.tenant
            begin = f"SET LOCAL app.tenant_id = '{tenant}'; SET LOCAL app.tenant_token = '{token}'"
            assert proof.findings("fleet_app", probes, begin, own) == [], name
    finally:
        with proof.engine.begin() as connection:
            if not SIGNED:
                context.plain(connection)


@pytest.mark.parametrize("role", ROLES)
def test_privileges_and_calls_are_those_of_the_page(proof: Proof, role: str) -> None:
    with proof.engine.connect() as connection:
        assert privileges(connection, pages.read(), proof.relations.values(), role) == []
        assert functions(connection, pages.read(), role) == []


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_no_function_tells_of_the_other_or_changes_what_is_behind(proof: Proof, role: str) -> None:
    names = [name for name in proof.relations if "_hyper_" in name]
    with proof.engine.connect() as connection:
        behind = next(iter(names), "timeseries.telemetry")
        called = list(calls(connection, proof.logins[role], behind))
    with proof.login(role) as connection:
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        found = set(effects(driver, called, sees=role != "fleet_app"))
        driver.autocommit = False
    proof.tally.statements += len(called)
    assert found == set()


def test_no_function_changes_rows_of_the_other(proof: Proof) -> None:
    with proof.engine.connect() as connection:
        login = proof.logins["fleet_app"]
        called = [one for one, ours in calls(connection, login, "timeseries.telemetry") if ours]
        connection.rollback()
        assert len(called) > 50
        assert changed(connection, login, called) == []
        leaking = (
            "CREATE FUNCTION public.leaking() RETURNS void SECURITY DEFINER"
            " BEGIN ATOMIC DELETE FROM public.device_tags; END"
        )
        connection.exec_driver_sql(leaking)
        assert changed(connection, login, ["SELECT leaking()"]) == ["device_tags"]
    proof.tally.statements += len(called)


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_a_login_becomes_and_makes_nothing_else(proof: Proof, role: str) -> None:
    with proof.engine.connect() as connection:
        others = connection.exec_driver_sql("SELECT rolname FROM pg_roles").scalars().all()
    expected = attempts(role, [one for one in others if one not in proof.logins.values()])
    found = {}
    with proof.login(role) as connection:
        for statement in expected:
            savepoint = connection.begin_nested()
            try:
                connection.exec_driver_sql(statement, execution_options=RAW)
                found[statement] = ""
            except DBAPIError as error:
                found[statement] = getattr(error.orig, "sqlstate", "")
            savepoint.rollback()
    proof.tally.statements += len(found)
    assert {one: said for one, said in found.items() if said != expected[one]} == {}


def test_public_may_not_connect(proof: Proof) -> None:
    url = proof.engine.url.set(username=proof.logins[NOBODY], password="x")
    with pytest.raises(DBAPIError, match="permission denied for database"):
        sa.create_engine(url, poolclass=sa.NullPool).connect()


# --- the proof can fail ---

READER = "GRANT SELECT ON leaking TO fleet_app"
USAGE = "GRANT USAGE ON SCHEMA timeseries TO fleet_app"
READS_ALL = "BEGIN ATOMIC SELECT name FROM public.sites; END"
UNCONDITIONED = (
    "EXECUTE regexp_replace(pg_get_viewdef('telemetry_hourly'::regclass), '^(.*)WHERE.*$',"
    " 'CREATE OR REPLACE VIEW telemetry_hourly AS \\1');"
)
MUTATIONS = {
    "a policy is gone": ("DROP POLICY tenant_isolation ON public.sites", "public.sites"),
    "a policy lets all pass": (
        "ALTER POLICY tenant_isolation ON public.sites USING (true)",
        "public.sites",
    ),
    "a policy lets all be written": (
        "ALTER POLICY tenant_isolation ON public.sites WITH CHECK (true)",
        "public.sites",
    ),
    "no row-level security": (
        "ALTER TABLE public.device_tags DISABLE ROW LEVEL SECURITY",
        "public.device_tags",
    ),
    "a privilege more": ("GRANT TRUNCATE ON public.sites TO fleet_app", "public.sites"),
    "a privilege less": ("REVOKE DELETE ON public.sites FROM fleet_app", "public.sites"),
    "a column more": ("GRANT SELECT (key_hash) ON api_keys TO fleet_app", "public.api_keys"),
    "a column more to write": ("GRANT UPDATE (slug) ON tenants TO fleet_app", "public.tenants"),
    "a privilege for everybody": ("GRANT SELECT ON sessions TO PUBLIC", "public.sessions"),
    "a view without a condition": (
        f"CREATE VIEW public.leaking AS SELECT * FROM sites; {READER}",
        "public.leaking",
    ),
    "a tenant view without its condition": (
        f"DO $$ BEGIN {UNCONDITIONED} END $$",
        "public.telemetry_hourly",
    ),
    "a new table of nobody's": (
        f"CREATE TABLE public.leaking AS SELECT * FROM sites; {READER}",
        "public.leaking",
    ),
    "a materialized view": (
        f"CREATE MATERIALIZED VIEW public.leaking AS SELECT * FROM sites; {READER}",
        "public.leaking",
    ),
    "a function that reads all": (
        f"CREATE FUNCTION public.leaking() RETURNS SETOF text SECURITY DEFINER {READS_ALL}",
        "leaking()",
    ),
    "a sequence": (
        "GRANT USAGE, SELECT ON SEQUENCE public.fleet_alert_id_seq TO fleet_app",
        "public.fleet_alert_id_seq",
    ),
    "what is behind a view": (
        f"{USAGE}; GRANT SELECT ON timeseries.device_connection_events TO fleet_app",
        "timeseries.device_connection_events",
    ),
    "a catalog of the server": (
        "GRANT SELECT ON pg_catalog.pg_statistic TO fleet_app",
        "pg_catalog.pg_statistic",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_proof_finds(proof: Proof, name: str) -> None:
    change, named = MUTATIONS[name]
    with proof.engine.connect() as connection:
        found = proof.after(connection, change, "fleet_app")
        connection.rollback()
    assert any(f" {named}" in line for line in found), found


@pytest.mark.timescaledb
@pytest.mark.parametrize("kind", ["_hyper_%chunk", "compress_hyper_%chunk", "_materialized_%"])
def test_the_proof_finds_a_grant_on(proof: Proof, kind: str) -> None:
    query = f"SELECT min(relname) FROM pg_class WHERE relname LIKE '{kind}' AND relkind = 'r'"
    with proof.engine.connect() as connection:
        name = connection.exec_driver_sql(query, execution_options=RAW).scalar()
        if name is None:
            pytest.skip("has no such tables")
        internal = f"_timescaledb_internal.{name}"
        found = proof.after(connection, f"GRANT SELECT ON {internal} TO fleet_app", "fleet_app")
        connection.rollback()
    assert any(f" {internal}" in line for line in found), found
