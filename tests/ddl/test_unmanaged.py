"""What no model can declare is named with the command that mends it, or declared as kept."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Connection, Date, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import Extension, Function, Grant, Unmanaged, found_by
from ddl.differences import Difference, lines
from tests.support import drift
from tests.support.catalog_states import catalog_states_in, unequal_states
from tests.support.generated_revisions import Declare, metadata_of, migration, rendered, run_in

FOUND = "found, not declared; run: "

DRIFT = {
    "rule": (
        "CREATE RULE silent AS ON DELETE TO sites DO INSTEAD NOTHING",
        f"rule silent on public.sites {FOUND}DROP RULE silent on public.sites",
    ),
    "rule on a view": (
        'CREATE RULE "Silent" AS ON DELETE TO counts DO INSTEAD NOTHING',
        f'rule "Silent" on public.counts {FOUND}DROP RULE "Silent" on public.counts',
    ),
    "procedure": (
        "CREATE PROCEDURE peek(a text, INOUT b int DEFAULT 1) SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'",
        f"procedure public.peek(text,integer) {FOUND}DROP PROCEDURE public.peek(pg_catalog.text,integer)",
    ),
    "aggregate": (
        "CREATE AGGREGATE most(int) (sfunc = int4larger, stype = int)",
        f"aggregate public.most(integer) {FOUND}DROP ROUTINE public.most(integer)",
    ),
    "aggregate of nothing": (
        "CREATE AGGREGATE rows(*) (sfunc = int8inc, stype = int8, initcond = 0)",
        f"aggregate public.rows() {FOUND}DROP ROUTINE public.rows()",
    ),
    "ordered-set aggregate": (
        "CREATE AGGREGATE nth(float8 ORDER BY anyelement) (sfunc = ordered_set_transition, stype = internal, finalfunc = percentile_disc_final, finalfunc_extra)",
        f"aggregate public.nth(double precision,anyelement) {FOUND}DROP ROUTINE public.nth(double precision,pg_catalog.anyelement)",
    ),
    "operator": (
        "CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)",
        f"operator public.===(integer,integer) {FOUND}DROP OPERATOR public.===(integer,integer)",
    ),
    "operator class with its family": (
        "CREATE OPERATOR CLASS backwards FOR TYPE int USING btree AS OPERATOR 1 >, FUNCTION 1 btint4cmp(int, int)",
        f"operator family public.backwards USING btree {FOUND}DROP OPERATOR FAMILY public.backwards USING btree",
    ),
    "operator class of a family of the system": (
        "CREATE OPERATOR CLASS backwards FOR TYPE int USING btree FAMILY integer_ops AS STORAGE int",
        f"operator class public.backwards USING btree {FOUND}DROP OPERATOR CLASS public.backwards USING btree",
    ),
    "cast": (
        "CREATE CAST (point AS text) WITH INOUT AS ASSIGNMENT",
        f"cast (point AS text) {FOUND}DROP CAST (pg_catalog.point AS pg_catalog.text)",
    ),
    "enum": (
        "CREATE TYPE mood AS ENUM ('bad')",
        f"enum public.mood {FOUND}DROP TYPE public.mood",
    ),
    "domain": (
        "CREATE DOMAIN even AS int CHECK (value % 2 = 0)",
        f"domain public.even {FOUND}DROP DOMAIN public.even",
    ),
    "domain of an array": (
        "CREATE DOMAIN list AS int[]",
        f"domain public.list {FOUND}DROP DOMAIN public.list",
    ),
    "composite type": (
        'CREATE TYPE "Pair" AS (a int, b int)',
        f'composite type public."Pair" {FOUND}DROP TYPE public."Pair"',
    ),
    "range type": (
        "CREATE TYPE span AS RANGE (subtype = float8)",
        f"range type public.span {FOUND}DROP TYPE public.span",
    ),
    "shell type": ("CREATE TYPE later", f"type public.later {FOUND}DROP TYPE public.later"),
    "collation": (
        'CREATE COLLATION mine FROM "C"',
        f"collation public.mine {FOUND}DROP COLLATION public.mine",
    ),
    "conversion": (
        "CREATE CONVERSION mine FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
        f"conversion public.mine {FOUND}DROP CONVERSION public.mine",
    ),
    "text search": (
        (
            "CREATE TEXT SEARCH CONFIGURATION words (copy = simple); CREATE TEXT SEARCH DICTIONARY words (template = simple);"
            "CREATE TEXT SEARCH TEMPLATE words (lexize = dsimple_lexize); CREATE TEXT SEARCH PARSER words (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end, lextypes = prsd_lextype)"
        ),
        *(
            f"text search {one} public.words {FOUND}DROP TEXT SEARCH {one.upper()} public.words"
            for one in ("configuration", "dictionary", "parser", "template")
        ),
    ),
    "statistics": (
        "CREATE STATISTICS together ON name, size FROM sites",
        f"statistics object public.together {FOUND}DROP STATISTICS public.together",
    ),
    "foreign table": (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE USER MAPPING FOR r_app SERVER s; CREATE FOREIGN TABLE far (id int) SERVER s; GRANT SELECT ON far TO r_app",
        f"foreign table public.far {FOUND}DROP FOREIGN TABLE public.far",
        f"user mapping r_app on server s {FOUND}DROP USER MAPPING FOR r_app SERVER s",
        f"server s {FOUND}DROP SERVER s",
        f"foreign-data wrapper w {FOUND}DROP FOREIGN DATA WRAPPER w",
    ),
    "event trigger": (
        "CREATE FUNCTION pg_temp.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER watch ON sql_drop EXECUTE FUNCTION pg_temp.f()",
        f"event trigger watch {FOUND}DROP EVENT TRIGGER watch",
    ),
    "publication of everything": (
        "CREATE PUBLICATION everything FOR ALL TABLES",
        f"publication everything {FOUND}DROP PUBLICATION everything",
    ),
    "publication of a table": (
        "CREATE PUBLICATION part FOR TABLE sites",
        f"publication part {FOUND}DROP PUBLICATION part",
    ),
    "publication of a schema": (
        "CREATE PUBLICATION part FOR TABLES IN SCHEMA public",
        f"publication part {FOUND}DROP PUBLICATION part",
    ),
    "subscription": (
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = NONE)",
        f"subscription s {FOUND}DROP SUBSCRIPTION s",
    ),
    "language": (
        "CREATE LANGUAGE other HANDLER plpgsql_call_handler",
        f"language other {FOUND}DROP LANGUAGE other",
    ),
    "transform": (
        "CREATE TRANSFORM FOR point LANGUAGE sql (FROM SQL WITH FUNCTION time_support(internal))",
        f"transform for point language sql {FOUND}DROP TRANSFORM for pg_catalog.point language sql",
    ),
    "access method": (
        "CREATE ACCESS METHOD tree TYPE INDEX HANDLER bthandler",
        f"access method tree {FOUND}DROP ACCESS METHOD tree",
    ),
    "extension": ("CREATE EXTENSION citext", f"extension citext {FOUND}DROP EXTENSION citext"),
    "default privileges in a schema": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT ON TABLES TO r_app",
        (
            "default privileges of postgres in schema public on tables to r_app: expected nothing, found INSERT, SELECT;"
            " run: ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public REVOKE ALL ON TABLES FROM r_app"
        ),
    ),
    "default privileges": (
        "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO PUBLIC",
        (
            "default privileges of postgres on sequences to PUBLIC: expected nothing, found USAGE;"
            " run: ALTER DEFAULT PRIVILEGES FOR ROLE postgres REVOKE ALL ON SEQUENCES FROM PUBLIC"
        ),
    ),
    "foreign keys switched off": (
        "ALTER TABLE parts DISABLE TRIGGER ALL",
        "table public.parts foreign keys: expected checked, found disabled; run: ALTER TABLE public.parts ENABLE TRIGGER ALL",
    ),
    "parent": (
        "CREATE SCHEMA other AUTHORIZATION r_app; CREATE TABLE other.up (id int NOT NULL); ALTER TABLE parts INHERIT other.up",
        "table public.parts parent: expected nothing, found other.up; run: ALTER TABLE public.parts NO INHERIT other.up",
    ),
    "of a type": (
        "CREATE SCHEMA other AUTHORIZATION r_app; CREATE TYPE other.t AS (id int, tenant_id uuid, site_id int); ALTER TABLE parts OF other.t",
        "table public.parts of type: expected nothing, found other.t; run: ALTER TABLE public.parts NOT OF",
    ),
    "access method of a table": (
        "CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler; ALTER TABLE parts SET ACCESS METHOD other",
        "table public.parts access method: expected heap, found other; run: ALTER TABLE public.parts SET ACCESS METHOD heap",
        f"access method other {FOUND}DROP ACCESS METHOD other",
    ),
    "NOT NULL that is not valid": (
        "ALTER TABLE sites ALTER name DROP NOT NULL; ALTER TABLE sites ADD CONSTRAINT n NOT NULL name NOT VALID",
        "constraint public.sites.n not null: expected valid, found not valid; run: ALTER TABLE public.sites VALIDATE CONSTRAINT n",
    ),
    "rights of the owner of a table": (
        "REVOKE INSERT, UPDATE ON sites FROM postgres",
        (
            "table public.sites rights of its owner: expected all, found no INSERT, UPDATE;"
            " run: GRANT INSERT, UPDATE ON TABLE public.sites TO postgres"
        ),
    ),
    "rights of the owner of a function": (
        "REVOKE ALL ON FUNCTION bump() FROM postgres",
        (
            "function public.bump() rights of its owner: expected all, found no EXECUTE;"
            " run: GRANT EXECUTE ON FUNCTION public.bump() TO postgres"
        ),
    ),
    "owner of a table": (
        "ALTER TABLE sites OWNER TO r_read",
        "table public.sites owner: expected postgres, found r_read; run: ALTER TABLE public.sites OWNER TO postgres",
    ),
    "owner of a view": (
        "ALTER VIEW counts OWNER TO r_op",
        "view public.counts owner: expected postgres, found r_op; run: ALTER TABLE public.counts OWNER TO postgres",
    ),
    "owner of a function": (
        "ALTER FUNCTION bump() OWNER TO r_op",
        "function public.bump() owner: expected postgres, found r_op; run: ALTER FUNCTION public.bump() OWNER TO postgres",
    ),
    "owner of a schema": (
        "ALTER SCHEMA public OWNER TO r_op",
        "schema public owner: expected postgres, found r_op; run: ALTER SCHEMA public OWNER TO postgres",
    ),
}


def differences(connection: Connection, declare: Declare) -> list[Difference]:
    return found_by(migration(connection, metadata_of(declare)))


def execute(connection: Connection, statements: str) -> None:
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})


def spelled(found: list[Difference]) -> list[str]:
    return [" ".join(line.split()[1:]) for line in lines(found)]


@pytest.mark.parametrize("name", DRIFT)
def test_it_is_named_with_the_command_that_mends_it(at_models: Connection, name: str) -> None:
    statements, *expected = DRIFT[name]
    start = catalog_states_in(at_models)
    execute(at_models, statements)
    found = differences(at_models, drift.models)
    assert sorted(spelled(found)) == sorted(expected)
    for one in sorted(found, key=lambda one: expected.index(spelled([one])[0])):
        execute(at_models, one.mend)
    assert spelled(differences(at_models, drift.models)) == []
    left = unequal_states(catalog_states_in(at_models), start)
    assert not [line for line in left if "('other'" not in line]


def test_no_grant_seems_to_be_missing_because_its_role_is_the_owner(at_models: Connection) -> None:
    start = catalog_states_in(at_models)
    execute(at_models, "ALTER TABLE sites OWNER TO r_app")
    (owner,) = differences(at_models, drift.models)
    assert owner.detail == "owner"
    execute(at_models, owner.mend)
    # PostgreSQL takes the grants of a new owner away.
    script = migration(at_models, metadata_of(drift.models))
    missing = "INSERT, SELECT, UPDATE (name, size)"
    assert spelled(found_by(script)) == [f"grant public.sites to r_app: missing: {missing}"]
    run_in(at_models, rendered(script.upgrade_ops))
    assert not unequal_states(catalog_states_in(at_models), start)


def test_what_another_tool_keeps_is_passed_over(at_models: Connection) -> None:
    def models(metadata: MetaData) -> None:
        drift.models(metadata)
        Unmanaged("rule silent on public.sites", "for the tests", metadata=metadata)
        Unmanaged("domain public.*[]", "not the code of a pattern", metadata=metadata)
        Unmanaged("table public.sites owner", "theirs", metadata=metadata)
        Unmanaged("table public.kept_*", "theirs, with all that is in them", metadata=metadata)
        Extension("citext", metadata=metadata)

    execute(
        at_models,
        "CREATE RULE silent AS ON DELETE TO sites DO INSTEAD NOTHING;"
        "CREATE TABLE kept_1 (id int PRIMARY KEY, n int CHECK (n > 0)); GRANT SELECT ON kept_1 TO r_app;"
        "CREATE RULE r AS ON DELETE TO kept_1 DO INSTEAD NOTHING; CREATE DOMAIN d AS int[];"
        "ALTER TABLE sites OWNER TO r_op; CREATE EXTENSION citext",
    )
    script = migration(at_models, metadata_of(models))
    assert spelled(found_by(script)) == [
        f"domain public.d {FOUND}DROP DOMAIN public.d",
    ]
    assert "kept" not in rendered(script.upgrade_ops)


def test_another_role_keeps_its_own_schema(at_models: Connection) -> None:
    execute(
        at_models,
        "CREATE SCHEMA theirs AUTHORIZATION r_app; SET LOCAL ROLE r_app;"
        "CREATE TABLE theirs.t (id int); CREATE TYPE theirs.e AS ENUM ('a');"
        "CREATE RULE r AS ON DELETE TO theirs.t DO INSTEAD NOTHING;"
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; RESET ROLE",
    )
    execute(at_models, "CREATE PUBLICATION theirs FOR TABLE theirs.t")
    assert spelled(differences(at_models, drift.models)) == []


def test_a_schema_of_which_the_last_model_went(at_models: Connection) -> None:
    execute(
        at_models,
        'CREATE SCHEMA "Old"; CREATE TABLE "Old".t (id serial PRIMARY KEY, n int); CREATE VIEW "Old".v AS SELECT n FROM "Old".t;'
        'CREATE FUNCTION "Old".f() RETURNS int RETURN 1; CREATE DOMAIN "Old".d AS int; CREATE SEQUENCE "Old".s',
    )
    found = differences(at_models, drift.models)
    named = [
        ("function", "f()"),
        ("sequence", "s"),
        ("table", "t"),
        ("type", "d"),
        ("view", "v"),
    ]
    assert spelled(found) == [
        f'{kind} "Old".{name} {FOUND}DROP {kind.upper()} "Old".{name}' for kind, name in named
    ]
    for one in reversed(found):
        execute(at_models, one.mend)
    assert spelled(differences(at_models, drift.models)) == []


@pytest.mark.parametrize("name", ["sites", "FUNCTION bump()", "SCHEMA public"])
def test_privileges_that_are_spelled_out_are_the_same(at_models: Connection, name: str) -> None:
    """What was never granted is NULL in the catalog, what was taken back a list of the rest."""
    execute(at_models, f"GRANT ALL ON {name} TO r_op, postgres; REVOKE ALL ON {name} FROM r_op")
    assert [one.name for one in differences(at_models, drift.models) if one.kind != "grant"] == []


@pytest.mark.parametrize("schema", ["", "IN SCHEMA public"])
def test_default_privileges_are_told_and_revoked_from_what_they_reached(
    at_models: Connection, schema: str
) -> None:
    """Also in the first revision: a person set them before there was anything."""

    def more(metadata: MetaData) -> None:
        drift.models(metadata)
        Table("later", metadata, Column("day", Date))
        Function("later", returns="int", body="RETURN 1", metadata=metadata)

    for noun, privilege in (("TABLES", "SELECT"), ("FUNCTIONS", "EXECUTE")):
        given = f"ALTER DEFAULT PRIVILEGES {schema} GRANT {privilege} ON {noun} TO r_op"
        execute(at_models, given)
    run_in(at_models, rendered(migration(at_models, metadata_of(more)).upgrade_ops))
    found = differences(at_models, more)
    reached = {"grant public.later", "grant function public.later()"}
    told = {f"{one.kind} {one.name}" for one in found}
    assert {one for one in told if one.startswith("grant")} == reached
    assert sum(one.kind == "default privileges" for one in found) == 2
    run_in(at_models, rendered(migration(at_models, metadata_of(more)).upgrade_ops))
    for one in differences(at_models, more):
        execute(at_models, one.mend)
    assert differences(at_models, more) == []


def test_the_owner_is_whoever_runs_the_revisions(at_models: Connection) -> None:
    execute(
        at_models,
        "CREATE TABLE alembic_version (version_num text); ALTER TABLE alembic_version OWNER TO r_owner",
    )
    found = differences(at_models, drift.models)
    assert {one.detail for one in found} == {"owner"}
    for one in found:
        execute(at_models, one.mend)
    assert spelled(differences(at_models, drift.models)) == []


def test_a_reason_has_to_be_given() -> None:
    with pytest.raises(ArgumentError, match=r'Unmanaged\("x"\): expected a reason, found none'):
        Unmanaged("x", " ", metadata=MetaData())


def test_a_grant_on_a_partition(at_models: Connection) -> None:
    def models(metadata: MetaData) -> None:
        drift.models(metadata)
        Table(
            "logs",
            metadata,
            Column("at", Date),
            Grant("select", to="r_op"),
            postgresql_partition_by="RANGE (at)",
        )

    script = migration(at_models, metadata_of(models))
    run_in(at_models, rendered(script.upgrade_ops))
    execute(at_models, "CREATE TABLE old PARTITION OF logs DEFAULT; GRANT SELECT ON old TO r_op")
    assert differences(at_models, models) == []
    execute(at_models, "GRANT SELECT, DELETE ON old TO r_app, r_op")
    found = differences(at_models, models)
    assert spelled(found) == [
        "grant public.old to r_app: not declared: DELETE, SELECT; run: REVOKE DELETE, SELECT ON public.old FROM r_app",
        "grant public.old to r_op: not declared: DELETE; run: REVOKE DELETE ON public.old FROM r_op",
    ]
    for one in found:
        execute(at_models, one.mend)
    assert differences(at_models, models) == []
