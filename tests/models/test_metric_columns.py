"""Metrics with columns, declared in a copy of the project, on every edition."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from database.ingest.metrics import FITTING
from database.tenancy import tenant_transaction
from ddl import sql
from ddl.edition import COMMUNITY, detect
from tests.support import time_series
from tests.support.databases import MakeDatabase, named_server, richest_or_each
from tests.support.declared_metrics import NAMES, SENT, declare, migrate, run_python
from tests.support.engines import engine_of
from tests.support.questions import same
from tests.support.telemetry import ONE, TWO, populate, rows

INGEST = """
import datetime, uuid
from database.engine import make_engine
from database.ingest import Message, ingest
from tests_sent import SENT
now = datetime.datetime.now(datetime.UTC)
print(ingest(make_engine(), [
    Message(uuid.UUID(int=1), "d1", now - datetime.timedelta(minutes=n), metrics, kind)
    for n, (kind, metrics) in enumerate(SENT)
]))
"""
INSERT = sa.text("""
    INSERT INTO telemetry (tenant_id, ts, device_id, msg_type, metrics)
    VALUES (:tenant, now() - :n * interval '1 minute', 'd2', :kind, CAST(:metrics AS jsonb))
""")
ROLLUP = """
    SELECT device_id, metric, extract(epoch FROM bucket)::bigint AS bucket, avg, min, max, count
      FROM timeseries.telemetry_hourly ORDER BY 1, 2, 3
"""
EXPECTED = """
    SELECT device_id, m.key, extract(epoch FROM date_trunc('hour', ts))::bigint,
           avg(m.value::double precision),
           min(m.value::double precision), max(m.value::double precision), count(*)
      FROM (SELECT device_id, ts, t.all_metrics AS metrics FROM timeseries.telemetry t) t,
           jsonb_each(metrics) m
     WHERE CASE WHEN jsonb_typeof(m.value) = 'number'
                THEN m.value::numeric = 0 OR abs(m.value::numeric) BETWEEN 1e-100 AND 1e100 END
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""

_METRICS = f"'{{{','.join([*NAMES, 'x', 'y'])}}}'"
_RANGE = "now() - interval '20 minutes', now() + interval '1 minute'"
QUESTIONS = {
    f"""
    SELECT d, m, s.* FROM unnest({_METRICS}::text[]) m, unnest('{{d1,d2,d3}}'::text[]) d,
           metric_series(d, m, {_RANGE}, '1 minute') s WHERE count > 0 ORDER BY d, m, bucket
    """: """
    SELECT device_id, key, date_bin('1 minute', ts, '2000-01-03Z'), avg(v), min(v), max(v), count(*)
      FROM (SELECT t.device_id, m.key, t.ts, m.value::double precision AS v
              FROM telemetry t, jsonb_each(t.metrics) m
             WHERE CASE WHEN jsonb_typeof(m.value) = 'number' THEN m.value::numeric = 0
                        OR abs(m.value::numeric) BETWEEN 1e-100 AND 1e100 END
               AND device_id <> 'd0') t
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """,
    f"""
    SELECT device_id, metric, value::text, ts FROM newest_values({_METRICS}, '{{d0,d1,d2,d3}}')
    """: f"""
    SELECT DISTINCT ON (device_id, key) device_id, key, value::text, ts
      FROM telemetry, jsonb_each(metrics) WHERE key = ANY ({_METRICS}) AND ts <= now()
     ORDER BY 1, 2, ts DESC, seq DESC
    """,
    f"""
    SELECT d, m, state, lasted::text
      FROM unnest({_METRICS}::text[]) m, unnest('{{d1,d2}}'::text[]) d,
           time_in_state(d, m, now() - interval '15 minutes', now()) WHERE state IS NOT NULL
     ORDER BY d, m, state COLLATE "C"
    """: f"""
    SELECT device_id, key, value, sum(lasted)::text
      FROM (SELECT device_id, key, value,
                   least(lead(ts, 1, now()) OVER (PARTITION BY device_id, key ORDER BY ts), now())
                     - ts AS lasted
              FROM telemetry, jsonb_each_text(metrics)
             WHERE key = ANY ({_METRICS}) AND device_id IN ('d1', 'd2')) t
     WHERE value IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, value COLLATE "C"
    """,
}
"""Calls of functions that read columns, and what they answer from the metrics as JSON."""

