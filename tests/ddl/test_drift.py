"""Whatever somebody changes by hand is found, named, and put right by the generated revision.

Every change happens in a transaction of its own over one database, and is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Connection,
    Engine,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    NullPool,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from ddl import Function, Grant, Policy, RowSecurity, Trigger, View, schema_grant
from tests.ddl.case import (
    SETTINGS,
    apply,
    metadata_of,
    migration,
    rendered,
    run_in,
    snapshot_of,
    unequal,
)
from tests.servers import DatabaseServer

OWN = "tenant_id = (SELECT tenant())"


def models(metadata: MetaData) -> None:
    Function(
        "tenant",
        returns="uuid",
        body="RETURN nullif(current_setting('app.tenant', true), '')::uuid",
        volatility="stable",
        parallel="safe",
        grants={"r_app": "execute"},
        comment="Whose rows",
        metadata=metadata,
    )
    Function(
        "bump",
        returns="trigger",
        language="plpgsql",
        body="""
        begin
          new.changed_at := now();
          return new;
        end
        """,
        settings=SETTINGS,
        metadata=metadata,
    )
    Table(
        "sites",
        metadata,
        Column("tenant_id", Uuid, primary_key=True),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("name", Text, nullable=False, comment="What people call it"),
        Column("size", Integer, server_default="5"),
        Column("twice", Integer, Computed("size * 2", persisted=True)),
        Column("number", BigInteger, Identity(always=True, start=10, increment=5), nullable=False),
        Column("changed_at", TIMESTAMP(timezone=True), server_default=text("now()")),
        CheckConstraint("size BETWEEN 1 AND 100", name="size"),
        UniqueConstraint("tenant_id", "name", deferrable=True, initially="DEFERRED"),
        ExcludeConstraint((text("int4range(id, size)"), "&&"), name="sites_range", using="gist"),
        Index("sites_name_idx", "name", postgresql_where=text("size > 3")),
        Index("sites_size_idx", "size", postgresql_include=["name"]),
        Index("sites_pattern_idx", "name", postgresql_ops={"name": "text_pattern_ops"}),
        RowSecurity(),
        Policy("own", to="r_app", using=OWN, check=OWN),
        Policy("all_rows", to=["r_op", "r_read"], command="select", using="true"),
        Policy("not_small", to="r_app", using="size > 0", permissive=False),
        Grant("select, insert, update (name, size)", to="r_app"),
        Grant("select", to="r_op"),
        Trigger(
            "bump",
            timing="before",
            events="update of name, size",
            function="bump()",
            when="old.name IS DISTINCT FROM new.name",
        ),
        comment="Places",
        postgresql_with={"fillfactor": "90"},
    )
    Table(
        "parts",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant_id", Uuid),
        Column("site_id", Integer),
        ForeignKeyConstraint(
            ["tenant_id", "site_id"],
            ["sites.tenant_id", "sites.id"],
            ondelete="SET NULL (site_id)",
        ),
    )
    Function(
        "count_sites",
        "wanted uuid, minimum int DEFAULT 0",
        returns="bigint",
        body="""
        BEGIN ATOMIC
          SELECT count(*) FROM sites WHERE tenant_id = wanted AND size > minimum;
        END
        """,
        grants={"r_op": "execute"},
        metadata=metadata,
    )
    View(
        "site_names",
        "SELECT tenant_id, name, count(*) AS n FROM sites GROUP BY 1, 2",
        security_invoker=True,
        grants={"r_app": "select"},
        comment="Names",
        metadata=metadata,
    )
    View("counts", "SELECT n FROM site_names", metadata=metadata)
    schema_grant("usage", on="public", to="r_app", metadata=metadata)


DRIFT = {
    # triggers
    "disabled trigger": ("ALTER TABLE sites DISABLE TRIGGER bump", "trigger public.sites.bump"),
    "replica trigger": (
        "ALTER TABLE sites ENABLE REPLICA TRIGGER bump",
        "trigger public.sites.bump",
    ),
    "always trigger": ("ALTER TABLE sites ENABLE ALWAYS TRIGGER bump", "trigger public.sites.bump"),
    "dropped trigger": ("DROP TRIGGER bump ON sites", "trigger public.sites.bump"),
    "other trigger": (
        (
            "DROP TRIGGER bump ON sites; CREATE TRIGGER bump AFTER UPDATE ON sites"
            " REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT"
            " EXECUTE FUNCTION bump('a''b')"
        ),
        "trigger public.sites.bump",
    ),
    "extra trigger": (
        (
            "CREATE CONSTRAINT TRIGGER extra AFTER INSERT OR DELETE ON parts DEFERRABLE INITIALLY"
            " DEFERRED FOR EACH ROW EXECUTE FUNCTION bump()"
        ),
        "trigger public.parts.extra",
    ),
    "trigger on a view": (
        "CREATE TRIGGER t INSTEAD OF UPDATE ON counts FOR EACH ROW EXECUTE FUNCTION bump()",
        "trigger public.counts.t",
    ),
    # row security
    "policy for all rows": ("ALTER POLICY own ON sites USING (true)", "policy public.sites.own"),
    "policy for other roles": ("ALTER POLICY own ON sites TO PUBLIC", "policy public.sites.own"),
    "policy with another check": (
        "ALTER POLICY own ON sites WITH CHECK (true)",
        "policy public.sites.own",
    ),
    "policy of another command": (
        (
            "DROP POLICY all_rows ON sites;"
            "CREATE POLICY all_rows ON sites TO r_op, r_read USING (true)"
        ),
        "policy public.sites.all_rows",
    ),
    "restrictive made permissive": (
        (
            "DROP POLICY not_small ON sites;"
            "CREATE POLICY not_small ON sites TO r_app USING (size > 0)"
        ),
        "policy public.sites.not_small",
    ),
    "dropped policy": ("DROP POLICY own ON sites", "policy public.sites.own"),
    "extra policy": ("CREATE POLICY extra ON parts", "policy public.parts.extra"),
    "no force": ("ALTER TABLE sites NO FORCE ROW LEVEL SECURITY", "row security public.sites"),
    "disabled": ("ALTER TABLE sites DISABLE ROW LEVEL SECURITY", "row security public.sites"),
    "enabled": ("ALTER TABLE parts ENABLE ROW LEVEL SECURITY", "row security public.parts"),
    # grants
    "revoked": ("REVOKE INSERT ON sites FROM r_app", "sites {'r_app': 'insert'}"),
    "revoked column": (
        "REVOKE UPDATE (size) ON sites FROM r_app",
        "sites {'r_app': 'update (size)'}",
    ),
    "granted to public": ("GRANT SELECT ON sites TO PUBLIC", "sites {'PUBLIC': 'select'}"),
    "granted everything": ("GRANT ALL ON parts TO r_op", "parts {'r_op': 'delete, insert, "),
    "granted column": (
        "GRANT SELECT (id, tenant_id) ON parts TO r_app",
        "parts {'r_app': 'select (id",
    ),
    "grant option": (
        "GRANT SELECT ON sites TO r_app WITH GRANT OPTION",
        "sites {'r_app': 'select with grant option'}",
    ),
    "grant option in use": (
        (
            "GRANT SELECT ON parts TO r_app WITH GRANT OPTION; SET LOCAL ROLE r_app;"
            "GRANT SELECT ON parts TO r_op; RESET ROLE"
        ),
        "parts {'r_app': 'select with grant option', 'r_op': 'select'}",
    ),
    "granted function": (
        "GRANT EXECUTE ON FUNCTION tenant() TO PUBLIC",
        "function tenant() {'PUBLIC': 'execute'}",
    ),
    "revoked function": (
        "REVOKE EXECUTE ON FUNCTION count_sites FROM r_op",
        "function count_sites(wanted uuid, minimum int) {'r_op': 'execute'}",
    ),
    "granted view": ("GRANT SELECT ON counts TO r_app", "counts {'r_app': 'select'}"),
    "granted view column": (
        "GRANT SELECT (n) ON counts TO r_app",
        "counts {'r_app': 'select (n)'}",
    ),
    "granted schema": ("GRANT CREATE ON SCHEMA public TO r_op", "schema public {'r_op': 'create'}"),
    "usage for public": (
        "GRANT USAGE ON SCHEMA public TO PUBLIC",
        "schema public {'PUBLIC': 'usage'}",
    ),
    # functions
    "function body": (
        (
            "CREATE OR REPLACE FUNCTION tenant() RETURNS uuid STABLE PARALLEL SAFE"
            " RETURN gen_random_uuid()"
        ),
        "function tenant()",
    ),
    "text body": (
        (
            "CREATE OR REPLACE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql"
            " SET search_path = pg_catalog, pg_temp AS 'begin return new; end'"
        ),
        "function bump()",
    ),
    "volatility": ("ALTER FUNCTION tenant() IMMUTABLE", "function tenant()"),
    "parallel": ("ALTER FUNCTION tenant() PARALLEL UNSAFE", "function tenant()"),
    "strict": ("ALTER FUNCTION tenant() STRICT", "function tenant()"),
    "leakproof": ("ALTER FUNCTION tenant() LEAKPROOF", "function tenant()"),
    "security definer": ("ALTER FUNCTION tenant() SECURITY DEFINER", "function tenant()"),
    "settings": ("ALTER FUNCTION bump() RESET search_path", "function bump()"),
    "more settings": ("ALTER FUNCTION bump() SET \"TimeZone\" = 'UTC'", "function bump()"),
    "comment of a function": ("COMMENT ON FUNCTION tenant() IS NULL", "function tenant()"),
    "overloaded": (
        (
            "CREATE FUNCTION tenant(a text DEFAULT 'x, y') RETURNS text RETURN a;"
            "GRANT EXECUTE ON FUNCTION tenant(text) TO r_op;"
            "REVOKE EXECUTE ON FUNCTION tenant() FROM r_app"
        ),
        "function tenant(a text)",
    ),
    "defaults of arguments": (
        (
            "CREATE OR REPLACE FUNCTION count_sites(wanted uuid, minimum int DEFAULT 1)"
            " RETURNS bigint BEGIN ATOMIC"
            " SELECT count(*) FROM sites WHERE tenant_id = wanted AND size > minimum; END"
        ),
        "function count_sites(wanted uuid, minimum int",
    ),
    "extra function": (
        (
            "CREATE FUNCTION extra(OUT a int, OUT b text, VARIADIC c numeric(10,2)[]) STRICT"
            " LANGUAGE plpgsql AS $$ begin a := 1; end $$"
        ),
        "function extra(OUT a integer, OUT b text, VARIADIC c numeric[])",
    ),
    "empty function": (
        "CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS ''",
        "function nothing()",
    ),
    "function of rows": (
        (
            "CREATE FUNCTION rows() RETURNS TABLE (a int, b text) LANGUAGE sql AS"
            " 'SELECT 1, ''x'' UNION SELECT id, name FROM public.sites'"
        ),
        "function rows()",
    ),
    # views
    "view query": (
        "CREATE OR REPLACE VIEW counts AS SELECT n FROM site_names WHERE n > 1",
        "view public.counts",
    ),
    "view columns": (
        "CREATE OR REPLACE VIEW counts AS SELECT n, 1 AS one FROM site_names",
        "view public.counts",
    ),
    "view under a view": (
        (
            "CREATE OR REPLACE VIEW site_names WITH (security_invoker) AS"
            " SELECT tenant_id, name, count(*) AS n FROM sites WHERE size > 1 GROUP BY 1, 2"
        ),
        "view public.site_names",
    ),
    "invoker": ("ALTER VIEW site_names SET (security_invoker = false)", "view public.site_names"),
    "barrier": ("ALTER VIEW counts SET (security_barrier)", "view public.counts"),
    "comment of a view": ("COMMENT ON VIEW site_names IS 'x'", "view public.site_names"),
    "dropped view": ("DROP VIEW counts", "view public.counts"),
    "extra view": (
        (
            "CREATE VIEW extra AS SELECT count_sites(tenant_id) FROM sites;"
            "GRANT SELECT ON extra TO r_op"
        ),
        "view public.extra",
    ),
    "extra views that seem to read each other": (
        "CREATE VIEW a AS SELECT id AS b FROM parts; CREATE VIEW b AS SELECT a.b AS a FROM a",
        "view public.b",
    ),
    # indexes
    "index predicate": (
        "DROP INDEX sites_name_idx; CREATE INDEX sites_name_idx ON sites (name) WHERE size > 4",
        "index public.sites_name_idx",
    ),
    "index without INCLUDE": (
        "DROP INDEX sites_size_idx; CREATE INDEX sites_size_idx ON sites (size)",
        "index public.sites_size_idx",
    ),
    "index method": (
        (
            "DROP INDEX sites_name_idx;"
            "CREATE INDEX sites_name_idx ON sites USING hash (name) WHERE size > 3"
        ),
        "index public.sites_name_idx",
    ),
    "operator class": (
        "DROP INDEX sites_pattern_idx; CREATE INDEX sites_pattern_idx ON sites (name)",
        "index public.sites_pattern_idx",
    ),
    "dropped index": ("DROP INDEX sites_size_idx", "add_index Index('sites_size_idx'"),
    "extra index": (
        "CREATE UNIQUE INDEX extra ON parts (lower(id::text) DESC NULLS LAST, (id + 1))",
        "index public.extra",
    ),
    # constraints
    "CHECK expression": (
        (
            "ALTER TABLE sites DROP CONSTRAINT sites_size_check,"
            " ADD CONSTRAINT sites_size_check CHECK (size BETWEEN 1 AND 1000)"
        ),
        "constraint public.sites.sites_size_check",
    ),
    "CHECK not validated": (
        (
            "ALTER TABLE sites DROP CONSTRAINT sites_size_check,"
            " ADD CONSTRAINT sites_size_check CHECK (size BETWEEN 1 AND 100) NOT VALID"
        ),
        "constraint public.sites.sites_size_check",
    ),
    "foreign key not validated": (
        (
            "ALTER TABLE parts DROP CONSTRAINT parts_tenant_id_site_id_fkey,"
            " ADD CONSTRAINT parts_tenant_id_site_id_fkey FOREIGN KEY (tenant_id, site_id)"
            " REFERENCES sites ON DELETE SET NULL (site_id) NOT VALID"
        ),
        "constraint public.parts.parts_tenant_id_site_id_fkey",
    ),
    "foreign key with another action": (
        (
            "ALTER TABLE parts DROP CONSTRAINT parts_tenant_id_site_id_fkey,"
            " ADD CONSTRAINT parts_tenant_id_site_id_fkey FOREIGN KEY (tenant_id, site_id)"
            " REFERENCES sites ON DELETE CASCADE DEFERRABLE"
        ),
        "constraint public.parts.parts_tenant_id_site_id_fkey",
    ),
    "EXCLUDE": (
        (
            "ALTER TABLE sites DROP CONSTRAINT sites_range,"
            " ADD CONSTRAINT sites_range EXCLUDE USING gist (int4range(id, size) WITH =)"
        ),
        "constraint public.sites.sites_range",
    ),
    "deferrable": (
        (
            "ALTER TABLE sites DROP CONSTRAINT sites_tenant_id_name_key,"
            " ADD CONSTRAINT sites_tenant_id_name_key UNIQUE (tenant_id, name)"
        ),
        "constraint public.sites.sites_tenant_id_name_key",
    ),
    "primary key": (
        (
            "ALTER TABLE parts DROP CONSTRAINT parts_pkey, ADD CONSTRAINT parts_pkey"
            " PRIMARY KEY (id, tenant_id)"
        ),
        "constraint public.parts.parts_pkey",
    ),
    "dropped foreign key": (
        "ALTER TABLE parts DROP CONSTRAINT parts_tenant_id_site_id_fkey",
        "constraint public.parts.parts_tenant_id_site_id_fkey",
    ),
    "extra constraint": (
        'ALTER TABLE parts ADD CONSTRAINT "Extra One" UNIQUE NULLS NOT DISTINCT (site_id)',
        "constraint public.parts.Extra One",
    ),
    # tables and columns
    "generated column": (
        (
            "ALTER TABLE sites DROP COLUMN twice,"
            " ADD COLUMN twice integer GENERATED ALWAYS AS (size * 3) STORED"
        ),
        "twice",
    ),
    "plain instead of generated": ("ALTER TABLE sites ALTER twice DROP EXPRESSION", "twice"),
    "default": ("ALTER TABLE sites ALTER size SET DEFAULT 6", "size"),
    "no default": ("ALTER TABLE sites ALTER changed_at DROP DEFAULT", "changed_at"),
    "null": ("ALTER TABLE sites ALTER name DROP NOT NULL", "name"),
    "not null": ("ALTER TABLE sites ALTER size SET NOT NULL", "size"),
    "type": ("ALTER TABLE parts ALTER id TYPE bigint", "column public.parts.id"),
    "collation": (
        (
            "DROP VIEW counts, site_names; DROP TRIGGER bump ON sites;"
            'ALTER TABLE sites ALTER name TYPE text COLLATE "C"'
        ),
        "column public.sites.name",
    ),
    "comment of a column": ("COMMENT ON COLUMN sites.name IS 'x'", "name"),
    "comment of a table": ("COMMENT ON TABLE sites IS NULL", "sites"),
    "identity": (
        "ALTER TABLE sites ALTER number SET GENERATED BY DEFAULT SET INCREMENT 7",
        "number",
    ),
    "no identity": ("ALTER TABLE sites ALTER number DROP IDENTITY", "number"),
    "unlogged": ("ALTER TABLE parts SET UNLOGGED", "table public.parts"),
    "fillfactor": ("ALTER TABLE sites SET (fillfactor = 50)", "table public.sites"),
    "no fillfactor": ("ALTER TABLE sites RESET (fillfactor)", "table public.sites"),
    "more options": ("ALTER TABLE parts SET (autovacuum_enabled = false)", "table public.parts"),
    "extra column": (
        (
            "ALTER TABLE sites ADD COLUMN extra numeric(10,2)[] NOT NULL DEFAULT '{1.50}';"
            "COMMENT ON COLUMN sites.extra IS ':x %'; GRANT SELECT (extra) ON sites TO r_op"
        ),
        "extra",
    ),
    "dropped column": ("ALTER TABLE sites DROP COLUMN changed_at", "changed_at"),
    "extra table": (
        (
            "CREATE UNLOGGED TABLE extra (id int, b text COLLATE \"C\" DEFAULT ' :x 5%', c int"
            " GENERATED ALWAYS AS (id + 1) STORED, PRIMARY KEY (id) DEFERRABLE, CHECK (id > 0),"
            " UNIQUE (b)) WITH (fillfactor = 40);"
            "COMMENT ON TABLE extra IS 'it''s'; CREATE INDEX ON extra (c) WHERE b <> '';"
            "ALTER TABLE extra ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON extra USING (id > 1);"
            "GRANT SELECT (id), INSERT ON extra TO r_op;"
            "CREATE VIEW extra_view AS SELECT * FROM extra;"
            "CREATE TRIGGER t BEFORE UPDATE ON extra FOR EACH ROW EXECUTE FUNCTION bump();"
            "ALTER TABLE extra ADD FOREIGN KEY (id) REFERENCES parts"
        ),
        "extra",
    ),
    "partitioned table": (
        (
            "CREATE TABLE extra (id int, at date NOT NULL) PARTITION BY RANGE (at);"
            "CREATE TABLE extra_1 PARTITION OF extra"
            " FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');"
            "CREATE INDEX ON extra (id);"
            "GRANT SELECT ON extra TO r_op; GRANT SELECT ON extra_1 TO r_op"
        ),
        "extra",
    ),
}


@pytest.fixture(scope="module")
def at_models(server: DatabaseServer) -> Iterator[Engine]:
    """A database at the models; every test leaves it as it was."""
    administration = sa.create_engine(
        server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    name = "test_ddl_drift"
    with administration.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine = sa.create_engine(server.url(name), poolclass=NullPool)
        with engine.begin() as owner:
            apply(owner, metadata_of(models))
        yield engine
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def connection(at_models: Engine) -> Iterator[Connection]:
    with at_models.connect() as connection:
        yield connection


def test_nothing_is_found_where_nothing_was_changed(connection: Connection) -> None:
    assert migration(connection, metadata_of(models)).upgrade_ops.is_empty()


@pytest.mark.parametrize("name", DRIFT)
def test_drift(connection: Connection, name: str) -> None:
    statements, named = DRIFT[name]
    start = snapshot_of(connection)
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})
    changed = snapshot_of(connection)
    script = migration(connection, metadata_of(models))
    found = "\n".join(
        " ".join(map(str, part if isinstance(part, tuple) else (part,)))
        for part in _flat(script.upgrade_ops.as_diffs())
    )
    assert named in found

    run_in(connection, rendered(script.upgrade_ops))
    traces = unequal(snapshot_of(connection), start)
    assert not traces, "the upgrade does not mend it:\n" + "\n".join(traces)

    run_in(connection, rendered(script.downgrade_ops))
    traces = unequal(snapshot_of(connection), changed)
    assert not traces, "the downgrade does not bring it back:\n" + "\n".join(traces)


def _flat(diffs: list[object]) -> list[object]:
    return [inner for outer in diffs for inner in (outer if isinstance(outer, list) else [outer])]


def test_invalid_index_is_built_again(connection: Connection) -> None:
    """CREATE INDEX CONCURRENTLY that failed leaves such a one behind, which nothing uses."""
    start = snapshot_of(connection)
    connection.execute(
        text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'sites_name_idx'::regclass")
    )
    script = migration(connection, metadata_of(models))
    assert "index public.sites_name_idx" in str(script.upgrade_ops.as_diffs())
    run_in(connection, rendered(script.upgrade_ops))
    assert not unequal(snapshot_of(connection), start)
