"""Sessions that are made while all are revoked, and mails that are asked for again and again."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from tests.support.databases import MakeDatabase, seed
from tests.support.sign_in import (
    Service,
    Session,
    in_days,
    key_of,
    secret_of,
    service_on,
    sha256,
)

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture(scope="module")
def service(make_shared_database: MakeDatabase) -> Iterator[Service]:
    with service_on(make_shared_database(like=seed)) as service:
        yield service


def waiting(service: Service) -> bool:
    with service.owner.connect() as connection:
        return bool(connection.scalar(sa.text(WAITING)))


@pytest.mark.parametrize("end", ["reset_password", "change_password", "sign_out"])
def test_no_session_that_is_refreshed_meanwhile_is_left(service: Service, end: str) -> None:
    _, email = service.registered(f"t{uuid.uuid4().hex[:10]}")
    stolen, own = service.sign_in(email, "correct"), service.sign_in(email, "correct")
    assert stolen is not None
    assert own is not None
    service.call("request_password_reset", email)
    key = key_of("correct", service.call("password_method", email))
    arguments = {
        "reset_password": (sha256(service.mails()[email][1]), secret_of("new")),
        "change_password": (*own.proof, key, secret_of("new")),
        "sign_out": (*own.proof, True),
    }
    refreshed, until = Session(), in_days(service.engine, 1)
    refresh = sa.text("SELECT user_id FROM refresh_session(:a, :b, :c, :d, :until)")
    names = dict(zip("abcd", (*stolen.proof, *refreshed.proof), strict=True))
    with ThreadPoolExecutor(1) as pool, service.engine.connect() as connection:
        assert connection.execute(refresh, {**names, "until": until}).all()
        ended = pool.submit(service.call, end, *arguments[end])
        give_up = time.monotonic() + 10
        while not ended.done() and not waiting(service) and time.monotonic() < give_up:
            time.sleep(0.01)
        connection.commit()
        assert ended.result()
    assert service.call("session_account", *refreshed.proof) == []
    again = Session()
    assert service.call("refresh_session", *refreshed.proof, *again.proof, until) == []


def test_no_account_fills_a_mailbox(service: Service) -> None:
    """Neither by turns, nor by spellings, nor by voiding links, nor with another account."""
    slug = f"t{uuid.uuid4().hex[:10]}"
    victim, other = f"victim@{slug}.example", f"other@{slug}.example"
    mailed = Counter[str]()

    def ask(session: Session, email: str, key: str) -> None:
        assert service.call("request_email_change", *session.proof, key, email) is True
        mailed.update(one.lower().strip() for one in service.mails())

    for number in range(2):
        _, email = service.registered(f"{slug}{number}")
        session = service.sign_in(email, "correct")
        assert session is not None
        key = key_of("correct", service.call("password_method", email))
        for to in (victim, other, victim, victim.title(), f" {victim}\t", victim.upper()):
            ask(session, to, key)
        method = service.call("password_method", email)
        changed = secret_of("correct")
        assert service.call("change_password", *session.proof, key_of("correct", method), changed)
        key = key_of("correct", service.call("password_method", email))
        ask(session, victim, key)
    assert mailed == {victim: 1, other: 1}
    for number in range(8):
        ask(session, f"n{number}@{slug}.example", key)
    assert mailed.total() == 2 + 5, "what was asked in vain costs no more"
    # Who has the address is not kept from setting a password.
    service.call("sign_up", f"{slug}v", "v", victim, None)
    assert service.mails()[victim][0] == "reset"


def test_requests_of_one_moment_send_one_mail(service: Service) -> None:
    asking = []
    for _ in range(2):
        _, email = service.registered(f"t{uuid.uuid4().hex[:10]}")
        session = service.sign_in(email, "correct")
        assert session is not None
        key = key_of("correct", service.call("password_method", email))
        asking += [(*session.proof, key)] * 3
    victim = f"v{uuid.uuid4().hex[:10]}@example.com"
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda who: service.call("request_email_change", *who, victim), asking))
    asked = "SELECT count(*) FROM password_reset_tokens WHERE email = :email"
    assert service.operate(asked, email=victim) == 1