_LISTED = ", ".join(
    ["tenant_id", "device_id", "msg_type", "seq", "metrics", *map(sql.ident, NAMES)]
)
AGE = f"""
    INSERT INTO timeseries.telemetry (ts, {_LISTED})
    SELECT ts - interval '30 days', {_LISTED} FROM timeseries.telemetry
"""
_OLD = "now() - interval '31 days', now() - interval '29 days'"
OLD = {
    f"""
    SELECT d, m, s.* FROM unnest({_METRICS}::text[]) m, unnest('{{d0,d1,d2,d3}}'::text[]) d,
           metric_series(d, m, {_OLD}, '7 minutes') s WHERE count > 0 ORDER BY d, m, bucket
    """: "date_bin('7 minutes', ts, '2000-01-03Z')",
    f"""
    SELECT d, m, s.* FROM unnest({_METRICS}::text[]) m, unnest('{{d0,d1,d2,d3}}'::text[]) d,
           metric_series(d, m, {_OLD}, '1 day', 'Asia/Kathmandu') s
     WHERE count > 0 ORDER BY d, m, bucket
    """: "date_trunc('day', ts, 'Asia/Kathmandu')",
    f"""
    SELECT device_id, m, 0, avg, min, max, count FROM unnest({_METRICS}::text[]) m,
           top_devices(m, {_OLD}) ORDER BY 1, 2
    """: "0",
}
"""The same of what is stored by column, where that is; and by which expression to group."""
OF_JSON = """
    SELECT device_id, key, {bucket}, avg(v), min(v), max(v), count(*)
      FROM (SELECT t.device_id, m.key, t.ts, m.value::double precision AS v
              FROM telemetry t, jsonb_each(t.metrics) m
             WHERE CASE WHEN jsonb_typeof(m.value) = 'number' THEN m.value::numeric = 0
                        OR abs(m.value::numeric) BETWEEN 1e-100 AND 1e100 END
               AND ts >= now() - interval '31 days' AND ts < now() - interval '29 days') t
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


@pytest.fixture(params=richest_or_each("embedded", "timescaledb"))
def engine(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """A database at the head with tenants, devices, and a compressed chunk where that is."""
    with engine_of(make_database(named_server(request), like=time_series.migrate)) as engine:
        populate(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"""
                INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, msg_type, metrics)
                SELECT '{ONE}', now() - n * interval '1 hour', 'd0', 'readings',
                       jsonb_build_object('speed', n, 'odometer', n + 0.5, 'x', 2)
                  FROM generate_series(1, 200) n
            """)
        refresh(engine)
        compress(engine)
        yield engine


def compress(engine: Engine) -> None:
    """Move all chunks into the columnstore, where there is one."""
    with engine.begin() as connection:
        if detect(connection) == COMMUNITY:
            connection.exec_driver_sql(
                "SELECT compress_chunk(c) FROM show_chunks('timeseries.telemetry') c"
            )


def refresh(engine: Engine) -> None:
    """Store the rollup up to now, where rollups are stored."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if detect(connection) == COMMUNITY:
            connection.exec_driver_sql(
                "CALL refresh_continuous_aggregate('timeseries.telemetry_hourly', NULL, NULL)"
            )


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def in_columns(engine: Engine, device: str) -> list[dict[str, Any]]:
    listed = ", ".join(f't."{name}"' for name in NAMES)
    found = rows(
        engine,
        f"SELECT {listed} FROM timeseries.telemetry t WHERE device_id = :device ORDER BY ts DESC",
        device=device,
    )
    return [dict(row._mapping) for row in found]


def shown(engine: Engine, device: str, tenant: uuid.UUID = ONE) -> list[Any]:
    query = "SELECT metrics FROM public.telemetry WHERE device_id = :device ORDER BY ts DESC"
    with tenant_transaction(engine, tenant) as connection:
        return list(connection.scalars(sa.text(query), {"device": device}))


