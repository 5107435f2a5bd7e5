"""The cluster's roles: made where they are missing, before the first revision, by every run.

They belong to the cluster, not to the database, so no revision contains them: on a cluster that
has them already, autogenerate would leave them out.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl.sql import ident, literal
from models.shared.roles import ROLES, Role

BRIDGE = Role(
    "fleet_set_role",
    "Whoever has it may SET ROLE to the others, without inheriting from them. Up to PostgreSQL 15.",
)
"""Between the owner and the roles, where a membership is inherited by whoever inherits at all: this
one inherits nothing, so neither does who has only this."""

_NAMES = ", ".join(ident(role.name) for role in ROLES)
_PLAIN = "NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
_MODERN = "current_setting('server_version_num')::int >= 160000"

TIMEOUTS: dict[str, dict[str, str]] = {
    # Requests of people, who do not wait longer.
    "fleet_app": {"statement": "30s", "lock": "5s", "idle_in_transaction_session": "60s"},
    # Batches of measurements; a stuck one must not delay the next for long.
    "fleet_ingest": {"statement": "60s", "lock": "5s", "idle_in_transaction_session": "60s"},
    # Single rows by key, in front of every request.
    "fleet_auth": {"statement": "10s", "lock": "2s", "idle_in_transaction_session": "30s"},
    # Reports over all tenants; an idle transaction keeps vacuum from removing dead rows.
    "fleet_operator_read": {
        "statement": "10min",
        "lock": "5s",
        "idle_in_transaction_session": "5min",
    },
    # Corrections over all tenants.
    "fleet_operator": {"statement": "30min", "lock": "10s", "idle_in_transaction_session": "5min"},
}
"""Role to the statement_timeout, lock_timeout and so on of its logins."""


def timeouts(role: str) -> dict[str, str]:
    """Those of a role; one without any of its own has those of fleet_app."""
    return TIMEOUTS.get(role, TIMEOUTS["fleet_app"])


def creation() -> list[str]:
    """Statements that are harmless where a role exists or is made at this moment.

    The role that runs them, if it is no superuser, also gets the right to SET ROLE to each, without
    inheriting its privileges: that is how the owner, from whom forced row-level security hides all
    rows, changes data. What an earlier release gave it to inherit, it loses.
    """
    return [*map(_creation, ROLES), *map(_membership, ROLES), _BRIDGED]


def bridged(owner: str, *, exists: bool) -> str:
    """How a superuser lets ``owner`` SET ROLE to each and inherit nothing, up to PostgreSQL 15.

    Args:
        exists: whether the cluster has `BRIDGE`.
    """
    name, me = ident(BRIDGE.name), ident(owner)
    create = "" if exists else f"CREATE ROLE {name} NOINHERIT; GRANT {_NAMES} TO {name}; "
    return f"{create}GRANT {name} TO {me}; REVOKE {_NAMES} FROM {me}"


def _creation(role: Role) -> str:
    name = ident(role.name)
    return f"""DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role.name)}) THEN
        CREATE ROLE {name} NOLOGIN;
        COMMENT ON ROLE {name} IS {literal(role.comment)};
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$roles$"""


def _membership(role: Role) -> str:
    """From PostgreSQL 16 on, where each membership says whether it is inherited."""
    name, text = ident(role.name), literal(role.name)
    return f"""DO $roles$
BEGIN
    IF {_PLAIN} AND {_MODERN}
       AND (NOT pg_has_role(current_user, {text}, 'SET')
            OR EXISTS (SELECT FROM pg_auth_members m
                        WHERE m.roleid = to_regrole({text}) AND m.member = m.grantor
                          AND m.member = to_regrole(quote_ident(current_user))
                          AND to_jsonb(m) ->> 'inherit_option' = 'true'))
    THEN
        EXECUTE 'GRANT {name} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE';
    END IF;
END
$roles$"""


_BRIDGED = f"""DO $roles$
DECLARE
    one record;
BEGIN
    IF NOT {_PLAIN} OR {_MODERN}
       OR NOT (SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(BRIDGE.name)}) THEN
            CREATE ROLE {ident(BRIDGE.name)} NOLOGIN NOINHERIT;
            COMMENT ON ROLE {ident(BRIDGE.name)} IS {literal(BRIDGE.comment)};
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END;
    FOR one IN SELECT oid, rolname FROM pg_roles
                WHERE rolname IN ({", ".join(literal(role.name) for role in ROLES)}) LOOP
        IF NOT pg_has_role({literal(BRIDGE.name)}, one.oid, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO {ident(BRIDGE.name)}', one.rolname);
        END IF;
        IF EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles u ON u.oid = m.member
                    WHERE m.roleid = one.oid AND u.rolname = current_user) THEN
            EXECUTE format('REVOKE %I FROM CURRENT_USER', one.rolname);
        END IF;
    END LOOP;
    IF NOT pg_has_role(current_user, {literal(BRIDGE.name)}, 'MEMBER') THEN
        GRANT {ident(BRIDGE.name)} TO CURRENT_USER;
    END IF;
