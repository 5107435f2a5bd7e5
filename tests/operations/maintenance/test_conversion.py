"""A database that was built without TimescaleDB is converted, and keeps every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import Engine
from typer.testing import CliRunner

import models
from ddl import Rollup
from ddl.base import Declared
from ddl.rollups import RollupState
from operations.cli import app
from operations.maintenance import conversion, policy_jobs
from operations.maintenance.conversion import ConversionError, convert
from tests.migration.test_held_jobs import DUE
from tests.support.alembic_project import alembic, config_for
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.snapshot import differences, snapshot
from tests.support.time_series import (
    ACME,
    RAW,
    SLUGS,
    add_rows,
    alone,
    checksum,
    checksums,
    execute,
    make_tenants,
    migrate,
    owned,
    run_script,
    scalar,
    script,
    stored,
)

pytestmark = [pytest.mark.timescaledb, pytest.mark.slow]

Build = Callable[..., str]

ROLLUPS = {".".join(key) for key in Declared.on(models.metadata).of(RollupState)}


def plain(url: str) -> None:
    """Upgrade a database as if its server had no TimescaleDB."""
    run_script(url, script("head", "postgresql"))


def apache(url: str) -> None:
    """Upgrade it as if its server had the Apache edition."""
    with engine_of(url) as engine:
        execute(engine, "CREATE EXTENSION timescaledb SCHEMA public")
    run_script(url, script("head", "timescaledb-apache"))


@pytest.fixture
def build(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Build:
    """The URL of such a database on a server with the Community edition."""
    return lambda like=plain: make_database(timescaledb_server, like=like)


def fill(engine: Engine) -> None:
    make_tenants(engine)
    for tenant in SLUGS:
        for age in ("300 days", "40 days", "1 day"):
            add_rows(engine, tenant, age)


def texts(engine: Engine, query: str) -> list[Any]:
    return [row[0] for row in alone(engine, query)]


def current(url: str) -> dict[str, list[Any]]:
    with engine_of(url) as engine, engine.connect() as connection:
        return snapshot(connection)


def test_everything_is_converted_and_every_row_stays(
    build: Build, timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    url = build()
    with engine_of(url) as engine:
        fill(engine)
        before = [checksums(engine, tenant) for tenant in SLUGS]
        converted = convert(engine)
        assert converted is not None
        assert (str(converted.edition), converted.left) == ("timescaledb-community", 0)
        assert "create_hypertable hypertable timeseries.telemetry" in converted.done
        assert set(converted.filled) == ROLLUPS
        assert [checksums(engine, tenant) for tenant in SLUGS] == before
        hypertables = "SELECT hypertable_name FROM timescaledb_information.hypertables"
        assert "telemetry" in texts(engine, hypertables)
        assert scalar(engine, f"SELECT count(*) FROM ONLY {RAW}") == 0
        # Really stored, not computed: the oldest hours are there without the raw data.
        table = stored(engine, "telemetry_hourly")
        assert scalar(engine, f"SELECT min(bucket) < now() - interval '299 days' FROM {table}")
        assert scalar(engine, "SELECT to_regclass('pending_operations') IS NULL")
        history = "SELECT direction FROM schema_history ORDER BY id DESC LIMIT 1"
        assert scalar(engine, history) == "convert"
        command.check(config_for(engine))
        command.upgrade(config_for(engine), "head")
        assert convert(engine) is None
    # The same catalog as one that had TimescaleDB from the beginning.
    native = make_database(timescaledb_server, like=migrate)
    found, expected = current(url), current(native)
    assert differences(found, expected) == []


MONTHS, DAYS = "timeseries.telemetry_by_month", "timeseries.telemetry_by_local_day"


@pytest.fixture
def calendar() -> Iterator[None]:
    """The models with rollups of which no bucket is as long as another."""
    declared = Declared.on(models.metadata)
    before = {kind: dict(states) for kind, states in declared.states.items()}
    for name, arguments in ((MONTHS, "'1 month', ts"), (DAYS, "'1 day', ts, 'Europe/Berlin'")):
        Rollup(
            name.partition(".")[2],
            f"SELECT tenant_id, time_bucket({arguments}) AS bucket, count(*) AS messages,"
            " last(seq, ts) AS latest FROM timeseries.telemetry GROUP BY 1, 2",
            schema="timeseries",
            metadata=models.metadata,
        )
    yield
    # In place: other tests hold these dictionaries.
    for kind, states in declared.states.items():
        states.clear()
        states.update(before.get(kind, {}))


@pytest.mark.usefixtures("calendar")
def test_rollups_of_the_calendar_have_the_same_buckets(build: Build) -> None:
    """Months, and days in which a clock is put back: as views they were computed by other means."""
    with engine_of(build()) as engine:
        with engine.begin() as connection:
            context = conversion._context(connection, "postgresql")
            for operation in conversion._differences(connection, "postgresql"):
                Operations(context).invoke(operation)
        make_tenants(engine)
        execute(
            engine,
            f"INSERT INTO {RAW} (tenant_id, ts, device_id, seq, metrics)"
            f" SELECT '{ACME}', ts, 'd', extract(epoch FROM ts), '{{}}'"
            "   FROM (VALUES (TIMESTAMPTZ '2025-12-24 00:30Z', TIMESTAMPTZ '2026-01-04Z'),"
            "                ('2026-03-25Z', '2026-04-03Z'), ('2026-10-22Z', '2026-11-03Z')) v,"
            "        generate_series(v.column1, v.column2, '7 hours') ts",
        )
        before = [
            tuple(map(tuple, alone(engine, f"SELECT * FROM {one} ORDER BY 1, 2")))
            for one in (MONTHS, DAYS)
        ]
        assert [len(one) for one in before] == [6, 33]
        converted = convert(engine)
        assert converted is not None
        assert {MONTHS, DAYS} <= set(converted.filled)
        for one, rows in zip((MONTHS, DAYS), before, strict=True):
            found = tuple(map(tuple, alone(engine, f"SELECT * FROM {one} ORDER BY 1, 2")))
            assert found == rows
            kept = stored(engine, one.partition(".")[2])
            assert scalar(engine, f"SELECT count(*) FROM {kept}") in (len(rows), len(rows) - 1)


def test_until_then_check_and_upgrade_name_the_command(build: Build) -> None:
    """A check fails; a deploy only warns, since the database works as it is."""
    url = build()
    with engine_of(url) as engine:
        with pytest.raises(CommandError, match="run: python -m operations convert"):
            command.check(config_for(engine))
        result = alembic("upgrade", "head", url=url)
        assert result.returncode == 0, result.stderr
        assert "run: python -m operations convert" in result.stdout
        assert texts(engine, "SELECT extname FROM pg_extension WHERE extname ~ 'timescale'") == []


def test_the_same_with_the_extension_created_by_hand(build: Build) -> None:
    with engine_of(build()) as engine:
        execute(engine, "CREATE EXTENSION timescaledb SCHEMA public")
        with pytest.raises(CommandError, match="operations convert"):
            command.check(config_for(engine))
        convert(engine)
        command.check(config_for(engine))


def test_below_the_head_the_revisions_come_first(build: Build) -> None:
    """In the edition of the earlier ones, whether the extension exists or not."""
    with engine_of(build()) as engine:
        command.downgrade(config_for(engine), "0013")
        assert scalar(engine, "SELECT count(*) FROM pg_extension WHERE extname ~ 'times'") == 0
        command.upgrade(config_for(engine), "head")
        # Nothing was left to hold back when the ledger was empty: this upgrade was native.
        command.check(config_for(engine))
    with engine_of(build()) as engine:
        revision = scalar(engine, "SELECT version_num FROM alembic_version")
        execute(engine, f"UPDATE alembic_version SET version_num = '{int(revision) - 1:04d}'")
        with pytest.raises(ConversionError, match="run: alembic upgrade head, then this command"):
            convert(engine)


def test_a_downgrade_without_conversion(build: Build) -> None:
    with engine_of(build()) as engine:
        execute(engine, "CREATE EXTENSION timescaledb SCHEMA public")
        command.downgrade(config_for(engine), "base")
        assert scalar(engine, "SELECT to_regclass('pending_operations') IS NULL")
        command.upgrade(config_for(engine), "head")
        command.check(config_for(engine))


def test_from_the_apache_edition(build: Build) -> None:
    with engine_of(build(apache)) as engine:
        fill(engine)
        before = [checksums(engine, tenant) for tenant in SLUGS]
        converted = convert(engine)
        assert converted is not None
        assert not any("hypertable " in line for line in converted.done)
        assert any("create_rollup" in line for line in converted.done)
        assert [checksums(engine, tenant) for tenant in SLUGS] == before
        command.check(config_for(engine))


def test_to_the_apache_edition(apache_server: DatabaseServer, make_database: MakeDatabase) -> None:
    with engine_of(make_database(apache_server, like=plain)) as engine:
        fill(engine)
        before = [checksums(engine, tenant) for tenant in SLUGS]
        converted = convert(engine)
        assert converted is not None
        assert "create_hypertable hypertable timeseries.telemetry" in converted.done
        assert {line.split(" ")[0] for line in converted.done} == {"create_hypertable"}
        assert converted.left > 0
        assert [checksums(engine, tenant) for tenant in SLUGS] == before
        command.check(config_for(engine))
        with pytest.raises(ConversionError, match="offers no more than edition timescaledb-apache"):
            convert(engine)


def test_a_server_without_timescaledb(migrated_database: str) -> None:
    with (
        engine_of(migrated_database) as engine,
        pytest.raises(ConversionError, match="no more than edition postgresql: install"),
    ):
        convert(engine)


def test_a_database_that_differs_is_left_alone(build: Build) -> None:
    """The comparison would drop what the models do not declare."""
    with engine_of(build()) as engine:
        execute(engine, "CREATE TABLE precious (id int)")
        with pytest.raises(ConversionError, match=r"differs from the models before .*precious"):
            convert(engine)
        assert scalar(engine, "SELECT to_regclass('precious') IS NOT NULL")
        assert scalar(engine, "SELECT count(*) FROM pg_extension WHERE extname ~ 'times'") == 0


def test_a_rejected_statement_leaves_nothing_behind(build: Build) -> None:
    url = build()
    with engine_of(url) as engine:
        fill(engine)
        # Beyond what a chunk can hold.
        execute(
            engine,
            f"UPDATE {RAW} SET ts = '-infinity' WHERE seq = 1 AND"
            f" tenant_id = '{ACME}' AND ts < now() - interval '299 days'",
        )
        before, data = current(url), checksum(engine, RAW)
        with pytest.raises(ConversionError, match="nothing was changed"):
            convert(engine)
        assert differences(current(url), before) == []
        assert checksum(engine, RAW) == data
        execute(engine, f"DELETE FROM {RAW} WHERE ts = '-infinity'")
        assert convert(engine) is not None


def test_an_interrupted_fill_continues(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        pass

    def die(connection: sa.Connection, relation: str) -> None:
        raise KilledError

    with engine_of(build()) as engine:
        fill(engine)
        before = [checksums(engine, tenant) for tenant in SLUGS]
        with monkeypatch.context() as patch:
            patch.setattr(conversion, "_refresh", die)
            with pytest.raises(KilledError):
                convert(engine)
        with pytest.raises(CommandError, match="operations convert"):
            command.check(config_for(engine))
        command.upgrade(config_for(engine), "head")
        # Retention would delete what the rollups are filled from.
        assert scalar(engine, f"SELECT count(*) FROM ({DUE}) d WHERE job_id IS NOT NULL") == 0
        with engine.connect() as connection:
            fixes = {problem.fix for problem in policy_jobs.problems(connection)}
        assert fixes == {"python -m operations convert"}
        converted = convert(engine)
        assert converted is not None
        assert (converted.done, set(converted.filled), converted.left) == ([], ROLLUPS, 0)
        with engine.connect() as connection:
            assert policy_jobs.problems(connection) == []
        assert [checksums(engine, tenant) for tenant in SLUGS] == before
        command.check(config_for(engine))


def test_an_owner_that_is_no_superuser(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    with owned(make_database(timescaledb_server)) as url:
        run_script(url, script("head", "postgresql"))
        with engine_of(url) as engine:
            fill(engine)
            before = [checksums(engine, tenant) for tenant in SLUGS]
            assert convert(engine) is not None
            assert [checksums(engine, tenant) for tenant in SLUGS] == before
            command.check(config_for(engine))


def test_the_command(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_DATABASE_URL", build())
    first, second = (CliRunner().invoke(app, ["convert"]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "+ create_hypertable hypertable timeseries.telemetry" in first.output
    assert "Converted to timescaledb-community" in first.output
    assert "Nothing to convert" in second.output
