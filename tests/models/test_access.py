"""Who may do what, as the models declare it: scopes, grants, policies, functions."""

from __future__ import annotations

import re

import models
from ddl import Declared
from ddl.access import COMMANDS
from ddl.kinds.function import FunctionState
from ddl.kinds.grant import GrantState
from ddl.kinds.policy import PolicyState
from ddl.kinds.row_level_security import RowLevelSecurityState
from ddl.kinds.view import ViewState
from models.shared.access import OF_ROLLUP, OF_TENANT, OWN_ROWS
from models.shared.across import ACROSS
from models.shared.base import OWN_TENANT
from tests.support.declared_tables import (
    HYPERTABLES,
    ROLLUPS,
    TABLES,
    TENANT_HYPERTABLES,
    TENANT_TABLES,
    assert_none,
)

DECLARED = Declared.on(models.metadata)
ROLES = {role.name for role in models.ROLES}
READABLE_HASHES = {
    # Part of a key, salted with the device, and compared by the application itself.
    "fleet_app": {"device_activations.code_hash"},
    # Of no secret.
    "fleet_operator_read": {"timeseries.system_metrics.labels_hash"},
}


def held(table: str, role: str, privilege: str) -> set[str]:
    """The columns of ``table`` (a key of the MetaData) for which ``role`` has ``privilege``."""
    columns: set[str] = set()
    schema, _, name = f".{table}".rpartition(".")
    grants = DECLARED.of(GrantState).get((schema.strip(".") or "public", name))
    for found in grants.privileges if grants else ():
        if (found.role, found.name) == (role, privilege):
            every = set(models.metadata.tables[table].columns.keys())
            columns |= {found.column} if found.column else every
    return columns


def policies(table: str, role: str) -> list[tuple[str, str | None, str | None, bool]]:
    """(command, using, check, permissive) of the policies of ``table`` for ``role``."""
    return [
        (state.command, state.using, state.check, state.permissive)
        for state in DECLARED.of(PolicyState).values()
        if state.table == table and role in state.to
    ]


def test_tenant_tables_are_guarded() -> None:
    """Row-level security enabled and forced, with policies for the application and operators."""
    findings = []
    for name in (table.name for table in TENANT_TABLES):
        security = DECLARED.of(RowLevelSecurityState).get(("public", name))
        if security is None or not (security.enable and security.force):
            findings.append(
                f"{name}: row-level security is not enabled and forced; inherit from TenantScoped"
            )
        if ("all", OWN_TENANT, OWN_TENANT, True) not in policies(name, "fleet_app"):
            findings.append(f"{name}: fleet_app has no policy tenant_isolation")
        every_row = [("all", using, "true", True) for using in ("true", ACROSS)]
        if not any(policy in policies(name, "fleet_operator") for policy in every_row):
            findings.append(f"{name}: fleet_operator has no policy")
        if policies(name, "fleet_operator_read") not in [
            [("select", using, None, True)] for using in ("true", ACROSS)
        ]:
            findings.append(f"{name}: fleet_operator_read does not read all rows")
        every = set(models.metadata.tables[name].columns.keys())
        for privilege in ("select", "insert", "update", "delete"):
            if held(name, "fleet_operator", privilege) != every:
                findings.append(f"{name}: fleet_operator lacks {privilege}")
    assert_none(findings)


def test_no_further_policy_opens_a_tenant_table_to_the_application() -> None:
    """Permissive policies add up: a second one for fleet_app would undo the first."""
    assert_none(
        [
            f"{name}: {policy}"
            for name in (table.name for table in TENANT_TABLES)
            for policy in policies(name, "fleet_app")
            if policy[3] and policy != ("all", OWN_TENANT, OWN_TENANT, True)
        ]
    )


def test_policies_are_on_tables_with_row_level_security() -> None:
    secured = set(DECLARED.of(RowLevelSecurityState))
    assert_none(
        [
            f"{state.table}: policy {state.name} without row-level security; add RowLevelSecurity()"
            for state in DECLARED.of(PolicyState).values()
            if (state.schema, state.table) not in secured
        ]
    )


def test_the_application_reads_catalogues_and_nothing_else_that_is_global() -> None:
    """In private tables it sees only its own tenant, the names of its members, and an empty one."""
    findings = []
    for name, scope in models.SCOPES.items():
        if scope == "tenant" or "." in name:
            continue
        writes = {p for p in ("insert", "update", "delete") if held(name, "fleet_app", p)}
        reads = held(name, "fleet_app", "select")
        if scope == "global" and (writes or not reads):
            findings.append(f"{name}: reads {sorted(reads)}, writes by {sorted(writes)}")
        seen = ("users", "tenants", "order_of_conditions")
        if scope == "private" and name not in seen and (reads or writes):
            findings.append(f"{name} is private, but fleet_app holds {sorted(writes)} {reads}")
    assert_none(findings)
    assert held("users", "fleet_app", "select") == {"id", "display_name", "email"}
    assert not held("users", "fleet_app", "update")


