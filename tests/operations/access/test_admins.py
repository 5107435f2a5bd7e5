"""The first operator: one account, a token shown only once, and an entry in the audit log."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from typer.testing import CliRunner

from models.shared.base import PLATFORM_TENANT_ID
from operations.access import admins
from operations.access.accounts import AccountError, Token, checked_email, token_hash
from operations.commands import admin as command
from tests.support.engines import engine_of
from tests.support.plain_owner import plain_owner


@pytest.fixture(params=["superuser", "owner"])
def engine(request: pytest.FixtureRequest, seeded_database: str) -> Iterator[Engine]:
    """The database's owner, who may or may not be a superuser."""
    if request.param == "superuser":
        with engine_of(seeded_database) as engine:
            yield engine
    else:
        with plain_owner(seeded_database) as url, engine_of(url) as engine:
            yield engine


@pytest.fixture
def rows(seeded_database: str) -> Iterator[Rows]:
    with engine_of(seeded_database) as engine, engine.connect() as connection:
        yield Rows(connection)


class Rows:
    """Rows as a superuser sees them."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def __call__(self, query: str, **values: object) -> list[tuple[object, ...]]:
        with self.connection.begin():
            return [tuple(row) for row in self.connection.execute(sa.text(query), values)]


def test_the_first_operator(engine: Engine, rows: Rows) -> None:
    made = admins.create(engine, " Ann@EXAMPLE.com", name="Ann", actor="root@host")
    assert (made.account.email, made.account.is_new, made.joined) == ("Ann@example.com", True, True)
    [user] = rows(
        "SELECT id, email, display_name, is_active, is_system FROM users WHERE NOT is_system"
    )
    assert user == (made.account.id, "Ann@example.com", "Ann", True, False)

    [member] = rows("SELECT tenant_id, user_id, status, is_owner FROM tenant_members")
    assert member == (PLATFORM_TENANT_ID, made.account.id, "active", True)
    assert rows(
        "SELECT u.user_id, r.name FROM user_roles u JOIN roles r USING (tenant_id)"
        " WHERE r.id = u.role_id AND u.tenant_id = :platform",
        platform=PLATFORM_TENANT_ID,
    ) == [(made.account.id, "owner")]
    assert rows("SELECT count(*) FROM auth_identities") == [(0,)]  # no default password

    [audit] = rows("SELECT user_id, action, tenant_filter, resource_id FROM operator_audit_log")
    assert audit == ("root@host", "admin.create", PLATFORM_TENANT_ID, "Ann@example.com")


def test_only_the_hash_of_the_token_is_stored(engine: Engine, rows: Rows) -> None:
    token = admins.create(engine, "ann@example.com").token
    assert len(token.text) >= 22
    assert token.text not in repr(token)
    [found] = rows(
        "SELECT token_hash, purpose, used_at, expires_at, expires_at - created_at"
        " FROM password_reset_tokens"
    )
    hour = datetime.timedelta(hours=1)
    assert found == (token_hash(token.text), "reset", None, token.expires_at, hour)
    dump = rows(
        "SELECT t::text FROM password_reset_tokens t UNION SELECT o::text FROM operator_audit_log o"
    )
    assert not any(token.text in str(row) for row in dump)


def test_the_same_address_again_gets_a_new_token(engine: Engine, rows: Rows) -> None:
    first = admins.create(engine, "ann@example.com", name="Ann")
    again = admins.create(engine, "ANN@example.com", name="Other")
    assert (again.account.id, again.account.is_new, again.joined) == (
        first.account.id,
        False,
        False,
    )
    assert rows("SELECT display_name FROM users WHERE NOT is_system") == [("Ann",)]
    assert rows("SELECT count(*) FROM user_roles") == [(1,)]
    hashes = rows("SELECT token_hash FROM password_reset_tokens")
    assert hashes == [(token_hash(again.token.text),)]  # the first one is void


def test_used_tokens_stay_as_history(engine: Engine, rows: Rows, seeded_database: str) -> None:
    admins.create(engine, "ann@example.com")
    with engine_of(seeded_database) as superuser, superuser.begin() as connection:
        connection.exec_driver_sql("UPDATE password_reset_tokens SET used_at = now()")
    admins.create(engine, "ann@example.com")
    assert rows("SELECT count(*), count(used_at) FROM password_reset_tokens") == [(2, 1)]


def test_concurrent_runs_create_one_account(engine: Engine, rows: Rows) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: admins.create(engine, "ann@example.com"), range(4)))
    assert len({each.account.id for each in made}) == 1
    assert sorted(each.account.is_new for each in made) == [False, False, False, True]
    assert rows("SELECT count(*) FROM password_reset_tokens") == [(1,)]
    assert rows("SELECT count(*) FROM user_roles") == [(1,)]


def test_a_member_without_rights_becomes_an_owner(
    engine: Engine, rows: Rows, seeded_database: str
) -> None:
    admins.create(engine, "ann@example.com")
    with engine_of(seeded_database) as superuser, superuser.begin() as connection:
        connection.exec_driver_sql("UPDATE tenant_members SET is_owner = false, status = 'invited'")
        connection.exec_driver_sql("DELETE FROM user_roles")
    assert admins.create(engine, "ann@example.com").joined
    assert rows("SELECT status, is_owner FROM tenant_members") == [("active", True)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE users SET is_active = false WHERE NOT is_system", "is deactivated"),
        ("UPDATE tenant_members SET status = 'disabled'", "is disabled on the platform"),
    ],
)
def test_a_disabled_account_stays_disabled(
    engine: Engine, rows: Rows, seeded_database: str, change: str, message: str
) -> None:
    admins.create(engine, "ann@example.com")
    before = rows("SELECT token_hash FROM password_reset_tokens")
    with engine_of(seeded_database) as superuser, superuser.begin() as connection:
        connection.exec_driver_sql(change)
    with pytest.raises(AccountError, match=message):
        admins.create(engine, "ann@example.com")
    assert rows("SELECT token_hash FROM password_reset_tokens") == before


def test_the_system_account_cannot_be_an_operator(engine: Engine, rows: Rows) -> None:
    [(email,)] = rows("SELECT email FROM users WHERE is_system")
    with pytest.raises(AccountError, match="the account of the platform itself"):
        admins.create(engine, str(email))


def test_without_reference_data_the_command_is_named(migrated_database: str) -> None:
    with engine_of(migrated_database) as engine:
        with pytest.raises(AccountError, match="run `python -m operations reference`"):
            admins.create(engine, "ann@example.com")
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM users")) == 0


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.com",
        "ann.o'neill+fleet@sub.example.co.uk",
        "änne@münchen.example",
        "a@b.example",
    ],
)
def test_valid_addresses(address: str) -> None:
    assert checked_email(f" {address}\n") == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@example",
        "ann@@example.com",
        "ann@example..com",
        "ann@-example.com",
        ".ann@example.com",
        "an n@example.com",
        "ann@example.com, bob@example.com",
        "ann@example.com\nbcc: bob@example.com",
        "Ann <ann@example.com>",
        f"{'a' * 250}@example.com",
    ],
)
def test_invalid_addresses(address: str) -> None:
    with pytest.raises(AccountError, match="is not an e-mail address"):
        checked_email(address)


def test_a_token_hides_its_text() -> None:
    assert "secret" not in repr(Token("secret", datetime.datetime.now(datetime.UTC)))


def test_the_command_shows_the_token(
    seeded_database: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", seeded_database)
    monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)
    result = CliRunner().invoke(command.app, ["create", "--email", "ann@example.com"])
    assert result.exit_code == 0, result.output
    [text] = re.findall(r"^Token +(\S+)$", result.output, re.M)
    assert rows("SELECT token_hash FROM password_reset_tokens") == [(token_hash(text),)]
    assert result.output.count(text) == 1
