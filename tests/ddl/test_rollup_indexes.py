"""Indexes of rollups are declared, compared by what they are over, and changed in place."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import TIMESTAMP, Column, Engine, MetaData, Table, Text
from sqlalchemy.exc import ArgumentError

from ddl import Hypertable, Rollup, found_by
from ddl.differences import lines
from ddl.edition import COMMUNITY, detect
from ddl.rollup_indexes import by_timescaledb
from ddl.rollups import RollupState
from tests.ddl.case import Case
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.declared_time_series import fleet
from tests.support.generated_revisions import Declare, apply, metadata_of, migration, rendered, run
from tests.support.time_series import execute

_ROLLUP = "rollup timeseries.telemetry_hourly indexes: expected tenant_id,device_id,bucket DESC, "
_BY_HAND = "index timeseries.telemetry_hourly USING btree "
_MEND = " found, not declared; run: DROP INDEX"

DRIFT = {
    "DROP INDEX {declared}": [f"{_ROLLUP}found nothing"],
    "CREATE INDEX ON timeseries.telemetry_hourly (device_id, bucket)": [
        f"{_ROLLUP}found device_id,bucket, tenant_id,device_id,bucket DESC"
    ],
    "DROP INDEX {declared};"
    "CREATE INDEX ON timeseries.telemetry_hourly (tenant_id, device_id, bucket)": [
        f"{_ROLLUP}found tenant_id,device_id,bucket"
    ],
    # As it is left where one with transaction_per_chunk is interrupted.
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{declared}'::regclass": [
        f"{_BY_HAND}(tenant_id, device_id, bucket DESC){_MEND}",
        f"{_ROLLUP}found nothing",
    ],
    "CREATE INDEX ON timeseries.telemetry_hourly (tenant_id, device_id, bucket DESC)": [
        f"{_BY_HAND}(tenant_id, device_id, bucket DESC) 2{_MEND}"
    ],
    "CREATE INDEX ON timeseries.telemetry_hourly (device_id text_pattern_ops)": [
        f"{_BY_HAND}(device_id text_pattern_ops){_MEND}"
    ],
}


@pytest.mark.timescaledb
def test_what_another_hand_did_is_found_and_mended(community: Engine) -> None:
    models = metadata_of(fleet())
    with community.begin() as connection:
        apply(connection, models)
    start = catalog_states(community)
    for statements, expected in DRIFT.items():
        (declared,) = _indexes(community)
        execute(community, *statements.format(declared=declared).split(";"))
        told, mend = _told(community, models)
        assert sorted(re.sub(r"(DROP INDEX) .*", r"\1", one) for one in told) == expected
        run(community, mend)
        for line in _told(community, models)[0]:
            execute(community, line.partition("run: ")[2])
        assert unequal_states(catalog_states(community), start) == [], statements


def _told(engine: Engine, models: MetaData) -> tuple[list[str], str]:
    """What check prints, and what autogenerate would do."""
    with engine.connect() as connection:
        script = migration(connection, models)
    told = [" ".join(line.split()[1:]) for line in lines(found_by(script))]
    return told, rendered(script.upgrade_ops)


def _indexes(engine: Engine) -> list[str]:
    """The names of all indexes of rollups."""
    with engine.connect() as connection:
        found = connection.scalars(
            sa.text(
                "SELECT i.indexrelid::regclass::text FROM pg_index i"
                " JOIN timescaledb_information.continuous_aggregates a ON i.indrelid = format("
                "'%I.%I', a.materialization_hypertable_schema, a.materialization_hypertable_name)"
                "::regclass ORDER BY 1"
            )
        )
        return list(found)


def odd(*indexes: str, key: str = "interval", query: str = "max(value) AS value") -> Declare:
    """A rollup of columns with names that are words of SQL, or look like several."""

    def declare(metadata: MetaData) -> None:
        Table(
            "readings",
            metadata,
            Column(key, Text, primary_key=True),
            Column('The "d", :x' * 4, Text, primary_key=True),
            Column("ts", TIMESTAMP(timezone=True), primary_key=True),
            Column("value", Text),
            Hypertable("ts", chunk_interval="1 day"),
        )
        Rollup(
            "hourly",
            f"SELECT \"{key}\", {ODD}, time_bucket('1 hour', ts) AS bucket, {query}"
            " FROM readings GROUP BY 1, 2, 3",
            indexes=indexes or None,
            metadata=metadata,
        )

    return declare


ODD = '"' + 'The ""d"", :x' * 4 + '"'
CHANGED = odd(f'bucket  desc nulls first, {ODD} asc,"interval"', f"{ODD} DESC NULLS LAST")


def test_they_are_changed_in_place(every_edition: Engine) -> None:
    with every_edition.begin() as connection:
        apply(connection, metadata_of(odd()))
        script = migration(connection, metadata_of(CHANGED))
    assert "alter_rollup(" in rendered(script.upgrade_ops)
    assert "drop_" not in rendered(script.upgrade_ops) + rendered(script.downgrade_ops)
    assert not _told(every_edition, metadata_of(odd()))[0]
    with every_edition.begin() as connection:
        apply(connection, metadata_of(lambda _: None))
    Case(odd(), CHANGED).walk(every_edition)


def test_they_follow_a_renamed_column_and_a_changed_query(every_edition: Engine) -> None:
    renamed = odd(f'{ODD}, "Length", bucket', key="Length")
    before = odd(f'{ODD}, "interval", bucket')
    Case(before, renamed, renames=('readings.interval:readings."Length"',)).walk(every_edition)
    with every_edition.begin() as connection:
        apply(connection, metadata_of(odd(f"{ODD}, bucket", key="Length", query="min(value)")))


def test_a_revision_without_any_means_those_of_timescaledb(every_edition: Engine) -> None:
    """As the revisions of earlier releases do; an alteration without any leaves them alone."""
    query = "SELECT v, time_bucket('1 hour', ts) AS bucket, count(*) AS n FROM t GROUP BY 1, 2"
    with every_edition.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (v text, ts timestamptz NOT NULL, k int)"))
        operations = Operations(MigrationContext.configure(connection))
        operations.create_hypertable("t", time_column="ts", chunk_interval="1 day")
        operations.create_rollup("of_revision", query, materialized_only=False)
        operations.alter_rollup("of_revision", materialized_only=True)
        if detect(connection) == COMMUNITY:
            connection.execute(
                sa.text(
                    "CREATE MATERIALIZED VIEW by_itself WITH (timescaledb.continuous) AS"
                    f" {query.replace('SELECT', 'SELECT k,').replace('1, 2', '1, 2, 3')}"
                    " WITH NO DATA"
                )
            )
    found = catalog_states(every_edition)[RollupState.kind]
    assert found["public", "of_revision"].materialized_only is True
    assert found["public", "of_revision"].indexes == ("bucket DESC", "v,bucket DESC")
    if len(found) > 1:
        state = found["public", "by_itself"]
        assert state.indexes == by_timescaledb(state.definition)
        assert len(state.indexes) == 3


@pytest.mark.parametrize(
    ("indexes", "message"),
    [
        (["lower(value)"], "rollup hourly: indexes expected lists of columns, found 'lower"),
        ([""], "rollup hourly: indexes expected lists of columns, found ''"),
        (["bucket DESC", "bucket desc nulls first"], "expected each once, found 'bucket DESC'"),
    ],
)
def test_what_is_no_list_is_refused(indexes: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        metadata_of(odd(*indexes))


def test_a_column_that_the_rollup_lacks_is_refused(every_edition: Engine) -> None:
    with (
        every_edition.connect() as connection,
        pytest.raises(
            CommandError, match=r"rollup public\.hourly: indexes expected columns .* found ts in"
        ),
    ):
        migration(connection, metadata_of(odd("interval, ts")))
