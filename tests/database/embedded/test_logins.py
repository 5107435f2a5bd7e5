"""The embedded server's logins: an owner that is no superuser, and one for services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from database import hardening, security
from database import settings as settings_module
from database.embedded.server import Server
from database.engine import make_engine
from database.settings import application_url, embedded_server, migration_url
from database.tenancy import TenancyError, tenant_transaction
from operations.verification.server import logins
from tests.support.alembic_project import config_for
from tests.support.engines import engine_of, execute
from tests.support.time_series import ACME, make_tenants


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another root for the settings, whose embedded server is removed at the end."""
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings_module, "PROJECT_ROOT", tmp_path)
    yield tmp_path
    embedded_server().destroy()


def upgraded() -> sa.URL:
    url = migration_url()
    with engine_of(url) as engine:
        command.upgrade(config_for(engine), "head")
        command.check(config_for(engine))
        make_tenants(engine)
    return url


def check(url: sa.URL) -> None:
    """The owner is bound as everybody, and the service sees its tenant, by the default engine."""
    with engine_of(url) as engine, engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT current_user")) == "fleet_owner"
        assert connection.scalar(sa.text("SELECT current_setting('is_superuser')")) == "off"
        assert connection.scalar(sa.text("SELECT count(*) FROM tenants")) == 0
        assert hardening.gaps(connection) == []
        assert security.differences(connection) == []
        assert list(logins(connection)) == []
    engine = make_engine()
    assert engine.url == application_url()
    with tenant_transaction(engine, ACME) as connection:
        assert connection.scalar(sa.text("SELECT session_user")) == "fleet_service"
        assert connection.scalar(sa.text("SELECT slug FROM tenants")) == "acme"
    engine.dispose()
    owner = make_engine(url)
    with pytest.raises(TenancyError, match="the login fleet_owner is more than fleet_app"):
        tenant_transaction(owner, ACME).__enter__()
    owner.dispose()


def test_nobody_is_a_superuser(project: Path) -> None:
    url = upgraded()
    check(url)
    # A database that is gone is made again, as everything else that is missing.
    for gone in ("DATABASE fleetschema", "ROLE fleet_service"):
        execute(embedded_server().url("postgres"), f"DROP {gone}")
    assert upgraded() == url
    check(url)


def test_the_owner_can_go_all_the_way_back(project: Path) -> None:
    with engine_of(upgraded()) as engine:
        command.downgrade(config_for(engine), "base")
        command.upgrade(config_for(engine), "head")
        make_tenants(engine)
    check(migration_url())


def test_a_server_of_an_earlier_release_is_handed_over(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything was the superuser's, who alone came in without a password."""
    server = embedded_server()
    with monkeypatch.context() as earlier:
        earlier.setattr(type(server), "admitted", Server.admitted)
        server.start()
    execute(server.url("postgres"), "CREATE DATABASE fleetschema")
    with engine_of(server.url()) as engine:
        command.upgrade(config_for(engine), "head")
        make_tenants(engine)
    execute(server.url(), "CREATE TYPE public.mood AS ENUM ('well')")
    url = migration_url()
    check(url)
    with engine_of(url) as engine:
        command.upgrade(config_for(engine), "head")
        execute(url, "DROP TYPE public.mood")
        command.check(config_for(engine))
        command.downgrade(config_for(engine), "-1")
        command.upgrade(config_for(engine), "head")
