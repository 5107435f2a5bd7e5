"""The sign-in service: its flows work, and whoever steals its login gains no account and no tenant.

The owner is no superuser, so that its functions, too, are subject to row-level security.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from database.tenancy import tenant_transaction
from models.shared.base import PLATFORM_TENANT_ID
from tests.support.commands import ROOT
from tests.support.databases import MakeDatabase, named_server, seed, servers
from tests.support.sign_in import (
    Service,
    Session,
    in_days,
    key_of,
    secret_of,
    service_on,
    sha256,
)


@pytest.fixture(scope="module", params=servers("embedded", "embedded-16", "machine"))
def service(
    request: pytest.FixtureRequest, make_shared_database: MakeDatabase
) -> Iterator[Service]:
    """One database for the module; every test has tenants of its own."""
    with service_on(make_shared_database(named_server(request), like=seed)) as service:
        yield service


@pytest.fixture
def slug() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


def invite(service: Service, tenant: uuid.UUID, email: str, role: str = "owner") -> str:
    """An invitation, made by the tenant itself; returns its token."""
    token = uuid.uuid4().hex
    with tenant_transaction(service.owner, tenant) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO invitations (tenant_id, email, role_id, token_hash, expires_at)"
                " SELECT current_tenant(), :email, id, :hash, now() + interval '1 day'"
                " FROM roles WHERE name = :role"
            ),
            {"email": email, "hash": sha256(token), "role": role},
        )
    return token


def members(service: Service, tenant: uuid.UUID) -> dict[str, tuple[str, bool]]:
    with tenant_transaction(service.owner, tenant) as connection:
        rows = connection.exec_driver_sql(
            "SELECT email, m.status, is_owner FROM tenant_members m JOIN users ON id = user_id"
        )
        return {row.email: (row.status, row.is_owner) for row in rows}


# --- flows ---


def test_sign_up_and_sign_in(service: Service, slug: str) -> None:
    tenant, email = service.registered(slug, "correct")
    assert members(service, tenant) == {email: ("active", True)}
    assert service.operate("SELECT account_tier_id FROM tenants WHERE slug = :s", s=slug) == "free"
    # What provision_tenant() copies is there.
    assert service.operate("SELECT count(*) FROM roles WHERE tenant_id = :t", t=tenant) > 1
    assert service.operate("SELECT count(*) FROM device_templates WHERE tenant_id = :t", t=tenant)

    assert service.sign_in(email, "wrong") is None
    session = service.sign_in(email.upper(), "correct")
    assert session is not None
    [account] = service.call("session_account", *session.proof)
    assert (account.email, account.display_name, account.email_verified) == (email, "Owner", True)
    assert [tuple(row) for row in service.call("session_tenants", *session.proof)] == [
        (tenant, slug, slug, True)
    ]
    assert service.call("enter_tenant", *session.proof, tenant) is True
    assert service.call("enter_tenant", *session.proof, PLATFORM_TENANT_ID) is False
    assert service.call("rename_account", *session.proof, "Ann") is True
    assert service.call("session_account", *session.proof)[0].display_name == "Ann"
    assert service.call("sign_out", *session.proof) == 1
    assert service.call("session_account", *session.proof) == []


def test_the_example_of_the_page_signs_in(service: Service, slug: str) -> None:
    page = (ROOT / "docs" / "signing-in.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, "signing-in.md", "exec"), names)
    _, email = service.registered(slug)
    service.call("request_password_reset", email)
    _, token = service.mails()[email]
    assert service.call("reset_password", sha256(token), names["secret_hash"]("as in the page"))
    with service.engine.begin() as connection:
        jti, token = names["sign_in"](connection, email, "as in the page")
        assert names["sign_in"](connection, email, "another") is None
        assert names["sign_in"](connection, f"nobody@{slug}.example", "another") is None
    assert service.call("session_account", jti, sha256(token))[0].email == email


def test_sign_up_takes_nothing_that_exists(service: Service, slug: str) -> None:
    _, email = service.registered(slug)
    assert service.call("sign_up", f"{slug}x", "x", email.upper(), None) is None
    with pytest.raises(DBAPIError, match="uq_tenants_slug"):
        service.call("sign_up", slug, "x", f"x{email}", None)
    assert service.call("sign_up", f"{slug}y", "y", f"system{uuid.uuid4().hex}@example.com", None)


def test_an_account_has_no_password_before_its_address_is_proved(
    service: Service, slug: str
) -> None:
    """Else who signs up with the address of another waits in the account for the other to join."""
    email = f"victim@{slug}.example"
    service.call("sign_up", slug, slug, email, None)
    assert service.call("password_method", email) is None
    assert service.sign_in(email, "") is None
    assert not service.operate(
        "SELECT count(*) FROM auth_identities JOIN users u ON u.id = user_id WHERE email = :e",
        e=email,
    )


def test_a_refresh_token_works_once(service: Service, slug: str) -> None:
    tenant, email = service.registered(slug)
    first, second, third = service.sign_in(email, "correct"), Session(), Session()
    assert first is not None
    assert service.call("enter_tenant", *first.proof, tenant)
    until = in_days(service.engine, 1)
    [found] = service.call("refresh_session", *first.proof, *second.proof, until)
    assert found.active_tenant_id == tenant
    assert service.call("session_account", *first.proof) == []
    [found] = service.call("refresh_session", *second.proof, *third.proof, until)
    assert service.call("session_account", *third.proof)
    # The first token again, at once: another tab of the browser.
    assert service.call("refresh_session", *first.proof, *Session().proof, until) == []
    assert service.call("session_account", *third.proof)
    # And later: it was stolen, and nobody knows by whom the third is used.
    earlier = "UPDATE sessions SET revoked_at = now() - interval '11 s' WHERE jti = :j"
    assert service.operate(earlier, j=first.jti) == 1
    assert service.call("refresh_session", *first.proof, *Session().proof, until) == []
    assert service.call("session_account", *third.proof) == []


def test_a_session_leaves_a_tenant_with_the_membership(service: Service, slug: str) -> None:
    tenant, email = service.registered(slug)
    session, later = service.sign_in(email, "correct"), Session()
    assert session is not None
    service.call("enter_tenant", *session.proof, tenant)
    service.operate("UPDATE tenants SET status = 'suspended' WHERE tenant_id = :t", t=tenant)
    assert service.call("session_tenants", *session.proof) == []
    until = in_days(service.engine, 1)
    [found] = service.call("refresh_session", *session.proof, *later.proof, until)
    assert found.active_tenant_id is None
    assert service.call("enter_tenant", *later.proof, tenant) is False


def test_failures_lock_an_account(service: Service, slug: str) -> None:
    _, email = service.registered(slug)
    for _ in range(6):
        assert service.sign_in(email, "wrong") is None
    assert service.sign_in(email, "correct") is None
    lock = (
        "UPDATE auth_identities SET locked_until = now() - interval '1 s' WHERE user_id ="
        " (SELECT id FROM users WHERE email = :e)"
    )
    assert service.operate(lock, e=email) == 1
    assert service.sign_in(email, "correct") is not None


def test_a_deactivated_account_is_out_at_once(service: Service, slug: str) -> None:
    _, email = service.registered(slug)
    session = service.sign_in(email, "correct")
    assert session is not None
    service.operate("UPDATE users SET is_active = false WHERE email = :e", e=email)
    assert service.call("session_account", *session.proof) == []
    assert service.sign_in(email, "correct") is None
    service.call("request_password_reset", email)
    assert email not in service.mails()


def test_resetting_a_password(service: Service, slug: str) -> None:
    _, email = service.registered(slug)
    session = service.sign_in(email, "correct")
    service.call("request_password_reset", email.upper())
    service.call("request_password_reset", email)  # within a minute: no second mail
    service.call("request_password_reset", f"nobody@{slug}.example")  # says the same
    mails = service.mails()
    purpose, token = mails[email]
    assert purpose == "reset"
    assert f"nobody@{slug}.example" not in mails
    assert email not in service.mails(), "mailed once"

    with pytest.raises(DBAPIError, match="SHA-256"):
        service.call("reset_password", sha256(token), "hunter2")
    assert service.call("reset_password", sha256(token), secret_of("new")) is True
    assert service.call("reset_password", sha256(token), secret_of("newer")) is False, "used"
    assert service.sign_in(email, "correct") is None
    assert service.sign_in(email, "new") is not None
    assert session is not None
    assert service.call("session_account", *session.proof) == [], "a thief would stay"


PAST = "created_at = now() - interval '2 h', expires_at = now() - interval '1 h'"


def test_links_expire(service: Service, slug: str) -> None:
    _, email = service.registered(slug)
    service.call("request_password_reset", email)
    _, token = service.mails()[email]
    with service.owner.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE password_reset_tokens SET {PAST} WHERE token_hash = '{sha256(token)}'"
        )
    assert service.call("reset_password", sha256(token), secret_of("new")) is False


def test_changing_a_password(service: Service, slug: str) -> None:
    _, email = service.registered(slug)
    session, other = service.sign_in(email, "correct"), service.sign_in(email, "correct")
    assert session is not None
    assert other is not None
    method = service.call("password_method", email)
    new = secret_of("new")
    assert not service.call("change_password", *session.proof, key_of("wrong", method), new)
    assert service.call("change_password", *session.proof, key_of("correct", method), new)
    assert service.call("session_account", *session.proof)
    assert service.call("session_account", *other.proof) == []
    assert service.sign_in(email, "new")


def test_changing_an_address(service: Service, slug: str) -> None:
    _, email = service.registered(slug)
    new = f"new@{slug}.example"
    session = service.sign_in(email, "correct")
    assert session is not None
    key = key_of("correct", service.call("password_method", email))
    assert service.call("request_email_change", *session.proof, "wrong", new) is False
    assert service.call("request_email_change", *session.proof, key, new) is True
    service.call("request_password_reset", email)
    mails = service.mails()
    assert mails[new][0] == "verify"
    _, reset = mails[email]
    # A token is for its own purpose.
    assert service.call("reset_password", sha256(mails[new][1]), secret_of("x")) is False
    assert service.call("confirm_email", *session.proof, sha256(reset)) is False
    # Nor is it of use to who has the address, but not the account.
    _, other = service.registered(f"{slug}o")
    stranger = service.sign_in(other, "correct")
    assert stranger is not None
    assert service.call("confirm_email", *stranger.proof, sha256(mails[new][1])) is False
    assert service.call("confirm_email", *session.proof, sha256(mails[new][1])) is True
    assert service.call("session_account", *session.proof)[0].email == new
    # What went to the old address is void.
    assert service.call("reset_password", sha256(reset), secret_of("x")) is False


def test_an_address_that_another_account_has_by_then(service: Service, slug: str) -> None:
    _, email = service.registered(slug)
    session = service.sign_in(email, "correct")
    assert session is not None
    key = key_of("correct", service.call("password_method", email))
    taken = f"taken@{slug}.example"
    service.call("request_email_change", *session.proof, key, taken)
    _, token = service.mails()[taken]
    service.call("sign_up", f"{slug}z", "z", taken, None)
    assert service.call("confirm_email", *session.proof, sha256(token)) is False
    assert service.call("session_account", *session.proof)[0].email == email


def test_another_issuer(service: Service, slug: str) -> None:
    _, email = service.registered(slug)
    session, subject, opened = service.sign_in(email, "correct"), uuid.uuid4().hex, Session()
    assert session is not None
    until = in_days(service.engine, 1)
    ask = ("sign_in_with_provider", "keycloak", subject, *opened.proof, until)
    assert service.call(*ask) is None
    key = key_of("correct", service.call("password_method", email))
    assert service.call("link_provider", *session.proof, "wrong", "keycloak", subject) is False
    assert service.call("link_provider", *session.proof, key, "local", subject) is False
    assert service.call("link_provider", *session.proof, key, "keycloak", subject) is True
    assert service.call("link_provider", *session.proof, key, "keycloak", subject) is False
    assert service.call(*ask) is not None
    assert service.call("session_account", *opened.proof)[0].email == email
    assert service.call("unlink_provider", *opened.proof, "keycloak") is True
    assert service.call(ask[0], *ask[1:3], *Session().proof, until) is None


def test_an_invitation_to_an_address_without_account(service: Service, slug: str) -> None:
    tenant, _ = service.registered(slug)
    email = f"bob@{slug}.example"
    token = invite(service, tenant, email, "viewer")
    assert service.call("accept_invitation", sha256(token), None, None, "Bob") == tenant
    assert service.call("accept_invitation", sha256(token)) is None, "once"
    assert members(service, tenant)[email] == ("active", False)
    _, link = service.mails()[email]
    assert service.call("reset_password", sha256(link), secret_of("bob"))
    session = service.sign_in(email, "bob")
    assert session is not None
    # However long a name a tenant gives itself.
    service.operate("UPDATE tenants SET name = repeat('x', 2000) WHERE slug = :s", s=slug)
    [named] = service.call("session_tenants", *session.proof)
    assert (named.slug, len(named.name)) == (slug, 1024)
    assert (
        service.operate(
            "SELECT string_agg(r.name, ',') FROM user_roles u JOIN users a ON a.id = u.user_id"
            " JOIN roles r ON (r.tenant_id, r.id) = (u.tenant_id, u.role_id) WHERE a.email = :e",
            e=email,
        )
        == "viewer"
    )


def test_an_invitation_to_an_account_needs_its_session(service: Service, slug: str) -> None:
    tenant, _ = service.registered(slug)
    _, email = service.registered(f"{slug}b", "bob")
    _, mallory = service.registered(f"{slug}m", "mallory")
    token = sha256(invite(service, tenant, email.upper()))
    session, other = service.sign_in(email, "bob"), service.sign_in(mallory, "mallory")
    assert session is not None
    assert other is not None
    assert service.call("accept_invitation", token) is None
    assert service.call("accept_invitation", token, *other.proof) is None
    assert service.call("accept_invitation", token, *Session().proof) is None
    assert service.call("accept_invitation", token, *session.proof) == tenant
    assert members(service, tenant)[email] == ("active", False)


@pytest.mark.parametrize(
    "change",
    [
        "revoked_at = now()",
        PAST,
        "role_id = NULL",
    ],
)
def test_an_invitation_that_is_void(service: Service, slug: str, change: str) -> None:
    tenant, _ = service.registered(slug)
    email = f"bob@{slug}.example"
    token = invite(service, tenant, email)
    service.operate(f"UPDATE invitations SET {change} WHERE email = :e", e=email)
    assert service.call("accept_invitation", sha256(token)) is None
    assert not service.operate("SELECT count(*) FROM users WHERE email = :e", e=email)


def test_an_owner_who_left_comes_back_as_a_member(service: Service, slug: str) -> None:
    tenant, owner = service.registered(slug)
    _, email = service.registered(f"{slug}b", "bob")
    session = service.sign_in(email, "bob")
    assert session is not None
    service.call("accept_invitation", sha256(invite(service, tenant, email)), *session.proof)
    with tenant_transaction(service.owner, tenant) as connection:
        change = (
            "UPDATE tenant_members SET {} WHERE user_id = (SELECT id FROM users WHERE email = '{}')"
        )
        connection.exec_driver_sql(change.format("is_owner = true", email))  # handed over
        connection.exec_driver_sql(change.format("is_owner = false", owner))
    assert members(service, tenant)[email] == ("active", True)
    with tenant_transaction(service.owner, tenant) as connection:
        connection.exec_driver_sql(change.format("is_owner = true", owner))
        connection.exec_driver_sql(change.format("status = 'disabled'", email))
    token = invite(service, tenant, email, "viewer")
    assert service.call("accept_invitation", sha256(token), *session.proof) == tenant
    assert members(service, tenant)[email] == ("active", False)


def test_api_keys(service: Service, slug: str) -> None:
    tenant, _ = service.registered(slug)
    key = sha256(slug)
    with tenant_transaction(service.owner, tenant) as connection:
        connection.exec_driver_sql(
            "INSERT INTO api_keys (tenant_id, name, key_prefix, key_hash, scopes) VALUES"
            f" (current_tenant(), 'k', 'abcd', '{key}', '{{devices.read}}')"
        )
    [found] = service.call("use_api_key", key)
    assert (found.tenant_id, found.scopes) == (tenant, ["devices.read"])
    assert service.operate("SELECT last_used_at FROM api_keys WHERE id = :i", i=found.api_key_id)
    assert service.call("use_api_key", sha256("other")) == []
    for change in ("revoked_at = now()", "revoked_at = NULL, expires_at = now() + interval '1 us'"):
        service.operate(f"UPDATE api_keys SET {change} WHERE id = :i", i=found.api_key_id)
        assert service.call("use_api_key", key) == [], change
