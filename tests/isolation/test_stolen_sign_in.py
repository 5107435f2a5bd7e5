"""Arbitrary SQL with the login of the sign-in service: no account and no tenant is taken."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

import models
from ddl import sql
from models.shared.base import PLATFORM_TENANT_ID, SYSTEM_USER_ID
from tests.support.databases import MakeDatabase, named_server, seed, servers
from tests.support.sign_in import Service, Session, in_days, secret_of, service_on, sha256


@pytest.fixture(scope="module", params=servers("embedded", "embedded-16", "machine"))
def service(
    request: pytest.FixtureRequest, make_shared_database: MakeDatabase
) -> Iterator[Service]:
    with service_on(make_shared_database(named_server(request), like=seed)) as service:
        yield service


@pytest.fixture(scope="module")
def victim(service: Service) -> tuple[uuid.UUID, str]:
    """A tenant and the address of its owner, who is signed in and has asked for a link."""
    tenant, email = service.registered("victim")
    assert service.sign_in(email, "correct")
    service.call("request_password_reset", email)
    return tenant, email


def refusals(service: Service, *statements: str) -> set[str]:
    """What the server says of each statement: a SQLSTATE, or nothing."""
    found = set()
    with service.engine.connect() as connection:
        for statement in statements:
            try:
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
                found.add("")
            except DBAPIError as error:
                found.add(str(getattr(error.orig, "sqlstate", "")))
            connection.rollback()
    return found


def test_no_table_is_within_reach(service: Service) -> None:
    findings = []
    for name, table in models.metadata.tables.items():
        columns = [sql.ident(column.name) for column in table.columns]
        found = refusals(
            service,
            *(f"SELECT {column} FROM {name}" for column in columns),
            *(f"UPDATE {name} SET {column} = DEFAULT" for column in columns),
            f"INSERT INTO {name} DEFAULT VALUES",
            f"DELETE FROM {name}",
            f"TRUNCATE {name}",
            f"COPY {name} TO STDOUT",
        )
        if found != {"42501"}:
            findings.append(f"{name}: {found}")
    assert not findings


def test_its_functions_are_these_and_no_others(service: Service) -> None:
    """Each new one needs a look at what it gives without a proof."""
    query = sa.text(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND prosecdef AND has_function_privilege('fleet_auth', oid, 'EXECUTE') ORDER BY 1"
    )
    with service.engine.connect() as connection:
        assert list(connection.scalars(query)) == [
            "accept_invitation", "change_password", "confirm_email", "enter_tenant",
            "link_provider", "password_method", "refresh_session", "rename_account",
            "request_email_change", "request_password_reset", "reset_password",
            "session_account", "session_tenants", "sign_in", "sign_in_with_provider", "sign_out",
            "sign_up", "unlink_provider", "use_api_key", "verified_tenant",
        ]  # fmt: skip


@pytest.mark.parametrize(
    "function",
    ["make_link(NULL, 'reset')", "open_session(NULL, NULL, NULL, NULL)",
     "has_password(NULL, NULL)", "session_holder(NULL, NULL)", "take_account_mail()",
     "provision_tenant('x', 'x', NULL, NULL)", "sync_tenant(NULL)"],
)  # fmt: skip
def test_their_parts_are_not_for_it(service: Service, function: str) -> None:
    assert refusals(service, f"SELECT {function}") == {"42501"}


def state(service: Service) -> list[object]:
    """Accounts, memberships, roles, secrets, live sessions and links, as the owner finds them."""
    queries = (
        "SELECT array_agg(u::text ORDER BY id) FROM users u",
        "SELECT array_agg(m::text ORDER BY tenant_id, user_id) FROM tenant_members m",
        "SELECT array_agg(r::text ORDER BY id) FROM user_roles r",
    )
    found = [service.operate(query) for query in queries]
    with service.owner.connect() as connection:
        for query in (
            "SELECT user_id, provider, secret_hash FROM auth_identities ORDER BY 1, 2",
            "SELECT user_id, jti, active_tenant_id, revoked_at FROM sessions ORDER BY jti",
        ):
            found.append(connection.exec_driver_sql(query).all())
    return found


def test_without_a_proof_nothing_changes(service: Service, victim: tuple[uuid.UUID, str]) -> None:
    """Every function with what an attacker knows: addresses, ids, hashes of its own making."""
    tenant, email = victim
    until = in_days(service.engine, 1)
    before = state(service)
    fake = Session()
    for guess in ("", sha256(""), sha256("x"), "%", None):
        for jti in (fake.jti, SYSTEM_USER_ID, None):
            held = (jti, guess)
            for target in (tenant, PLATFORM_TENANT_ID):
                assert not service.call("enter_tenant", *held, target)
            assert not service.call("accept_invitation", guess, *held, "x")
            assert service.call("session_account", *held) == []
            assert service.call("session_tenants", *held) == []
            assert not service.call("change_password", *held, guess, secret_of("x"))
            assert not service.call("link_provider", *held, guess, "keycloak", "x")
            assert not service.call("unlink_provider", *held, "keycloak")
            assert not service.call("rename_account", *held, "x")
            assert not service.call("request_email_change", *held, guess, "x@example.com")
            assert not service.call("confirm_email", *held, guess)
            assert not service.call("sign_out", *held, True)
            assert service.call("refresh_session", *held, *Session().proof, until) == []
        assert not service.call("accept_invitation", guess)
        assert not service.call("reset_password", guess, secret_of("x"))
        assert service.call("use_api_key", guess) == []
        for address in (email, "%", "system@fleetschema.invalid"):
            assert not service.call("sign_in", address, guess, *Session().proof, until)
        for provider in ("local", "keycloak"):
            for subject in (email, guess):
                ask = (provider, subject, *Session().proof, until)
                assert not service.call("sign_in_with_provider", *ask)
    assert state(service) == before


def test_a_link_that_it_asked_for_is_of_no_use_to_it(
    service: Service, victim: tuple[uuid.UUID, str]
) -> None:
    """The token goes to the mailer. Whoever asks chooses neither it nor where it goes."""
    _, email = victim
    service.call("request_password_reset", email)
    mails = service.mails()
    assert list(mails) == [email]
    with service.owner.connect() as connection:
        stored = connection.exec_driver_sql("SELECT t::text FROM password_reset_tokens t").all()
    # A copy of the table is of no use either.
    assert stored
    assert not any(mails[email][1] in str(row) for row in stored)


def test_what_one_address_gives_away(service: Service, victim: tuple[uuid.UUID, str]) -> None:
    """Method and salt, no hash; and no list."""
    _, email = victim
    method = service.call("password_method", email)
    assert method.startswith("$scrypt$")
    assert sha256("") not in method
    assert not any(len(part) == 64 for part in method.split("$"))
    for pattern in ("%", "", None, "owner@%"):
        assert service.call("password_method", pattern) is None


def test_a_view_with_the_rights_of_the_owner_shows_no_more(
    service: Service, victim: tuple[uuid.UUID, str]
) -> None:
    """Its policies count there, but whoever queries a view is not a function of the owner."""
    with service.owner.connect() as connection:
        connection.exec_driver_sql("CREATE VIEW all_users AS SELECT id, email FROM users")
        connection.exec_driver_sql("GRANT SELECT ON all_users TO fleet_app, fleet_auth")
        for role in ("fleet_app", "fleet_auth"):
            connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
            count = connection.exec_driver_sql("SELECT count(*) FROM all_users").scalar()
            assert count == 0, role
            connection.exec_driver_sql("RESET ROLE")
        connection.rollback()


def test_the_policies_for_functions_follow_the_owner(service: Service) -> None:
    """Each names the role that owns its table, though it was created by another."""
    with service.owner.connect() as connection:
        policies = connection.exec_driver_sql(
            "SELECT p.polroles = ARRAY[c.relowner], pg_get_userbyid(c.relowner) = current_user"
            " FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE polname = 'by_functions'"
        ).all()
    assert len(policies) >= 15
    assert {tuple(row) for row in policies} == {(True, True)}


def test_the_owner_itself_still_sees_no_rows(
    service: Service, victim: tuple[uuid.UUID, str]
) -> None:
    """The policies for its functions are for nobody else."""
    with service.owner.connect() as connection:
        for table in ("users", "tenants", "tenant_members", "invitations", "api_keys", "roles"):
            count = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()
            assert count == 0, table
        connection.exec_driver_sql("SET ROLE fleet_auth")
        assert connection.exec_driver_sql(
            "SELECT password_method('owner@victim.example') IS NOT NULL"
        ).scalar()
