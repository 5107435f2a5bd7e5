"""Checks of the whole history of revisions, on every available server."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

import models
from database.migration.revisions import Revisions
from ddl.edition import detect
from models.shared.base import TIMESERIES
from tests.support.alembic_project import alembic, config_for
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.snapshot import differences, snapshot


@pytest.fixture
def url(any_server: DatabaseServer, make_database: MakeDatabase) -> str:
    return make_database(any_server)


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
        config = config_for(engine)
        command.upgrade(config, "head")
        command.check(config)
        with engine.connect() as connection:
            found = sa.inspect(connection)
            existing = set(found.get_table_names(schema="public"))
            existing |= {f"{TIMESERIES}.{name}" for name in found.get_table_names(TIMESERIES)}
        assert set(models.metadata.tables) <= existing


@pytest.mark.parametrize(
    "any_server",
    ["embedded", pytest.param("timescaledb", marks=pytest.mark.timescaledb)],
    indirect=True,
)
def test_up_down_up_and_no_trace(
    any_server: DatabaseServer, make_database: MakeDatabase, revisions: Revisions
) -> None:
    """Each revision, reverted and applied again, must give exactly the same catalog.

    Autogenerate sees only what it compares; the snapshot sees everything. On the other servers the
    history goes down and up as a whole, in a script.
    """
    with engine_of(make_database(any_server)) as engine:
        config = config_for(engine)

        def look() -> dict[str, list[object]]:
            with engine.begin() as connection:
                return snapshot(connection)

        def same(found: dict[str, list[object]], expected: dict[str, list[object]]) -> None:
            assert differences(found, expected) == []

        # The extension is created once and stays; otherwise the database must be empty again.
        command.upgrade(config, "0001")
        command.downgrade(config, "base")
        levels = [look()]
        for revision in revisions.files:
            command.upgrade(config, revision)
            levels.append(look())
            command.downgrade(config, "-1")
            # No downgrade can put a dropped column back between the others.
            places = {"place of a column": []}
            same(look() | places, levels[-2] | places)
            command.upgrade(config, revision)
            same(look(), levels[-1])
        command.downgrade(config, "base")
        same(look(), levels[0])
        assert not any(levels[0][kind] for kind in ("relation", "function", "policy", "type"))
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM alembic_version")) == 0
            assert connection.scalar(sa.text("SELECT count(*) FROM schema_history")) > 0
        command.upgrade(config, "head")
        same(look(), levels[-1])


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


def test_script_gives_the_same_catalog(
    any_server: DatabaseServer, make_database: MakeDatabase, psql: Path, tmp_path: Path
) -> None:
    """What `--sql` writes and psql applies is what a database administrator deploys."""
    online, offline = make_database(any_server), make_database(any_server)
    with engine_of(online) as engine:
        command.upgrade(config_for(engine), "head")
        with engine.begin() as connection:
            expected = snapshot(connection, runner_tables=True)
            edition = f"edition={detect(connection)}"
    up, down = tmp_path / "up.sql", tmp_path / "down.sql"
    for path, *words in ((up, "upgrade", "head"), (down, "downgrade", "head:base")):
        script = alembic("-x", edition, *words, "--sql", url=None).stdout
        path.write_text(script, encoding="utf-8")

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
