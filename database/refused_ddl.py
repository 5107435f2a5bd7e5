"""An event trigger by which no login of a service queues for a lock that it may not have.

PostgreSQL takes the lock of ``CREATE RULE``, ``CREATE TRIGGER`` and some more before it looks at
the privilege, and whoever comes later waits behind the request. An event trigger runs before the
lock, and costs queries nothing. Only a superuser can make one, and its function runs with the
rights of whoever changes the schema, superusers included. So both are the superuser's, in a schema
that the owner of the database can neither write to nor drop.

It cannot lock anybody out: PostgreSQL calls none for what is done to event triggers.
"""

from __future__ import annotations

from ddl.sql import literal
from ddl.unmanaged import SUPERUSERS_SCHEMA as SCHEMA
from models.shared.roles import ROLE_NAMES

NAME = "refuse_schema_changes"
"""Of the event trigger, and of its function in `SCHEMA`."""

CHECKED_FIRST = (
    "CREATE INDEX",
    "CREATE TABLE AS",
    "DROP TABLE",
    "REFRESH MATERIALIZED VIEW",
    "REINDEX",
    "SELECT INTO",
)
"""Command tags that pass, since PostgreSQL looks at the privilege before it locks."""

# A login of fleet_ingest may make temporary tables. By PARTITION OF, REFERENCES and INHERITS the
# statement locks another table first, and nothing but its text tells that here. So it has to be the
# only statement that the client sent: what DO runs has another text. COLLATE "C", since in some
# languages I is not the capital of i.
_PLAIN_TEMPORARY_TABLE = r"""coalesce(
            current_query() COLLATE "C" ~* '^\s*CREATE\s+TEMP(ORARY)?\s+TABLE\s[^;]*;?\s*$'
            AND current_query() COLLATE "C" !~* 'PARTITION|REFERENCES|INHERITS', false)"""

_TAGS = ", ".join(map(literal, CHECKED_FIRST))
_ROLES = ", ".join(map(literal, ROLE_NAMES))

# The current user counts where a function runs as the owner, or TimescaleDB does; the user of the
# session, where the owner took a role of services. Up to PostgreSQL 15 every member may take it.
_BODY = f"""
DECLARE
    owner oid := (SELECT datdba FROM pg_database WHERE datname = current_database());
    held text := CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER'
                      ELSE 'USAGE, SET' END;
    service name;
BEGIN
    IF tg_tag IN ({_TAGS})
       OR tg_tag = 'CREATE TABLE' AND {_PLAIN_TEMPORARY_TABLE}
       OR pg_has_role(current_user, owner, 'USAGE') OR pg_has_role(session_user, owner, 'USAGE')
    THEN
        RETURN;
    END IF;
    SELECT r.rolname INTO service FROM pg_roles r
     WHERE r.rolname IN ({_ROLES}) AND pg_has_role(session_user, r.oid, held)
     ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied for %s: expected the owner of the database, found'
                             ' a login of %s', tg_tag, service),
            HINT = 'Change the schema by a revision, as its owner. A temporary table is made by a'
                   ' statement of its own that names no other table, or by CREATE TEMPORARY TABLE'
                   ' AS.';
    END IF;
END
"""

_FUNCTION = f"{SCHEMA}.{NAME}()"
REMOVAL = f"DROP EVENT TRIGGER IF EXISTS {NAME}; DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"

# Nothing is kept that somebody else may have made there, and own.
_CREATION = f"""DROP EVENT TRIGGER IF EXISTS {NAME};
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
ALTER SCHEMA {SCHEMA} OWNER TO CURRENT_USER;
DROP FUNCTION IF EXISTS {_FUNCTION} CASCADE;
CREATE FUNCTION {_FUNCTION} RETURNS event_trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $refuse${_BODY}$refuse$;
REVOKE ALL ON FUNCTION {_FUNCTION} FROM PUBLIC;
CREATE EVENT TRIGGER {NAME} ON ddl_command_start EXECUTE FUNCTION {_FUNCTION};
ALTER EVENT TRIGGER {NAME} ENABLE ALWAYS"""

LEFT = f"""(EXISTS (SELECT FROM pg_event_trigger WHERE evtname = '{NAME}')
        OR EXISTS (SELECT FROM pg_namespace WHERE nspname = '{SCHEMA}'))"""
"""Whether there is anything to remove: a restore by another role has the schema alone."""

_ENABLED = f"ALTER EVENT TRIGGER {NAME} ENABLE ALWAYS"

MISSING = f"""
SELECT 'event trigger' AS kind, '{NAME}' AS name,
       'ENABLE ALWAYS, with the function of this release, a superuser''s' AS expected,
       CASE WHEN f.evtenabled IS NULL THEN 'none'
            WHEN NOT f.ours THEN 'another function, or another''s'
            WHEN f.evtenabled = 'D' THEN 'disabled' ELSE 'enabled in some sessions' END AS found,
       CASE WHEN f.ours THEN {literal(_ENABLED)} ELSE {literal(_CREATION)} END AS statement
  FROM (VALUES (true)) one LEFT JOIN (
        SELECT e.evtenabled,
               e.evtevent = 'ddl_command_start' AND e.evttags IS NULL
               AND (n.nspname, p.proname, l.lanname) = ('{SCHEMA}', '{NAME}', 'plpgsql')
               AND p.prosrc = {literal(_BODY)} AND NOT p.prosecdef
               AND p.proconfig IS NOT DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']
               AND o.rolsuper AND s.rolsuper AS ours
          FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
          JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
          JOIN pg_roles o ON o.oid = p.proowner JOIN pg_roles s ON s.oid = n.nspowner
         WHERE e.evtname = '{NAME}') f ON true
 WHERE (f.ours AND f.evtenabled = 'A') IS NOT TRUE"""
"""Fields of `database.hardening.Gap`: one row where the trigger is not in force."""
