"""A tenant is created complete or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from models.shared.base import PLATFORM_TENANT_ID
from operations.access.accounts import AccountError, token_hash
from operations.tenants.creation import create_tenant
from operations.tenants.tenant import TenantError
from tests.support.engines import engine_of
from tests.support.tenant_rows import counts, scalar


def test_a_tenant_is_created_with_its_owner(engine: Engine) -> None:
    made = create_tenant(
        engine, slug="acme", name="Acme", owner_email="ann@example.com", owner_name="Ann", actor="x"
    )
    assert made.rows == counts(engine, made.tenant_id)
    assert made.rows["tenant_members"] == made.rows["user_roles"] == 1
    assert made.rows["roles"] == scalar(engine, "SELECT count(*) FROM role_templates")
    assert made.rows["device_templates"] == scalar(
        engine, "SELECT count(*) FROM device_templates WHERE tenant_id = :id", id=PLATFORM_TENANT_ID
    )
    assert made.owner.is_new
    assert made.token is not None
    stored = scalar(engine, "SELECT token_hash FROM password_reset_tokens")
    assert stored == token_hash(made.token.text)
    audit = "SELECT user_id || ' ' || action || ' ' || resource_id FROM operator_audit_log"
    assert scalar(engine, audit) == "x tenant.create acme"


def test_an_owner_who_has_an_account_gets_no_token(engine: Engine) -> None:
    first = create_tenant(engine, slug="one", name="One", owner_email="ann@example.com")
    second = create_tenant(engine, slug="two", name="Two", owner_email="Ann@example.com")
    assert (second.owner.id, second.owner.is_new, second.token) == (first.owner.id, False, None)
    stored = scalar(engine, "SELECT token_hash FROM password_reset_tokens")
    assert first.token is not None
    assert stored == token_hash(first.token.text)  # still works


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"slug": "taken"}, "the slug taken is taken by the tenant 'Taken'"),
        ({"slug": "platform"}, "the slug platform is taken"),
        ({"slug": "Not A Slug"}, "violates check constraint"),
        ({"slug": ""}, "violates check constraint"),
        ({"name": ""}, "violates check constraint"),
        ({"tier": "golden"}, "the tier 'golden' does not exist: expected one of .*growth"),
    ],
)
def test_a_failed_creation_leaves_nothing(
    engine: Engine, values: dict[str, str], message: str
) -> None:
    create_tenant(engine, slug="taken", name="Taken", owner_email="ann@example.com")
    with pytest.raises(TenantError, match=message) as raised:
        create_tenant(
            engine, **{"slug": "new", "name": "New", "owner_email": "bob@example.com", **values}
        )
    assert "\n" not in str(raised.value)
    assert scalar(engine, "SELECT count(*) FROM users WHERE email = 'bob@example.com'") == 0
    assert (
        scalar(engine, "SELECT count(*) FROM tenants WHERE tenant_id <> :id", id=PLATFORM_TENANT_ID)
        == 1
    )


def test_an_invalid_address_is_rejected_first(engine: Engine) -> None:
    with pytest.raises(AccountError, match="is not an e-mail address"):
        create_tenant(engine, slug="new", name="New", owner_email="bob")
    assert scalar(engine, "SELECT count(*) FROM operator_audit_log") == 0


def test_without_reference_data_the_command_is_named(migrated_database: str) -> None:
    with (
        engine_of(migrated_database) as engine,
        pytest.raises(
            TenantError, match=r"reference data is missing .*: run: python -m operations reference$"
        ),
    ):
        create_tenant(engine, slug="new", name="New", owner_email="bob@example.com")
