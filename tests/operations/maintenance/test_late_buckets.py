"""Late data where raw data may be incomplete: what it made is no history until its rows go."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from operations.maintenance import samples
from operations.maintenance.run import maintain
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.late_data import TAGS, add_tags, buckets, differences, run_refresh_jobs
from tests.support.servers import DatabaseServer
from tests.support.time_series import (
    ACME,
    GLOBEX,
    SLUGS,
    alone,
    execute,
    scalar,
    set_policy,
    with_tenants,
)

pytestmark = pytest.mark.timescaledb
HOURLY = "tag_values_hourly"
COUNT = f"SELECT count(*) FROM timeseries.{HOURLY} WHERE tenant_id = '{ACME}' AND count = "


@pytest.fixture
def engine(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """Community: three tenants, no rows."""
    with engine_of(make_database(timescaledb_server, like=with_tenants)) as engine:
        yield engine


def add(engine: Engine, minute: int, *, tag: int = 1, tenant: object = ACME) -> None:
    """A sample of six in the morning, 20 days ago."""
    execute(
        engine,
        f"INSERT INTO {TAGS} (tenant_id, ts, tag_id, connection_id, v_num)"
        f" SELECT '{tenant}', date_trunc('day', now()) - interval '20 days'"
        f"        + interval '6 hours {minute} minutes', {tag}, '{tenant}', {minute}",
    )


def refreshed(engine: Engine) -> None:
    run_refresh_jobs(engine)
    assert maintain(engine).problems == []


def test_late_rows_are_all_there_after_a_policy_was_lifted(engine: Engine) -> None:
    """However many batches they come in, beside history that stays."""
    add(engine, 1, tag=9)
    set_policy(engine, ACME, "tag_values", 7)
    refreshed(engine)
    assert scalar(engine, f"SELECT count(*) FROM {TAGS}") == 0
    execute(engine, "SET LOCAL ROLE fleet_operator", "DELETE FROM data_retention_policies")
    for minute in (1, 2, 3):
        add(engine, minute)
        refreshed(engine)
        assert scalar(engine, f"{COUNT}{minute}") == (2 if minute == 1 else 1)
    add(engine, 4, tag=9)
    refreshed(engine)
    assert scalar(engine, f"{COUNT}1 AND tag_id = 9") == 1
    moment = datetime.datetime.now(datetime.UTC)
    chosen = samples.Samples(
        SLUGS[ACME], "tag_values", "1", moment - datetime.timedelta(days=25), moment
    )
    assert samples.lasting(engine, chosen) == {}
    assert samples.delete(engine, chosen, reason="test", on_refreshed=lambda _: None) == 3
    assert scalar(engine, f"SELECT count(*) FROM timeseries.{HOURLY} WHERE tag_id = 1") == 0
    # With their raw rows deleted by age, late buckets are history like others.
    add(engine, 5)
    refreshed(engine)
    set_policy(engine, ACME, "tag_values", 7)
    refreshed(engine)
    before = buckets(engine, HOURLY)
    assert len(before) == 2
    execute(engine, "SET LOCAL ROLE fleet_operator", "DELETE FROM data_retention_policies")
    add(engine, 6)
    refreshed(engine)
    assert buckets(engine, HOURLY) == before


def test_a_gap_leaves_what_is_older_alone(engine: Engine) -> None:
    for tenant in (ACME, GLOBEX):
        add_tags(engine, tenant, "24 days")
    refreshed(engine)
    dropped = "older_than => interval '10 days', newer_than => interval '13 days'"
    assert alone(engine, f"SELECT drop_chunks('{TAGS}', {dropped})")
    before = buckets(engine, HOURLY)
    assert maintain(engine).problems == []
    # A bucket of history, and one that raw data covers.
    missing = "date_trunc('day', now()) - interval '11 days' + interval '7 minutes'"
    columns = "(tenant_id, ts, tag_id, connection_id, v_num)"
    execute(engine, f"INSERT INTO {TAGS} {columns} SELECT '{ACME}', {missing}, 1, '{ACME}', 1")
    add(engine, 7)
    refreshed(engine)
    now = buckets(engine, HOURLY)
    assert len(set(now) - set(before)) == 1
    assert len(now) == len(before)
    add(engine, 8, tag=3)
    refreshed(engine)
    add(engine, 9, tag=3)
    refreshed(engine)
    assert scalar(engine, f"{COUNT}2 AND tag_id = 3") == 1
    older = "bucket NOT BETWEEN now() - interval '14 days' AND now() - interval '9 days'"
    assert differences(engine, HOURLY, older) == []
