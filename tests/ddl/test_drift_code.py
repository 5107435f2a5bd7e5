"""Changes by hand of code, policies and grants are found, named, and put right.

Every change happens in a transaction of its own over one database, and is rolled back.
"""

from __future__ import annotations

import pytest
from sqlalchemy import (
    Connection,
)

from tests.ddl.case import (
    metadata_of,
    migration,
)
from tests.ddl.drift import mended, models

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
}


def test_nothing_is_found_where_nothing_was_changed(at_models: Connection) -> None:
    assert migration(at_models, metadata_of(models)).upgrade_ops.is_empty()


@pytest.mark.parametrize("name", DRIFT)
def test_drift(at_models: Connection, name: str) -> None:
    mended(at_models, *DRIFT[name])
