"""Roles, memberships and settings that undo what policies and grants promise.

They belong to the cluster or to the database itself: no revision contains them, the migration
runner sets some of them, and any of them can be changed by hand. ``alembic check`` names what
deviates, with the command that mends it.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import Connection

from database import hardening, privileges, roles
from database.privileges import TEMPORARY
from database.tenancy import OPERATOR, OPERATOR_PATH, OPERATOR_READ, PREDEFINED
from ddl.differences import Difference
from ddl.sql import ident, literal, role
from models.shared.roles import ROLE_NAMES

# A login counts where it has a role of ours. Who runs the revisions, here or in another database of
# the cluster, has all of them; who makes logins has the ADMIN option.
_WHO = """
WITH database AS (SELECT oid, datname, datdba, datacl FROM pg_database
                   WHERE datname = current_database()),
ours AS (SELECT oid FROM pg_roles WHERE rolname = ANY (CAST(:roles AS text[]))),
keepers AS (SELECT datdba AS oid FROM pg_database
            UNION SELECT relowner FROM pg_class
             WHERE oid = to_regclass('public.alembic_version')
            UNION SELECT oid FROM pg_roles WHERE rolname = current_user),
bound AS (SELECT r.*, r.oid IN (SELECT oid FROM ours) AS is_ours FROM pg_roles r
           WHERE r.oid IN (SELECT oid FROM ours)
              OR r.rolcanlogin AND r.oid NOT IN (SELECT oid FROM keepers)
                 AND EXISTS (SELECT FROM pg_auth_members m
                              WHERE m.member = r.oid AND NOT m.admin_option
                                AND m.roleid IN (SELECT oid FROM ours)))
"""

_ATTRIBUTES = f"""{_WHO}
SELECT b.rolname AS name, a.name AS detail
  FROM bound b CROSS JOIN LATERAL (
       VALUES ('superuser', b.rolsuper), ('createrole', b.rolcreaterole),
              ('createdb', b.rolcreatedb), ('replication', b.rolreplication),
              ('bypassrls', b.rolbypassrls), ('login', b.rolcanlogin AND b.is_ours))
       a (name, held)
 WHERE a.held ORDER BY 1, 2
"""

# A role of ours is a member of none; a login has one of them, and none that sees or does more.
_MEMBERSHIPS = f"""{_WHO}
SELECT b.rolname AS name, g.rolname AS "group"
  FROM bound b JOIN pg_auth_members m ON m.member = b.oid JOIN pg_roles g ON g.oid = m.roleid
 WHERE b.is_ours OR g.oid IN (SELECT oid FROM keepers)
    OR (g.rolsuper OR g.rolbypassrls OR g.rolcreaterole) AND g.oid NOT IN (SELECT oid FROM ours)
    OR g.rolname IN ({", ".join(map(literal, PREDEFINED))})
    OR g.oid IN (SELECT oid FROM ours)
       AND array_position(CAST(:roles AS text[]), g.rolname::text) > (
           SELECT min(array_position(CAST(:roles AS text[]), o.rolname::text))
             FROM pg_auth_members f JOIN pg_roles o ON o.oid = f.roleid
            WHERE f.member = b.oid AND o.oid IN (SELECT oid FROM ours))
UNION
-- Up to PostgreSQL 14 a login could grant itself to any role: an upgraded server may have it.
SELECT r.rolname, b.rolname
  FROM bound b JOIN pg_auth_members m ON m.roleid = b.oid JOIN pg_roles r ON r.oid = m.member
 WHERE NOT b.is_ours AND NOT m.admin_option AND NOT r.rolsuper
   AND r.oid NOT IN (SELECT oid FROM keepers)
 ORDER BY 1, 2
"""

# The owner takes a role where its work is as that role, and sees no tenant by itself.
_INHERITED = """
SELECT DISTINCT u.rolname AS name, g.rolname AS "group", p.rolname AS grantor,
       to_jsonb(m) ->> 'inherit_option' IS NOT NULL AS modern
  FROM pg_roles u JOIN pg_auth_members m ON m.member = u.oid JOIN pg_roles g ON g.oid = m.roleid
  JOIN pg_roles p ON p.oid = m.grantor
 WHERE NOT u.rolsuper AND coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, u.rolinherit)
   AND (u.oid = (SELECT datdba FROM pg_database WHERE datname = current_database())
        OR u.oid = (SELECT relowner FROM pg_class
                     WHERE oid = to_regclass('public.alembic_version')))
   AND EXISTS (SELECT FROM pg_roles o WHERE o.rolname = ANY (CAST(:roles AS text[]))
                  AND pg_has_role(g.oid, o.oid, 'USAGE'))
 ORDER BY 1, 2
