"""The class of each operation: what it does to rows and to running sessions."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import MigrateOperation
from sqlalchemy import BigInteger, Column, Computed, Engine, Integer, MetaData, Table

import ddl  # noqa: F401 (registers the operations)
from ddl.effects import Effect, Effects, warn
from ddl.risk import Risk
from tests.support.generated_revisions import apply, metadata_of, migration, rendered


class Told(Operations):
    """Tells the effects of what a revision calls, and does nothing."""

    def __init__(self) -> None:
        context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True})
        super().__init__(context)
        self.effects = Effects()
        self.found: list[Effect] = []

    def invoke(self, operation: MigrateOperation) -> None:  # type: ignore[override]
        self.found += self.effects.of(operation)


def told(body: str) -> list[str]:
    """The effects that are not safe, in words."""
    operations = Told()
    exec(body, {"op": operations, "sa": sa})
    return [
        f"{one.risk} {one.rule} {one.name}: {one.reason}"
        for one in operations.found
        if one.risk is not Risk.SAFE
    ]


COLUMN = 'op.add_column("pumps", sa.Column("x", sa.Text, server_default=sa.text("{}")))'


@pytest.mark.parametrize(
    ("body", "effect"),
    [
        ('op.drop_table("pumps")', "destructive drop-table public.pumps: drops the table"),
        (
            'op.drop_column("pumps", "maker", schema="plant")',
            "destructive drop-column plant.pumps.maker: drops the column",
        ),
        (
            'op.drop_rollup("daily", schema="timeseries")',
            "history-losing drop-rollup timeseries.daily: drops the rollup with all its buckets",
        ),
        (
            'op.create_retention_policy("x", drop_after="1 year")',
            "destructive create-retention-policy public.x: its next run drops chunks older than 1 year",
        ),
        (
            'op.alter_column("pumps", "name", nullable=False)',
            "blocking alter-column public.pumps.name: locked while all rows are checked",
        ),
        (
            'op.create_index("ix_pumps_name", "pumps", ["name"])',
            "blocking create-index public.pumps.ix_pumps_name: writers wait until it is built",
        ),
        (
            'op.add_constraint("pumps", "size", "CHECK (size > 0)")',
            "blocking add-constraint public.pumps.size: locked while all rows are checked",
        ),
        (
            'op.create_check_constraint("size", "pumps", "size > 0")',
            "blocking add-constraint public.pumps.size: locked while all rows are checked",
        ),
        (
            COLUMN.format("gen_random_uuid()"),
            "blocking add-column public.pumps.x: locked while it is rewritten",
        ),
        ('op.execute("TRUNCATE pumps")', "destructive truncate public.pumps: deletes all rows"),
        (
            'op.execute("-- old\\nDELETE FROM ONLY plant.pumps WHERE x")',
            "destructive delete plant.pumps: deletes rows",
        ),
        (
            'op.execute("UPDATE a SET b = 1; DROP TABLE IF EXISTS pumps CASCADE")',
            "destructive drop-table public.pumps: drops the table",
        ),
        (
            "op.execute('ALTER TABLE pumps ADD a int, DROP COLUMN IF EXISTS \"Maker\"')",
            "destructive drop-column public.pumps.Maker: drops the column",
        ),
        (
            'op.execute("DROP SCHEMA plant CASCADE")',
            "destructive drop-schema plant: drops the schema",
        ),
    ],
)
def test_what_an_operation_does(body: str, effect: str) -> None:
    assert told(body) == [effect]


@pytest.mark.parametrize(
    "body",
    [
        COLUMN.format("5"),
        COLUMN.format("now()"),
        'op.add_column("pumps", sa.Column("x", sa.Text))',
        'op.alter_column("pumps", "name", nullable=True)',
        'op.create_index("ix", "pumps", ["name"], postgresql_concurrently=True)',
        'op.add_constraint("pumps", "size", "CHECK (size > 0) NOT VALID")',
        'op.drop_view("pump_list")',
        'op.drop_function("bump", arguments="")',
        "op.execute(\"UPDATE pumps SET note = 'DROP TABLE x'\")",
        # What the revision creates holds no rows, and nobody waits for it.
        'op.create_table("a", sa.Column("x"))\nop.create_index("ix", "a", ["x"])\nop.drop_table("a")',
    ],
)
def test_what_is_safe(body: str) -> None:
    assert told(body) == []


def test_the_reason_is_known_for_a_generated_column(engine: Engine) -> None:
    """It is dropped and added where the server does not let its source change."""

    def declare(type_: Any) -> Any:
        def models(metadata: MetaData) -> None:
            Table(
                "places",
                metadata,
                Column("id", Integer, primary_key=True),
                Column("c", type_),
                Column("d", type_, Computed("c * 2", persisted=True)),
            )

        return metadata_of(models)

    with engine.begin() as connection:
        apply(connection, declare(Integer))
        connection.execute(sa.text("INSERT INTO places (id, c) VALUES (1, 2)"))
        script = migration(connection, declare(BigInteger))
        warn(script, connection)
    accepted = re.findall("# accept drop-column.*", rendered(script.upgrade_ops))
    assert accepted == [
        "# accept drop-column public.places.d: its values are computed from other columns"
    ]
