"""A correct database that is changed in one way: `verify` names it, and its fix mends it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from database import hardening
from database.embedded import TemporaryServer
from ddl.sql import send
from operations import reference
from operations.access import logins
from operations.verification import Finding, prepared, verify
from operations.verification import server as parts
from operations.verification.schema import MEND, differing
from operations.verification.schema import mend as schema_mend
from tests.operations.verification import mutations
from tests.support.databases import LONG, MakeDatabase, named_server, seed, servers
from tests.support.engines import engine_of, execute
from tests.support.servers import embedded_programs

GROUPS = {
    "grants": mutations.GRANTS,
    "policies": mutations.POLICIES,
    "objects": mutations.OBJECTS,
    "roles": mutations.ROLES,
    "rows": mutations.ROWS,
}
OTHER = "verified_other"


def told(engine: Engine, text: str) -> str:
    """A mutation, or an object, with the names of the database at hand."""
    with engine.connect() as connection:
        names = {
            "database": engine.url.database,
            "other": OTHER,
            "event_function": "public.watching()",
        }
        if "{chunk}" in text or "{stored}" in text:
            names |= connection.execute(_HYPERTABLE).mappings().one()
    return text.format(**names)


_HYPERTABLE = sa.text("""
SELECT (SELECT min(c::text) FROM show_chunks('timeseries.telemetry') c) AS chunk,
       format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
           AS stored
  FROM timescaledb_information.continuous_aggregates WHERE view_name = 'telemetry_daily'
""")


def mend(engine: Engine, findings: list[Finding]) -> None:
    """Run what the findings say."""
    for fix in dict.fromkeys(one.fix for one in findings):
        if fix.startswith("python -m operations reference"):
            reference.apply(engine)
            continue
        if fix == hardening.COMMAND:
            with engine.begin() as connection:
                send(connection, hardening.script())
            continue
        if fix == MEND:
            with prepared(engine) as connection:
                script = differing(connection)
                schema_mend(connection, script)
                connection.commit()
            continue
        assert not fix.startswith(("python", "alembic")), fix
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            send(connection, fix)


def lines(findings: list[Finding]) -> str:
    return "\n".join(f"{one.object}: {one.text} | {one.fix}" for one in findings)


@pytest.fixture(scope="module")
def correct() -> Iterator[Engine]:
    """A database at the head with reference data and a login, on a cluster of its own."""
    with TemporaryServer(embedded_programs(18)) as server, engine_of(server.url("ours")) as engine:
        execute(server.url("postgres"), "CREATE DATABASE ours")
        seed(server.url("ours"))
        with engine.begin() as connection:
            send(connection, f"CREATE ROLE {OTHER}")
        logins.create(engine, mutations.LOGIN, "fleet_app")
        assert not lines(verify(engine).findings)
        yield engine


def walk(engine: Engine, changes: dict[str, str]) -> None:
    """From a correct database to a correct one."""
    with engine.begin() as connection:
        send(connection, _EVENTS)
        for change in changes:
            send(connection, told(engine, change))
    found = verify(engine).findings
    for change, name in changes.items():
        of_it = [one for one in found if told(engine, name) in one.object]
        assert of_it, f"{change}: not found in\n{lines(found)}"
        assert all(one.fix for one in of_it), lines(of_it)
    mend(engine, found)
    with engine.begin() as connection:
        send(connection, "DROP FUNCTION IF EXISTS public.watching() CASCADE")
    assert not lines(verify(engine).findings)


_EVENTS = """
CREATE FUNCTION public.watching() RETURNS event_trigger LANGUAGE plpgsql AS 'begin end'
"""


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_changes_are_named_and_mended(group: str, correct: Engine) -> None:
    walk(correct, GROUPS[group])


@pytest.mark.slow
def test_each_short_time_of_a_login_is_named_and_mended(correct: Engine) -> None:
    settings = ["idle_session_timeout", "transaction_timeout", "tcp_user_timeout"]
    settings += ["idle_in_transaction_session_timeout", "client_connection_check_interval"]
    for setting, where in itertools.product(settings, ("", " IN DATABASE {database}")):
        with correct.begin() as connection:
            change = f"ALTER ROLE {mutations.LOGIN}{where} SET {setting} = '1ms'"
            send(connection, told(correct, change))
        with correct.connect() as connection:
            (found,) = parts.logins(connection)
        assert f" {setting}" in found.text
        assert "found 1" in found.text
        mend(correct, [found])
        with correct.connect() as connection:
            assert list(parts.logins(connection)) == []


@pytest.mark.slow
def test_an_event_trigger_that_refuses_less_is_named_and_mended(correct: Engine) -> None:
    """By the part that looks at it alone, which takes no comparison of the schema."""
    for change in mutations.EVENT_TRIGGER:
        with correct.begin() as connection:
            send(connection, _EVENTS)
            send(connection, told(correct, change))
        with correct.connect() as connection:
            (found,) = parts.hardening(connection)
        assert found.object == "event trigger refuse_schema_changes", change
        mend(correct, [found])
        with correct.begin() as connection:
            send(connection, "DROP FUNCTION public.watching()")
        with correct.connect() as connection:
            assert hardening.gaps(connection) == []


@pytest.mark.skipif(not LONG, reason="the long form; the short one makes those of a group together")
@pytest.mark.parametrize("change", [change for group in GROUPS.values() for change in group])
def test_each_change_alone(change: str, correct: Engine) -> None:
    of = next(group for group in GROUPS.values() if change in group)
    walk(correct, {change: of[change]})


@pytest.fixture(scope="module", params=servers("timescaledb"))
def compressed(
    request: pytest.FixtureRequest, make_shared_database: MakeDatabase
) -> Iterator[Engine]:
    """The same with TimescaleDB, and with a chunk."""
    with engine_of(make_shared_database(named_server(request), like=seed)) as engine:
        with engine.begin() as connection:
            send(connection, "SELECT set_config('fleetschema.judged', 'on', true)")
            send(
                connection,
                "INSERT INTO timeseries.telemetry (tenant_id, ts, device_id)"
                " VALUES (gen_random_uuid(), now(), 'one')",
            )
        assert not lines(verify(engine).findings)
        yield engine


@pytest.mark.timescaledb
@pytest.mark.slow
def test_changes_of_hypertables_are_named_and_mended(compressed: Engine) -> None:
    walk(compressed, mutations.HYPERTABLES)


@pytest.mark.timescaledb
@pytest.mark.skipif(not LONG, reason="the long form; the short one makes them together")
@pytest.mark.parametrize("change", mutations.HYPERTABLES)
def test_each_change_of_hypertables_alone(change: str, compressed: Engine) -> None:
    walk(compressed, {change: mutations.HYPERTABLES[change]})


def test_there_are_enough() -> None:
    assert len(mutations.HYPERTABLES) + sum(map(len, GROUPS.values())) >= 80
