"""Rows that name a hypertable or rollup follow when that is renamed, on every edition."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Engine, Integer, MetaData, Table, Text
from sqlalchemy.exc import ArgumentError

from ddl import Answers, Grant, NamesRelations, Policy, RowLevelSecurity, schema_grant
from tests.ddl.case import Case
from tests.ddl.test_renames_time_series import measured, rows
from tests.support.generated_revisions import Declare, apply, metadata_of, migration, rendered, run

HELD = "SELECT string_agg(relation || ' ' || days, ', ' ORDER BY days) FROM policies"


def with_policies(table: str = "telemetry", rollup: str = "hourly") -> Declare:
    """Rows that only r_op may change, and whose names a CHECK lists."""

    def declare(metadata: MetaData) -> None:
        measured(table, rollup=rollup)(metadata)
        Table(
            "policies",
            metadata,
            Column("relation", Text, primary_key=True),
            Column("days", Integer, primary_key=True),
            CheckConstraint(f"relation IN ('{table}', '{rollup}', 'x')", name="relation"),
            NamesRelations("relation", schema="timeseries", role="r_op"),
            RowLevelSecurity(force=True),
            Policy("all", to="r_op", using="true", check="true"),
            Grant("select, insert, update", to="r_op"),
        )
        schema_grant("usage", on="public", to="r_op", metadata=metadata)

    return declare


CHANGES = {
    "hypertable": (
        with_policies("measurements"),
        ("timeseries.telemetry:timeseries.measurements",),
        "hourly 1, measurements 2, x 3",
    ),
    "rollup": (with_policies(rollup="by_hour"), (), "by_hour 1, telemetry 2, x 3"),
    "both": (
        with_policies("measurements", "by_hour"),
        ("timeseries.telemetry:timeseries.measurements", "timeseries.hourly:timeseries.by_hour"),
        "by_hour 1, measurements 2, x 3",
    ),
}
INSERT = "INSERT INTO policies VALUES ('hourly', 1), ('telemetry', 2), ('x', 3)"


@pytest.mark.parametrize("change", CHANGES)
def test_rows_follow(change: str, every_edition: Engine) -> None:
    after, renames, expected = CHANGES[change]

    def held() -> object:
        with every_edition.connect() as connection:
            return connection.scalar(sa.text(HELD))

    with every_edition.begin() as connection:
        apply(connection, metadata_of(with_policies()))
        for statement in [*rows(every_edition), INSERT]:
            connection.execute(sa.text(statement))
    with every_edition.connect() as connection:
        script = migration(connection, metadata_of(after), Answers(renames))
    up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    run(every_edition, up)
    assert held() == expected
    run(every_edition, down)
    assert held() == "hourly 1, telemetry 2, x 3"


def test_revision(every_edition: Engine) -> None:
    change, renames, _ = CHANGES["hypertable"]
    rename = 'op.rename_in_rows("policies", "relation", {{"{}": "{}"}}, role="r_op")'
    case = Case(with_policies(), change, rows=[INSERT], renames=renames)
    with every_edition.begin() as connection:
        apply(connection, metadata_of(case.before))
        script = migration(connection, metadata_of(change), Answers(renames))
        assert rename.format("telemetry", "measurements") in rendered(script.upgrade_ops)
        assert rename.format("measurements", "telemetry") in rendered(script.downgrade_ops)
        connection.rollback()
    case.walk(every_edition)


@pytest.mark.timescaledb
def test_names_that_go_round(community: Engine) -> None:
    with community.begin() as connection:
        apply(connection, metadata_of(with_policies()))
        connection.execute(sa.text(INSERT))
    names = '{"hourly": "telemetry", "telemetry": "hourly"}'
    run(community, f'op.rename_in_rows("policies", "relation", {names}, role="r_op")')
    with community.connect() as connection:
        assert connection.scalar(sa.text(HELD)) == "telemetry 1, hourly 2, x 3"


def test_column_that_is_not_there() -> None:
    with pytest.raises(ArgumentError, match=r"table t: NamesRelations\('b'\).*write one of a"):
        Table("t", MetaData(), Column("a", Text), NamesRelations("b", schema="public"))
