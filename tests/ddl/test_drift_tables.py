"""Changes by hand of tables, columns, constraints and indexes are found, reported and fixed.

Every change happens in a transaction of its own over one database, and is rolled back.
"""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text

from tests.support.catalog_states import catalog_states_in, unequal_states
from tests.support.drift import fixed, models
from tests.support.generated_revisions import metadata_of, migration, rendered, run_in

DRIFT = {
    # indexes
    "index predicate": (
        "DROP INDEX sites_name_idx; CREATE INDEX sites_name_idx ON sites (name) WHERE size > 4",
        "index public.sites.sites_name_idx definition: expected CREATE INDEX sites_name_idx ON public.sites USING btree (name) WHERE (size > 3), found CREATE INDEX sites_name_idx ON public.sites USING btree (name) WHERE (size > 4)",
    ),
    "index without INCLUDE": (
        "DROP INDEX sites_size_idx; CREATE INDEX sites_size_idx ON sites (size)",
        "index public.sites.sites_size_idx definition: expected CREATE INDEX sites_size_idx ON public.sites USING btree (size) INCLUDE (name), found CREATE INDEX sites_size_idx ON public.sites USING btree (size)",
    ),
    "index method": (
        "DROP INDEX sites_name_idx;CREATE INDEX sites_name_idx ON sites USING hash (name) WHERE size > 3",
        "index public.sites.sites_name_idx definition: expected CREATE INDEX sites_name_idx ON public.sites USING btree (name) WHERE (size > 3), found CREATE INDEX sites_name_idx ON public.sites USING hash (name) WHERE (size > 3)",
    ),
    "operator class": (
        "DROP INDEX sites_pattern_idx; CREATE INDEX sites_pattern_idx ON sites (name)",
        "index public.sites.sites_pattern_idx definition: expected CREATE INDEX sites_pattern_idx ON public.sites USING btree (name text_pattern_ops), found CREATE INDEX sites_pattern_idx ON public.sites USING btree (name)",
    ),
    "dropped index": (
        "DROP INDEX sites_size_idx",
        "index public.sites.sites_size_idx expected, missing",
    ),
    "extra index": (
        "CREATE UNIQUE INDEX extra ON parts (lower(id::text) DESC NULLS LAST, (id + 1))",
        "index public.parts.extra found, not declared",
    ),
    # constraints
    "CHECK expression": (
        "ALTER TABLE sites DROP CONSTRAINT sites_size_check, ADD CONSTRAINT sites_size_check CHECK (size BETWEEN 1 AND 1000)",
        "constraint public.sites.sites_size_check definition: expected CHECK (((size >= 1) AND (size <= 100))), found CHECK (((size >= 1) AND (size <= 1000)))",
    ),
    "CHECK not validated": (
        "ALTER TABLE sites DROP CONSTRAINT sites_size_check, ADD CONSTRAINT sites_size_check CHECK (size BETWEEN 1 AND 100) NOT VALID",
        "constraint public.sites.sites_size_check definition: expected CHECK (((size >= 1) AND (size <= 100))), found CHECK (((size >= 1) AND (size <= 100))) NOT VALID",
    ),
    "foreign key not validated": (
        "ALTER TABLE parts DROP CONSTRAINT parts_tenant_id_site_id_fkey, ADD CONSTRAINT parts_tenant_id_site_id_fkey FOREIGN KEY (tenant_id, site_id) REFERENCES sites ON DELETE SET NULL (site_id) NOT VALID",
        "constraint public.parts.parts_tenant_id_site_id_fkey definition: expected FOREIGN KEY (tenant_id, site_id) REFERENCES public.sites(tenant_id, id) ON DELETE SET NULL (site_id), found FOREIGN KEY (tenant_id, site_id) REFERENCES public.sites(tenant_id, id) ON DELETE SET NULL (site_id) NOT VALID",
    ),
    "foreign key with another action": (
        "ALTER TABLE parts DROP CONSTRAINT parts_tenant_id_site_id_fkey, ADD CONSTRAINT parts_tenant_id_site_id_fkey FOREIGN KEY (tenant_id, site_id) REFERENCES sites ON DELETE CASCADE DEFERRABLE",
        "constraint public.parts.parts_tenant_id_site_id_fkey definition: expected FOREIGN KEY (tenant_id, site_id) REFERENCES public.sites(tenant_id, id) ON DELETE SET NULL (site_id), found FOREIGN KEY (tenant_id, site_id) REFERENCES public.sites(tenant_id, id) ON DELETE CASCADE DEFERRABLE",
    ),
    "EXCLUDE": (
        "ALTER TABLE sites DROP CONSTRAINT sites_range, ADD CONSTRAINT sites_range EXCLUDE USING gist (int4range(id, size) WITH =)",
        "constraint public.sites.sites_range definition: expected EXCLUDE USING gist (int4range(id, size) WITH &&), found EXCLUDE USING gist (int4range(id, size) WITH =)",
    ),
    "deferrable": (
        "ALTER TABLE sites DROP CONSTRAINT sites_tenant_id_name_key, ADD CONSTRAINT sites_tenant_id_name_key UNIQUE (tenant_id, name)",
        "constraint public.sites.sites_tenant_id_name_key definition: expected UNIQUE (tenant_id, name) DEFERRABLE INITIALLY DEFERRED, found UNIQUE (tenant_id, name)",
    ),
    "primary key": (
        "ALTER TABLE parts DROP CONSTRAINT parts_pkey, ADD CONSTRAINT parts_pkey PRIMARY KEY (id, tenant_id)",
        "column public.parts.tenant_id not_null: expected false, found true",
        "constraint public.parts.parts_pkey definition: expected PRIMARY KEY (id), found PRIMARY KEY (id, tenant_id)",
    ),
    "dropped foreign key": (
        "ALTER TABLE parts DROP CONSTRAINT parts_tenant_id_site_id_fkey",
        "constraint public.parts.parts_tenant_id_site_id_fkey expected, missing",
    ),
    "extra constraint": (
        'ALTER TABLE parts ADD CONSTRAINT "Extra One" UNIQUE NULLS NOT DISTINCT (site_id)',
        "constraint public.parts.Extra One found, not declared",
    ),
    # tables and columns
    "generated column": (
        "ALTER TABLE sites DROP COLUMN twice, ADD COLUMN twice integer GENERATED ALWAYS AS (size * 3) STORED",
        "column public.sites.twice generated: expected (size * 2) STORED, found (size * 3) STORED",
    ),
    "plain instead of generated": (
        "ALTER TABLE sites ALTER twice DROP EXPRESSION",
        "column public.sites.twice generated: expected (size * 2) STORED, found nothing",
    ),
    "default": (
        "ALTER TABLE sites ALTER size SET DEFAULT 6",
        "column public.sites.size default: expected 5, found 6",
    ),
    "no default": (
        "ALTER TABLE sites ALTER changed_at DROP DEFAULT",
        "column public.sites.changed_at default: expected now(), found nothing",
    ),
    "null": (
        "ALTER TABLE sites ALTER name DROP NOT NULL",
        "column public.sites.name not_null: expected true, found false",
    ),
    "not null": (
        "ALTER TABLE sites ALTER size SET NOT NULL",
        "column public.sites.size not_null: expected false, found true",
    ),
    "type": (
        "ALTER TABLE parts ALTER id TYPE bigint",
        "column public.parts.id type: expected integer, found bigint",
    ),
    "collation": (
        'DROP VIEW counts, site_names; DROP TRIGGER bump ON sites;ALTER TABLE sites ALTER name TYPE text COLLATE "C"',
        'column public.sites.name collation: expected nothing, found "C"',
        "trigger public.sites.bump expected, missing",
        "view public.counts expected, missing",
        "view public.site_names expected, missing",
    ),
    "comment of a column": (
        "COMMENT ON COLUMN sites.name IS 'x'",
        "column public.sites.name comment: expected What people call it, found x",
    ),
    "comment of a table": (
        "COMMENT ON TABLE sites IS NULL",
        "table public.sites comment: expected Places, found nothing",
    ),
    "identity": (
        "ALTER TABLE sites ALTER number SET GENERATED BY DEFAULT SET INCREMENT 7",
        "column public.sites.number identity: expected ALWAYS START 10 INCREMENT 5 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1 NO CYCLE, found BY DEFAULT START 10 INCREMENT 7 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1 NO CYCLE",
    ),
    "no identity": (
        "ALTER TABLE sites ALTER number DROP IDENTITY",
        "column public.sites.number identity: expected ALWAYS START 10 INCREMENT 5 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1 NO CYCLE, found nothing",
    ),
    "unlogged": (
        "ALTER TABLE parts SET UNLOGGED",
        "table public.parts unlogged: expected false, found true",
    ),
    "fillfactor": (
        "ALTER TABLE sites SET (fillfactor = 50)",
        "table public.sites options: expected fillfactor=90, found fillfactor=50",
    ),
    "no fillfactor": (
        "ALTER TABLE sites RESET (fillfactor)",
        "table public.sites options: expected fillfactor=90, found nothing",
    ),
    "more options": (
        "ALTER TABLE parts SET (autovacuum_enabled = false)",
        "table public.parts options: expected nothing, found autovacuum_enabled=false",
    ),
    "extra column": (
        "ALTER TABLE sites ADD COLUMN extra numeric(10,2)[] NOT NULL DEFAULT '{1.50}';COMMENT ON COLUMN sites.extra IS ':x %'; GRANT SELECT (extra) ON sites TO r_op",
        "column public.sites.extra found, not declared",
        "grant public.sites to r_op: not declared: SELECT (extra)",
    ),
    "dropped column": (
        "ALTER TABLE sites DROP COLUMN changed_at",
        "column public.sites.changed_at expected, missing",
    ),
    "extra table": (
        "CREATE UNLOGGED TABLE extra (id int, b text COLLATE \"C\" DEFAULT ' :x 5%', c int GENERATED ALWAYS AS (id + 1) STORED, PRIMARY KEY (id) DEFERRABLE, CHECK (id > 0), UNIQUE (b)) WITH (fillfactor = 40);COMMENT ON TABLE extra IS 'it''s'; CREATE INDEX ON extra (c) WHERE b <> '';ALTER TABLE extra ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON extra USING (id > 1);GRANT SELECT (id), INSERT ON extra TO r_op;CREATE VIEW extra_view AS SELECT * FROM extra;CREATE TRIGGER t BEFORE UPDATE ON extra FOR EACH ROW EXECUTE FUNCTION bump();ALTER TABLE extra ADD FOREIGN KEY (id) REFERENCES parts",
        "table public.extra found, not declared",
        "view public.extra_view found, not declared",
    ),
    "partitioned table": (
        "CREATE TABLE extra (id int, at date NOT NULL) PARTITION BY RANGE (at);CREATE TABLE extra_1 PARTITION OF extra FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');CREATE INDEX ON extra (id);GRANT SELECT ON extra TO r_op; GRANT SELECT ON extra_1 TO r_op",
        "table public.extra found, not declared",
    ),
}


@pytest.mark.parametrize("name", DRIFT)
def test_drift(at_models: Connection, name: str) -> None:
    statements, *expected = DRIFT[name]
    fixed(at_models, statements, *expected)


def test_invalid_index_is_built_again(at_models: Connection) -> None:
    """CREATE INDEX CONCURRENTLY leaves one behind when it fails; no query uses it."""
    start = catalog_states_in(at_models)
    at_models.execute(
        text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'sites_name_idx'::regclass")
    )
    script = migration(at_models, metadata_of(models))
    assert "index" in str(script.upgrade_ops.as_diffs())
    run_in(at_models, rendered(script.upgrade_ops))
    assert not unequal_states(catalog_states_in(at_models), start)
