"""A rollup that keeps its history: the triggers are declared, compared and reverted."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa
from sqlalchemy import TIMESTAMP, Column, Double, Engine, MetaData, Table, Uuid

from ddl import Function, Hypertable, KeptHistory, Rollup, found_by
from ddl.edition import COMMUNITY, detect
from ddl.effects import effects
from ddl.kinds.kept_history import DELETED, INSERTED, NOTED
from tests.support.catalog_states import catalog_states
from tests.support.databases import servers
from tests.support.generated_revisions import apply, metadata_of, migration, rendered, run
from tests.support.time_series import alone, execute

HISTORY = KeptHistory(
    "keep_rows", "is_covered", "readings", "30 days", "1 hour", ("t", 'The "d" :x'), tenant="t"
)


def readings(
    history: KeptHistory | None = HISTORY, name: str = "hourly", width: str = "1 hour"
) -> MetaData:
    def declare(metadata: MetaData) -> None:
        Table(
            "readings",
            metadata,
            Column("t", Uuid, primary_key=True),
            Column('The "d" :x', Double, primary_key=True),
            Column("ts", TIMESTAMP(timezone=True), primary_key=True),
            Hypertable("ts", chunk_interval="1 day"),
        )
        Function(
            "is_covered",
            "source text, retention interval, tenant uuid, bucket timestamptz",
            returns="boolean",
            body="RETURN bucket > '2026-02-01Z'",
            comment="x",
            metadata=metadata,
        )
        Function(
            "keep_rows",
            returns="trigger",
            language="plpgsql",
            body="begin if tg_op = 'INSERT' then return new; end if; return null; end",
            settings={"search_path": "pg_catalog"},
            comment="x",
            metadata=metadata,
        )
        Rollup(
            name,
            f'SELECT t, "The ""d"" :x", time_bucket(\'{width}\', ts) AS bucket, count(*) AS n'
            " FROM readings GROUP BY 1, 2, 3",
            history=history,
            metadata=metadata,
        )

    return metadata_of(declare)


CHANGES = {
    "retention": dataclasses.replace(HISTORY, retention="40 days"),
    "no retention": dataclasses.replace(HISTORY, retention=None),
    "no tenant": dataclasses.replace(HISTORY, tenant=None),
    "keys": dataclasses.replace(HISTORY, keys=("t",)),
    "width": dataclasses.replace(HISTORY, width="01:00:00"),
    "none": None,
}


@pytest.mark.timescaledb
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_made_and_reverted(change: str, community: Engine) -> None:
    with community.begin() as connection:
        apply(connection, readings())
    before = catalog_states(community)
    with community.connect() as connection:
        script = migration(connection, readings(CHANGES[change]))
    expected = {"width": 0}.get(change, 1)
    assert len(found_by(script)) == expected
    run(community, rendered(script.upgrade_ops))
    with community.connect() as connection:
        assert found_by(migration(connection, readings(CHANGES[change]))) == []
    run(community, rendered(script.downgrade_ops))
    assert catalog_states(community) == before


@pytest.mark.timescaledb
@pytest.mark.parametrize("name", [NOTED, DELETED, INSERTED])
def test_a_trigger_that_is_missing_is_found(name: str, community: Engine) -> None:
    with community.begin() as connection:
        apply(connection, readings())
        stored = connection.scalar(
            sa.text(
                "SELECT format('%I.%I', materialization_hypertable_schema,"
                " materialization_hypertable_name) FROM timescaledb_information.continuous_aggregates"
            )
        )
    execute(community, f"DROP TRIGGER {name} ON {stored}")
    with community.connect() as connection:
        script = migration(connection, readings())
    assert [(one.kind, one.name, one.found) for one in found_by(script)] == [
        ("kept history", "public.hourly", None)
    ]
    run(community, rendered(script.upgrade_ops))
    with community.connect() as connection:
        assert found_by(migration(connection, readings())) == []


@pytest.mark.parametrize("every_edition", servers("embedded", "timescaledb"), indirect=True)
def test_a_rename_tells_the_triggers(every_edition: Engine) -> None:
    """They know the rollup by its name, under which rows about its history are kept."""
    with every_edition.begin() as connection:
        apply(connection, readings())
    before = catalog_states(every_edition)
    after = readings(name="by_hour")
    with every_edition.connect() as connection:
        script = migration(connection, after)
    up = rendered(script.upgrade_ops)
    assert "drop" not in up
    assert up.count("known_as") == 0
    assert up.index("op.rename(") < up.index("op.alter_kept_history(")
    run(every_edition, up)
    with every_edition.connect() as connection:
        assert found_by(migration(connection, after)) == []
        arguments = connection.scalars(sa.text(ARGUMENTS)).all()
        assert len(arguments) >= 3 * (detect(connection) == COMMUNITY)
    assert all(b"\\000by_hour\\000" in one and b"hourly" not in one for one in arguments)
    down = rendered(script.downgrade_ops)
    assert "known_as='hourly'" in down.replace('"', "'")
    run(every_edition, down)
    assert catalog_states(every_edition) == before


@pytest.mark.timescaledb
def test_what_is_gone_is_counted_by_what_keeps_it(community: Engine) -> None:
    """Also of a tenant alone, whose raw data went earlier than that of others."""
    with community.begin() as connection:
        apply(connection, readings())
    execute(
        community,
        "INSERT INTO readings SELECT gen_random_uuid(), 1, ts"
        "  FROM unnest('{2026-01-15Z,2026-01-16Z,2026-03-01Z}'::timestamptz[]) ts",
    )
    alone(community, "CALL refresh_continuous_aggregate('hourly', NULL, NULL)")
    with community.connect() as connection:
        script = migration(connection, readings(width="2 hours"))
    (dropped,) = [one for one in effects(script.upgrade_ops.ops) if one.risk.loses]
    assert "2 buckets from 2026-01-15 to 2026-01-16 have no raw data" in dropped.reason


ARGUMENTS = f"""
    SELECT convert_to(encode(tgargs, 'escape'), 'UTF8') FROM pg_trigger
     WHERE tgname IN ('{NOTED}', '{DELETED}', '{INSERTED}')
"""
