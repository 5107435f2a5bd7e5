"""Checks of the whole history of revisions, on every available server."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

import models
from database import refused_ddl
from database.migration.revisions import Revisions
from ddl.edition import detect
from tests.support.alembic_project import alembic, config_for
from tests.support.databases import LONG, MakeDatabase, servers
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.snapshot import differences, snapshot
from tests.support.time_series import migrate


@pytest.fixture
def url(any_server: DatabaseServer, make_database: MakeDatabase) -> str:
    return make_database(any_server, like=migrate)


@pytest.fixture(scope="session")
def revisions() -> Revisions:
    with engine_of("postgresql+psycopg://") as engine:
        return Revisions(ScriptDirectory.from_config(config_for(engine)))


def test_single_head(revisions: Revisions) -> None:
    """Two heads pass `alembic check` once both are applied, so this needs a check of its own."""
    assert revisions.head == max(revisions.files)
    numbers = [int(revision) for revision in revisions.files]
    assert numbers == list(range(1, len(numbers) + 1)), "numbers have gaps"


def test_released_files_are_unchanged(revisions: Revisions) -> None:
    """A released revision has been applied somewhere in the form that its checksum stands for."""
    revisions.verify()
    for revision, path in revisions.files.items():
        assert path.name.startswith(f"{revision}_")


def test_every_model_is_registered() -> None:
    """A module that is not imported declares tables that no revision would ever create."""
    before = set(models.metadata.tables)
    for module in pkgutil.walk_packages(models.__path__, "models."):
        importlib.import_module(module.name)
    assert set(models.metadata.tables) == before


def test_upgrade_then_models_match(url: str) -> None:
    """From nothing to head; then the database and the models must not differ in anything."""
    with engine_of(url) as engine:
        command.check(config_for(engine))
        with engine.connect() as connection:
            found = sa.inspect(connection)
            tables = models.metadata.tables
            for schema in {table.schema for table in tables.values()}:
                declared = {one.name for one in tables.values() if one.schema == schema}
                assert declared <= set(found.get_table_names(schema))


Catalog = dict[str, list[object]]
NEWEST = 16
"""How many revisions the short form looks at one by one."""


@contextmanager
def levels(engine: Engine, looked_at: Collection[str]) -> Iterator[dict[str, Catalog | None]]:
    """The catalog at these of the revisions that a command comes to, as each is committed."""
    found: dict[str, Catalog | None] = {}

    def level(connection: Connection) -> str:
        query = sa.text("SELECT coalesce(max(version_num), 'base') FROM alembic_version")
        return str(connection.scalar(query))

    with engine.connect() as connection:
        last = level(connection)

    def look(connection: Connection) -> None:
        nonlocal last
        if (revision := level(connection)) != last:
            found[revision] = of_revisions(connection) if revision in looked_at else None
            last = revision

    sa.event.listen(engine, "commit", look)
    yield found
    sa.event.remove(engine, "commit", look)


def of_revisions(connection: Connection) -> Catalog:
    """The catalog without what a superuser's upgrade makes after the last revision."""
    ours = (refused_ddl.SCHEMA, refused_ddl.NAME)
    return {
        kind: [row for row in found if not any(one in str(row[0]) for one in ours)]
        for kind, found in snapshot(connection).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("any_server", servers("embedded", "timescaledb"), indirect=True)
def test_up_down_up_and_no_trace(
    any_server: DatabaseServer, make_database: MakeDatabase, revisions: Revisions
) -> None:
    """Each revision, reverted and applied again, must give exactly the same catalog.

    Autogenerate sees only what it compares; the snapshot sees everything. On the other servers the
    history goes down and up as a whole, in a script. The short form looks at the newest revisions,
    and at every fifth before: what a downgrade leaves behind is seen further down as well.
    """
    every = list(revisions.files)
    looked_at = every if LONG else [*every[:-NEWEST:5], *every[-NEWEST:]]
    with engine_of(make_database(any_server)) as engine:
        config = config_for(engine)
        # The extension is created once and stays; otherwise the database must be empty again.
        command.upgrade(config, "0001")
        command.downgrade(config, "base")
        with engine.begin() as connection:
            empty = snapshot(connection)
        assert not any(empty[kind] for kind in ("relation", "function", "policy", "type"))
        with levels(engine, looked_at) as up:
            command.upgrade(config, "head")
        with levels(engine, looked_at) as down:
            command.downgrade(config, "base")
        with engine.begin() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM alembic_version")) == 0
            assert connection.scalar(sa.text("SELECT count(*) FROM schema_history")) > 0
            assert differences(snapshot(connection), empty) == []
        with levels(engine, looked_at) as again:
            command.upgrade(config, "head")
        assert list(up) == list(again) == every
        assert list(down) == [*reversed(list(up)[:-1]), "base"]
        for revision in looked_at:
            before, after = up[revision], again[revision]
            assert before
            assert after
            assert differences(after, before) == [], revision
            if reverted := down.get(revision):
                # No downgrade can put a dropped column back between the others.
                places: Catalog = {"place of a column": []}
                assert differences(reverted | places, before | places) == [], revision


def test_script_for_another_edition_is_rejected(
    embedded_server: DatabaseServer, make_database: MakeDatabase, psql: Path, tmp_path: Path
) -> None:
    """Before it changes anything, naming the option for a script that fits."""
    url = make_database(embedded_server)
    path = tmp_path / "up.sql"
    path.write_text(alembic("upgrade", "head", "--sql", url=None).stdout, encoding="utf-8")
    target = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    result = subprocess.run(
        [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", path, target],
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert "this script is for edition timescaledb-community" in result.stderr
    assert "alembic -x edition=postgresql" in result.stderr
    with engine_of(url) as engine, engine.connect() as connection:
        assert not any(snapshot(connection, runner_tables=True)["relation"])


@functools.cache
def script(edition: str, *words: str) -> str:
    """What a command writes with --sql."""
    return alembic("-x", edition, *words, "--sql", url=None).stdout


def test_script_gives_the_same_catalog(
    any_server: DatabaseServer, make_database: MakeDatabase, psql: Path, tmp_path: Path
) -> None:
    """What `--sql` writes and psql applies is what a database administrator deploys."""
    online, offline = make_database(any_server, like=migrate), make_database(any_server)
    with engine_of(online) as engine, engine.begin() as connection:
        expected = snapshot(connection, runner_tables=True)
        edition = f"edition={detect(connection)}"
    up, down = tmp_path / "up.sql", tmp_path / "down.sql"
    for path, *words in ((up, "upgrade", "head"), (down, "downgrade", "head:base")):
        path.write_text(script(edition, *words), encoding="utf-8")

    def apply(path: Path) -> None:
        target = sa.make_url(offline).set(drivername="postgresql")
        subprocess.run(
            [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", path,
             target.render_as_string(hide_password=False)],
            check=True,
            capture_output=True,
        )  # fmt: skip

    with engine_of(offline) as engine:
        for path in (up, down, up):
            apply(path)
        with engine.begin() as connection:
            assert differences(snapshot(connection, runner_tables=True), expected) == []
        command.check(config_for(engine))
