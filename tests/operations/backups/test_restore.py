"""What is restored is what was saved, or nothing is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import command

from operations.backups.manifest import MANIFEST
from operations.revisions.project import project_revisions
from tests.operations.backups.conftest import Place
from tests.support.alembic_project import config_for
from tests.support.engines import engine_of, execute

JOBS = "SELECT count(*) FROM timescaledb_information.jobs WHERE scheduled"
COMPRESSED = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"


def test_a_restored_database_is_put_in_place(
    either: Place, removed: Callable[[Place, str], None]
) -> None:
    execute(either.url, f"ALTER DATABASE {either.database} SET work_mem = '5MB'")
    execute(either.url, f"COMMENT ON DATABASE {either.database} IS 'ours'")
    timescaledb = either.ask("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")
    either.backup()
    stored = either.ask("SELECT count(*) FROM timeseries.telemetry")
    execute(either.url, "DELETE FROM timeseries.telemetry")

    done = either.run("restore", "--replace", "--yes")
    assert done.returncode == 0, done.stdout
    [aside] = either.databases() - {either.database}
    removed(either, aside)
    assert f"dropdb {aside}" in done.stdout
    assert either.ask("SELECT count(*) FROM timeseries.telemetry") == stored
    assert either.ask("SELECT count(*) FROM timeseries.telemetry", aside) == 0
    assert either.ask("SHOW work_mem") == "5MB"
    assert (
        either.ask(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = current_database()"
        )
        == "ours"
    )
    if timescaledb:
        assert either.ask(COMPRESSED) == either.ask(COMPRESSED, aside) != 0
        assert either.ask(JOBS) == either.ask(JOBS, aside) != 0
        # Rolled up beyond the raw data.
        oldest = "SELECT now() - min(bucket) > interval '11 days' FROM timeseries.telemetry_hourly"
        assert either.ask(oldest)
    done = either.run("verify")
    assert "schema" not in done.stdout.split("as expected")[0], done.stdout


def test_a_database_that_holds_something_stays(place: Place) -> None:
    backup = place.backup()
    done = place.run("restore")
    assert done.returncode == 1
    assert "expected none, or an empty one, found" in done.stdout
    with engine_of(place.url) as engine, engine.connect() as connection:
        connection.execute(sa.text("SELECT set_config('application_name', 'service', false)"))
        done = place.run("restore", backup.name, "--replace", "--yes")
        assert done.returncode == 1
        assert "expected nobody connected, found 1 sessions (postgres service" in done.stdout
    assert place.databases() == {place.database}


def test_what_differs_is_not_put_in_place(place: Place) -> None:
    backup = place.backup()
    path = backup / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["inventory"]["rows"]["public.tenants"] = "9 rows checksum 1"
    del manifest["inventory"]["policy"]["public.sites tenant_isolation"]
    path.write_text(json.dumps(manifest))

    done = place.run("restore", "--as", f"{place.database}_copy")
    assert done.returncode == 1
    assert "rows: public.tenants: expected 9 rows checksum 1, found" in done.stdout
    assert "policy: public.sites tenant_isolation: expected none, found" in done.stdout
    assert place.databases() == {place.database}

    done = place.run("drill")
    assert done.returncode == 1
    assert "differs: rows: public.tenants" in done.stdout
    [report] = place.folder.glob("drill-*.json")
    assert json.loads(report.read_text())["ok"] is False
    assert place.databases() == {place.database}


def test_a_drill_leaves_nothing_but_its_report(either: Place) -> None:
    either.backup()
    done = either.run("drill", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["ok"]
    assert either.databases() == {either.database}
    [report] = either.folder.glob("drill-*.json")
    assert json.loads(report.read_text())["compared_definitions"]


def test_a_backup_of_an_earlier_revision(place: Place) -> None:
    with engine_of(place.url) as engine:
        command.downgrade(config_for(engine), "-1")
    place.backup()
    done = place.run("drill", "--json", together=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"]
    assert place.ask("SELECT version_num FROM alembic_version") != project_revisions().head


def test_what_a_killed_restore_left_is_removed(
    place: Place, removed: Callable[[Place, str], None]
) -> None:
    place.backup()
    working, copy = f"{place.database}_copy_restoring", f"{place.database}_copy"
    for name in (working, copy):
        removed(place, name)
    execute(place.server.url("postgres"), f"CREATE DATABASE {working}")
    done = place.run("restore", "--as", copy)
    assert done.returncode == 1
    assert "expected none, or one that a restore has left, found somebody's" in done.stdout
    comment = f"COMMENT ON DATABASE {working} IS 'unfinished restore of fleetschema'"
    execute(place.server.url("postgres"), comment)
    done = place.run("restore", "--as", copy)
    assert done.returncode == 0, done.stdout
    assert place.databases() == {place.database, copy}


def test_servers_that_cannot_take_a_backup(place: Place) -> None:
    backup = place.backup()
    path: Path = backup / MANIFEST
    whole = path.read_text()

    def refused(change: Callable[[dict[str, object]], object]) -> str:
        manifest = json.loads(whole)
        change(manifest)
        path.write_text(json.dumps(manifest))
        done = place.run("restore", "--as", f"{place.database}_copy")
        assert done.returncode == 1
        assert place.databases() == {place.database}
        return done.stdout

    def server(name: str, value: object) -> Callable[[dict[str, object]], object]:
        return lambda manifest: manifest["server"].update({name: value})  # type: ignore[attr-defined]

    assert "expected PostgreSQL 99 or newer, found" in refused(server("version_number", 990001))
    assert "expected a server with TimescaleDB 9.9, found none" in refused(
        server("timescaledb", "9.9")
    )
    assert "expected a revision of this project, found 9999" in refused(
        lambda manifest: manifest.update(revision="9999")
    )
    assert "expected format 1, found 2" in refused(lambda manifest: manifest.update(format=2))
    assert "is damaged" in refused(lambda manifest: manifest.pop("files"))
