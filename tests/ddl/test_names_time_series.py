"""Hypertables, columnstores, rollups and tenant views with names that need quotes."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import TIMESTAMP, Column, Engine, MetaData, PrimaryKeyConstraint, Table, Text, Uuid

from ddl import (
    Columnstore,
    Function,
    Hypertable,
    RefreshPolicy,
    RetentionPolicy,
    Rollup,
    found_by,
    schema_grant,
)
from ddl.sql import ident
from models.shared.access import hypertable_access, tenant_view
from models.shared.base import TIMESERIES, TenantTimeSeries, not_empty
from models.shared.ingest_views import INGEST, declare_functions
from models.shared.roles import ROLE_NAMES
from tests.ddl.case import SETTINGS, Case, nothing
from tests.support.generated_revisions import assert_clean, metadata_of, migration, rendered, run

NAMES = ("user", "Mixed Case", 'q"u.o:t%e', "é" * 10)


def common(metadata: MetaData) -> None:
    """What all series have in common, their schemas among it."""
    declare_functions(metadata)
    for schema in (TIMESERIES, INGEST):
        schema_grant("usage", on=schema, to="fleet_ingest", metadata=metadata)
    Function(
        "current_tenant",
        returns="uuid",
        body="RETURN nullif(current_setting('app.tenant_id', true), '')::uuid",
        volatility="stable",
        grants=dict.fromkeys(ROLE_NAMES, "execute"),
        metadata=metadata,
    )
    Function(
        "limited_tenants",
        returns="uuid[]",
        body="RETURN CAST('{}' AS uuid[])",
        volatility="stable",
        grants=dict.fromkeys(ROLE_NAMES, "execute"),
        metadata=metadata,
    )
    Function(
        "count_ingested",
        returns="trigger",
        language="plpgsql",
        settings=SETTINGS,
        body="begin return null; end",
        metadata=metadata,
    )
    Function(
        "conditions_in_order",
        returns="TABLE(tenant_id uuid)",
        body="BEGIN ATOMIC SELECT CAST(NULL AS uuid) AS tenant_id WHERE false; END",
        volatility="stable",
        metadata=metadata,
    )


def series(metadata: MetaData, name: str, column: str) -> None:
    common(metadata)
    quoted = '"' + column.replace('"', '""') + '"'
    table = Table(
        name,
        metadata,
        Column("tenant_id", Uuid),
        Column("ts", TIMESTAMP(timezone=True)),
        Column(column, Text),
        Column("session_user", Text),
        PrimaryKeyConstraint("tenant_id", column, "ts"),
        Hypertable("ts", chunk_interval="1 day"),
        Columnstore(
            segmentby=f"tenant_id, {quoted}", orderby="ts DESC, session_user", after="7 days"
        ),
        RetentionPolicy("90 days"),
        not_empty("session_user"),
        schema=TIMESERIES,
        comment="Measurements.",
    )
    for item in hypertable_access(TenantTimeSeries, table):
        item._set_parent_with_dispatch(table)
    rollup = f"{name} h"
    source = '"' + name.replace('"', '""') + '"'
    Rollup(
        rollup,
        f"""
        SELECT tenant_id, {quoted}, time_bucket('1 hour', ts) AS "window", count(*) AS "order"
          FROM {TIMESERIES}.{source}
         GROUP BY 1, 2, 3
        """,
        schema=TIMESERIES,
        refresh=RefreshPolicy("3 days", "1 hour", "30 minutes"),
        columnstore=Columnstore(f"tenant_id, {quoted}", "window DESC", "30 days"),
        retention="1 year",
        metadata=metadata,
    )
    columns = ("tenant_id", column, "window", "order")
    tenant_view(
        rollup, columns, privileges="select", comment="By hour.", rollup=True, metadata=metadata
    )


@pytest.mark.timescaledb
@pytest.mark.parametrize("name", NAMES)
def test_hypertable(every_edition: Engine, name: str) -> None:
    engine = every_edition
    with engine.begin() as connection:
        for role in ROLE_NAMES:
            connection.execute(
                sa.text(
                    f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL;"
                    " END $$"
                )
            )

    def declare(metadata: MetaData) -> None:
        series(metadata, name, name)

    Case(common, declare).walk(engine)
    if name == "user":
        tenant = "'00000000-0000-0000-0000-000000000001'"
        with engine.begin() as connection:
            connection.execute(
                sa.text(f"INSERT INTO timeseries.\"user\" VALUES ({tenant}, now(), 'ann', 'bob')")
            )
            connection.execute(sa.text(f"SET LOCAL app.tenant_id = {tenant}"))
            seen = connection.execute(sa.text('SELECT * FROM "user"')).one()
            assert seen[2:] == ("ann", "bob"), "the name of the role instead of the column"
    with engine.connect() as connection:
        script = migration(connection, metadata_of(common))
    run(engine, rendered(script.upgrade_ops))
    assert_clean(engine, metadata_of(common))


SCHEMAS = ("Mine", "my x", 'a"b', "a.b", "cash$", "user")


def in_schemas(metadata: MetaData) -> None:
    """A hypertable and a rollup over it with policies, in schemas that need quotes."""
    for schema in SCHEMAS:
        Table(
            "Select",
            metadata,
            Column("Zone", Text, nullable=False),
            Column("ts", TIMESTAMP(timezone=True), nullable=False),
            PrimaryKeyConstraint("Zone", "ts"),
            Hypertable("ts", chunk_interval="1 day"),
            Columnstore(segmentby='"Zone"', orderby="ts DESC", after="7 days"),
            RetentionPolicy("90 days"),
            schema=schema,
        )
        Rollup(
            "by hour",
            f"""SELECT "Zone", time_bucket('1 hour', ts) AS hour, count(*) AS n
                FROM {ident(schema)}."Select" GROUP BY 1, 2""",
            schema=schema,
            refresh=RefreshPolicy("3 days", "1 hour", "30 minutes"),
            columnstore=Columnstore('"Zone"', "hour DESC", "30 days"),
            retention="1 year",
            metadata=metadata,
        )


@pytest.mark.timescaledb
def test_schemas(community: Engine) -> None:
    """Of each policy both sides are found, and what a person changed is named with what mends it."""
    Case(nothing, in_schemas).walk(community)
    models = metadata_of(in_schemas)
    with community.begin() as connection:
        connection.execute(
            sa.text(
                "SELECT alter_job(job_id, max_retries => 7)"
                " FROM timescaledb_information.jobs WHERE hypertable_schema = 'a\"b'"
            )
        )
        found = found_by(migration(connection, models))
        assert {(one.kind, one.name, one.expected) for one in found} == {
            ("retention policy", '"a""b"."Select"', "-1"),
            ("columnstore", '"a""b"."Select"', "-1"),
            ("retention policy", '"a""b"."by hour"', "-1"),
            ("columnstore", '"a""b"."by hour"', "-1"),
            ("refresh policy", '"a""b"."by hour"', "-1"),
        }
        for one in found:
            connection.exec_driver_sql(one.mend)
        assert found_by(migration(connection, models)) == []
