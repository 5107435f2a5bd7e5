"""The edition is a property of the database: created here, preloaded, and which licence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, text

from database.embedded import TemporaryServer
from database.server_info import server_info
from ddl.edition import Edition, available, detect
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import TIMESCALEDB, DatabaseServer, machine_programs


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    with (
        engine_of(url, isolation_level="AUTOCOMMIT") as engine,
        engine.connect() as connection,
    ):
        yield connection


def create_extension(url: str) -> None:
    with connected(url) as connection:
        connection.execute(text("create extension if not exists timescaledb"))


def test_plain_postgresql(make_database: MakeDatabase) -> None:
    with connected(make_database()) as connection:
        assert detect(connection) is Edition.POSTGRESQL
        assert available(connection) is Edition.POSTGRESQL
        info = server_info(connection)
    assert info.edition is info.available is Edition.POSTGRESQL
    assert info.timescaledb is None
    assert (info.encoding, info.collation, info.user) == ("UTF8", "C", "postgres")
    assert info.superuser
    assert not info.read_only
    assert info.version.startswith(str(info.version_number // 10000))
    assert info.database.startswith("test_")


def test_what_an_edition_has() -> None:
    assert [edition.has_hypertables for edition in Edition] == [False, True, True]
    assert [edition.has_policies for edition in Edition] == [False, False, True]
    assert Edition("timescaledb-apache") is Edition.APACHE
    assert f"{Edition.COMMUNITY}" == "timescaledb-community"


@pytest.mark.timescaledb
def test_community(make_database: MakeDatabase, timescaledb_server: DatabaseServer) -> None:
    """Available before the extension is created in this database, in force after."""
    url = make_database(timescaledb_server)
    with connected(url) as connection:
        connection.execute(text("drop extension if exists timescaledb"))
    with connected(url) as connection:
        assert detect(connection) is Edition.POSTGRESQL
        assert available(connection) is Edition.COMMUNITY
    create_extension(url)
    with connected(url) as connection:
        info = server_info(connection)
    assert info.edition is info.available is Edition.COMMUNITY
    assert info.timescaledb is not None


@pytest.fixture
def with_programs() -> Callable[..., TemporaryServer]:
    """Servers of any edition can be started only from programs."""
    programs = machine_programs("timescaledb")
    if programs is None:
        pytest.skip("this machine's PostgreSQL programs do not have TimescaleDB")
    return lambda **parameters: TemporaryServer(programs, **parameters)


@pytest.mark.timescaledb
def test_apache_and_not_preloaded(with_programs: Callable[..., TemporaryServer]) -> None:
    """As an ordinary role, who may not read shared_preload_libraries."""
    with with_programs(**TIMESCALEDB, **{"timescaledb.license": "apache"}) as server:
        with connected(server.url("postgres")) as connection:
            connection.execute(text("create role app login password 'x'"))
        ordinary = server.url("postgres", user="app", password="x")
        with connected(ordinary) as connection:
            assert detect(connection) is Edition.POSTGRESQL
            assert available(connection) is Edition.APACHE
        create_extension(server.url("postgres"))
        with connected(ordinary) as connection:
            assert detect(connection) is available(connection) is Edition.APACHE
            assert not server_info(connection).superuser
        server.stop()
        # The extension and its setting stay, but the library is not loaded any more.
        server.parameters["shared_preload_libraries"] = ""
        server.start()
        with connected(ordinary) as connection:
            assert detect(connection) is available(connection) is Edition.POSTGRESQL
