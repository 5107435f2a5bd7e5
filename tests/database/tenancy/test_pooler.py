"""Tenants and operators taking turns on one connection of a pooler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import (
    text,
)

from database.embedded import TemporaryServer
from database.engine import make_engine
from database.tenancy import (
    ANY_LOGIN,
    operator_transaction,
    tenant_transaction,
)
from tests.support.pooler import PORT, transaction_pooler
from tests.support.tenancy import (
    ONE,
    TWO,
    WHY,
    names,
)


@pytest.fixture
def pooled(server: TemporaryServer) -> Iterator[str]:
    """The server behind a PgBouncer in transaction mode with one server connection."""
    with transaction_pooler(server, "owner") as folder:
        yield f"postgresql://any@/postgres?host={folder}&port={PORT}"


def test_behind_a_transaction_pooler(pooled: str) -> None:
    """Many clients take turns on one server connection, and none sees what is another's."""
    options = {"execution_options": {ANY_LOGIN: True}}
    first, second = make_engine(pooled, **options), make_engine(pooled, **options)
    backends = set()
    for _ in range(8):  # Psycopg would prepare a statement at its fifth use.
        for engine, tenant, seen in ((first, ONE, ["of 1"]), (second, TWO, ["of 2"])):
            with tenant_transaction(engine, tenant) as connection:
                assert names(connection) == seen
                backends.add(connection.scalar(text("select pg_backend_pid()")))
            with operator_transaction(engine, **WHY) as connection:
                assert names(connection) == ["of 1", "of 2"]
            with engine.connect() as connection:
                assert connection.scalar(text("select current_user")) == "owner"
                assert connection.scalar(text("select current_tenant()")) is None
                assert connection.scalar(text("show transaction_read_only")) == "off"
    assert len(backends) == 1
    first.dispose()
    second.dispose()