"""

# Settings that choose a tenant, a role, or what a name means, before any program does. A login can
# change its own for all of its later sessions, so there everything counts but time and speed, and
# what the server's log says: not the parameters, which are values of tenants.
_TUNING = (
    r"\w+_timeout|synchronous_commit|client_connection_check_interval|application_name|log_(?!parameter)\w+"
    r"|(maintenance_)?work_mem|temp_(buffers|file_limit)|hash_mem_multiplier|plan_cache_mode"
    r"|enable_\w+|jit\w*|geqo\w*|\w+_cost|\w+_collapse_limit|max_parallel_\w+|effective_\w+"
)
_SETTINGS = f"""{_WHO}
SELECT r.rolname AS name, d.datname AS database, split_part(c.setting, '=', 1) AS detail,
       substr(c.setting, strpos(c.setting, '=') + 1) AS found, d.oid IS NOT NULL AS in_database
  FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) c (setting)
  LEFT JOIN bound r ON r.oid = s.setrole LEFT JOIN database d ON d.oid = s.setdatabase
 WHERE (s.setrole = 0 OR r.oid IS NOT NULL) AND (s.setdatabase = 0 OR d.oid IS NOT NULL)
   AND (starts_with(lower(c.setting), 'app.') OR starts_with(lower(c.setting), 'fleetschema.')
        OR lower(split_part(c.setting, '=', 1)) IN (
        'search_path', 'role', 'session_authorization', 'row_security',
        'session_replication_role')
        OR NOT r.is_ours AND lower(split_part(c.setting, '=', 1)) !~ '^({_TUNING})$')
   -- As `operations login create` sets it.
   AND NOT (c.setting = 'search_path={OPERATOR_PATH}' AND s.setdatabase = 0 AND EXISTS (
            SELECT FROM pg_auth_members m JOIN pg_roles o ON o.oid = m.roleid
             WHERE m.member = s.setrole AND o.rolname IN ('{OPERATOR}', '{OPERATOR_READ}')))
 ORDER BY 1, 2, 3
"""

_GRANTS = f"""{_WHO}
SELECT 'parameter ' || quote_ident(p.parname) AS name, 'PARAMETER ' || quote_ident(p.parname)
           AS object,
       a.privilege_type AS found, coalesce(b.rolname, 'PUBLIC') AS role
  FROM pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl) a
  LEFT JOIN bound b ON b.oid = a.grantee
 WHERE a.grantee = 0 OR b.oid IS NOT NULL
UNION ALL
SELECT 'public.' || c.relname, 'TABLE public.' || quote_ident(c.relname), a.privilege_type,
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END
  FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
 WHERE c.oid IN (to_regclass('public.alembic_version'), to_regclass('public.schema_history'),
                 to_regclass('public.pending_operations')) AND a.grantee <> c.relowner
UNION ALL
-- Of the server's own catalogs and functions, what initdb and extensions did not grant.
SELECT o.identity, c.noun || ' ' || o.identity, a.privilege_type, coalesce(b.rolname, 'PUBLIC')
  FROM (SELECT 'pg_class'::regclass AS class, oid, relname AS name, relacl AS acl,
               relowner AS owner, 'r'::"char" AS kind, 'TABLE' AS noun
          FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace
        UNION ALL
        SELECT 'pg_proc'::regclass, oid, proname, proacl, proowner, 'f', 'ROUTINE'
          FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace) c
 CROSS JOIN LATERAL aclexplode(c.acl) a
 CROSS JOIN LATERAL pg_identify_object(c.class, c.oid, 0) o
  LEFT JOIN bound b ON b.oid = a.grantee
 WHERE (a.grantee = 0 OR b.oid IS NOT NULL) AND ({hardening.KEPT}) IS NOT TRUE
   AND NOT EXISTS (SELECT FROM aclexplode(coalesce(
               (SELECT i.initprivs FROM pg_init_privs i
                 WHERE (i.classoid, i.objoid, i.objsubid) = (c.class, c.oid, 0)),
               acldefault(c.kind, c.owner))) i
                    WHERE (i.grantee, i.privilege_type) = (a.grantee, a.privilege_type))
 ORDER BY 1, 4, 3
