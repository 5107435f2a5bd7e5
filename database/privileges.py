"""Privileges and settings of the database itself: a step after every upgrade, read back.

Neither dumps nor copies of a template database carry them, so no revision could promise them.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from database import hardening
from database.errors import FleetSchemaError, server_message
from ddl.sql import literal, send
from models.shared.access import FOR_FUNCTIONS
from models.shared.roles import ROLE_NAMES

SETTINGS = {"timezone": "UTC"}
"""Settings of every session in the database."""

# TimescaleDB (2.12 to 2.29.2, issue 10503) loses rows in parallel: where a scan of a hypertable
# waits for a value such as (SELECT current_tenant()), its workers believe that every chunk is
# excluded, and the leader believes them. Workers that share each chunk instead are not affected,
# provided that a plan has no chunk for one process alone, whose rows would count several times.
TIMESCALEDB_SETTINGS = {
    "timescaledb.enable_parallel_chunk_append": "off",
    "enable_parallel_append": "off",
    # Else the planner reads every CHECK of every chunk, half of its time over a year of days
    # (measured). TimescaleDB itself finds the chunks of a range, without it.
    "constraint_exclusion": "off",
}
"""The same, in a database with TimescaleDB."""

_HAS_TIMESCALEDB = "EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"

TEMPORARY = ("fleet_ingest",)
"""Roles that may make temporary tables (staging); with them a role could shadow a table."""


class PrivilegeError(FleetSchemaError):
    """The database's privileges or settings are not those that the project needs."""


# A policy names its role by id, so it stays with the old owner of a table.
_POLICIES_FOLLOW = f"""FOR found IN
        SELECT c.oid::regclass AS name, pg_get_userbyid(c.relowner) AS owner
          FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
         WHERE p.polname = {literal(FOR_FUNCTIONS)} AND p.polroles <> ARRAY[c.relowner]
    LOOP
        EXECUTE format('ALTER POLICY {FOR_FUNCTIONS} ON %s TO %I', found.name, found.owner);
    END LOOP;"""


# TimescaleDB copies the grants of a hypertable to what keeps its compressed rows, where no trigger
# and no CHECK judges what is written. It writes there itself, and copies the grants of the first of
# these tables to those that it makes later.
COMPRESSED = """
        SELECT c.oid::regclass AS name,
               CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END
                   AS role,
               string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type) AS held
          FROM (SELECT schema_name, table_name FROM _timescaledb_catalog.hypertable
                 WHERE compression_state = 2
                UNION ALL
                SELECT k.schema_name, k.table_name FROM _timescaledb_catalog.chunk k
                  JOIN _timescaledb_catalog.hypertable h ON h.id = k.hypertable_id
                 WHERE h.compression_state = 2) compressed
          JOIN pg_namespace n ON n.nspname = compressed.schema_name
          JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = compressed.table_name
         CROSS JOIN LATERAL aclexplode(c.relacl) g
         WHERE g.grantee <> c.relowner AND g.privilege_type <> 'SELECT'
         GROUP BY c.oid, g.grantee"""

_COMPRESSED_ARE_READ = f"""FOR found IN{COMPRESSED}
    LOOP
        EXECUTE format('REVOKE %s ON %s FROM %s', found.held, found.name, found.role);
    END LOOP;"""


def application() -> str:
    """One block: PUBLIC loses the database, each role gets what it needs and loses the rest.

    Policies for the owner of a table follow it. Only TimescaleDB writes compressed rows.
    """
    changes = [
        f"REVOKE ALL ON DATABASE %I FROM PUBLIC, {', '.join(ROLE_NAMES)}",
        f"GRANT CONNECT ON DATABASE %I TO {', '.join(ROLE_NAMES)}",
        f"GRANT TEMPORARY ON DATABASE %I TO {', '.join(TEMPORARY)}",
    ]
    lines = [f"EXECUTE format('{change}', current_database());" for change in changes]
    lines += [_set(name, value) for name, value in SETTINGS.items()]
    changes = [_set(name, value) for name, value in TIMESCALEDB_SETTINGS.items()]
    lines += _with_timescaledb([*changes, _COMPRESSED_ARE_READ])
    return _block([*lines, _POLICIES_FOLLOW])


