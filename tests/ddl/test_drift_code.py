"""Changes by hand of code, policies and grants are found, reported and fixed.

Every change happens in a transaction of its own over one database, and is rolled back.
"""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from tests.support.drift import fixed, models
from tests.support.generated_revisions import metadata_of, migration

DRIFT = {
    # triggers
    "disabled trigger": (
        "ALTER TABLE sites DISABLE TRIGGER bump",
        "trigger public.sites.bump enabled: expected origin, found disabled",
    ),
    "replica trigger": (
        "ALTER TABLE sites ENABLE REPLICA TRIGGER bump",
        "trigger public.sites.bump enabled: expected origin, found replica",
    ),
    "always trigger": (
        "ALTER TABLE sites ENABLE ALWAYS TRIGGER bump",
        "trigger public.sites.bump enabled: expected origin, found always",
    ),
    "dropped trigger": (
        "DROP TRIGGER bump ON sites",
        "trigger public.sites.bump expected, missing",
    ),
    "other trigger": (
        "DROP TRIGGER bump ON sites; CREATE TRIGGER bump AFTER UPDATE ON sites REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION bump('a''b')",
        "trigger public.sites.bump timing: expected before, found after",
        "trigger public.sites.bump events: expected update of name, size, found update",
        "trigger public.sites.bump level: expected row, found statement",
        "trigger public.sites.bump function: expected public.bump(), found public.bump('a''b')",
        "trigger public.sites.bump when: expected (old.name IS DISTINCT FROM new.name), found nothing",
        "trigger public.sites.bump old_table: expected nothing, found o",
        "trigger public.sites.bump new_table: expected nothing, found n",
    ),
    "extra trigger": (
        "CREATE CONSTRAINT TRIGGER extra AFTER INSERT OR DELETE ON parts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bump()",
        "trigger public.parts.extra found, not declared",
    ),
    "trigger on a view": (
        "CREATE TRIGGER t INSTEAD OF UPDATE ON counts FOR EACH ROW EXECUTE FUNCTION bump()",
        "trigger public.counts.t found, not declared",
    ),
    # row-level security
    "policy for all rows": (
        "ALTER POLICY own ON sites USING (true)",
        "policy public.sites.own using: expected (tenant_id = ( SELECT public.tenant() AS tenant)), found true",
    ),
    "policy for other roles": (
        "ALTER POLICY own ON sites TO PUBLIC",
        "policy public.sites.own to: expected r_app, found PUBLIC",
    ),
    "policy with another check": (
        "ALTER POLICY own ON sites WITH CHECK (true)",
        "policy public.sites.own check: expected (tenant_id = ( SELECT public.tenant() AS tenant)), found true",
    ),
    "policy of another command": (
        "DROP POLICY all_rows ON sites;CREATE POLICY all_rows ON sites TO r_op, r_read USING (true)",
        "policy public.sites.all_rows command: expected select, found all",
    ),
    "restrictive made permissive": (
        "DROP POLICY not_small ON sites;CREATE POLICY not_small ON sites TO r_app USING (size > 0)",
        "policy public.sites.not_small permissive: expected false, found true",
    ),
    "dropped policy": ("DROP POLICY own ON sites", "policy public.sites.own expected, missing"),
    "extra policy": (
        "CREATE POLICY extra ON parts",
        "policy public.parts.extra found, not declared",
    ),
    "no force": (
        "ALTER TABLE sites NO FORCE ROW LEVEL SECURITY",
        "row-level security public.sites force: expected true, found false",
    ),
    "disabled": (
        "ALTER TABLE sites DISABLE ROW LEVEL SECURITY",
        "row-level security public.sites enable: expected true, found false",
    ),
    "enabled": (
        "ALTER TABLE parts ENABLE ROW LEVEL SECURITY",
        "row-level security public.parts found, not declared",
    ),
    # grants
    "revoked": (
        "REVOKE INSERT ON sites FROM r_app",
        "grant public.sites to r_app: missing: INSERT",
    ),
    "revoked column": (
        "REVOKE UPDATE (size) ON sites FROM r_app",
        "grant public.sites to r_app: missing: UPDATE (size)",
    ),
    "granted to public": (
        "GRANT SELECT ON sites TO PUBLIC",
        "grant public.sites to PUBLIC: not declared: SELECT",
    ),
    "granted everything": (
        "GRANT ALL ON parts TO r_op",
        "grant public.parts to r_op: not declared: DELETE, INSERT, MAINTAIN, REFERENCES, SELECT, TRIGGER, TRUNCATE, UPDATE",
    ),
    "granted column": (
        "GRANT SELECT (id, tenant_id) ON parts TO r_app",
        "grant public.parts to r_app: not declared: SELECT (id, tenant_id)",
    ),
    "grant option": (
        "GRANT SELECT ON sites TO r_app WITH GRANT OPTION",
        "grant public.sites to r_app: missing: SELECT; not declared: SELECT WITH GRANT OPTION",
    ),
    "grant option in use": (
        "GRANT SELECT ON parts TO r_app WITH GRANT OPTION; SET LOCAL ROLE r_app;GRANT SELECT ON parts TO r_op; RESET ROLE",
        "grant public.parts to r_app: not declared: SELECT WITH GRANT OPTION",
        "grant public.parts to r_op: not declared: SELECT",
    ),
    "granted function": (
        "GRANT EXECUTE ON FUNCTION tenant() TO PUBLIC",
        "grant function public.tenant() to PUBLIC: not declared: EXECUTE",
    ),
    "revoked function": (
        "REVOKE EXECUTE ON FUNCTION count_sites FROM r_op",
        "grant function public.count_sites(of_tenant uuid, minimum integer) to r_op: missing: EXECUTE",
    ),
    "granted view": (
        "GRANT SELECT ON counts TO r_app",
        "grant public.counts to r_app: not declared: SELECT",
    ),
    "granted view column": (
        "GRANT SELECT (n) ON counts TO r_app",
        "grant public.counts to r_app: not declared: SELECT (n)",
    ),
    "granted schema": (
        "GRANT CREATE ON SCHEMA public TO r_op",
        "grant schema public to r_op: not declared: CREATE",
    ),
    "usage for public": (
        "GRANT USAGE ON SCHEMA public TO PUBLIC",
        "grant schema public to PUBLIC: not declared: USAGE",
    ),
    # functions
    "function body": (
        "CREATE OR REPLACE FUNCTION tenant() RETURNS uuid STABLE PARALLEL SAFE RETURN gen_random_uuid()",
        "function public.tenant() body: expected RETURN (NULLIF(current_setting('app.tenant'::text, true), ''::text))::uuid, found RETURN gen_random_uuid()",
    ),
    "text body": (
        "CREATE OR REPLACE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'begin return new; end'",
        "function public.bump() body: expected begin new.changed_at := now(); return new; end, found begin return new; end",
    ),
    "volatility": (
        "ALTER FUNCTION tenant() IMMUTABLE",
        "function public.tenant() volatility: expected stable, found immutable",
    ),
    "parallel": (
        "ALTER FUNCTION tenant() PARALLEL UNSAFE",
        "function public.tenant() parallel: expected safe, found unsafe",
    ),
    "strict": (
        "ALTER FUNCTION tenant() STRICT",
        "function public.tenant() strict: expected false, found true",
    ),
    "leakproof": (
        "ALTER FUNCTION tenant() LEAKPROOF",
        "function public.tenant() leakproof: expected false, found true",
    ),
    "security definer": (
        "ALTER FUNCTION tenant() SECURITY DEFINER",
        "function public.tenant() security_definer: expected false, found true",
    ),
    "settings": (
        "ALTER FUNCTION bump() RESET search_path",
        "function public.bump() settings: expected search_path=pg_catalog, pg_temp, found nothing",
    ),
    "more settings": (
        "ALTER FUNCTION bump() SET \"TimeZone\" = 'UTC'",
        "function public.bump() settings: expected search_path=pg_catalog, pg_temp, found TimeZone=UTC, search_path=pg_catalog, pg_temp",
    ),
    "comment of a function": (
        "COMMENT ON FUNCTION tenant() IS NULL",
        "function public.tenant() comment: expected Whose rows, found nothing",
    ),
    "overloaded": (
        "CREATE FUNCTION tenant(a text DEFAULT 'x, y') RETURNS text RETURN a;GRANT EXECUTE ON FUNCTION tenant(text) TO r_op;REVOKE EXECUTE ON FUNCTION tenant() FROM r_app",
        "function public.tenant(a text) found, not declared",
        "grant function public.tenant() to r_app: missing: EXECUTE",
    ),
    "defaults of arguments": (
        "CREATE OR REPLACE FUNCTION count_sites(of_tenant uuid, minimum int DEFAULT 1) RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM sites WHERE tenant_id = of_tenant AND size > minimum; END",
        "function public.count_sites(of_tenant uuid, minimum integer) arguments: expected of_tenant uuid, minimum integer DEFAULT 0, found of_tenant uuid, minimum integer DEFAULT 1",
    ),
    "extra function": (
        "CREATE FUNCTION extra(OUT a int, OUT b text, VARIADIC c numeric(10,2)[]) STRICT LANGUAGE plpgsql AS $$ begin a := 1; end $$",
        "function public.extra(OUT a integer, OUT b text, VARIADIC c numeric[]) found, not declared",
    ),
    "empty function": (
        "CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS ''",
        "function public.nothing() found, not declared",
    ),
    "function of rows": (
        "CREATE FUNCTION rows() RETURNS TABLE (a int, b text) LANGUAGE sql AS 'SELECT 1, ''x'' UNION SELECT id, name FROM public.sites'",
        "function public.rows() found, not declared",
    ),
    # views
    "view query": (
        "CREATE OR REPLACE VIEW counts WITH (security_invoker) AS SELECT n FROM site_names WHERE n > 1",
        "view public.counts definition: expected SELECT n FROM public.site_names, found SELECT n FROM public.site_names WHERE (n > 1)",
    ),
    "view columns": (
        "CREATE OR REPLACE VIEW counts WITH (security_invoker) AS SELECT n, 1 AS one FROM site_names",
        "view public.counts definition: expected SELECT n FROM public.site_names, found SELECT n, 1 AS one FROM public.site_names",
    ),
    "view under a view": (
        "CREATE OR REPLACE VIEW site_names WITH (security_invoker) AS SELECT tenant_id, name, count(*) AS n FROM sites WHERE size > 1 GROUP BY 1, 2",
        "view public.site_names definition: expected SELECT tenant_id, name, count(*) AS n FROM public.sites GROUP BY tenant_id, name, found SELECT tenant_id, name, count(*) AS n FROM public.sites WHERE (size > 1) GROUP BY tenant_id, name",
    ),
    "invoker": (
        "ALTER VIEW site_names SET (security_invoker = false)",
        "view public.site_names security_invoker: expected true, found false",
    ),
    "barrier": (
        "ALTER VIEW counts SET (security_barrier)",
        "view public.counts security_barrier: expected false, found true",
    ),
    "comment of a view": (
        "COMMENT ON VIEW site_names IS 'x'",
        "view public.site_names comment: expected Names, found x",
    ),
    "dropped view": ("DROP VIEW counts", "view public.counts expected, missing"),
    "extra view": (
        "CREATE VIEW extra AS SELECT count_sites(tenant_id) FROM sites;GRANT SELECT ON extra TO r_op",
        "view public.extra found, not declared",
    ),
    "extra views that seem to read each other": (
        "CREATE VIEW a AS SELECT id AS b FROM parts; CREATE VIEW b AS SELECT a.b AS a FROM a",
        "view public.a found, not declared",
        "view public.b found, not declared",
    ),
}


def test_nothing_is_found_where_nothing_was_changed(at_models: Connection) -> None:
    assert migration(at_models, metadata_of(models)).upgrade_ops.is_empty()


@pytest.mark.parametrize("name", DRIFT)
def test_drift(at_models: Connection, name: str) -> None:
    statements, *expected = DRIFT[name]
    fixed(at_models, statements, *expected)