"""

# A database without any is one that no runner has prepared: restored, or a copy of a template.
_DATABASE = f"""{_WHO}
SELECT d.datname AS name, coalesce(b.rolname, 'PUBLIC') AS role, a.privilege_type AS privilege,
       (SELECT setconfig FROM pg_db_role_setting
         WHERE setrole = 0 AND setdatabase = d.oid) AS settings,
       a.grantee = 0 OR b.is_ours OR b.oid IS NOT NULL AND a.privilege_type <> 'CONNECT' AS counts
  FROM database d CROSS JOIN LATERAL aclexplode(d.datacl) a LEFT JOIN bound b ON b.oid = a.grantee
"""


def differences(connection: Connection) -> list[Difference]:
    """What deviates, each with the SQL that mends it (as a superuser, where it takes one)."""
    parts = (_attributes, _memberships, _inherited, _settings, _grants, _compressed, _database)
    return [difference for part in parts for difference in part(connection)]


def _rows(connection: Connection, query: str) -> sa.CursorResult[tuple[object, ...]]:
    return connection.execute(sa.text(query), {"roles": list(ROLE_NAMES)})


def _attributes(connection: Connection) -> Iterator[Difference]:
    for row in _rows(connection, _ATTRIBUTES):
        mend = f"ALTER ROLE {ident(row.name)} NO{row.detail.upper()}"
        yield Difference("role", row.name, row.detail, False, True, mend)


def _memberships(connection: Connection) -> Iterator[Difference]:
    for row in _rows(connection, _MEMBERSHIPS):
        mend = f"REVOKE {ident(row.group)} FROM {ident(row.name)}"
        yield Difference("role", row.name, "membership", None, row.group, mend)


def _inherited(connection: Connection) -> Iterator[Difference]:
    exists = roles.has_bridge(connection)
    for row in _rows(connection, _INHERITED):
        mend = roles.bridged(row.name, exists=exists)
        if row.modern:
            mend = (
                f"REVOKE INHERIT OPTION FOR {ident(row.group)} FROM {ident(row.name)}"
                f" GRANTED BY {ident(row.grantor)}"
            )
        exists = True
        yield Difference("role", row.name, "inherits from", None, row.group, mend)


def _settings(connection: Connection) -> Iterator[Difference]:
    for row in _rows(connection, _SETTINGS):
        database = f"DATABASE {ident(row.database)}" if row.in_database else ""
        if row.name is None and row.in_database:
            kind, name, target = "database", row.database, database
        else:
            named = "ALL" if row.name is None else ident(row.name)
            kind, name = "role", row.name or "ALL"
            target = f"ROLE {named}" + (f" IN {database}" if database else "")
        mend = f"ALTER {target} RESET {row.detail}"
        yield Difference(kind, name, row.detail, None, row.found, mend)


def _grants(connection: Connection) -> Iterator[Difference]:
    for row in _rows(connection, _GRANTS):
        mend = f"REVOKE {row.found} ON {row.object} FROM {role(row.role)}"
        yield Difference("grant", row.name, row.role, None, row.found, mend)


def _compressed(connection: Connection) -> Iterator[Difference]:
    if not privileges.has_timescaledb(connection):
        return
    query = privileges.COMPRESSED.replace(":", r"\:")
    for row in connection.execute(sa.text(query)):
        mend = f"REVOKE {row.held} ON {row.name} FROM {row.role}"
        yield Difference("grant", str(row.name), row.role, None, row.held, mend)


def _database(connection: Connection) -> Iterator[Difference]:
    rows = _rows(connection, _DATABASE).all()
    if not rows:
        return
    name = rows[0].name
    found = {(row.role, row.privilege) for row in rows if row.counts}
    expected = {(one, "CONNECT") for one in ROLE_NAMES}
    expected |= {(one, "TEMPORARY") for one in TEMPORARY}
    on = f"ON DATABASE {ident(name)}"
    for who, privilege in sorted(expected - found):
        mend = f"GRANT {privilege} {on} TO {role(who)}"
        yield Difference("grant", f"database {name}", who, privilege, None, mend)
    for who, privilege in sorted(found - expected):
        mend = f"REVOKE {privilege} {on} FROM {role(who)}"
        yield Difference("grant", f"database {name}", who, None, privilege, mend)
    held = dict(one.split("=", 1) for one in rows[0].settings or ())
    held = {key.lower(): value for key, value in held.items()}
    for key, value in privileges.settings(connection).items():
        if held.get(key.lower()) != value:
            mend = f"ALTER DATABASE {ident(name)} SET {key} TO {literal(value)}"
            yield Difference("database", name, key, value, held.get(key.lower()), mend)
