"""Who logs in to the embedded server: an owner that is no superuser, and the services.

The superuser is for what starts the server, and for this. All come by the socket without a
password, since only the folder's owner and root get there.
"""

from __future__ import annotations

import psycopg

from database import hardening, roles
from database.embedded.programs import ServerError
from database.embedded.project import DATABASE, OWNER, SERVICE, SUPERUSER, EmbeddedServer
from database.libpq import connect_arguments
from database.urls import parse_url
from ddl.unmanaged import SUPERUSERS_SCHEMA
from models.shared.roles import ROLE_NAMES

_LOCK = "SELECT pg_advisory_lock(hashtextextended('logins of the embedded server', 0))"

_STATE = """
SELECT (SELECT count(*) FROM pg_roles WHERE rolname IN ('{owner}', '{service}')) = 2
       AND EXISTS (SELECT FROM pg_database
                    WHERE datname = '{database}' AND pg_get_userbyid(datdba) = '{owner}')
"""

# REASSIGN OWNED does nothing for the superuser who created the cluster. What belongs to an
# extension stays, and sequences of columns follow their tables.
_HANDED_OVER = """
DO $logins$
DECLARE
    one record;
BEGIN
    FOR one IN
        WITH of_extensions AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
        ours AS (SELECT oid, nspname, nspowner FROM pg_namespace
                  WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', '{kept}'))
        SELECT format('SCHEMA %I', nspname) AS thing FROM ours WHERE nspname <> 'public'
        UNION ALL
        SELECT format('TABLE %s', c.oid::regclass) FROM pg_class c
          JOIN ours n ON n.oid = relnamespace
         WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
           AND ('pg_class'::regclass::oid, c.oid) NOT IN (SELECT * FROM of_extensions)
           AND NOT (relkind = 'S' AND EXISTS (SELECT FROM pg_depend d
                     WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                       AND d.deptype IN ('a', 'i')))
        UNION ALL
        SELECT format('ROUTINE %s', p.oid::regprocedure) FROM pg_proc p
          JOIN ours n ON n.oid = pronamespace
         WHERE prokind <> 'a'
           AND ('pg_proc'::regclass::oid, p.oid) NOT IN (SELECT * FROM of_extensions)
        UNION ALL
        SELECT format('TYPE %s', t.oid::regtype) FROM pg_type t JOIN ours n ON n.oid = typnamespace
         WHERE typtype IN ('d', 'e', 'r')
           AND ('pg_type'::regclass::oid, t.oid) NOT IN (SELECT * FROM of_extensions)
    LOOP
        EXECUTE format('ALTER %s OWNER TO {owner}', one.thing);
    END LOOP;
    ALTER DATABASE {database} OWNER TO {owner};
END
$logins$
"""


def prepare(server: EmbeddedServer, *, started: bool) -> None:
    """Make the logins and their database, where they are missing, in the server that runs.

    A database of an earlier release, the superuser's, is handed over. Where the server has just
    ``started``, what only a superuser can do is done again (`database.hardening`).

    Raises ServerError: the database is somebody else's.
    """
    names = {"owner": OWNER, "service": SERVICE, "database": DATABASE, "kept": SUPERUSERS_SCHEMA}
    with _connect(server, "postgres") as connection:
        connection.execute(_LOCK)
        row = connection.execute(_STATE.format(**names)).fetchone()
        complete = bool(row and row[0])
        if complete and not started:
            return
        if not complete:
            server.admit()
            connection.execute("SELECT pg_reload_conf()")
            for statement in (*roles.creation(), *_accounts()):
                connection.execute(statement)
            found = connection.execute(
                "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [DATABASE]
            ).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
            elif found[0] not in (SUPERUSER, OWNER):
                raise ServerError(
                    f"database {DATABASE} of the server in {server.home}: expected the owner "
                    f"{OWNER}, found {found[0]}; as {SUPERUSER}, run: ALTER DATABASE {DATABASE} "
                    f"OWNER TO {OWNER}"
                )
        with _connect(server, DATABASE) as database, database.transaction():
            if not complete:
                database.execute(_HANDED_OVER.format(**names))
            database.execute(hardening.script())


def _accounts() -> list[str]:
    """As a superuser; what exists stays as it is."""
    made = [
        f"CREATE ROLE {name} LOGIN{options}"
        for name, options in ((OWNER, " CREATEROLE"), (SERVICE, ""))
    ]
    return [
        *(
            f"DO $logins$ BEGIN {one}; EXCEPTION WHEN duplicate_object THEN NULL; END $logins$"
            for one in made
        ),
        f"GRANT {', '.join(ROLE_NAMES)} TO {OWNER} WITH ADMIN TRUE, INHERIT FALSE, SET TRUE",
        f"GRANT fleet_app TO {SERVICE} WITH INHERIT TRUE, SET TRUE",
        *(
            f"ALTER ROLE {SERVICE} SET {what}_timeout = '{time}'"
            for what, time in roles.timeouts("fleet_app").items()
        ),
    ]


def _connect(server: EmbeddedServer, database: str) -> psycopg.Connection[tuple[object, ...]]:
    url = parse_url(server.url(database, SUPERUSER))
    arguments = url.get_dialect()().create_connect_args(url)[1]
    return psycopg.connect(**connect_arguments(url), **arguments, autocommit=True)
