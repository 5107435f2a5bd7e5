"""Values of old rows go into the columns of declared metrics, and back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from ddl.edition import COMMUNITY, detect
from tests.support import time_series
from tests.support.alembic_project import alembic, operations
from tests.support.databases import MakeDatabase, named_server, richest_or_each
from tests.support.declared_metrics import NAMES, SENT, declare, migrate
from tests.support.engines import engine_of
from tests.support.telemetry import ONE, populate, rows

NONE = "METRICS = ()\n"
ALL = "SELECT ts, t.all_metrics FROM timeseries.telemetry t ORDER BY device_id, ts"
IN_JSON = "SELECT count(*) FROM timeseries.telemetry WHERE metrics ? 'speed'"
HOURLY = "SELECT * FROM timeseries.telemetry_hourly ORDER BY device_id, metric, bucket"
INVALID = """
    SELECT count(*) FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log
"""


@pytest.fixture(params=richest_or_each("embedded", "timescaledb"))
def engine(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """Messages of ten days as they were sent before a metric was declared."""
    with engine_of(make_database(named_server(request), like=time_series.migrate)) as engine:
        populate(engine)
        with engine.begin() as connection:
            for number, (kind, metrics) in enumerate(SENT):
                connection.execute(
                    sa.text(
                        "INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, msg_type,"
                        " metrics) SELECT :tenant, now() - (n * 2 || ' days')::interval, :device,"
                        " :kind, CAST(:metrics AS jsonb) FROM generate_series(1, 5) n"
                    ),
                    {
                        "tenant": ONE,
                        "device": f"d{number}",
                        "kind": kind,
                        "metrics": json.dumps(metrics),
                    },
                )
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if detect(connection) == COMMUNITY:
                run = connection.exec_driver_sql
                run("CALL refresh_continuous_aggregate('timeseries.telemetry_hourly', NULL, NULL)")
                run("CALL refresh_continuous_aggregate('timeseries.telemetry_daily', NULL, NULL)")
                run(
                    "SELECT compress_chunk(c) FROM show_chunks('timeseries.telemetry',"
                    " older_than => interval '3 days') c"
                )
        yield engine


def run(engine: Engine, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    url = engine.url.render_as_string(hide_password=False)
    return operations("metrics", *arguments, url=url, cwd=project)


def compressed(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        if detect(connection) != COMMUNITY:
            return []
    return rows(
        engine,
        "SELECT chunk_name, is_compressed FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'telemetry' ORDER BY 1",
    )


@pytest.mark.slow
def test_old_rows_are_filled_and_emptied(engine: Engine, tmp_path: Path) -> None:
    project, url = tmp_path / "project", engine.url.render_as_string(hide_password=False)
    declare(project, url)
    migrate(project, url, "upgrade", "head")
    before, chunks = rows(engine, ALL), compressed(engine)
    invalid = rows(engine, INVALID) if chunks else []

    done = run(engine, project, "fill")
    assert done.returncode == 0, done.stderr
    assert "30 rows have values in columns" in done.stdout, "six of the messages, five times"
    assert rows(engine, ALL) == before
    assert compressed(engine) == chunks
    assert not chunks or rows(engine, INVALID) == invalid, "a refresh would compute them again"
    assert "0 rows" in run(engine, project, "fill").stdout, "again"

    refused = run(engine, project, "empty", "speed")
    assert "the models still have the column speed" in refused.stderr
    (project / "models" / "telemetry" / "metrics.py").write_text(NONE)
    assert "has no column spead" in run(engine, project, "empty", "spead").stderr
    assert "declares no metric" in run(engine, project, "fill").stderr
    emptied = run(engine, project, "empty", *NAMES)
    assert emptied.returncode == 0, emptied.stderr
    assert rows(engine, ALL) == before
    assert compressed(engine) == chunks
    revision = declare(project, url, NONE)
    assert "# accept" not in revision, "nothing is lost"
    migrate(project, url, "upgrade", "head")
    migrate(project, url, "check")
    assert rows(engine, ALL.replace("all_metrics", "metrics")) == before
    assert compressed(engine) == chunks


@pytest.mark.slow
@pytest.mark.parametrize("way", ["downgrade", "upgrade"])
def test_a_dropped_column_leaves_its_values(engine: Engine, tmp_path: Path, way: str) -> None:
    project, url = tmp_path / "project", engine.url.render_as_string(hide_password=False)
    stored = ALL.replace("all_metrics", "metrics")
    before, hourly, chunks = rows(engine, stored), rows(engine, HOURLY), compressed(engine)
    invalid = rows(engine, INVALID) if chunks else []
    declare(project, url)
    migrate(project, url, "upgrade", "head")
    assert "30 rows" in run(engine, project, "fill").stdout
    assert rows(engine, stored) != before
    if way == "downgrade":
        done = alembic("downgrade", "-1", url=url, cwd=project)
        assert done.returncode == 0, done.stderr
        assert "destructive" not in done.stdout + done.stderr
    else:
        revision = declare(project, url, NONE)
        assert revision.count("op.move_into_json(") == 1
        assert "# accept" not in revision
        migrate(project, url, "upgrade", "head")
        migrate(project, url, "check")
    assert rows(engine, stored) == before
    assert rows(engine, HOURLY) == hourly
    assert compressed(engine) == chunks
    assert not chunks or rows(engine, INVALID) == invalid, "a refresh would compute them again"
