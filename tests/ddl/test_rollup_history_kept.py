"""A rollup that is made anew keeps its history whatever is set on it and whoever owns it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, MetaData, NullPool
from sqlalchemy.exc import DBAPIError

from ddl import Columnstore, RefreshPolicy, View
from tests.support.databases import MakeDatabase
from tests.support.generated_revisions import (
    Declare,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
    run_in,
)
from tests.support.rollups import BOTH, DAYS, MEAN, MEANS, daily, fill, hourly, query
from tests.support.servers import DatabaseServer
from tests.support.time_series import alone, execute, owned, scalar

pytestmark = pytest.mark.timescaledb

PEAKS = "SELECT count(*), count(peak), min(bucket) = '2026-01-01Z' FROM hourly"
KEPT = [(2 * (89 * 24 + 1), 2 * (20 * 24 + 1), True)]


def view(metadata: MetaData) -> None:
    View("means", "SELECT device, mean FROM hourly", grants={"r_read": "select"}, metadata=metadata)


def with_everything(values: str) -> Declare:
    """Policies, a columnstore, a grant, a comment, and a view over the rollup."""
    return hourly(
        values,
        over=view,
        refresh=RefreshPolicy("5 days", "1 hour", "1 hour"),
        columnstore=Columnstore("device", "bucket DESC", "30 days"),
        retention="20 years",
        grants={"r_read": "select"},
        comment="Means of an hour.",
    )


def revision(engine: Engine, after: Declare) -> tuple[str, str]:
    with engine.connect() as connection:
        script = migration(connection, metadata_of(after))
    return rendered(script.upgrade_ops), rendered(script.downgrade_ops)


def test_everything_that_is_set_on_it_comes_back(community: Engine) -> None:
    before, after = with_everything(MEAN), with_everything(BOTH)
    fill(community, before)
    means = query(community, MEANS)
    chunks = "SELECT compress_chunk(c) FROM show_chunks('hourly') c"
    assert len(alone(community, chunks)) > 5
    up, down = revision(community, after)
    run(community, up)
    assert_clean(community, metadata_of(after))
    assert query(community, PEAKS) == KEPT
    alone(community, chunks)
    assert query(community, PEAKS) == KEPT
    run(community, down)
    assert_clean(community, metadata_of(before))
    assert query(community, MEANS) == means
    inside = "FROM pg_class WHERE relname ~ '^(_hyper|compress_hyper)' AND relkind = 'r'"
    alone(community, "DROP VIEW means", "DROP MATERIALIZED VIEW hourly", "DROP TABLE readings")
    assert not scalar(community, f"SELECT count(*) {inside}"), "a chunk was left behind"


def test_later_refreshes_find_the_rollup_as_any_other(community: Engine) -> None:
    fill(community, hourly())
    run(community, revision(community, hourly(BOTH))[0])
    execute(community, "INSERT INTO readings VALUES ('a', '2026-03-20 10:10Z', 1e9)")
    alone(community, "CALL refresh_continuous_aggregate('hourly', '2026-03-11Z', NULL)")
    assert query(community, PEAKS) == KEPT
    assert scalar(community, "SELECT max(peak) FROM hourly") == 1e9
    computed = "SELECT device, time_bucket('1 hour', ts), avg(value), max(value) FROM readings GROUP BY 1, 2"
    stored = "SELECT device, bucket, mean, peak FROM hourly WHERE bucket >= '2026-03-11Z'"
    assert not query(community, f"({stored} EXCEPT {computed})")
    assert not query(community, f"({computed} EXCEPT {stored})")


def test_nothing_is_lost_before_the_commit(community: Engine) -> None:
    """The runner may be killed anywhere: what follows the commit is nothing."""
    fill(community, hourly(over=daily()))
    before = query(community, MEANS), query(community, DAYS)
    up, _ = revision(community, hourly(BOTH, over=daily()))
    with community.connect() as connection:
        connection.execute(sa.text("SET search_path = public"))
        run_in(connection, up)
        process = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        alone(community, f"SELECT pg_terminate_backend({process}, 10000)")
        with pytest.raises(DBAPIError):
            connection.scalar(sa.text("SELECT 1"))
    assert (query(community, MEANS), query(community, DAYS)) == before
    run(community, up)
    assert (query(community, MEANS), query(community, DAYS)) == before


@pytest.fixture
def plain(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """An empty database for its owner, who is no superuser."""
    with owned(make_database(timescaledb_server)) as url:
        engine = sa.create_engine(
            url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool
        )
        execute(engine, "CREATE EXTENSION timescaledb")
        yield engine


def test_the_owner_need_not_be_a_superuser(plain: Engine) -> None:
    fill(plain, hourly(over=daily()))
    before = query(plain, DAYS)
    up, down = revision(plain, hourly(BOTH, over=daily()))
    run(plain, up)
    assert query(plain, PEAKS) == KEPT
    run(plain, down)
    assert query(plain, DAYS) == before
