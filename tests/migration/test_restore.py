"""The project's database, dumped and restored, is the one that its models describe."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from database import hardening
from tests.support.alembic_project import config_for
from tests.support.databases import MakeDatabase
from tests.support.dumps import copy_by_dump
from tests.support.engines import engine_of, execute
from tests.support.servers import DatabaseServer
from tests.support.time_series import ACME, migrate


@pytest.mark.slow
def test_a_restored_database_is_no_drift(
    any_server: DatabaseServer, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """The copy of a copy, so that neither dump nor restore may change anything.

    The second is dumped by a login that may only read, which takes all of it, too.
    """
    source = make_database(any_server, like=migrate)
    execute(
        source, f"INSERT INTO tenants (tenant_id, slug, name) VALUES ('{ACME}', 'acme', 'Acme')"
    )
    copied, target = make_database(any_server), make_database(any_server)
    copy_by_dump(source, copied, tmp_path)
    with _reader(copied) as reader:
        copy_by_dump(copied, target, tmp_path, dumped_as=reader)
    with engine_of(target) as engine:
        command.check(config_for(engine))
        with engine.connect() as connection:
            assert hardening.gaps(connection) == []
            assert connection.scalars(sa.text("SELECT slug FROM tenants")).all() == ["acme"]


@contextmanager
def _reader(database: str) -> Iterator[str]:
    """The URL of a login that reads all rows, and is no superuser."""
    name, url = f"reader_{uuid.uuid4().hex[:8]}", sa.make_url(database)
    execute(database, f"CREATE ROLE {name} LOGIN BYPASSRLS PASSWORD 'x' IN ROLE pg_read_all_data")
    execute(database, f'GRANT CONNECT ON DATABASE "{url.database}" TO {name}')
    yield url.set(username=name, password="x").render_as_string(hide_password=False)
    execute(database, f"DROP OWNED BY {name}; DROP ROLE {name}")