END
$roles$"""


def missing(connection: Connection) -> list[str]:
    """The roles that the cluster does not have."""
    existing = set(connection.scalars(sa.text("SELECT rolname FROM pg_roles")))
    return [role.name for role in ROLES if role.name not in existing]


def missing_rights(connection: Connection) -> list[str]:
    """What the connected role lacks to make and use the roles, each with the grant that helps."""
    me = connection.execute(
        sa.text(
            "SELECT current_user AS name, rolsuper, rolcreaterole,"
            " current_setting('server_version_num')::int AS version"
            " FROM pg_roles WHERE rolname = current_user"
        )
    ).one()
    if me.rolsuper:
        return []
    absent = missing(connection)
    found = []
    if absent and not me.rolcreaterole:
        found.append(
            f"CREATEROLE, to make {', '.join(absent)} (as a superuser: "
            f"ALTER ROLE {ident(me.name)} CREATEROLE, or make the roles beforehand)"
        )
    usage = "SET" if me.version >= 160000 else "MEMBER"
    held = sa.text(
        "SELECT pg_has_role(current_user, r.oid, :usage) OR (:classic AND :createrole) OR EXISTS"
        " (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid AND m.admin_option"
        "   AND pg_has_role(current_user, m.member, 'USAGE'))"
        " FROM pg_roles r WHERE r.rolname = :name"
    )
    lacking = []
    for role in ROLES:
        if role.name in absent:
            continue
        parameters = {
            "usage": usage,
            "classic": me.version < 160000,
            "createrole": me.rolcreaterole,
            "name": role.name,
        }
        if not connection.scalar(held, parameters):
            lacking.append(role.name)
    if lacking and me.version < 160000:
        mend = bridged(me.name, exists=has_bridge(connection))
        return [*found, f"SET ROLE to {', '.join(lacking)} (as a superuser: {mend})"]
    return found + [
        f"SET ROLE to {name} (as a superuser: "
        f"GRANT {name} TO {ident(me.name)} WITH SET TRUE, INHERIT FALSE)"
        for name in lacking
    ]


def has_bridge(connection: Connection) -> bool:
    """Whether the cluster has `BRIDGE`."""
    query = sa.text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :name)")
    return bool(connection.scalar(query, {"name": BRIDGE.name}))


def removal() -> str:
    """Drop the roles that nothing uses any more: no object, no grant, no login, no database.

    A role that is still used stays, with a warning that says by what; so does one that this user
    may not drop.
    """
    names = ", ".join(literal(role.name) for role in (BRIDGE, *ROLES))
    return f"""DO $roles$
DECLARE
    found record;
    users text;
BEGIN
    FOR found IN SELECT r.oid, r.rolname FROM pg_roles r WHERE r.rolname IN ({names})
                  ORDER BY r.rolname <> {literal(BRIDGE.name)} LOOP
        SELECT string_agg(DISTINCT u.name, ', ' ORDER BY u.name) INTO users FROM (
            SELECT coalesce('database ' || b.datname, 'the cluster') AS name
              FROM pg_shdepend d LEFT JOIN pg_database b
                ON b.oid = CASE WHEN d.classid = 'pg_database'::regclass THEN d.objid
                                ELSE d.dbid END
             WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = found.oid
               AND d.classid <> 'pg_auth_members'::regclass
            UNION
            SELECT 'login ' || m.member::regrole FROM pg_auth_members m
              JOIN pg_roles r ON r.oid = m.member
             WHERE m.roleid = found.oid AND r.rolname <> current_user AND r.rolcanlogin) AS u;
        IF users IS NOT NULL THEN
            RAISE WARNING 'role % stays, used by %', found.rolname, users;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('DROP ROLE %I', found.rolname);
        EXCEPTION WHEN insufficient_privilege OR dependent_objects_still_exist
                     OR undefined_object THEN
            RAISE WARNING 'role % stays: %', found.rolname, SQLERRM;
        END;
    END LOOP;
END
$roles$"""
