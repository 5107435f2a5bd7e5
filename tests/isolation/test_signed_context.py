"""In a signed database nobody chooses the tenant but who holds a key."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.context import ContextKey
from database.engine import make_async_engine
from database.tenancy import (
    TenancyError,
    async_tenant_session,
    operator_transaction,
    tenant_session,
    tenant_transaction,
)
from models.shared.roles import ROLE_NAMES
from tests.support.acme_and_globex import ACME, GLOBEX
from tests.support.databases import LONG, MakeDatabase, named_server, servers
from tests.support.signed import SignedDatabase, signed
from tests.support.time_series import migrate

SERVERS = servers(
    "embedded", "embedded-16", "timescaledb", *(("machine", "apache") if LONG else ())
)
DEVICES = "SELECT count(*) FROM device_registry"
OTHER_KEY = ContextKey(bytes(32))


@pytest.fixture(scope="module", params=SERVERS)
def database(
    request: pytest.FixtureRequest,
    make_shared_database: MakeDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SignedDatabase]:
    url = make_shared_database(named_server(request), like=migrate)
    with signed(url, tmp_path_factory.mktemp("signed")) as found:
        yield found


@pytest.fixture
def session(database: SignedDatabase) -> Iterator[Connection]:
    """The application's login, as which an attacker sends what SQL it likes."""
    with database.application() as engine, engine.connect() as connection:
        connection.exec_driver_sql("SET client_min_messages = debug1")
        yield connection


def present(connection: Connection, token: str | None, tenant: object = GLOBEX) -> None:
    setting = sa.text("SELECT set_config(:name, :value, true)")
    connection.execute(setting, {"name": "app.tenant_token", "value": token})
    connection.execute(setting, {"name": "app.tenant_id", "value": str(tenant)})


def resigned(text: str, secret: bytes = b"") -> str:
    return f"{text}{hmac.digest(secret, text.encode(), 'sha256').hex()}"


# --- what is taken ---


def test_each_kind_of_transaction_has_its_tenant(database: SignedDatabase) -> None:
    with database.application() as engine:
        for tenant, devices in ((ACME, 2), (GLOBEX, 1), (ACME, 2)):
            with tenant_transaction(engine, tenant) as connection:
                assert connection.scalar(sa.text("SELECT current_tenant()")) == tenant
                assert connection.scalar(sa.text(DEVICES)) == devices
            with tenant_session(engine, tenant) as session:
                assert session.scalar(sa.text(DEVICES)) == devices
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT current_tenant()")) is None
            assert connection.scalar(sa.text(DEVICES)) == 0

    async def run() -> None:
        options: dict[str, Any] = {"context_key": database.key, "pool_size": 1}
        engine = make_async_engine(database.url, **options)
        async with async_tenant_session(engine, ACME) as session:
            assert await session.scalar(sa.text(DEVICES)) == 2
        await engine.dispose()

    asyncio.run(run())


def test_operators_of_a_tenant_are_signed_as_well(database: SignedDatabase) -> None:
    signing = database.owner.execution_options(context_key=database.key)
    why: Any = {"actor": "ann", "action": "look", "reason": "ticket 7"}
    with operator_transaction(signing, **why, tenant_id=ACME) as connection:
        assert connection.scalar(sa.text("SELECT current_tenant()")) == ACME
        assert connection.scalar(sa.text(DEVICES)) == 3
    with operator_transaction(database.owner, **why) as connection:
        assert connection.scalar(sa.text("SELECT current_tenant()")) is None
        assert connection.scalar(sa.text(DEVICES)) == 3


def test_the_plain_setting_chooses_nothing(database: SignedDatabase) -> None:
    """Not even the tenant of the token, which an injected statement cannot change."""
    with database.application() as engine, tenant_transaction(engine, ACME) as connection:
        for value in (str(GLOBEX), "", "x"):
            connection.execute(
                sa.text("SELECT set_config('app.tenant_id', :v, true)"), {"v": value}
            )
            assert connection.scalar(sa.text("SELECT current_tenant()")) == ACME
            assert connection.scalar(sa.text(DEVICES)) == 2


# --- what is not ---