def test_a_tenant_changes_its_profile_and_nothing_else_of_its_row() -> None:
    """Tier, billing account, status and slug are the platform's."""
    assert held("tenants", "fleet_app", "update") == set(models.auth.PROFILE_COLUMNS)
    assert not held("tenants", "fleet_app", "insert") | held("tenants", "fleet_app", "delete")
    kept = {"account_tier_id", "stripe_customer_id", "status", "slug", "tenant_id", "builtins"}
    assert not kept & set(models.auth.PROFILE_COLUMNS)


def test_a_tenant_cannot_insert_members_or_change_subscriptions() -> None:
    assert not held("tenant_members", "fleet_app", "insert")
    assert held("tenant_members", "fleet_app", "update") == {"status", "is_owner"}
    for privilege in ("insert", "update", "delete"):
        assert not held("subscriptions", "fleet_app", privilege), privilege


def test_hashes_of_credentials_are_not_readable() -> None:
    assert_none(
        [
            f"{table.key}.{column.name} is readable by {role}"
            for table in TABLES
            for column in table.columns
            if column.name.endswith("_hash")
            for role in ("fleet_app", "fleet_operator_read")
            if f"{table.key}.{column.name}" not in READABLE_HASHES.get(role, ())
            if column.name in held(table.key, role, "select")
        ]
    )


def test_ingest_appends_to_series_and_keeps_the_state_of_devices() -> None:
    readable = {table.key for table in TABLES if held(table.key, "fleet_ingest", "select")}
    referred_to = {"device_registry", "tag_metadata", "connections", "endpoints"}
    known = {"tenants", "data_retention_policies", "device_api_tokens", "device_state"}
    backlog = {"device_state_backlog"}
    assert readable == known | referred_to | backlog | {"ingest_rates"}
    assert held("ingest_rates", "fleet_ingest", "select") == {"tenant_id"}
    assert held("endpoints", "fleet_ingest", "select") == {"tenant_id", "id"}
    assert held("connections", "fleet_ingest", "select") == {"tenant_id", "id"}
    forgeable = {"audit_events", "notification_log"}
    series = {table.key for table in HYPERTABLES if table.name not in forgeable}
    allowed = {
        "insert": series | backlog | {"device_state", "device_sensors"},
        "update": backlog | {"device_state"},
        "delete": backlog,
    }
    for table in TABLES:
        for privilege, tables in allowed.items():
            expected = table.key in tables
            assert bool(held(table.key, "fleet_ingest", privilege)) is expected, table.key


def test_the_operator_audit_log_is_append_only() -> None:
    for role in ROLES:
        for privilege in ("update", "delete", "truncate"):
            assert not held("operator_audit_log", role, privilege), f"{role} {privilege}"
    for role in ("fleet_operator", "fleet_operator_read"):
        given = held("operator_audit_log", role, "insert")
        assert given
        assert not given & {"created_at", "login"}, "these must not be forged"


def test_grants_go_to_the_declared_roles_only() -> None:
    assert_none(
        [
            f"{state.title()} to {found.role}"
            for state in DECLARED.of(GrantState).values()
            for found in state.privileges
            if found.role not in ROLES or found.grantable
        ]
    )


def test_roles_that_insert_can_execute_the_defaults() -> None:
    findings = []
    for table in TABLES:
        defaults = {str(getattr(c.server_default, "arg", "")) for c in table.columns}
        for call in sorted(defaults & {"uuid7()", "current_tenant()"}):
            grants = DECLARED.of(GrantState)[("public", f"function {call}")].privileges
            executing = {found.role for found in grants}
            findings += [
                f"{table.name}: {role} inserts, but may not execute {call}"
                for role in sorted(ROLES - executing)
                if held(table.key, role, "insert")
            ]
    assert_none(findings)


def test_the_context_is_read_in_one_place() -> None:
    """A second setting trusted by a policy would be a second way in."""
    findings = [
        f"policy {state.name} on {state.table}"
        for state in DECLARED.of(PolicyState).values()
        if "current_setting" in f"{state.using} {state.check}"
    ]
    findings += [
        state.title()
        for state in DECLARED.of(FunctionState).values()
        if re.search(
            r"current_setting\((?!'(fleetschema\.|(lock|statement)_timeout'|is_superuser'))",
            state.body,
        )
        and state.name
        not in {"current_tenant", "verified_tenant", "called_by_another", "keep_history"}
    ]
    assert_none(findings)


