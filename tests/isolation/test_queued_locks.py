"""No login queues for a lock that it may not have: nobody waits behind a statement that is refused.

PostgreSQL takes the locks of some statements before it looks at the privilege. While somebody reads
the table for long, such a statement waits, and all that come after it do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import sleep

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from database import hardening
from ddl.edition import Edition, available
from models.shared.roles import ROLE_NAMES
from tests.isolation.test_hardening import FORBIDDEN, NO_PARAMETERS, logins, outcome
from tests.support.databases import LONG, MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.time_series import migrate

__all__ = ["logins"]


@pytest.fixture(
    scope="module",
    params=servers(
        "embedded", "embedded-16", "timescaledb", *(("machine", "apache") if LONG else ())
    ),
)
def engine(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """One database for the module, without rows."""
    with engine_of(make_shared_database(named_server(request), like=migrate)) as engine:
        yield engine


WAITS = "55P03"
TABLES = {"pg_authid": "pg_authid_oid_index", "public.sites": "public.pk_sites"}
"""What is read for long, with an index that is."""
FUNCTION = "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
LOCKING = (
    "CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
    f"CREATE TRIGGER mine BEFORE UPDATE ON {{table}} FOR EACH ROW {FUNCTION}",
    f"CREATE CONSTRAINT TRIGGER mine AFTER UPDATE ON {{table}} FOR EACH ROW {FUNCTION}",
    "ALTER INDEX {index} DEPENDS ON EXTENSION plpgsql",
)
"""Waited, of every role."""
TEMPORARY_LOCKING = (
    "CREATE TEMP TABLE mine PARTITION OF {table} DEFAULT",
    "CREATE TEMP TABLE mine (a int REFERENCES {table})",
    "CREATE TEMP TABLE mine (a int, FOREIGN KEY (a) references {table})",
    "DO $$ BEGIN EXECUTE 'CREATE TEMP TABLE mine PARTI' || 'TION OF {table} DEFAULT'; END $$",
    "CREATE TEMP TABLE of (a int); CREATE TEMP TABLE mine (a int REFERENCES {table})",
    "ALTER TABLE pg_temp.own ADD FOREIGN KEY (a) REFERENCES {table}",
)
"""Waited, of a role that may make temporary tables; ``own`` is one."""
OWN = "CREATE TEMPORARY TABLE own (a text)"
OTHERS = (
    "COMMENT ON TABLE {table} IS 'mine'",
    "CREATE STATISTICS mine ON tenant_id, name FROM {table}",
    "CREATE POLICY mine ON {table}",
    "ALTER TABLE {table} ADD COLUMN mine int",
    "DROP INDEX {index}",
    "GRANT SELECT ON {table} TO CURRENT_USER",
    "DROP SCHEMA public CASCADE",
    "DROP FUNCTION current_tenant() CASCADE",
    "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE TYPE pg_temp.mine AS ENUM ('one')",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
)
"""Lock in another mode, or other objects, or look at the privilege first: refused all the same."""


ALLOWED = (
    OWN,
    "create temp table IF NOT EXISTS own (a text, b int DEFAULT 1) ON COMMIT DROP;",
    "CREATE TEMP TABLE of_them AS SELECT name FROM pg_settings",
    "SELECT 1 AS one INTO TEMP by_them",
    "CREATE INDEX ON pg_temp.own (a)",
    "DROP TABLE pg_temp.own, of_them, by_them",
)
"""Staging, which is for `fleet_ingest`."""
STILL_WAITING = {
    "TRUNCATE {table}": {"pg_authid": "55P03", "public.sites": "55P03"},
    "DROP TABLE {table}": {"pg_authid": "42501", "public.sites": "55P03"},
}
"""With TimescaleDB, which takes these locks before PostgreSQL is asked at all."""


@contextmanager
def read_for_long(engine: Engine) -> Iterator[None]:
    """Another session reads all of `TABLES` and does not end; and writes, as services do."""
    with engine.connect() as reader:
        for table in TABLES:
            reader.exec_driver_sql(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        reader.exec_driver_sql("SET LOCAL enable_seqscan = off")
        reader.exec_driver_sql("SELECT FROM pg_authid WHERE oid = 10")
        reader.exec_driver_sql("SELECT FROM public.sites ORDER BY tenant_id LIMIT 1")
        yield
        reader.rollback()


@contextmanager
def impatient(login: Engine, time: str = "50ms") -> Iterator[Connection]:
    with login.connect() as connection:
        connection.exec_driver_sql(f"SET lock_timeout = '{time}'")
        yield connection


def said(login: Connection, statements: Iterable[str]) -> dict[str, dict[str, str]]:
    """What became of each statement with each of `TABLES`."""
    return {
        statement: {
            table: outcome(login, statement.format(table=table, index=index))
            for table, index in TABLES.items()
        }
        for statement in statements
    }


@contextmanager
def unhardened(engine: Engine) -> Iterator[None]:
    """Without what a superuser does."""
    _run(engine, hardening.removal())
    try:
        yield
    finally:
        _run(engine, hardening.script())


def _run(engine: Engine, script: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(script, execution_options=NO_PARAMETERS)


_QUEUED = sa.text(
    "SELECT count(*) FROM pg_locks WHERE relation = 'pg_authid'::regclass AND NOT granted"
)


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_what_is_refused_does_not_wait(
    engine: Engine, logins: dict[str, Engine], role: str
) -> None:
    tried = [*LOCKING, *OTHERS]
    with engine.connect() as connection:
        if available(connection) is not Edition.POSTGRESQL:
            tried.append("SELECT create_hypertable('{table}', 'a')")
    with read_for_long(engine), impatient(logins[role]) as login:
        if role == "fleet_ingest":
            login.exec_driver_sql(OWN)
            tried += TEMPORARY_LOCKING
        found = said(login, tried)
    refused = dict.fromkeys(TABLES, FORBIDDEN)
    assert {one: what for one, what in found.items() if what != refused} == {}


def test_nobody_waits_behind_it(engine: Engine, logins: dict[str, Engine]) -> None:
    """A reader did, of a table that the attacker may not even read."""
    attack = LOCKING[0].format(table="pg_authid")

    def others_read() -> str:
        with (
            read_for_long(engine),
            impatient(logins["fleet_auth"], "1s") as attacker,
            impatient(engine) as reader,
            engine.connect() as observer,
            ThreadPoolExecutor() as threads,
        ):
            attacked = threads.submit(outcome, attacker, attack)
            while not attacked.done() and not observer.scalar(_QUEUED):
                sleep(0.01)
            return outcome(reader, "SELECT count(*) FROM pg_authid")

    with unhardened(engine):
        assert others_read() == WAITS
        with read_for_long(engine), impatient(logins["fleet_ingest"]) as login:
            login.exec_driver_sql(OWN)
            found = said(login, [*LOCKING, *TEMPORARY_LOCKING])
        assert {one for one, what in found.items() if WAITS not in what.values()} == set()
    assert others_read() == ""


def test_staging_is_left_to_ingest(engine: Engine, logins: dict[str, Engine]) -> None:
    with logins["fleet_ingest"].connect() as login:
        assert {one: outcome(login, one) for one in ALLOWED} == dict.fromkeys(ALLOWED, "")


def test_the_owner_is_not_refused(engine: Engine, logins: dict[str, Engine]) -> None:
    """Nor a superuser, whatever role it takes; nor somebody who has none of ours."""
    with engine.connect() as connection:
        for statement in ("RESET ROLE", "SET ROLE fleet_ingest"):
            connection.exec_driver_sql(statement)
            connection.exec_driver_sql("CREATE TEMP TABLE one (a int)")
            connection.exec_driver_sql("ALTER TABLE one ADD COLUMN b int")
            connection.exec_driver_sql("DROP TABLE one")
        connection.rollback()


def test_what_still_waits_is_told(engine: Engine, logins: dict[str, Engine]) -> None:
    """docs/isolation.md names these: whoever sees this fail changes the page."""
    with engine.connect() as connection:
        if available(connection) is Edition.POSTGRESQL:
            expected = {one: dict.fromkeys(TABLES, FORBIDDEN) for one in STILL_WAITING}
        else:
            expected = STILL_WAITING
    with read_for_long(engine), impatient(logins["fleet_app"]) as login:
        assert said(login, STILL_WAITING) == expected


_LOCKABLE = sa.text("""
SELECT c.oid::regclass::text AS name, has_table_privilege(:role, c.oid, 'UPDATE, DELETE') AS held,
       EXISTS (SELECT FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attname IN ('tenant_id', 'of_tenant')) AS of_tenants
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('public', 'timeseries', 'signing') AND c.relkind IN ('r', 'p', 'v')
""")


@pytest.mark.parametrize("role", ["fleet_app", "fleet_ingest", "fleet_auth"])
def test_whoever_may_update_or_delete_may_lock_a_table(engine: Engine, role: str) -> None:
    """And nobody else, and only tables of tenants."""
    with engine.begin() as connection:
        found = connection.execute(_LOCKABLE, {"role": role}).all()
        connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
        for name, held, of_tenants in found:
            try:
                with connection.begin_nested() as savepoint:
                    connection.exec_driver_sql(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE NOWAIT")
                    savepoint.rollback()
            except sa.exc.ProgrammingError:
                assert not held, name
            else:
                assert held, name
                assert of_tenants, name
