"""Upgrades by an owner of the database who is no superuser."""

from __future__ import annotations

import sqlalchemy as sa

from models.shared.roles import ROLE_NAMES
from tests.support.alembic_project import alembic, failure
from tests.support.engines import engine_of


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
