"""The command `operations samples delete`."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from database.ingest import ingest
from operations.cli import app
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.late_data import buckets, differences, rolled_up_tags
from tests.support.servers import DatabaseServer
from tests.support.telemetry import NOW, message, populate
from tests.support.time_series import (
    ACME,
    GLOBEX,
    alone,
    execute,
    make_tenants,
    migrate,
    scalar,
    stop_jobs,
)


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["samples", "delete", *arguments, "--reason", "was wrong"])
    return result.exit_code, " ".join(str(result.exception or result.output).split())


def day(ago: int) -> str:
    return f"{NOW - datetime.timedelta(days=ago):%Y-%m-%d}"


def slug(engine: Engine) -> str:
    return str(scalar(engine, f"SELECT slug FROM tenants WHERE tenant_id = '{ACME}'"))


@pytest.mark.timescaledb
@pytest.mark.parametrize("compressed", [False, True])
def test_samples_and_their_part_in_rollups_go(
    timescaledb_server: DatabaseServer,
    make_database: MakeDatabase,
    monkeypatch: pytest.MonkeyPatch,
    compressed: bool,
) -> None:
    url = make_database(timescaledb_server, like=migrate)
    monkeypatch.setenv("MIGRATION_DATABASE_URL", url)
    with engine_of(url) as engine:
        stop_jobs(engine)
        make_tenants(engine)
        rolled_up_tags(engine, (ACME, GLOBEX), compressed=compressed)
        others = f"NOT (tenant_id = '{ACME}' AND tag_id = 1)"
        kept = buckets(engine, "tag_values_hourly", others)
        arguments = (slug(engine), "tag_values", "1", "--from", day(9), "--to", f"{day(7)}T06:10")
        # Two days and the samples of 0:00 to 6:00.
        code, output = invoke(*arguments, "--dry-run")
        assert (code, output[:13]) == (0, "109 samples: ")
        assert invoke(*arguments)[0] == 1
        assert buckets(engine, "tag_values_hourly", others) == kept
        code, output = invoke(*arguments, "--yes", "--actor", "ann")
        assert code == 0, output
        assert "Refreshed timeseries.tag_values_hourly" in output
        assert output.endswith("Deleted 109 samples")
        assert differences(engine, "tag_values_hourly", "bucket < now() - interval '1 day'") == []
        assert buckets(engine, "tag_values_hourly", others) == kept
        gone = f"NOT ({others}) AND bucket >= '{day(9)}' AND bucket < '{day(7)}'"
        assert buckets(engine, "tag_values_hourly", gone) == []
        audit = alone(
            engine,
            "SELECT user_id, reason, tenant_filter FROM operator_audit_log"
            " WHERE action = 'samples.delete'",
        )
        assert [tuple(row) for row in audit] == [("ann", "was wrong", ACME)]
        assert invoke(*arguments, "--yes")[1].startswith("0 samples")


@pytest.mark.timescaledb
def test_buckets_whose_samples_are_gone_are_said_to_stay(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database(timescaledb_server, like=migrate)
    monkeypatch.setenv("MIGRATION_DATABASE_URL", url)
    with engine_of(url) as engine:
        stop_jobs(engine)
        make_tenants(engine)
        rolled_up_tags(engine, (ACME, GLOBEX), compressed=False)
        execute(engine, f"SELECT drop_chunks('timeseries.tag_values', '{day(6)}'::timestamptz)")
        before = buckets(engine, "tag_values_hourly")
        arguments = (slug(engine), "tag_values", "1", "--from", day(9), "--to", f"{day(8)}T06:00")
        code, output = invoke(*arguments, "--yes")
        said = "timeseries.tag_values_hourly: 30 buckets of this range will stay"
        assert (code, output[: len(said)]) == (0, said)
        assert " 0 samples: " in output
        assert scalar(engine, "SELECT count(*) FROM raw_data_horizons") == 0
        assert "will stay" not in invoke(*arguments[:2], "7", *arguments[3:], "--yes")[1]
        assert "will stay" not in invoke(*arguments[:4], day(3), "--to", day(2), "--dry-run")[1]
        assert buckets(engine, "tag_values_hourly") == before


def test_mistakes_and_a_device_without_rollups(
    migrated_database: str, commands_on: Callable[[str], None]
) -> None:
    commands_on(migrated_database)
    with engine_of(migrated_database) as engine:
        populate(engine)
        ingest(engine, [message(1), message(2), message(11, seq=1)])
        times = ("--from", day(1), "--to", day(-1), "--yes")
        assert invoke("tenant-0", "telemetry", "d1", *times)[1].endswith("Deleted 2 samples")
        left = alone(engine, "SELECT device_id FROM timeseries.telemetry")
        assert [row[0] for row in left] == ["d2"]
        assert "expected one of device_" in invoke("tenant-0", "x", "d1", *times)[1]
        assert "no tenant has the slug" in invoke("nobody", "telemetry", "d1", *times)[1]
        assert "invalid input syntax" in invoke("tenant-0", "tag_values", "d1", *times)[1]
        begins = NOW.astimezone(datetime.timezone(datetime.timedelta(hours=-7)))
        zone = ("--from", begins.isoformat(), "--to", "2100-01-01T01:30+02:00")
        said = f"from {NOW:%Y-%m-%d %H:%M:%S} to 2099-12-31 23:30:00 UTC"
        assert (
            invoke("tenant-0", "telemetry", "d1", *zone)[1] == f"0 samples: telemetry of d1 {said}"
        )
        late = ("--from", day(0), "--to", day(1))
        assert invoke("tenant-0", "telemetry", "d1", *late)[0] == 2
