"""Roles, memberships and settings changed by hand are named, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from database import privileges, security
from ddl.differences import Difference, lines
from ddl.sql import send
from tests.support.engines import engine_of

LOGIN = "CREATE ROLE svc LOGIN IN ROLE fleet_app; "

DRIFT = {
    "superuser": (
        "ALTER ROLE fleet_app SUPERUSER",
        "role fleet_app superuser: expected false, found true; run: ALTER ROLE fleet_app NOSUPERUSER",
    ),
    "row-level security passed by": (
        "ALTER ROLE fleet_app BYPASSRLS",
        "role fleet_app bypassrls: expected false, found true; run: ALTER ROLE fleet_app NOBYPASSRLS",
    ),
    "a role that logs in": (
        "ALTER ROLE fleet_auth LOGIN CREATEROLE CREATEDB REPLICATION",
        *(
            f"role fleet_auth {one}: expected false, found true; run: ALTER ROLE fleet_auth NO{one.upper()}"
            for one in ("createdb", "createrole", "login", "replication")
        ),
    ),
    "attributes of a login": (
        f"{LOGIN} ALTER ROLE svc CREATEROLE BYPASSRLS",
        "role svc bypassrls: expected false, found true; run: ALTER ROLE svc NOBYPASSRLS",
        "role svc createrole: expected false, found true; run: ALTER ROLE svc NOCREATEROLE",
    ),
    "membership of a role": (
        "GRANT fleet_operator TO fleet_auth",
        "role fleet_auth membership: expected nothing, found fleet_operator; run: REVOKE fleet_operator FROM fleet_auth",
    ),
    "further memberships of a login": (
        f"{LOGIN} GRANT fleet_operator, pg_read_all_data, pg_execute_server_program TO svc",
        *(
            f"role svc membership: expected nothing, found {one}; run: REVOKE {one} FROM svc"
            for one in ("fleet_operator", "pg_execute_server_program", "pg_read_all_data")
        ),
    ),
    "catalogs": (
        (
            f"{LOGIN} GRANT SELECT ON pg_authid TO fleet_app; GRANT SELECT ON pg_statistic TO PUBLIC;"
            " GRANT EXECUTE ON FUNCTION pg_read_file(text) TO svc"
        ),
        "grant pg_catalog.pg_authid to fleet_app: not declared: SELECT; run: REVOKE SELECT ON TABLE pg_catalog.pg_authid FROM fleet_app",
        "grant pg_catalog.pg_read_file(pg_catalog.text) to svc: not declared: EXECUTE; run: REVOKE EXECUTE ON ROUTINE pg_catalog.pg_read_file(pg_catalog.text) FROM svc",
        "grant pg_catalog.pg_statistic to PUBLIC: not declared: SELECT; run: REVOKE SELECT ON TABLE pg_catalog.pg_statistic FROM PUBLIC",
    ),
    "settings of a login": (
        (
            f"{LOGIN} ALTER ROLE svc SET search_path = evil; ALTER ROLE svc SET statement_timeout = 1;"
            " ALTER ROLE svc SET role = fleet_operator; ALTER ROLE svc SET app.tenant_id = 'x';"
            " ALTER ROLE svc SET work_mem = '1GB'; ALTER ROLE svc SET other.thing = 'on';"
            " ALTER ROLE svc SET standard_conforming_strings = off;"
            " ALTER ROLE svc SET fleetschema.judged = 'on'"
        ),
        "role svc app.tenant_id: expected nothing, found x; run: ALTER ROLE svc RESET app.tenant_id",
        "role svc fleetschema.judged: expected nothing, found on; run: ALTER ROLE svc RESET fleetschema.judged",
        "role svc other.thing: expected nothing, found on; run: ALTER ROLE svc RESET other.thing",
        "role svc role: expected nothing, found fleet_operator; run: ALTER ROLE svc RESET role",
        "role svc search_path: expected nothing, found evil; run: ALTER ROLE svc RESET search_path",
        "role svc standard_conforming_strings: expected nothing, found off; run: ALTER ROLE svc RESET standard_conforming_strings",
    ),
    "an owner that inherits": (
        "CREATE ROLE keeper IN ROLE fleet_app, fleet_operator; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO keeper', current_database()); END $$",
        *(
            f"role keeper inherits from: expected nothing, found {one}; run: REVOKE INHERIT OPTION FOR {one} FROM keeper GRANTED BY postgres"
            for one in ("fleet_app", "fleet_operator")
        ),
    ),
    "a login that gave itself away": (
        f"{LOGIN} CREATE ROLE other LOGIN; GRANT svc TO other; CREATE ROLE maker; GRANT svc TO maker WITH ADMIN OPTION",
        "role other membership: expected nothing, found svc; run: REVOKE svc FROM other",
    ),
    "the search_path of operators, which theirs may have": (
        (
            f"{LOGIN} ALTER ROLE svc SET search_path = timeseries, public;"
            " CREATE ROLE ops LOGIN IN ROLE fleet_operator_read;"
            " ALTER ROLE ops SET search_path = timeseries, public"
        ),
        "role svc search_path: expected nothing, found timeseries, public; run: ALTER ROLE svc RESET search_path",
    ),
    "settings of a login in the database": (
        f"{LOGIN} DO $$ BEGIN EXECUTE format('ALTER ROLE svc IN DATABASE %I SET row_security = off', current_database()); END $$",
        "role svc row_security: expected nothing, found off; run: ALTER ROLE svc IN DATABASE DB RESET row_security",
    ),
    "settings of everyone": (
        "ALTER ROLE ALL SET session_replication_role = replica",
        "role ALL session_replication_role: expected nothing, found replica; run: ALTER ROLE ALL RESET session_replication_role",
    ),
    "settings of the database": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET app.tenant_id = %L', current_database(), 'a=b'); EXECUTE format('ALTER DATABASE %I RESET timezone', current_database()); END $$",
        "database DB app.tenant_id: expected nothing, found a=b; run: ALTER DATABASE DB RESET app.tenant_id",
        "database DB timezone: expected UTC, found nothing; run: ALTER DATABASE DB SET timezone TO 'UTC'",
    ),
    "parameter": (
        "GRANT SET ON PARAMETER session_replication_role TO fleet_app, PUBLIC",
        "grant parameter session_replication_role to PUBLIC: not declared: SET; run: REVOKE SET ON PARAMETER session_replication_role FROM PUBLIC",
        "grant parameter session_replication_role to fleet_app: not declared: SET; run: REVOKE SET ON PARAMETER session_replication_role FROM fleet_app",
    ),
    "tables of the runner": (
        "CREATE ROLE other; GRANT INSERT, SELECT ON schema_history TO other; GRANT UPDATE ON alembic_version TO PUBLIC",
        "grant public.alembic_version to PUBLIC: not declared: UPDATE; run: REVOKE UPDATE ON TABLE public.alembic_version FROM PUBLIC",
        "grant public.schema_history to other: not declared: INSERT; run: REVOKE INSERT ON TABLE public.schema_history FROM other",
        "grant public.schema_history to other: not declared: SELECT; run: REVOKE SELECT ON TABLE public.schema_history FROM other",
    ),
    "privileges of the database": (
        "DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO fleet_app, PUBLIC', current_database()); EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM fleet_auth', current_database()); END $$",
        "grant database DB to fleet_auth: missing: CONNECT; run: GRANT CONNECT ON DATABASE DB TO fleet_auth",
        "grant database DB to PUBLIC: not declared: TEMPORARY; run: REVOKE TEMPORARY ON DATABASE DB FROM PUBLIC",
        "grant database DB to fleet_app: not declared: TEMPORARY; run: REVOKE TEMPORARY ON DATABASE DB FROM fleet_app",
    ),
}


@pytest.fixture
def connection(migrated_database: str) -> Iterator[Connection]:
    """A transaction in a database that a runner has prepared, rolled back after the test."""
    with engine_of(migrated_database) as engine, engine.connect() as connection:
        send(connection, privileges.application())
        yield connection


def told(connection: Connection, found: list[Difference]) -> list[str]:
    name = connection.engine.url.database or ""
    return [" ".join(line.split()[1:]).replace(name, "DB") for line in lines(found)]


@pytest.mark.parametrize("name", DRIFT)
def test_it_is_named_with_the_command_that_mends_it(connection: Connection, name: str) -> None:
    statements, *expected = DRIFT[name]
    assert told(connection, security.differences(connection)) == []
    send(connection, statements)
    found = security.differences(connection)
    assert told(connection, found) == expected
    for one in found:
        send(connection, one.mend)
    assert told(connection, security.differences(connection)) == []


def test_other_roles_do_what_they_like(connection: Connection) -> None:
    """Who makes logins, who monitors, and the database's owner are none of the services."""
    send(
        connection,
        "CREATE ROLE maker LOGIN CREATEROLE; GRANT fleet_app TO maker WITH ADMIN OPTION;"
        " CREATE ROLE monitor LOGIN IN ROLE pg_monitor; ALTER ROLE monitor SET search_path = x;"
        " CREATE ROLE keeper LOGIN CREATEROLE;"
        " GRANT fleet_app, fleet_operator TO keeper WITH INHERIT FALSE;"
        " CREATE ROLE another LOGIN CREATEROLE IN ROLE fleet_app, fleet_operator;"
        " ALTER DATABASE postgres OWNER TO another;"
        " DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO monitor', current_database());"
        " EXECUTE format('ALTER DATABASE %I OWNER TO keeper', current_database()); END $$",
    )
    assert told(connection, security.differences(connection)) == []


def test_a_copy_is_prepared_by_the_next_upgrade(connection: Connection) -> None:
    """Neither a dump nor a template has the privileges of its database."""
    send(
        connection,
        "UPDATE pg_database SET datacl = NULL WHERE datname = current_database();"
        " DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET ALL', current_database()); END $$",
    )
    assert privileges.problems(connection)
    assert security.differences(connection) == []
