"""The cluster's roles: made where they are missing, before the first revision, by every run.

They belong to the cluster, not to the database, so no revision contains them: on a cluster that
has them already, autogenerate would leave them out.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl.sql import ident, literal
from models.shared.roles import ROLES, Role


def creation() -> list[str]:
    """One statement per role, harmless where the role exists or is made at this moment.

    Whoever runs it and is no superuser also gets the right to SET ROLE to it, without inheriting
    its privileges (PostgreSQL 16 and newer tell the two apart): that is how the owner, whom
    forced row security blinds, changes data.
    """
    return [_creation(role) for role in ROLES]


def _creation(role: Role) -> str:
    name, text = ident(role.name), literal(role.name)
    return f"""DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) THEN
        BEGIN
            CREATE ROLE {name} NOLOGIN;
            COMMENT ON ROLE {name} IS {literal(role.comment)};
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    ELSIF current_setting('server_version_num')::int >= 160000 THEN
        IF NOT pg_has_role(current_user, {text}, 'SET') THEN
            EXECUTE 'GRANT {name} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE';
        END IF;
    ELSIF NOT pg_has_role(current_user, {text}, 'MEMBER') THEN
        GRANT {name} TO CURRENT_USER;
    END IF;
END
$roles$"""


def missing(connection: Connection) -> list[str]:
    """The roles that the cluster does not have."""
    existing = set(connection.scalars(sa.text("SELECT rolname FROM pg_roles")))
    return [role.name for role in ROLES if role.name not in existing]


def missing_rights(connection: Connection) -> list[str]:
    """What the connected role lacks to make and use the roles, each with its mend."""
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
            options = " WITH SET TRUE, INHERIT FALSE" if me.version >= 160000 else ""
            found.append(
                f"SET ROLE to {role.name} (as a superuser: "
                f"GRANT {role.name} TO {ident(me.name)}{options})"
            )
    return found


def removal() -> str:
    """Drop the roles that nothing uses any more: no object, no grant, no login, no database.

    A role that is still used stays, with a warning; so does one that this user may not drop.
    """
    names = ", ".join(literal(role.name) for role in ROLES)
    return f"""DO $roles$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT r.oid, r.rolname FROM pg_roles r WHERE r.rolname IN ({names}) LOOP
        IF EXISTS (SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass
                      AND d.refobjid = found.oid AND d.classid <> 'pg_auth_members'::regclass)
           OR EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles u ON u.oid = m.member
                       WHERE m.roleid = found.oid AND u.rolname <> current_user
                         AND u.rolcanlogin)
        THEN
            RAISE WARNING 'role % stays: something still uses it', found.rolname;
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