def test_no_notification_names_a_tenant_by_its_key() -> None:
    """Whoever can connect can LISTEN, and the key is what a forged context needs."""
    said = re.compile(r"pg_notify\([^,]+,(?! *(?:'\*'\)|public\.tenant_pseudonym\())")
    functions = DECLARED.of(FunctionState).values()
    assert_none([state.title() for state in functions if said.search(state.body)])
    assert sum("pg_notify" in state.body for state in functions) >= 5


def test_functions_with_the_rights_of_their_owner_have_one_user_each() -> None:
    """The ingest may correct tag values, ask whether a value is stored, and use up its rate.

    Only whether a key has signed a token may all ask. Nobody calls what only triggers call.

    The sign-in service has such functions in place of grants on tables, which
    tests/isolation/test_stolen_sign_in.py lists and attacks.
    """
    found = [state for state in DECLARED.of(FunctionState).values() if state.security_definer]
    named: dict[str, dict[str, set[str]]] = {}
    for state in found:
        if state.name in ("verified_tenant", "count_ingested"):
            continue
        [given] = DECLARED.of(GrantState)[state.relation].privileges
        assert given.name == "execute"
        read = set(re.findall(r"(timeseries\.\w+|public\.\w+)", state.body))
        named.setdefault(given.role, {})[state.name] = read
    assert named.pop("fleet_ingest") == {
        "metrics_stored_otherwise": {"timeseries.telemetry"},
        "correct_tag_values": {"timeseries.tag_values"},
        "ingest_room": {"public.ingest_rates", "public.ingest_debits"},
    }
    assert named.pop("fleet_operator") == {
        "take_account_mail": {"public.password_reset_tokens", "public.users"}
    }
    assert named.keys() == {"fleet_auth"}
    assert not any(held(table.key, "fleet_auth", one) for table in TABLES for one in COMMANDS)


def test_functions_that_limit_the_planner_are_not_compiled() -> None:
    """By the planner's reckoning a statement without its usual way is worth a second of that."""
    assert_none(
        [
            state.name
            for state in DECLARED.of(FunctionState).values()
            if any(one.startswith("enable_") and one.endswith("=off") for one in state.settings)
            and "jit=off" not in state.settings
        ]
    )


def test_functions_build_no_statement_from_their_arguments() -> None:
    """With the rights of an owner, an argument that becomes SQL would be anything at all."""
    assert_none(
        [
            state.title()
            for state in DECLARED.of(FunctionState).values()
            if state.security_definer and re.search(r"\bexecute\b", state.body, re.I)
        ]
    )


def test_text_bodies_qualify_tables_with_their_schema() -> None:
    """Their search_path contains none of our schemas."""
    names = {table.name for table in models.metadata.tables.values()}
    tables = "|".join(sorted(names, key=len, reverse=True))
    findings = []
    for state in DECLARED.of(FunctionState).values():
        if state.standard_body:
            continue
        code = re.sub(r"'(?:[^']|'')*'|--[^\n]*", " ", state.body)
        findings += [
            f"{state.title()}: {match[0].strip()}"
            for match in re.finditer(rf"\b(?:from|join|into|update)\s+({tables})\b", code)
        ]
    assert_none(findings)


def test_objects_have_comments() -> None:
    assert_none(
        [
            f"{state.title()} has no comment"
            for state in (*DECLARED.of(FunctionState).values(), *DECLARED.of(ViewState).values())
            if not state.comment
        ]
    )


def test_views_run_with_the_privileges_of_the_caller() -> None:
    """Except tenant views: their callers have no grant on the hypertable, so the views filter.

    And the horizons of one tenant, which say from when on it has data.
    """
    behind = {table.name for table in TENANT_HYPERTABLES} | {key[1] for key in ROLLUPS}
    findings = []
    for state in DECLARED.of(ViewState).values():
        name = state.name.removesuffix("_to_store")
        tenants = state.schema == "public" and name in behind
        if not state.security_invoker and not tenants and name != "data_horizons":
            findings.append(state.title())
        ending = f"\n WHERE {OWN_ROWS}"
        if state.security_barrier:
            ending = OF_TENANT if name != state.name else OF_ROLLUP
        if tenants and not state.definition.endswith(ending):
            findings.append(f"{state.title()} does not end with {ending}")
    assert_none(findings)
