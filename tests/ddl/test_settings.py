"""Settings beside a definition: found where a person made them, undone by the generated revision."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import (
    TIMESTAMP,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.exc import ArgumentError

from ddl import ColumnStatistics, Hypertable
from tests.ddl.case import Case, nothing
from tests.support.drift import fixed
from tests.support.generated_revisions import Declare

DRIFT = {
    "replica identity": (
        "ALTER TABLE sites REPLICA IDENTITY FULL",
        "table public.sites replica identity: expected default, found FULL",
    ),
    "replica identity by an index": (
        "ALTER TABLE parts REPLICA IDENTITY USING INDEX parts_pkey",
        "table public.parts replica identity: expected default, found USING INDEX parts_pkey",
    ),
    "cluster": (
        "ALTER TABLE sites CLUSTER ON sites_size_idx",
        "table public.sites cluster: expected default, found sites_size_idx",
    ),
    "storage parameter of TOAST": (
        "ALTER TABLE sites SET (toast.autovacuum_enabled = false)",
        "table public.sites toast.autovacuum_enabled: expected default, found false",
    ),
    "statistics of a column": (
        "ALTER TABLE sites ALTER name SET STATISTICS 0",
        "column public.sites.name statistics: expected default, found 0",
    ),
    "storage of a column": (
        "ALTER TABLE sites ALTER name SET STORAGE EXTERNAL",
        "column public.sites.name storage: expected default, found EXTERNAL",
    ),
    "compression of a column": (
        "ALTER TABLE sites ALTER name SET COMPRESSION pglz",
        "column public.sites.name compression: expected default, found pglz",
    ),
    "option of a column": (
        "ALTER TABLE sites ALTER size SET (n_distinct = -0.5)",
        "column public.sites.size n_distinct: expected default, found -0.5",
    ),
    "default of a view's column": (
        "ALTER VIEW counts ALTER n SET DEFAULT 7",
        "view public.counts defaults: expected nothing, found n SET DEFAULT 7",
    ),
    "storage parameter of a key": (
        "ALTER INDEX sites_pkey SET (fillfactor = 50)",
        "index public.sites.sites_pkey fillfactor: expected default, found 50",
    ),
    "comment of a constraint": (
        "COMMENT ON CONSTRAINT sites_size_check ON sites IS '100% of :all it''s'",
        "constraint public.sites.sites_size_check comment: expected nothing, found 100% of :all it's",
    ),
    "comment of a foreign key": (
        "COMMENT ON CONSTRAINT parts_tenant_id_site_id_fkey ON parts IS 'x'",
        "constraint public.parts.parts_tenant_id_site_id_fkey comment: expected nothing, found x",
    ),
    "comment of an index": (
        "COMMENT ON INDEX sites_size_idx IS 'x'",
        "index public.sites.sites_size_idx comment: expected nothing, found x",
    ),
    "comment of a trigger": (
        "COMMENT ON TRIGGER bump ON sites IS 'x'",
        "trigger public.sites.bump comment: expected nothing, found x",
    ),
    "comment of a policy": (
        "COMMENT ON POLICY own ON sites IS 'x'",
        "policy public.sites.own comment: expected nothing, found x",
    ),
    "comment of a view's column": (
        "COMMENT ON COLUMN counts.n IS 'x'",
        "column public.counts.n comment: expected nothing, found x",
    ),
    "comment of an identity's sequence": (
        "COMMENT ON SEQUENCE sites_number_seq IS 'x'",
        "sequence public.sites_number_seq comment: expected nothing, found x",
    ),
    "comment of a schema": (
        "COMMENT ON SCHEMA public IS 'x'",
        "schema public comment: expected nothing, found x",
    ),
    "cost": (
        "ALTER FUNCTION count_sites COST 7",
        "function public.count_sites(of_tenant uuid, minimum integer) cost: expected default, found 7",
    ),
    "unlogged sequence": (
        "ALTER SEQUENCE sites_number_seq SET UNLOGGED",
        "sequence public.sites_number_seq persistence: expected default, found UNLOGGED",
    ),
}


@pytest.mark.parametrize("name", DRIFT)
def test_drift(at_models: Connection, name: str) -> None:
    statements, *expected = DRIFT[name]
    fixed(at_models, statements, *expected)


def test_what_is_dropped_comes_back_with_its_settings(at_models: Connection) -> None:
    """The upgrade drops a table and recreates a trigger; the downgrade has all of them again."""
    fixed(
        at_models,
        "CREATE TABLE extra (id int PRIMARY KEY, n int CONSTRAINT n CHECK (n > 0));"
        "COMMENT ON CONSTRAINT n ON extra IS 'x'; ALTER TABLE extra ALTER n SET STATISTICS 7;"
        "CREATE VIEW more AS SELECT n FROM extra; COMMENT ON COLUMN more.n IS 'x';"
        "COMMENT ON TRIGGER bump ON sites IS 'x'; ALTER TABLE sites DISABLE TRIGGER bump;"
        "ALTER TABLE parts DROP CONSTRAINT parts_tenant_id_site_id_fkey, ADD CONSTRAINT other FOREIGN KEY (tenant_id, site_id) REFERENCES sites;"
        "COMMENT ON CONSTRAINT other ON parts IS 'x'",
        "table public.extra found, not declared",
        "constraint public.parts.other found, not declared",
        "constraint public.parts.parts_tenant_id_site_id_fkey expected, missing",
        "trigger public.sites.bump enabled: expected origin, found disabled",
        "view public.more found, not declared",
        "constraint public.parts.other comment: expected nothing, found x",
        "trigger public.sites.bump comment: expected nothing, found x",
    )


def commented(metadata: MetaData) -> None:
    check = CheckConstraint("n > 0", name="n", comment="Some")
    Table("items", metadata, Column("n", Integer), check)


def test_a_comment_that_sqlalchemy_declares(engine: Engine) -> None:
    Case(nothing, commented).walk(engine)
    with engine.connect() as connection:
        found = connection.scalar(
            sa.text(
                "SELECT description FROM pg_description WHERE classoid = 'pg_constraint'::regclass AND objoid IN (SELECT oid FROM pg_constraint WHERE conrelid = 'items'::regclass)"
            )
        )
    assert found == "Some"


def crates(*items: sa.SchemaItem, name: str = "label", type_: object = Text) -> Declare:
    def declare(metadata: MetaData) -> None:
        Table("Crates", metadata, Column("n", Integer), Column(name, type_), *items)

    return declare


ALTER = "op.execute('ALTER TABLE public.\"Crates\" ALTER COLUMN {} SET STATISTICS {}')"
DECLARED = {
    "declared": (crates(), crates(ColumnStatistics("label", "n", target=0)), ()),
    "changed": (
        crates(ColumnStatistics("label", target=0)),
        crates(ColumnStatistics("label", target=500)),
        (),
    ),
    "with its table": (nothing, crates(ColumnStatistics("label", target=0)), ()),
    "of another column": (
        crates(ColumnStatistics("label", target=0)),
        crates(ColumnStatistics("n", target=0)),
        (),
    ),
    "of a column that gets another type": (
        crates(ColumnStatistics("label", target=0)),
        crates(ColumnStatistics("label", target=0), type_=String(20)),
        (),
    ),
    "of a column that gets another name": (
        crates(ColumnStatistics("label", target=0)),
        crates(ColumnStatistics("Name", target=0), name="Name"),
        ('"Crates".label:"Crates"."Name"',),
    ),
    "of a column that goes": (
        crates(ColumnStatistics("label", target=0)),
        crates(name="other"),
        (),
    ),
}


@pytest.mark.parametrize("name", DECLARED)
def test_declared_statistics(engine: Engine, name: str) -> None:
    before, after, renames = DECLARED[name]
    Case(before, after, renames=renames).walk(engine)
    Case(after, before).walk(engine)


def test_statistics_in_a_revision(engine: Engine) -> None:
    after = crates(ColumnStatistics("label", target=0))
    up, down = ALTER.format("label", 0), ALTER.format("label", -1)
    Case(crates(), after, upgrade=up, downgrade=down).walk(engine)


def test_statistics_of_a_hypertable_are_those_of_its_chunks(every_edition: Engine) -> None:
    """Of those that are there, and of later ones."""

    def series(*items: sa.SchemaItem) -> Declare:
        def declare(metadata: MetaData) -> None:
            columns = [
                Column("tenant_id", Uuid),
                Column("ts", TIMESTAMP(timezone=True), primary_key=True),
            ]
            name = Column("name", Text)
            hypertable = Hypertable("ts", chunk_interval="1 day")
            Table("readings", metadata, *columns, name, hypertable, *items)

        return declare

    insert = "INSERT INTO readings (ts, name) SELECT now() + {} * interval '1 day', 'x'"
    after = series(ColumnStatistics("name", target=0))
    Case(series(), after, rows=[insert.format(1)]).walk(every_edition)
    with every_edition.begin() as connection:
        connection.exec_driver_sql(insert.format(3))
        connection.exec_driver_sql("ANALYZE readings")
        kept = "SELECT count(*) FROM pg_stats WHERE attname = '{}' AND tablename ~ 'chunk|readings'"
        found = [connection.exec_driver_sql(kept.format(one)).scalar() for one in ("name", "ts")]
    assert not found[0]
    assert found[1]


def test_statistics_that_there_cannot_be() -> None:
    with pytest.raises(ArgumentError, match=r"table public\.Crates has no column nam$"):
        crates(ColumnStatistics("nam", target=0))(MetaData())
    with pytest.raises(ArgumentError, match="expected a target of 0 to 10000, found -1"):
        ColumnStatistics("label", target=-1)
