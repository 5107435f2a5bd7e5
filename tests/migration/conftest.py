"""A database that belongs to a login that is no superuser."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer


@pytest.fixture
def owned(bare_cluster: DatabaseServer) -> tuple[str, str]:
    """(URL of its owner, URL of a superuser) of a database on a cluster of its own."""
    with engine_of(bare_cluster.url("postgres")) as engine, engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sa.text("CREATE ROLE owner LOGIN PASSWORD 'secret'"))
        connection.execute(sa.text("CREATE DATABASE owned OWNER owner"))
    url = sa.make_url(bare_cluster.url("owned"))
    mine = url.set(username="owner", password="secret").render_as_string(hide_password=False)
    return mine, url.render_as_string(hide_password=False)