@pytest.mark.slow
def test_a_declared_metric_all_the_way(engine: Engine, tmp_path: Path) -> None:
    project, url = tmp_path / "project", url_of(engine)
    before = rows(engine, ROLLUP)
    revision = declare(project, url)
    assert "rollup" not in revision, "a rollup would be made anew"
    assert 'replace_function(\n        "metric_series"' in revision, "it would read the JSON"
    migrate(project, url, "upgrade", "head")
    migrate(project, url, "check")
    assert rows(engine, ROLLUP) == before

    # Through the ingest: what fits is in the column alone, and everything is shown as it was sent.
    (project / "tests_sent.py").write_text(f"SENT = {SENT!r}")
    assert "stored=14, duplicates=0, quarantined=0" in run_python(project, url, INGEST)
    assert "stored=0, duplicates=14" in run_python(
        project, url, INGEST.replace("datetime.datetime.now(datetime.UTC)", last(engine))
    )
    columns = in_columns(engine, "d1")
    nothing = dict.fromkeys(NAMES)
    assert columns[0] == {name: value for name, value in SENT[0][1].items() if name != "x"} | {
        "load": None
    }
    assert columns[1] == nothing | {"speed": 7, "odometer": -1, "moving": False, "order": ""}
    assert columns[2:5] == [nothing] * 3
    assert columns[5:8] == [
        nothing | {"speed": 1e-300, "odometer": 4},
        nothing | {"speed": 0},
        nothing,
    ]
    assert columns[10] == nothing | {"load": 2**31 - 1, "odometer": 12}
    assert columns[13] == nothing
    assert rows(
        engine,
        "SELECT metrics FROM timeseries.telemetry WHERE device_id = 'd1' ORDER BY ts DESC LIMIT 1",
    )[0][0] == {"x": 1}
    assert shown(engine, "d1") == [metrics for _, metrics in SENT]
    assert shown(engine, "d1", TWO) == []

    # Through the tenant view: the same.
    with tenant_transaction(engine, ONE) as connection:
        for n, (kind, metrics) in enumerate(SENT):
            values = {"tenant": ONE, "n": n, "kind": kind, "metrics": json.dumps(metrics)}
            assert connection.execute(INSERT, values).rowcount == 1
            assert connection.execute(INSERT, values).rowcount == 0, "repeated"
    assert in_columns(engine, "d2") == columns
    assert shown(engine, "d2") == [metrics for _, metrics in SENT]
    with pytest.raises(DBAPIError, match="check option"), tenant_transaction(engine, TWO) as other:
        other.execute(INSERT, values)
    with tenant_transaction(engine, ONE) as connection:
        returned = connection.exec_driver_sql(
            "INSERT INTO telemetry (tenant_id, ts, device_id, speed, metrics) VALUES"
            f""" ('{ONE}', now(), 'd3', 2.5, '{{"speed": "x", "y": 1}}'),"""
            f""" ('{ONE}', now() - interval '1 s', 'd3', NULL, DEFAULT)"""
            " RETURNING metrics, msg_type, seq, ingested_at = now()"
        )
        assert [tuple(row) for row in returned] == [
            ({"speed": 2.5, "y": 1}, "telemetry", 0, True),
            ({}, "telemetry", 0, True),
        ], "what is stored"
    assert shown(engine, "d3") == [{"speed": 2.5, "y": 1}, {}]
    # NULL is refused as it is where no metric is declared.
    for column in ("metrics", "msg_type", "seq"):
        with (
            pytest.raises(IntegrityError, match=f'null value in column "{column}"'),
            tenant_transaction(engine, ONE) as connection,
        ):
            connection.exec_driver_sql(
                f"INSERT INTO telemetry (tenant_id, ts, device_id, {column})"
                f" VALUES ('{ONE}', now() - interval '2 s', 'd3', NULL)"
            )

    # In rollups each value counts once.
    refresh(engine)
    expected = rows(engine, EXPECTED)
    assert {row[1] for row in expected} == {*NAMES, "x", "y"}
    assert rows(engine, ROLLUP) == [pytest.approx(tuple(row)) for row in expected]
    with tenant_transaction(engine, ONE) as connection:
        for question, of_json in QUESTIONS.items():
            answers = [connection.execute(sa.text(one)).all() for one in (question, of_json)]
            assert len(answers[0]) > 10
            same(*answers)
    with engine.begin() as connection:
        connection.exec_driver_sql(AGE)
    refresh(engine)
    compress(engine)
    with tenant_transaction(engine, ONE) as connection:
        for question, bucket in OLD.items():
            of_json = OF_JSON.format(bucket=bucket)
            answers = [connection.execute(sa.text(one)).all() for one in (question, of_json)]
            assert len(answers[0]) > 10
            same(*answers)
    migrate(project, url, "downgrade", "-1")
    migrate(project, url, "upgrade", "head")
    migrate(project, url, "check")


def last(engine: Engine) -> str:
    """The newest moment of the messages, as an expression of Python."""
    (found,) = rows(engine, "SELECT max(ts) FROM timeseries.telemetry WHERE device_id = 'd1'")[0]
    return f"datetime.datetime.fromisoformat({found.isoformat()!r}).astimezone(datetime.UTC)"


def test_a_large_float_is_the_number_that_json_has() -> None:
    """Beyond 2^53 a double has more digits than its text: the column had others than the state."""
    assert FITTING["bigint"](2.0**60) == json.loads(repr(2.0**60), parse_float=Decimal)
    assert FITTING["bigint"](2.0**64) is None
