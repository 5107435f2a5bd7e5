"""A database that belongs to a login that is no superuser."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from models.shared.roles import ROLE_NAMES
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer


@pytest.fixture
def owned(lone_server: DatabaseServer) -> tuple[str, str]:
    """(URL of its owner, URL of a superuser) of a database on a cluster of its own."""
    admin = lone_server.url("postgres")
    with engine_of(admin) as engine, engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sa.text("DROP DATABASE IF EXISTS owned WITH (FORCE)"))
        for role in ("owner", *ROLE_NAMES):
            connection.execute(sa.text(f"DROP ROLE IF EXISTS {role}"))
        connection.execute(sa.text("CREATE ROLE owner LOGIN PASSWORD 'secret'"))
        connection.execute(sa.text("CREATE DATABASE owned OWNER owner"))
    url = sa.make_url(lone_server.url("owned"))
    mine = url.set(username="owner", password="secret").render_as_string(hide_password=False)
    return mine, url.render_as_string(hide_password=False)
