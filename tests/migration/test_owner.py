"""Upgrades by an owner of the database who is no superuser."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command

from database import security
from models.shared.roles import ROLE_NAMES
from tests.support.alembic_project import alembic, config_for, failure
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of, execute


def as_superuser(url: str, *statements: str) -> None:
    with engine_of(url) as engine, engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def test_owner_with_createrole(owned: tuple[str, str]) -> None:
    """The whole history and back; at the end the roles are dropped, since nothing uses them."""
    mine, admin = owned
    as_superuser(admin, "ALTER ROLE owner CREATEROLE")
    for arguments in (("upgrade", "head"), ("check",), ("downgrade", "base")):
        result = alembic(*arguments, url=mine)
        assert result.returncode == 0, result.stdout + result.stderr
    with engine_of(admin) as engine, engine.connect() as connection:
        left = sa.text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'fleet%'")
        assert connection.scalars(left).all() == []
    assert alembic("upgrade", "head", url=mine).returncode == 0


def test_owner_with_roles_made_beforehand(owned: tuple[str, str]) -> None:
    """An owner without CREATEROLE needs the roles, and membership without inheritance."""
    mine, admin = owned
    missing = failure(alembic("upgrade", "head", url=mine))
    assert "nothing was changed" in missing
    assert "CREATEROLE, to make fleet_app" in missing
    as_superuser(admin, *(f"CREATE ROLE {role} NOLOGIN" for role in ROLE_NAMES))
    missing = failure(alembic("upgrade", "head", url=mine))
    for role in ROLE_NAMES:
        assert f"GRANT {role} TO owner" in missing
    as_superuser(admin, *(f"GRANT {r} TO owner WITH INHERIT FALSE, SET TRUE" for r in ROLE_NAMES))
    result = alembic("upgrade", "head", url=mine)
    assert result.returncode == 0, result.stdout + result.stderr
    assert alembic("check", url=mine).returncode == 0


def test_login_without_ownership_is_rejected(owned: tuple[str, str]) -> None:
    """The message names the owner, before anything is tried."""
    mine, admin = owned
    as_superuser(
        admin,
        "ALTER DATABASE owned OWNER TO postgres",
        "GRANT CREATE ON SCHEMA public TO owner",
    )
    assert "ownership of database owned, which is postgres's" in failure(
        alembic("upgrade", "head", url=mine)
    )


def test_a_role_of_ours_is_not_told_to_own_the_database(owned: tuple[str, str]) -> None:
    """It is bound by policies; whoever connects becomes it by a setting."""
    mine, admin = owned
    as_superuser(
        admin,
        "CREATE ROLE fleet_app NOLOGIN",
        "GRANT fleet_app TO owner",
        "ALTER DATABASE owned SET role = fleet_app",
        "ALTER ROLE owner IN DATABASE owned SET role = fleet_app",
    )
    message = failure(alembic("upgrade", "head", url=mine))
    assert "OWNER TO" not in message
    assert "expected the owner, owner, found a setting by which owner becomes it, run: " in message
    commands = (
        "SET ROLE NONE",
        "ALTER DATABASE owned RESET role",
        "ALTER ROLE owner IN DATABASE owned RESET role",
    )
    assert f"run: {'; '.join(commands)}" in message
    as_superuser(
        admin,
        *commands,
        "ALTER ROLE owner CREATEROLE",
    )
    assert "by its URL or PGOPTIONS" in failure(
        alembic("upgrade", "head", url=f"{mine}&options=-c%20role%3Dfleet_app")
    )
    assert alembic("upgrade", "head", url=mine).returncode == 0


@pytest.fixture(params=servers("embedded", "embedded-16", "machine"))
def granted_owner(
    request: pytest.FixtureRequest, make_database: MakeDatabase
) -> Iterator[tuple[str, str, str]]:
    """(URL of the owner, URL of a superuser, owner): one that has our roles as ever before.

    That is by a plain GRANT, which up to PostgreSQL 15 has no options.
    """
    server = named_server(request)
    owner, url = f"owner_{uuid.uuid4().hex[:8]}", sa.make_url(make_database(server))
    admin = url.render_as_string(hide_password=False)
    with engine_of(url) as engine, engine.begin() as connection:
        modern = connection.dialect.server_version_info >= (16,)  # type: ignore[operator]
        existing = set(connection.scalars(sa.text("SELECT rolname FROM pg_roles")))
        for role in set(ROLE_NAMES) - existing:
            connection.exec_driver_sql(f"CREATE ROLE {role}")
        connection.exec_driver_sql(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'x'")
        options = " WITH INHERIT FALSE" if modern else ""
        connection.exec_driver_sql(f"GRANT {', '.join(ROLE_NAMES)} TO {owner}{options}")
        connection.exec_driver_sql(f'ALTER DATABASE "{url.database}" OWNER TO {owner}')
    mine = url.set(username=owner, password="x").render_as_string(hide_password=False)
    yield mine, admin, owner
    execute(server.url("postgres"), f'DROP DATABASE "{url.database}" WITH (FORCE)')
    execute(server.url("postgres"), f"DROP ROLE {owner}")


def test_owner_inherits_nothing(granted_owner: tuple[str, str, str]) -> None:
    """It sees no tenant unless it takes a role; where it cannot mend that itself, check does."""
    mine, admin, owner = granted_owner
    with engine_of(mine) as engine:
        command.upgrade(config_for(engine), "head")
    execute(admin, "INSERT INTO tenants (slug, name) VALUES ('acme', 'Acme')")
    assert _seen(mine) == (0, 1)
    with engine_of(admin) as engine, engine.connect() as connection:
        assert security.differences(connection) == []
        if connection.dialect.server_version_info >= (16,):  # type: ignore[operator]
            execute(admin, f"GRANT fleet_operator TO {owner} WITH INHERIT TRUE")
        else:
            execute(admin, f"GRANT fleet_operator, fleet_auth TO {owner}")
        assert _seen(mine) == (1, 1)
        found = security.differences(connection)
        assert {one.detail for one in found} == {"inherits from"}
        execute(admin, found[0].mend)
        assert security.differences(connection) == []
    assert _seen(mine) == (0, 1)


def _seen(url: str) -> tuple[int, int]:
    """Tenants that a login sees by itself, and as fleet_operator."""
    count = sa.text("SELECT count(*) FROM tenants")
    with engine_of(url) as engine, engine.begin() as connection:
        before = connection.execute(count).scalar_one()
        connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
        return before, connection.execute(count).scalar_one()
