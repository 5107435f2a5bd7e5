"""A backup is whole, or it does not look like one."""

from __future__ import annotations

import datetime
import json
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from database.errors import FleetSchemaError
from operations.backups.creation import create
from operations.backups.folder import Backup, superfluous
from operations.backups.manifest import DUMP, MANIFEST, Manifest, read_manifest
from tests.operations.backups.conftest import Place
from tests.support.engines import engine_of, execute
from tests.support.plain_owner import plain_owner

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


def test_what_a_backup_says_of_itself(place: Place) -> None:
    manifest = read_manifest(place.backup())
    assert manifest.database == place.database
    assert manifest.revision is not None
    assert manifest.inventory["rows"]["timeseries.telemetry"].startswith("300 rows checksum ")
    done = place.run("backups", "list")
    assert done.returncode == 0
    assert place.database in done.stdout
    done = place.run("backups", "check")
    assert "as it was written" in done.stdout


def test_an_owner_from_whom_rows_are_hidden_makes_none(place: Place) -> None:
    with plain_owner(place.url) as owner:
        done = place.run("backup", url=owner)
    assert done.returncode == 1
    assert "found that policies hide rows of" in done.stdout
    assert "BYPASSRLS" in done.stdout
    assert place.backups() == []


def test_a_login_that_only_reads_makes_one(place: Place) -> None:
    execute(
        place.url,
        "CREATE ROLE reader LOGIN BYPASSRLS PASSWORD 'x' IN ROLE pg_read_all_data;"
        f"GRANT CONNECT ON DATABASE {place.database} TO reader",
    )
    try:
        reader = sa.make_url(place.url).set(username="reader", password="x")
        done = place.run("backup", BACKUP_DATABASE_URL=reader.render_as_string(hide_password=False))
        assert done.returncode == 0, done.stdout
        [backup] = place.backups()
        assert '"x"' not in (backup / "cluster.json").read_text()
        assert place.run("drill").returncode == 0
        done = place.run("drill", BACKUP_DATABASE_URL=reader.render_as_string(hide_password=False))
        assert "login reader: expected a superuser" in done.stdout
    finally:
        execute(place.url, "DROP OWNED BY reader; DROP ROLE reader")


@pytest.mark.parametrize("limit", [100_000, 1_000])
def test_a_full_disk_leaves_nothing_behind(place: Place, limit: int) -> None:
    failed = pytest.raises(FleetSchemaError, match=r"pg_dump failed|cannot be written")
    with engine_of(place.url) as engine, no_file_beyond(limit), failed:
        create(engine, place.folder)
    assert [path.name for path in place.folder.iterdir()] == [".lock"]


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """As a disk that is full: writing more than that fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_lost_connection_leaves_nothing_behind(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object, **__: object) -> None:
        execute(
            place.server.url("postgres"),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{place.database}'",
        )

    monkeypatch.setattr("operations.backups.inventory._rows", end)
    with engine_of(place.url) as engine, pytest.raises((FleetSchemaError, sa.exc.DBAPIError)):
        create(engine, place.folder)
    assert [path.name for path in place.folder.iterdir()] == [".lock"]


def test_what_a_killed_run_left_is_no_backup(place: Place) -> None:
    backup = place.backup()
    left = place.folder / f".partial-{backup.name}"
    shutil.copytree(backup, left)
    assert left.name not in place.run("backups", "list").stdout
    place.backup()
    assert not left.exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "manifest"])
def test_a_damaged_backup(place: Place, damage: str) -> None:
    backup = place.backup()
    dump = backup / DUMP
    if damage == "missing":
        dump.unlink()
    elif damage == "manifest":
        (backup / MANIFEST).write_text("{")
    else:
        data = bytearray(dump.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 64] = b"" if damage == "cut" else bytes(64)
        dump.write_bytes(data)
    checked = place.run("backups", "check")
    assert checked.returncode == 1
    assert "damaged" in checked.stdout or "missing" in checked.stdout
    for command in (["restore", "--as", f"{place.database}_copy"], ["drill"]):
        done = place.run(command[0], backup.name, *command[1:])
        assert done.returncode == 1
        assert "damaged" in done.stdout or "missing" in done.stdout
        assert "Traceback" not in done.stdout
    assert place.databases() == {place.database}


def test_an_encrypted_backup(place: Place, tmp_path: Path) -> None:
    if shutil.which("age") is None:
        done = place.run("backup", BACKUP_ENCRYPTION="age:somebody")
        assert "expected the program age on the PATH" in done.stdout
        pytest.skip("age is not installed")
    done = place.run("backup", BACKUP_ENCRYPTION="age:nobody")
    assert done.returncode == 1
    assert "age failed" in done.stdout
    assert place.backups() == []
    key = tmp_path / "key"
    made = subprocess.run(
        ["age-keygen", "-o", key], capture_output=True, text=True, check=True
    ).stderr
    done = place.run("backup", BACKUP_ENCRYPTION=f"age:{made.split()[-1]}")
    assert done.returncode == 0, done.stdout
    [backup] = place.backups()
    assert {path.suffix for path in backup.iterdir()} == {".age", ".json"}
    assert "add --identity FILE" in place.run("drill").stdout
    assert place.run("drill", "--identity", str(key)).returncode == 0


def test_a_backup_for_an_unknown_key_of_gpg(place: Place) -> None:
    done = place.run("backup", BACKUP_ENCRYPTION="gpg:nobody@example.com")
    assert done.returncode == 1
    assert "gpg" in done.stdout
    assert "Traceback" not in done.stdout
    assert place.backups() == []


def test_a_wrong_password_is_one_line(place: Place) -> None:
    url = sa.make_url(place.url).set(username="nobody", password="secret-word")
    done = place.run("backup", BACKUP_DATABASE_URL=url.render_as_string(hide_password=False))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "secret-word" not in done.stdout


def manifest_of(days: int, identifier: str = "1", database: str = "fleet") -> Backup:
    made = NOW - datetime.timedelta(days=days)
    manifest = Manifest.model_construct(database=database, made_at=made)
    object.__setattr__(manifest, "server", type("Server", (), {"identifier": identifier})())
    return Backup(Path(f"{database}-{identifier}-{days}"), manifest)


def test_rotation_keeps_the_newest_ones() -> None:
    good = [manifest_of(days) for days in (0, 1, 20, 30, 40)]
    others = [manifest_of(50, "2"), manifest_of(50, database="other")]

    def deleted(days: int, copies: int, newest: Backup = good[0]) -> list[str]:
        old = superfluous([*good, *others], newest, days=days, copies=copies, now=NOW)
        return [one.name for one in old]

    assert deleted(14, 3) == ["fleet-1-30", "fleet-1-40"]
    assert deleted(14, 1) == ["fleet-1-20", "fleet-1-30", "fleet-1-40"]
    assert deleted(35, 1) == ["fleet-1-40"]
    assert deleted(0, 5) == []
    # Whatever the clock says of it, the one that was just made stays.
    assert "fleet-1-40" not in deleted(14, 1, good[4])


def test_old_backups_are_deleted_after_a_new_one(place: Place) -> None:
    first = place.backup()
    path = first / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["made_at"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(manifest))
    done = place.run("backup", "--keep-copies", "1")
    assert f"Deleted {first.name}, older than 14 days" in done.stdout
    assert first not in place.backups()
