"""A login disturbs nobody and leaves nothing behind: what it may call, lock, and read of others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

import models
from database import hardening, privileges, security
from database.ingest import IngestError, Message, ingest
from ddl.edition import Edition, available, detect
from models.shared.roles import ROLE_NAMES
from tests.support.context import choose
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.time_series import migrate
from tests.support.two_tenants import ONE, TWO, fill, tenant_tables

FORBIDDEN = "42501"
NO_PARAMETERS = {"no_parameters": True}


@pytest.fixture(
    scope="module",
    params=servers("embedded", "embedded-16", "machine", "timescaledb", "apache"),
)
def engine(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """One database for the module, in which two tenants have rows everywhere."""
    with engine_of(make_shared_database(named_server(request), like=migrate)) as engine:
        fill(engine)
        yield engine


@pytest.fixture(scope="module")
def logins(engine: Engine) -> Iterator[dict[str, Engine]]:
    """An engine for a login of each role, as services have."""
    names = {role: f"{role}_{uuid.uuid4().hex[:8]}" for role in ROLE_NAMES}
    with engine.begin() as connection:
        for role, name in names.items():
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE {role}")
    found = {
        role: sa.create_engine(
            engine.url.set(username=name, password="x"),
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
        )
        for role, name in names.items()
    }
    yield found
    with engine.begin() as connection:
        for name in names.values():
            connection.exec_driver_sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def refusal(login: Engine, statement: str) -> str:
    """The SQLSTATE with which a statement of the login fails; empty where it does not."""
    with login.connect() as connection:
        return outcome(connection, statement)


def outcome(connection: Connection, statement: str) -> str:
    try:
        connection.exec_driver_sql(statement, execution_options=NO_PARAMETERS)
    except DBAPIError as error:
        return getattr(error.orig, "sqlstate", None) or str(error.orig)
    return ""


LOCKS = (
    "SELECT pg_advisory_lock(7)",
    "SELECT pg_advisory_lock(7, 7)",
    "SELECT pg_advisory_lock_shared(7)",
    "SELECT pg_try_advisory_lock(7)",
    "SELECT pg_try_advisory_lock_shared(7)",
    "SELECT pg_try_advisory_xact_lock(7)",
    "SELECT pg_try_advisory_xact_lock_shared(7, 7)",
)
TRANSACTION_LOCKS = (
    "SELECT pg_advisory_xact_lock(hashtextextended('ingest of x', 0))",
    "SELECT pg_advisory_xact_lock_shared(7)",
)
OTHERS = (
    "SELECT query FROM pg_stat_activity",
    "SELECT pg_stat_get_backend_activity(1)",
    "SELECT pg_stat_get_backend_idset()",
    "SELECT * FROM pg_stat_ssl",
    "SELECT * FROM pg_stat_progress_copy",
    "SELECT n_tup_ins FROM pg_stat_user_tables",
    "SELECT * FROM pg_stat_database",
    "SELECT * FROM pg_locks",
    "SELECT pg_blocking_pids(1)",
    "SELECT pg_cancel_backend(1)",
    "SELECT pg_terminate_backend(pg_backend_pid())",
)
KEPT = (
    "SELECT lo_create(0)",
    "SELECT lo_creat(-1)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_put(1, 0, 'x')",
    "SELECT lo_get(1)",
    "SELECT lo_open(1, 131072)",
    "SELECT loread(1, 1)",
    "SELECT lowrite(1, 'x')",
    "SELECT lo_unlink(1)",
    "SELECT lo_import('/etc/hostname')",
    "CREATE TABLE public.mine (x int)",
    "CREATE SCHEMA mine",
)
TEMPORARY = "CREATE TEMPORARY TABLE mine (x int)"
JOBS = (
    "SELECT add_job('public.current_tenant', '1 second')",
    "SELECT alter_job(1, scheduled => false)",
    "CALL run_job(1)",
    "SELECT delete_job(1)",
    "SELECT add_retention_policy('public.sites', drop_after => interval '1 hour')",
    "SELECT add_compression_policy('public.sites', interval '1 hour')",
    "CALL add_columnstore_policy('public.sites', interval '1 hour')",
    "SELECT add_continuous_aggregate_policy('public.sites', NULL, NULL, interval '1 hour')",
    "SELECT add_reorder_policy('public.sites', 'x')",
    "SELECT timescaledb_experimental.add_policies('public.sites')",
    "SELECT _timescaledb_functions.stop_background_workers()",
    "CALL _timescaledb_functions.policy_retention(1, '{}')",
    "SELECT _timescaledb_functions.drop_chunk('public.sites')",
    "SELECT _timescaledb_functions.freeze_chunk('public.sites')",
    "CALL merge_chunks_concurrently(NULL)",
    "SELECT create_hypertable('public.sites', 'created_at')",
    "SELECT _timescaledb_functions.estimate_compressed_batch_size('public.sites')",
)


def attacks(engine: Engine, role: str) -> list[str]:
    found = [*LOCKS, *OTHERS, *KEPT]
    if role != "fleet_ingest":
        found += [*TRANSACTION_LOCKS, TEMPORARY]
    with engine.connect() as connection:
        if available(connection) is not Edition.POSTGRESQL:
            found += JOBS
    return found


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_a_login_disturbs_nobody_and_leaves_nothing(
    engine: Engine, logins: dict[str, Engine], role: str
) -> None:
    tried = attacks(engine, role)
    assert {one: said for one in tried if (said := refusal(logins[role], one)) != FORBIDDEN} == {}


def test_what_its_work_needs_is_left(engine: Engine, logins: dict[str, Engine]) -> None:
    """The locks of a batch; and what every pool sends when a connection comes back."""
    for statement in TRANSACTION_LOCKS:
        assert refusal(logins["fleet_ingest"], statement) == ""
    for login in logins.values():
        assert refusal(login, "SELECT pg_advisory_unlock_all()") == ""
        assert refusal(login, "DISCARD ALL") == ""


def test_no_function_of_those_kinds_is_left_out(engine: Engine, logins: dict[str, Engine]) -> None:
    """By names alone, of whichever version: what is not said here is new and has to be judged."""
    query = sa.text(r"""
        SELECT p.proname FROM pg_proc p
         WHERE (p.pronamespace = 'pg_catalog'::regnamespace
                OR EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'))
           AND has_function_privilege(:login, p.oid, 'EXECUTE')
           AND p.prorettype <> 'trigger'::regtype
           AND p.proname ~ ('advisory|_backend$|^pg_stat_get|_stat_statements|activity'
                            '|large_?object|^lo_|^lo(read|write)|(^|_)jobs?(_|$)|polic(y|ies)|'
                            'background_worker')
    """)
    with engine.connect() as connection:
        name = logins["fleet_app"].url.username
        found = set(connection.scalars(query, {"login": name}))
    unlocking = {f"pg_advisory_unlock{suffix}" for suffix in ("", "_shared", "_all")}
    assert found - {"has_largeobject_privilege"} == unlocking


def test_only_timescaledb_writes_compressed_rows(engine: Engine) -> None:
    """It copies INSERT to them with a grant; `check` names that, and an upgrade takes it away."""
    with engine.connect() as connection:
        if detect(connection) is not Edition.COMMUNITY:
            pytest.skip("has no compressed rows")
        assert security.differences(connection) == []
        connection.exec_driver_sql("GRANT INSERT ON timeseries.telemetry TO fleet_ingest")
        found = security.differences(connection)
        assert len(found) > 1
        assert {one.found for one in found} == {"INSERT"}
        assert all("compress" in one.name for one in found)
        privileges.apply(connection)
        assert security.differences(connection) == []
        connection.rollback()


# --- locks ---


def test_a_tenant_cannot_stop_the_batches_of_another(
    engine: Engine, logins: dict[str, Engine]
) -> None:
    """It could, by numbers: the same statements get through before a superuser took them away."""
    held = [
        f"SELECT pg_advisory_lock(hashtextextended('{what} of {TWO}', 0))"
        for what in ("ingest", "devices")
    ]
    impatient = logins["fleet_ingest"].url.update_query_dict({"options": "-c lock_timeout=200ms"})
    message = Message(TWO, f"of {TWO}", datetime.now(UTC), {"x": 1.5})
    for hardened in (False, True):
        with engine.begin() as connection:
            script = hardening.script() if hardened else hardening.removal()
            connection.exec_driver_sql(script, execution_options=NO_PARAMETERS)
        with logins["fleet_app"].connect() as attacker, engine_of(impatient) as service:
            taken = {outcome(attacker, statement) for statement in held}
            assert taken == {FORBIDDEN if hardened else ""}
            if hardened:
                assert ingest(service, [message]).stored == 1
            else:
                with pytest.raises(IngestError, match="lock timeout"):
                    ingest(service, [message])


def test_locks_on_rows_stay_with_the_tenant(engine: Engine, logins: dict[str, Engine]) -> None:
    """One locks all rows that it can; the other, and operators, find all of theirs free."""
    own = [one.name for one in tenant_tables() if one.schema is None]
    shared = [table.name for table in models.metadata.sorted_tables if table.schema is None]
    shared = [name for name in shared if name not in own]
    with _tenant(logins["fleet_app"], ONE) as one, _tenant(logins["fleet_app"], TWO) as two:
        mine, theirs = _locked(one, own + shared), _locked(two, own + shared)
        assert mine.keys() == theirs.keys()
        assert {name: rows for name, rows in mine.items() if rows > 1} == {}
        assert sum(mine.values()) > 50
        # Of what all share, a tenant may change the row of itself.
        assert mine.keys() & set(shared) == {"tenants"}
        with logins["fleet_operator"].connect() as operator:
            operator.exec_driver_sql("BEGIN")
            assert len(_locked(operator, [name for name in shared if name != "tenants"])) > 5


def _tenant(login: Engine, tenant: uuid.UUID) -> Connection:
    connection = login.connect()
    choose(connection, tenant, local=False)
    connection.exec_driver_sql("BEGIN")
    return connection


def _locked(connection: Connection, tables: list[str]) -> dict[str, int]:
    """Table to the number of rows that could be locked at once, where the role may at all."""
    found = {}
    for table in tables:
        connection.exec_driver_sql("SAVEPOINT one")
        query = f"SELECT FROM {table} FOR UPDATE NOWAIT"
        if said := outcome(connection, query):
            assert said == FORBIDDEN
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one")
        else:
            found[table] = len(connection.exec_driver_sql(query).all())
    return found
