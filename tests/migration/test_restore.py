"""The project's database, dumped and restored, is the one that its models describe."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command

from database import hardening
from tests.support.alembic_project import config_for
from tests.support.databases import MakeDatabase
from tests.support.dumps import copy_by_dump
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.time_series import migrate


@pytest.mark.slow
def test_a_restored_database_is_no_drift(
    any_server: DatabaseServer, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """The copy of a copy, so that neither dump nor restore may change anything."""
    source = make_database(any_server, like=migrate)
    for _ in range(2):
        target = make_database(any_server)
        copy_by_dump(source, target, tmp_path)
        source = target
    with engine_of(target) as engine:
        command.check(config_for(engine))
        with engine.connect() as connection:
            assert hardening.gaps(connection) == []