def removal() -> str:
    """Back to what CREATE DATABASE gives; the last step of ``downgrade base``.

    Roles may be gone by then, if it is run again.
    """
    lines = [
        f"IF to_regrole('{name}') IS NOT NULL THEN"
        f" EXECUTE format('REVOKE ALL ON DATABASE %I FROM {name}', current_database()); END IF;"
        for name in ROLE_NAMES
    ]
    lines.append(
        "EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO PUBLIC', current_database());"
    )
    lines += map(_reset, SETTINGS)
    lines += _with_timescaledb(map(_reset, TIMESCALEDB_SETTINGS))
    return _block(lines)


def has_timescaledb(connection: Connection) -> bool:
    """Whether the extension is in this database."""
    return bool(connection.scalar(sa.text(f"SELECT {_HAS_TIMESCALEDB}")))


def settings(connection: Connection) -> dict[str, str]:
    """What :func:`application` sets in this database."""
    if has_timescaledb(connection):
        return SETTINGS | TIMESCALEDB_SETTINGS
    return SETTINGS


def _set(name: str, value: str) -> str:
    return (
        f"EXECUTE format('ALTER DATABASE %I SET {name} TO %L', current_database(),"
        f" {literal(value)});"
    )


def _reset(name: str) -> str:
    return f"EXECUTE format('ALTER DATABASE %I RESET {name}', current_database());"


def _with_timescaledb(lines: Iterable[str]) -> list[str]:
    return [f"IF {_HAS_TIMESCALEDB} THEN", *lines, "END IF;"]


def _block(lines: list[str]) -> str:
    text = "\n    ".join(lines)
    return f"DO $privileges$\nDECLARE\n    found record;\nBEGIN\n    {text}\nEND\n$privileges$"


_STATE = sa.text("""
SELECT datname AS name,
       pg_get_userbyid(datdba) AS owner,
       (SELECT coalesce(array_agg(lower(a.privilege_type) ORDER BY 1), '{}')
          FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) a WHERE a.grantee = 0)
           AS public,
       (SELECT coalesce(array_agg(r ORDER BY 1), '{}') FROM unnest(CAST(:roles AS text[])) r
         WHERE NOT has_database_privilege(r, oid, 'CONNECT')) AS shut_out,
       (SELECT coalesce(array_agg(r ORDER BY 1), '{}') FROM unnest(CAST(:roles AS text[])) r
         WHERE has_database_privilege(r, oid, 'TEMPORARY')) AS temporary,
       (SELECT coalesce(setconfig, '{}') FROM pg_db_role_setting
         WHERE setdatabase = d.oid AND setrole = 0) AS settings
  FROM pg_database d WHERE datname = current_database()
""")


def problems(connection: Connection) -> list[str]:
    """Every difference between the database and what :func:`application` asks for."""
    state = connection.execute(_STATE, {"roles": list(ROLE_NAMES)}).one()
    found = []
    if state.public:
        found.append(f"PUBLIC expected nothing, found {', '.join(state.public)}")
    if state.shut_out:
        found.append(f"{', '.join(state.shut_out)} expected CONNECT, found none")
    if sorted(state.temporary) != sorted(TEMPORARY):
        found.append(
            f"TEMPORARY expected for {', '.join(TEMPORARY)}, found for "
            f"{', '.join(state.temporary) or 'no role'}"
        )
    held = dict(setting.split("=", 1) for setting in state.settings or ())
    held = {name.lower(): value for name, value in held.items()}
    for name, value in settings(connection).items():
        if held.get(name.lower()) != value:
            found.append(f"{name} expected {value}, found {held.get(name.lower(), 'no setting')}")
    return [f"database {state.name}: {text}" for text in found]


def apply(connection: Connection) -> None:
    """Set and read back, since REVOKE by a role that is not the owner only warns.

    A superuser also takes functions from PUBLIC (`database.hardening`).

    Raises:
        PrivilegeError: names each privilege or setting that is not in force.
    """
    try:
        with connection.begin_nested():
            send(connection, application())
            hardening.apply(connection)
    except sa.exc.DBAPIError as error:
        raise PrivilegeError(_explained(connection, [server_message(error)])) from error
    if found := problems(connection):
        raise PrivilegeError(_explained(connection, found))


def _explained(connection: Connection, found: list[str]) -> str:
    owner = connection.execute(_STATE, {"roles": list(ROLE_NAMES)}).one().owner
    return (
        "; ".join(found)
        + f": run the upgrade as the owner of the database ({owner}) or as a superuser"
    )
