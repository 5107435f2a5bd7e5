"""What a dump of a database leaves out: roles, and the database's own privileges and settings."""

from __future__ import annotations

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy import Connection

from ddl.sql import ident, literal, send


class Membership(BaseModel):
    """One role has another."""

    role: str
    admin: bool
    inherit: bool | None
    """None before PostgreSQL 16, where the member's own attribute says so."""
    set: bool | None


class Role(BaseModel):
    """A role that the database needs, or that logs in with one of those."""

    name: str
    attributes: dict[str, bool]
    """As LOGIN, SUPERUSER."""
    connection_limit: int
    valid_until: str | None
    password: str | None
    """What the server stores instead of it; None also where the backup's login may not read it."""
    comment: str | None
    settings: list[str]
    """``name=value`` as pg_db_role_setting has them, for all databases."""
    memberships: list[Membership]


class Database(BaseModel):
    """The database itself."""

    owner: str
    encoding: str
    provider: str
    """Of the locale: ``c`` is libc, ``i`` is ICU, ``b`` is built in."""
    collate: str
    ctype: str
    locale: str | None
    """Of a provider other than libc."""
    connection_limit: int
    comment: str | None
    privileges: list[tuple[str, str, bool]]
    """Grantee (PUBLIC for everybody), privilege, with grant option; none of them the owner's."""
    settings: list[tuple[str | None, str]]
    """Role (None for all) and ``name=value``."""


class Cluster(BaseModel):
    """All that restoring on another cluster needs before and after the dump."""

    passwords: bool
    """Whether it has those of the roles, as a superuser's backup."""
    roles: list[Role]
    database: Database


_ATTRIBUTES = {
    "SUPERUSER": "rolsuper",
    "INHERIT": "rolinherit",
    "CREATEROLE": "rolcreaterole",
    "CREATEDB": "rolcreatedb",
    "LOGIN": "rolcanlogin",
    "REPLICATION": "rolreplication",
    "BYPASSRLS": "rolbypassrls",
}

# What the database refers to, what has that by membership, and what those have in turn.
_ROLES = """
WITH RECURSIVE named AS (
    SELECT refobjid AS oid FROM pg_shdepend
     WHERE refclassid = 'pg_authid'::regclass
       AND (dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
            OR (classid, objid) = ('pg_database'::regclass,
                (SELECT oid FROM pg_database WHERE datname = current_database())))
    UNION SELECT datdba FROM pg_database WHERE datname = current_database()
    UNION SELECT setrole FROM pg_db_role_setting
           WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION SELECT nspowner FROM pg_namespace
), members AS (
    SELECT oid FROM named
    UNION SELECT m.member FROM pg_auth_members m JOIN members o ON o.oid = m.roleid
), needed AS (
    SELECT oid FROM members
    UNION SELECT m.roleid FROM pg_auth_members m JOIN needed o ON o.oid = m.member
)
SELECT r.oid, r.rolname AS name, r.rolconnlimit AS connection_limit,
       r.rolvaliduntil::text AS valid_until, {password} AS password,
       shobj_description(r.oid, 'pg_authid') AS comment,
       coalesce((SELECT setconfig FROM pg_db_role_setting
                  WHERE setrole = r.oid AND setdatabase = 0), '{{}}') AS settings,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
                            'role', o.rolname, 'admin', m.admin_option,
                            'inherit', to_jsonb(m) -> 'inherit_option',
                            'set', to_jsonb(m) -> 'set_option') ORDER BY o.rolname)
                   FROM pg_auth_members m JOIN pg_roles o ON o.oid = m.roleid
                  WHERE m.member = r.oid), '[]') AS memberships, {attributes}
  FROM {catalog} r WHERE r.oid IN (SELECT oid FROM needed) AND r.rolname !~ '^pg_'
 ORDER BY r.rolname
"""
_DATABASE = sa.text("""
SELECT pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,
       d.datlocprovider::text AS provider, d.datcollate AS collate, d.datctype AS ctype,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       d.datconnlimit AS connection_limit, shobj_description(d.oid, 'pg_database') AS comment,
       coalesce((SELECT jsonb_agg(jsonb_build_array(
                            CASE a.grantee WHEN 0 THEN 'PUBLIC'
                            ELSE pg_get_userbyid(a.grantee) END,
                            a.privilege_type, a.is_grantable))
                   FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                  WHERE a.grantee <> d.datdba), '[]') AS privileges,
       coalesce((SELECT jsonb_agg(jsonb_build_array(
                            CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END, one))
                   FROM pg_db_role_setting s, unnest(s.setconfig) one
                  WHERE s.setdatabase = d.oid), '[]') AS settings
  FROM pg_database d WHERE d.datname = current_database()
""")


