"""Operators' transactions: across tenants, audited, read only unless they say otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from database.embedded import TemporaryServer
from database.tenancy import (
    TenancyError,
    operator_transaction,
    tenant_transaction,
)
from tests.support.engines import execute
from tests.support.tenancy import (
    ONE,
    TWO,
    WHY,
    Thing,
    audit,
    names,
    reading,
    write_and_fail,
)


def test_operator_reads_every_tenant(login: Any, server: TemporaryServer) -> None:
    """After a row that says who, what and why."""
    with operator_transaction(
        login("support"),
        **WHY,
        tenant_id=str(ONE),
        resource_type="device",
        resource_id="d-1",
        ip_address="192.0.2.7",
        user_agent="curl",
    ) as connection:
        assert names(connection) == ["of 1", "of 2"]
        assert connection.scalar(text("select current_user")) == "fleet_operator_read"
        assert connection.scalar(text("select current_tenant()")) == ONE
        assert connection.scalars(select(reading.c.name)).all() == ["of 1", "of 2"]
    [row] = audit(server)
    assert (row.user_id, row.action, row.reason) == ("ann", "device.list", "ticket 7")
    assert (row.tenant_filter, row.resource_type, row.resource_id) == (ONE, "device", "d-1")
    assert (str(row.ip_address), row.user_agent, row.rls_bypassed) == ("192.0.2.7", "curl", True)


SERIES = text("select name from reading order by name")


def test_a_series_has_one_name(login: Any) -> None:
    """The same text: the rows of the tenant, or as an operator those of all."""
    with tenant_transaction(login("app"), ONE) as connection:
        assert connection.scalars(SERIES).all() == ["of 1"]
    for name, write in (("support", False), ("operator", False), ("operator", True)):
        with operator_transaction(login(name), **WHY, tenant_id=ONE, write=write) as connection:
            assert connection.scalars(SERIES).all() == ["of 1", "of 2"]
    both = login("owner")
    with operator_transaction(both, **WHY) as connection:
        assert connection.scalars(SERIES).all() == ["of 1", "of 2"]
    with tenant_transaction(both, TWO) as connection:
        assert connection.scalars(SERIES).all() == ["of 2"], "nothing stays in the session"


def test_operator_reads_only(login: Any) -> None:
    """Operators who may write have to say that they mean to."""
    for name in ("support", "operator", "owner"):
        with (
            pytest.raises(DBAPIError, match="read-only transaction"),
            operator_transaction(login(name), **WHY) as connection,
        ):
            connection.execute(text("delete from thing"))


def test_operator_writes(login: Any, server: TemporaryServer) -> None:
    engine = login("operator")
    with operator_transaction(engine, **WHY, write=True) as connection:
        connection.execute(insert(Thing).values(tenant_id=TWO, name="new"))
    with tenant_transaction(login("app"), TWO) as connection:
        assert names(connection) == ["new", "of 2"]
    with engine.connect() as connection:
        assert connection.scalar(text("select current_user")) == "operator"
    [row] = audit(server)
    assert row.tenant_filter is None


def test_the_log_stays_when_the_access_fails(login: Any, server: TemporaryServer) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        operator_transaction(login("operator"), **WHY, write=True) as connection,
    ):
        write_and_fail(connection, TWO)
    assert len(audit(server)) == 1
    with tenant_transaction(login("app"), TWO) as connection:
        assert names(connection) == ["of 2"]


def test_no_log_no_access(login: Any, server: TemporaryServer) -> None:
    execute(server.url("postgres"), "revoke insert on operator_audit_log from fleet_operator_read")
    try:
        with (
            pytest.raises(TenancyError, match=r"operator_audit_log cannot be written as fleet_op"),
            operator_transaction(login("support"), **WHY),
        ):
            pytest.fail("the access began without a row in the log")
    finally:
        execute(server.url("postgres"), "grant insert on operator_audit_log to fleet_operator_read")


def test_operator_without_the_role(login: Any, server: TemporaryServer) -> None:
    for name, write, role in (
        ("app", False, "fleet_operator_read"),
        ("support", True, "fleet_operator"),
    ):
        with (
            pytest.raises(TenancyError, match=rf"login {name} may not act as {role}:"),
            operator_transaction(login(name), **WHY, write=write),
        ):
            pass
    assert audit(server) == []


@pytest.mark.parametrize("missing", ["actor", "action", "reason"])
def test_operator_says_why(login: Any, missing: str) -> None:
    with (
        pytest.raises(TenancyError, match=f"^{missing} is empty"),
        operator_transaction(login("support"), **{**WHY, missing: " "}),
    ):
        pass
