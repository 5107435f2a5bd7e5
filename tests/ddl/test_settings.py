"""Settings beside a definition: found where a person made them, undone by the generated revision."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Connection, Engine, Integer, MetaData, Table

from tests.ddl.case import Case, nothing
from tests.support.drift import fixed

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
