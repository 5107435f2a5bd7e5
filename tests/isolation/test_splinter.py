"""The rules of Splinter, Supabase's linter of databases, for this schema and its roles.

Those that find what a role of a service reaches count fleet_app, fleet_ingest and fleet_auth, and
PUBLIC; operators see every tenant by design. Rules that are rules of the house already are used
from there. What a rule finds and may stay is in EXCEPTIONS, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

import models
from database.rules import RULES as HOUSE
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.time_series import migrate

NOT_APPLICABLE = {
    "auth_allow_anonymous_sign_ins": "a setting of Supabase's service",
    "extension_versions_outdated": "extensions belong to the server",
    "fkey_to_auth_unique": "about the schema auth of Supabase",
    "insecure_queue_exposed_in_api": "about pgmq",
    "pg_graphql_table_exposed": "about pg_graphql",
    "public_bucket_allows_listing": "about the storage of Supabase",
    "rls_references_user_metadata": "policies read one setting, which models/test_access.py tests",
    "table_bloat": "of a database under load",
    "unused_index": "of a database under load",
}

BY_THE_HOUSE = {
    "duplicate_index": "no_index_is_a_prefix",
    "function_search_path_mutable": "function_fixes_its_search_path",
    "unindexed_foreign_keys": "foreign_key_has_an_index",
}

_INGESTED = (
    "connections",
    "data_retention_policies",
    "device_api_tokens",
    "device_registry",
    "device_sensors",
    "device_state",
    "device_state_backlog",
    "endpoints",
    "ingest_rates",
    "tag_metadata",
    "tenants",
)
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("security_definer_function_executable", "verified_tenant()"): "every role may ask which "
    "tenant its token names; it reads keys that nobody else reads",
    ("extension_in_public", "timescaledb"): "queries name time_bucket() without a schema, and "
    "nobody but the owner may CREATE there",
    ("security_definer_view", "public.data_horizons"): "its condition counts rows of all tenants, "
    "too: when chunks were dropped, which hides nothing",
    ("sensitive_columns_exposed", "public.device_api_tokens.token_hash"): "fleet_ingest compares "
    "what a device sends",
    ("sensitive_columns_exposed", "public.device_registry.provision_token_hash"): "fleet_ingest "
    "compares what a device sends",
    ("rls_policy_always_true", "public.order_of_conditions app_access"): "the table is empty",
    **{
        ("rls_policy_always_true", f"public.{name} ingest_access"): "fleet_ingest serves the "
        "devices of all tenants, with grants on what identifies them"
        for name in _INGESTED
    },
    **{
        ("rls_disabled_in_public", f"public.{name}"): "a catalogue: every tenant reads all of it"
        for name, scope in models.SCOPES.items()
        if scope == "global"
    },
}


class Lint(NamedTuple):
    """A query for the names of objects that break a rule, and what breaks it."""

    query: str
    broken_by: str
    named: str


_SCHEMAS = "('public', 'timeseries', 'ingest')"
_OWN = f"""n.nspname IN {_SCHEMAS}
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"""
_SERVICES = "unnest(ARRAY['fleet_app', 'fleet_ingest', 'fleet_auth', 'public'])"
_REACHED = f"""EXISTS (SELECT FROM {_SERVICES} r, unnest(ARRAY['SELECT', 'UPDATE']) p
             WHERE has_any_column_privilege(r, c.oid, p)
                OR has_table_privilege(r, c.oid, 'INSERT, DELETE'))"""
_RELATIONS = (
    "SELECT n.nspname || '.' || c.relname"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
)
_POLICIES = f"""
    SELECT n.nspname || '.' || c.relname || ' ' || p.polname
      FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE {_OWN}"""
_READS = "SELECT FROM pg_rewrite w JOIN pg_depend d ON d.objid = w.oid WHERE w.ev_class = c.oid"
_AS_OWNER = (
    "NOT coalesce(c.reloptions::text[] && ARRAY['security_invoker=true', 'security_invoker=on'],"
    " false)"
)

LINTS = {
    "auth_users_exposed": Lint(
        f"""{_RELATIONS} WHERE {_OWN} AND c.relkind IN ('v', 'm') AND {_REACHED}
             AND (c.relkind = 'm' OR {_AS_OWNER})
             AND EXISTS ({_READS} AND d.refobjid = 'public.users'::regclass)""",
        "CREATE VIEW x AS SELECT email FROM users; GRANT SELECT ON x TO fleet_app",
        "public.x",
    ),
    "auth_rls_initplan": Lint(
        # What is left without its sub-selects must call nothing that is computed for each row.
        rf"""{_POLICIES} AND EXISTS (
               SELECT FROM regexp_matches(regexp_replace(
                        concat_ws(' ', pg_get_expr(p.polqual, p.polrelid),
                                  pg_get_expr(p.polwithcheck, p.polrelid)),
                        '\( SELECT \w+\([^()]*\) AS \w+(,\s*true( AS bool)?)?\)', '', 'g'),
                        '(\w+)\(', 'g') AS call
                 JOIN pg_proc f ON f.proname = call[1] AND f.provolatile <> 'i')""",
        "CREATE POLICY x ON sites TO fleet_app USING (tenant_id = current_tenant())",
        "public.sites x",
    ),
    "no_primary_key": Lint(
        f"""{_RELATIONS} WHERE {_OWN} AND c.relkind IN ('r', 'p')
             AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)""",
        "CREATE TABLE x (a int)",
        "public.x",
    ),
    "multiple_permissive_policies": Lint(
        f"""SELECT n.nspname || '.' || c.relname || ' ' || pg_get_userbyid(r) || ' ' || command
              FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
              JOIN pg_namespace n ON n.oid = c.relnamespace, unnest(p.polroles) r,
                   unnest(CASE p.polcmd WHEN '*' THEN '{{r,a,w,d}}'::text[]
                                        ELSE ARRAY[p.polcmd::text] END) command
             WHERE {_OWN} AND p.polpermissive
             GROUP BY n.nspname, c.relname, r, command HAVING count(*) > 1""",
        "CREATE POLICY x ON sites FOR SELECT TO fleet_app USING (true)",
        "public.sites fleet_app r",
    ),
    "policy_exists_rls_disabled": Lint(
        f"{_POLICIES} AND NOT c.relrowsecurity",
        "ALTER TABLE sites DISABLE ROW LEVEL SECURITY",
        "public.sites tenant_isolation",
    ),
    "rls_enabled_no_policy": Lint(
        f"""{_RELATIONS} WHERE {_OWN} AND c.relrowsecurity
             AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)""",
        "CREATE TABLE x (a int); ALTER TABLE x ENABLE ROW LEVEL SECURITY",
        "public.x",
    ),
    "security_definer_view": Lint(
        # One with the condition of a tenant shows as much as row-level security would.
        f"""{_RELATIONS} WHERE {_OWN} AND c.relkind = 'v' AND {_REACHED} AND {_AS_OWNER}
             AND pg_get_viewdef(c.oid)
                 !~ 'tenant_id(, true\\))? = \\( SELECT current_tenant\\(\\)'""",
        "CREATE VIEW x AS SELECT * FROM sites; GRANT SELECT ON x TO fleet_app",
        "public.x",
    ),
    "rls_disabled_in_public": Lint(
        f"""{_RELATIONS} WHERE {_OWN} AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
             AND n.nspname = 'public' AND {_REACHED}""",
        "CREATE TABLE x (a int); GRANT UPDATE (a) ON x TO fleet_ingest",
        "public.x",
    ),
    "extension_in_public": Lint(
        "SELECT extname FROM pg_extension"
        " WHERE extname <> 'plpgsql' AND extnamespace = 'public'::regnamespace",
        "CREATE EXTENSION pg_trgm SCHEMA public",
        "pg_trgm",
    ),
    "materialized_view_in_api": Lint(
        f"{_RELATIONS} WHERE {_OWN} AND c.relkind = 'm' AND {_REACHED}",
        "CREATE MATERIALIZED VIEW x AS SELECT 1 AS a; GRANT SELECT (a) ON x TO fleet_auth",
        "public.x",
    ),
    "foreign_table_in_api": Lint(
        f"{_RELATIONS} WHERE {_OWN} AND c.relkind = 'f' AND {_REACHED}",
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        " CREATE FOREIGN TABLE x (a int) SERVER s; GRANT SELECT ON x TO PUBLIC",
        "public.x",
    ),
    "unsupported_reg_types": Lint(
        f"""SELECT n.nspname || '.' || c.relname || '.' || a.attname
              FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
              JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE {_OWN} AND a.atttypid = ANY (ARRAY['regcollation', 'regconfig',
                   'regdictionary', 'regnamespace', 'regoper', 'regoperator', 'regproc',
                   'regprocedure']::regtype[])""",
        "CREATE TABLE x (a regproc)",
        "public.x.a",
    ),
    "sensitive_columns_exposed": Lint(
        # Row-level security does not help here: a tenant's services have no use for them either.
        f"""SELECT n.nspname || '.' || c.relname || '.' || a.attname
              FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
              JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE {_OWN} AND c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0
               AND NOT a.attisdropped
               AND a.attname ~ '(^|_)(passw(or)?d|pwd|passphrase|secret|private_key|api_?key|token'
                   '|jwt|otp|cvv|iban|ssn|(session|auth|recovery|backup|verification)_(key|code)'
                   '|(pgp|gpg|ssh|license|activation)_key|credit_card|card_number)(_hash)?$'
               AND EXISTS (SELECT FROM {_SERVICES} r
                            WHERE has_column_privilege(r, c.oid, a.attnum, 'SELECT'))""",
        "CREATE TABLE x (api_key text); GRANT SELECT (api_key) ON x TO fleet_app",
        "public.x.api_key",
    ),
    "rls_policy_always_true": Lint(
        f"""{_POLICIES} AND p.polpermissive
               AND p.polroles && (SELECT array_agg(oid) || 0::oid FROM pg_roles
                                   WHERE rolname IN ('fleet_app', 'fleet_ingest', 'fleet_auth'))
               AND ARRAY['true', 'across.tenants(tenant_id)'] &&
                   ARRAY[pg_get_expr(p.polqual, p.polrelid),
                         pg_get_expr(p.polwithcheck, p.polrelid)]""",
        "CREATE POLICY x ON sites FOR INSERT TO PUBLIC WITH CHECK (true)",
        "public.sites x",
    ),
    "security_definer_function_executable": Lint(
        f"""SELECT p.oid::regprocedure::text
              FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname IN {_SCHEMAS} AND p.prosecdef
               AND EXISTS (SELECT FROM unnest(ARRAY['fleet_app', 'public']) r
                            WHERE has_function_privilege(r, p.oid, 'EXECUTE'))""",
        "CREATE FUNCTION x() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1",
        "x()",
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=servers("embedded", "timescaledb"))
def connection(
    request: pytest.FixtureRequest, make_shared_database: MakeDatabase
) -> Iterator[Connection]:
    """A database at head, every change in which is rolled back."""
    url = make_shared_database(named_server(request), like=migrate)
    with engine_of(url) as engine, engine.connect() as connection:
        yield connection


def found_by(connection: Connection, name: str) -> set[str]:
    return set(connection.scalars(sa.text(LINTS[name].query)))


@pytest.mark.parametrize("name", LINTS)
def test_nothing_breaks_a_rule_but_what_is_named(connection: Connection, name: str) -> None:
    excepted = {found for rule, found in EXCEPTIONS if rule == name}
    with connection.begin():
        assert found_by(connection, name) - excepted == set()


@pytest.mark.parametrize("name", LINTS)
def test_what_breaks_a_rule_is_found(connection: Connection, name: str) -> None:
    with connection.begin() as transaction:
        before = found_by(connection, name)
        connection.exec_driver_sql(LINTS[name].broken_by, execution_options={"no_parameters": True})
        assert LINTS[name].named in found_by(connection, name) - before
        transaction.rollback()


def test_every_exception_is_needed(connection: Connection) -> None:
    with connection.begin():
        extensions = set(connection.scalars(sa.text("SELECT extname FROM pg_extension")))
        needed = {(name, found) for name in LINTS for found in found_by(connection, name)}
    unneeded = {
        (name, found)
        for name, found in EXCEPTIONS.keys() - needed
        if name != "extension_in_public" or found in extensions
    }
    assert unneeded == set()
    assert all(EXCEPTIONS.values()), "each with its reason"


def test_every_rule_of_splinter_is_here() -> None:
    """The 29 of September 2026; two about pg_graphql and two about functions are one each here."""
    assert set(BY_THE_HOUSE.values()) <= HOUSE.keys()
    assert len(LINTS) + len(NOT_APPLICABLE) + len(BY_THE_HOUSE) == 27