FORGED: dict[str, Callable[[str, ContextKey], str]] = {
    "another tenant": lambda token, key: token.replace(str(ACME), str(GLOBEX)),
    "a later expiry": lambda token, key: token[:9] + "9999999999" + token[19:],
    "an id of another key": lambda token, key: OTHER_KEY.id + token[8:],
    "another key": lambda token, key: OTHER_KEY.token(GLOBEX),
    "another key with this id": lambda token, key: resigned(
        f"{key.id}{OTHER_KEY.token(GLOBEX)[8:57]}", bytes(32)
    ),
    "an empty key": lambda token, key: resigned(token[:57]),
    "no signature": lambda token, key: token[:57],
    "half a signature": lambda token, key: token[:-32],
    "one digit less": lambda token, key: token[:-1],
    "one digit more": lambda token, key: token + "0",
    "an empty signature": lambda token, key: token[:57].ljust(121),
    "two tokens": lambda token, key: token + token,
    "space around it": lambda token, key: f" {token} ",
    "a line after it": lambda token, key: f"{token}\n",
    "capital digits": lambda token, key: token[:57] + token[57:].upper(),
    "digits of another script": lambda token, key: token[:9] + "\u0661" * 10 + token[19:],
    "combined letters": lambda token, key: token[:-1] + "\u0301",
    "as many characters of more bytes": lambda token, key: "\u00e9" * 121,
    "one letter": lambda token, key: "x",
    "a quote": lambda token, key: "'; SELECT 1 --".ljust(121, "'"),
    "a pattern": lambda token, key: "%" * 8 + token[8:],
    "very long": lambda token, key: token * 20_000,
    "the signed half twice": lambda token, key: f"{token[:56]}.{token[:56]}".ljust(121, "0"),
    "nothing but zeros": lambda token, key: "0" * 121,
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_token_shows_nothing(
    kind: str, database: SignedDatabase, session: Connection
) -> None:
    """And the attacker is told nothing: no error, and no message of any level."""
    heard: list[str] = []
    driver: Any = session.connection.driver_connection
    driver.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    token = FORGED[kind](database.key.token(ACME), database.key)
    present(session, token)
    assert session.scalar(sa.text("SELECT current_tenant()")) is None
    for relation in ("device_registry", "telemetry", "telemetry_hourly", "tenants"):
        assert session.scalar(sa.text(f"SELECT count(*) FROM {relation}")) == 0, relation
    assert not [message for message in heard if "context" in message]


def test_no_bit_of_a_token_may_differ(database: SignedDatabase, session: Connection) -> None:
    token = database.key.token(ACME)
    forged = [
        token[:place] + chr(ord(token[place]) ^ 1 << bit) + token[place + 1 :]
        for place in range(len(token))
        for bit in range(7)
        if ord(token[place]) ^ 1 << bit
    ]
    taken = sa.text("""
        SELECT t FROM unnest(CAST(:tokens AS text[])) t
         CROSS JOIN LATERAL (SELECT set_config('app.tenant_token', t, true) OFFSET 0) s
         CROSS JOIN LATERAL (SELECT verified_tenant() AS found WHERE s IS NOT NULL OFFSET 0) v
         WHERE v.found IS NOT NULL
    """)
    # A check of the check: the token itself is taken in this way.
    assert session.scalars(taken, {"tokens": [token]}).all() == [token]
    assert session.scalars(taken, {"tokens": forged}).all() == []
    assert len(forged) > 800


def test_none_is_no_tenant(session: Connection) -> None:
    for token in ("", None):
        present(session, token, tenant="")
        assert session.scalar(sa.text("SELECT current_tenant()")) is None
        assert session.scalar(sa.text(DEVICES)) == 0


def test_a_service_without_a_key_is_told_so(database: SignedDatabase) -> None:
    with (
        database.application(context_key=None) as engine,
        pytest.raises(DBAPIError, match=r"with a signed token only.*\n.*CONTEXT_KEY_FILE"),
        tenant_transaction(engine, ACME) as connection,
    ):
        connection.scalar(sa.text(DEVICES))


def test_a_service_with_another_key_is_told_so(database: SignedDatabase) -> None:
    with (
        database.application(context_key=OTHER_KEY) as engine,
        pytest.raises(TenancyError, match=rf"takes no token of the key {OTHER_KEY.id}.* status"),
        tenant_transaction(engine, ACME),
    ):
        pass


def test_an_expired_token_is_an_error(database: SignedDatabase, session: Connection) -> None:
    """Only a holder of a key could sign it, and they should know."""
    token = database.key.token(ACME, lifetime=1)
    present(session, token)
    assert session.scalar(sa.text(DEVICES)) == 2
    time.sleep(1.1)
    assert session.scalar(sa.text(DEVICES)) == 2, "a transaction ends with what it began"
    session.rollback()
    present(session, token)
    with pytest.raises(DBAPIError, match="the tenant context has expired"):
        session.scalar(sa.text(DEVICES))
    with (
        database.application(context_key=_Late(database.key)) as engine,
        pytest.raises(TenancyError, match=r"context has expired.*clocks"),
        tenant_transaction(engine, ACME),
    ):
        pass


class _Late:
    def __init__(self, key: ContextKey) -> None:
        self.key = key

    def token(self, tenant: Any, lifetime: float = 0) -> str:
        return self.key.token(tenant, -400)


def test_workers_know_the_tenant_and_no_other(
    database: SignedDatabase, session: Connection
) -> None:
    version: Any = session.dialect.server_version_info
    forced = "debug_parallel_query" if version >= (16,) else "force_parallel_mode"
    # Of a row, so that a worker has to call it.
    asked = "SELECT DISTINCT CASE WHEN oid > 0 THEN current_tenant() END FROM pg_class"
    for token, tenant in (
        (database.key.token(ACME), ACME),
        (database.key.token(GLOBEX), GLOBEX),
        (OTHER_KEY.token(ACME), None),
    ):
        session.exec_driver_sql(f"SET LOCAL {forced} = on")
        present(session, token)
        assert "Gather" in "".join(session.scalars(sa.text(f"EXPLAIN {asked}")))
        assert session.scalars(sa.text(asked)).all() == [tenant]
        session.rollback()


# --- the keys ---


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_no_role_reads_a_key(role: str, database: SignedDatabase) -> None:
    secrets = _secrets(database.owner)
    said = []
    for statement in (
        "SELECT * FROM signing.context_keys",
        "COPY signing.context_keys TO STDOUT",
        "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM signing.context_keys",
        "SELECT signing.note_refusal('x')",
        "SELECT pg_get_functiondef('public.verified_tenant()'::regprocedure)",
        "SELECT prosrc FROM pg_proc WHERE proname IN ('note_refusal', 'verified_tenant')",
        "EXPLAIN (ANALYZE, VERBOSE) SELECT current_tenant(), verified_tenant()",
        "SELECT * FROM pg_stats WHERE schemaname = 'signing'",
        "SELECT * FROM pg_statistic",
        "SELECT query FROM pg_stat_activity",
        "SELECT query_to_xml('TABLE signing.context_keys', true, true, '')",
        "SELECT schema_to_xml('signing', true, true, '')",
        "LOCK TABLE signing.context_keys",
        "DELETE FROM signing.context_keys",
        "CREATE OR REPLACE FUNCTION public.current_tenant() RETURNS uuid LANGUAGE sql RETURN NULL",
        "SELECT lo_from_bytea(0, inner_pad) FROM signing.context_keys",
    ):
        with database.owner.connect() as connection:
            connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
            present(connection, OTHER_KEY.token(ACME))
            try:
                said += map(str, connection.exec_driver_sql(statement).all())
            except DBAPIError as error:
                said.append(str(error.orig))
    text = "\n".join(said)
    assert len(re.findall("permission denied|must be owner", text)) >= 9, text
    assert not [secret for secret in secrets if secret in text]


def _secrets(owner: Engine) -> list[str]:
    """Parts of each key, of its pads and of a right signature, as text may show them."""
    with owner.connect() as connection:
        pads = connection.exec_driver_sql("SELECT inner_pad, outer_pad FROM signing.context_keys")
        blocks = [block for row in pads for block in row]
    keys = [bytes(byte ^ 0x36 for byte in block[:32]) for block in blocks[::2]]
    found = [*blocks, *keys]
    return [text for one in found for text in (one[:8].hex(), repr(one[:8])[2:-1])]


def test_what_a_transaction_sends_has_no_key(
    database: SignedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    execute = psycopg.Cursor.execute
    monkeypatch.setattr(
        psycopg.Cursor, "execute", lambda *a, **k: (sent.append(a[1:]), execute(*a, **k))[1]
    )
    with database.application() as engine, tenant_transaction(engine, ACME):
        pass
    assert any("app.tenant_token" in str(one) for one in sent)
    assert not [secret for secret in _secrets(database.owner) if secret in str(sent)]
    assert database.file.read_text().strip() not in repr((engine, database.key, sent))
