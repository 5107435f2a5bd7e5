"""What is made at the moment when all sessions of an account are revoked."""

from __future__ import annotations

import time
import uuid
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