def read(connection: Connection) -> Cluster:
    """The roles that the connection's database needs, and the database.

    Stored passwords are read by a superuser only.
    """
    superuser: bool = connection.execute(
        sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    ).scalar_one()
    query = _ROLES.format(
        password="r.rolpassword" if superuser else "CAST(NULL AS text)",
        catalog="pg_authid" if superuser else "pg_roles",
        attributes=", ".join(f"r.{column} AS {column}" for column in _ATTRIBUTES.values()),
    )
    roles = [
        Role(
            name=row["name"],
            attributes={name: row[column] for name, column in _ATTRIBUTES.items()},
            connection_limit=row["connection_limit"],
            valid_until=row["valid_until"],
            password=row["password"],
            comment=row["comment"],
            settings=row["settings"],
            memberships=row["memberships"],
        )
        for row in connection.execute(sa.text(query)).mappings()
    ]
    database = connection.execute(_DATABASE).mappings().one()
    return Cluster(passwords=superuser, roles=roles, database=Database(**database))


def create_roles(connection: Connection, cluster: Cluster) -> list[str]:
    """Make the roles that the cluster does not have; those that it has stay as they are.

    Returns:
        The logins among those that were made, if the backup does not have their passwords.
    """
    existing = set(connection.scalars(sa.text("SELECT rolname FROM pg_roles")))
    new = [role for role in cluster.roles if role.name not in existing]
    modern = connection.scalar(sa.text("SELECT current_setting('server_version_num')::int"))
    for role in new:
        for statement in _creation(role):
            send(connection, statement)
    for role in new:
        for held in role.memberships:
            send(connection, _grant(role.name, held, modern=modern >= 160000))
    return [role.name for role in new if role.attributes["LOGIN"] and not cluster.passwords]


def _creation(role: Role) -> list[str]:
    name = ident(role.name)
    options = [word if has else f"NO{word}" for word, has in role.attributes.items()]
    options.append(f"CONNECTION LIMIT {role.connection_limit}")
    if role.valid_until:
        options.append(f"VALID UNTIL {literal(role.valid_until)}")
    if role.password:
        options.append(f"PASSWORD {literal(role.password)}")
    statements = [f"CREATE ROLE {name} {' '.join(options)}"]
    if role.comment:
        statements.append(f"COMMENT ON ROLE {name} IS {literal(role.comment)}")
    return [*statements, *(f"ALTER ROLE {name} {_set(one)}" for one in role.settings)]


def _grant(member: str, held: Membership, *, modern: bool) -> str:
    options = {"ADMIN": held.admin}
    if modern:
        options |= {
            word: value
            for word, value in (("INHERIT", held.inherit), ("SET", held.set))
            if value is not None
        }
        given = ", ".join(
            f"{word} {'TRUE' if value else 'FALSE'}" for word, value in options.items()
        )
        return f"GRANT {ident(held.role)} TO {ident(member)} WITH {given}"
    return f"GRANT {ident(held.role)} TO {ident(member)}{' WITH ADMIN OPTION' * held.admin}"


def create_database(connection: Connection, name: str, database: Database) -> None:
    """Make an empty database like that one; the connection commits each statement."""
    options = [
        f"OWNER {ident(database.owner)}",
        "TEMPLATE template0",
        f"ENCODING {literal(database.encoding)}",
        f"LC_COLLATE {literal(database.collate)}",
        f"LC_CTYPE {literal(database.ctype)}",
    ]
    if database.provider != "c":
        provider = {"i": "icu", "b": "builtin"}[database.provider]
        word = "ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE"
        options += [f"LOCALE_PROVIDER {provider}", f"{word} {literal(database.locale or '')}"]
    send(connection, f"CREATE DATABASE {ident(name)} {' '.join(options)}")


def finish_database(connection: Connection, name: str, database: Database) -> None:
    """Privileges, settings, limit and comment, which would stand in the way of restoring."""
    target = ident(name)
    statements = [
        f"REVOKE ALL ON DATABASE {target} FROM PUBLIC",
        *(
            f"GRANT {privilege} ON DATABASE {target} TO "
            f"{'PUBLIC' if grantee == 'PUBLIC' else ident(grantee)}"
            f"{' WITH GRANT OPTION' * grantable}"
            for grantee, privilege, grantable in database.privileges
        ),
        f"ALTER DATABASE {target} CONNECTION LIMIT {database.connection_limit}",
        *(
            f"ALTER DATABASE {target} {_set(one)}"
            if role is None
            else f"ALTER ROLE {ident(role)} IN DATABASE {target} {_set(one)}"
            for role, one in database.settings
        ),
    ]
    if database.comment:
        statements.append(f"COMMENT ON DATABASE {target} IS {literal(database.comment)}")
    for statement in statements:
        send(connection, statement)


_LISTS = ("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries")
"""Settings whose values are stored as they are written, with quotes."""


def _set(setting: str) -> str:
    name, _, value = setting.partition("=")
    written = value or "''" if name in _LISTS else literal(value)
    return f"SET {'.'.join(map(ident, name.split('.')))} = {written}"
