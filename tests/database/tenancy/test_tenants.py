"""Tenants' transactions: one tenant's rows, for one transaction only."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import (
    NullPool,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError

from database.embedded import TemporaryServer
from database.engine import make_async_engine, make_engine
from database.tenancy import (
    ANY_LOGIN,
    TenancyError,
    async_operator_transaction,
    async_tenant_session,
    async_tenant_transaction,
    operator_transaction,
    tenant_session,
    tenant_transaction,
)
from tests.support.engines import execute
from tests.support.servers import embedded_programs
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


@pytest.mark.parametrize("tenant", [ONE, str(ONE), str(ONE).upper(), ONE.hex])
def test_sees_one_tenant(login: Any, tenant: UUID | str) -> None:
    with tenant_transaction(login("app"), tenant) as connection:
        assert names(connection) == ["of 1"]
        assert connection.scalar(text("select current_user")) == "fleet_app"
        assert connection.scalar(text("select current_tenant()")) == ONE


def test_as_another_role(login: Any) -> None:
    engine = login("operator")
    with tenant_transaction(engine, ONE, role="fleet_operator") as connection:
        assert connection.scalar(text("select current_user")) == "fleet_operator"
        assert connection.scalar(text("select current_tenant()")) == ONE
    with tenant_session(engine, ONE, role="fleet_operator") as session:
        assert session.scalar(text("select current_user")) == "fleet_operator"
    with (
        pytest.raises(TenancyError, match="may not act as fleet_operator"),
        tenant_transaction(login("app"), ONE, role="fleet_operator"),
    ):
        pass


def test_writes_one_tenant(login: Any) -> None:
    """Its own rows, which stay; never those of another."""
    engine = login("app")
    with tenant_transaction(engine, ONE) as connection:
        connection.execute(insert(Thing).values(tenant_id=ONE, name="new"))
    with (
        pytest.raises(DBAPIError, match="row-level security"),
        tenant_transaction(engine, ONE) as connection,
    ):
        connection.execute(insert(Thing).values(tenant_id=TWO, name="new"))
    with tenant_transaction(engine, ONE) as connection:
        changed = connection.execute(text("update thing set name = 'x' where name = 'of 2'"))
        assert changed.rowcount == 0
        assert names(connection) == ["new", "of 1"]


def test_an_error_rolls_back(login: Any) -> None:
    engine = login("app")
    with pytest.raises(ZeroDivisionError), tenant_transaction(engine, ONE) as connection:
        write_and_fail(connection, ONE)
    with tenant_transaction(engine, ONE) as connection:
        assert names(connection) == ["of 1"]


def test_nothing_is_left_on_the_connection(login: Any) -> None:
    """The pool's only connection comes back without role, tenant or translated schema."""
    engine = login("owner")
    before = dict(engine.get_execution_options())
    with tenant_transaction(engine, ONE):
        pass
    with engine.connect() as connection:
        assert connection.scalar(text("select current_user")) == "owner"
        assert connection.scalar(text("select current_tenant()")) is None
        assert "schema_translate_map" not in connection.get_execution_options()
        assert "FROM timeseries.reading" in str(select(reading).compile(connection))
    assert engine.get_execution_options() == before


def test_nothing_follows_a_commit_inside(login: Any) -> None:
    """What came after it would run with the rights of the login."""
    with tenant_transaction(login("owner"), ONE) as connection:
        connection.commit()
        with pytest.raises(InvalidRequestError, match="closed transaction"):
            names(connection)


def test_hypertables_by_the_tenants_views(login: Any) -> None:
    """The model stands in `timeseries`, where fleet_app has no right at all."""
    with tenant_transaction(login("app"), ONE) as connection:
        assert connection.scalars(select(reading.c.name)).all() == ["of 1"]
        connection.execute(insert(reading), [{"tenant_id": ONE, "name": "r"}] * 3)
    with (
        pytest.raises(DBAPIError, match="check option"),
        tenant_transaction(login("app"), ONE) as connection,
    ):
        connection.execute(insert(reading).values(tenant_id=TWO, name="r"))
    with (
        pytest.raises(DBAPIError, match="permission denied for schema timeseries"),
        tenant_transaction(login("app"), ONE) as connection,
    ):
        connection.execute(text("select * from timeseries.reading"))


@pytest.mark.parametrize("tenant", ["", "acme", "' or true --", None, 7, str(ONE)[:-1]])
def test_not_a_uuid(login: Any, tenant: Any) -> None:
    with (
        pytest.raises(TenancyError, match=r"tenant_id must be a UUID, not .*tenants.slug"),
        tenant_transaction(login("app"), tenant),
    ):
        pass


def test_unknown_tenant_sees_nothing(login: Any) -> None:
    with tenant_transaction(login("app"), uuid4()) as connection:
        assert names(connection) == []


def test_login_without_the_role(login: Any) -> None:
    """The message names the command that makes a login with it."""
    with (
        pytest.raises(
            TenancyError,
            match=r"login outsider may not act as fleet_app: .*"
            r"`operations login create NAME --role fleet_app`",
        ),
        tenant_transaction(login("outsider"), ONE),
    ):
        pass


MORE = {
    "create role more superuser login password 'x'": "a superuser",
    "create role more login password 'x' bypassrls createrole in role fleet_app": (
        "BYPASSRLS, CREATEROLE"
    ),
    "create role more login password 'x' replication in role fleet_app": "REPLICATION",
    "create role more login password 'x' in role fleet_app, fleet_operator": (
        "a member of fleet_operator"
    ),
    "create role more login password 'x' in role fleet_app, pg_read_all_data": (
        "a member of pg_read_all_data"
    ),
    "create role dba superuser; create role more login password 'x' in role fleet_app, dba": (
        "a member of dba"
    ),
    "create role more login password 'x' in role fleet_app; create role house in role fleet_app;"
    " grant house to more; alter table timeseries.reading owner to house": (
        "the owner of timeseries.reading"
    ),
}


@pytest.mark.parametrize("making", MORE)
def test_login_that_is_more(login: Any, server: TemporaryServer, making: str) -> None:
    """By RESET ROLE an injected statement would be it; every way to a tenant refuses."""
    expected = (
        rf"login more is more than fleet_app.* found {MORE[making]}; connect with one made by "
        r"`python -m operations login create NAME --role fleet_app`"
    )
    execute(server.url("postgres"), making)
    try:
        engine = login("more")
        for way in (tenant_transaction, tenant_session):
            with pytest.raises(TenancyError, match=expected), way(engine, ONE):
                pass
        asyncio.run(_refused(server.url("postgres", user="more", password="x"), expected))
        with tenant_transaction(engine.execution_options(**{ANY_LOGIN: True}), ONE) as connection:
            assert names(connection) == ["of 1"]
        with pytest.raises(TenancyError, match=expected), tenant_transaction(engine, ONE):
            pass
        engine.dispose()
    finally:
        execute(
            server.url("postgres"),
            "alter table timeseries.reading owner to postgres; drop role more;"
            " drop role if exists house; drop role if exists dba",
        )


async def _refused(url: str, expected: str) -> None:
    engine = make_async_engine(url, pool_size=1, max_overflow=0)
    for way in (async_tenant_transaction, async_tenant_session):
        with pytest.raises(TenancyError, match=expected):
            async with way(engine, ONE):
                pass
    await engine.dispose()


def test_a_login_is_looked_at_once(login: Any) -> None:
    engine, asked = login("app"), []

    @event.listens_for(engine, "before_cursor_execute")
    def note(*arguments: Any) -> None:
        asked.append(arguments[2])

    for _ in range(3):
        with tenant_transaction(engine, ONE):
            pass
    assert sum("rolsuper" in statement for statement in asked) == 1
    assert len(asked) == 4


def test_role_that_does_not_exist() -> None:
    with TemporaryServer(embedded_programs(18)) as empty:
        engine = make_engine(empty.url("postgres"), poolclass=NullPool)
        with (
            pytest.raises(TenancyError, match=r"fleet_app does not exist .*alembic upgrade head"),
            tenant_transaction(engine, ONE),
        ):
            pass
        with (
            pytest.raises(TenancyError, match=r"does not exist .*alembic upgrade head"),
            operator_transaction(engine, **WHY),
        ):
            pass


def test_autocommit_is_refused(login: Any) -> None:
    """There the role would end with the statement that sets it."""
    engine = login("owner", isolation_level="AUTOCOMMIT")
    with pytest.raises(TenancyError, match="AUTOCOMMIT"), tenant_transaction(engine, ONE):
        pass


def test_session(login: Any) -> None:
    """Commit and rollback of the session stay with the tenant."""
    engine = login("app")
    with tenant_session(engine, ONE) as session:
        session.add(Thing(tenant_id=ONE, name="a"))
        session.commit()
        session.add(Thing(tenant_id=ONE, name="a"))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        session.add(Thing(tenant_id=ONE, name="b"))
        assert names(session) == ["a", "b", "of 1"]
    with tenant_session(engine, ONE, expire_on_commit=False) as session:
        assert names(session) == ["a", "b", "of 1"]
    with pytest.raises(ZeroDivisionError), tenant_session(engine, ONE) as session:
        write_and_fail(session, ONE)
    with tenant_session(engine, ONE) as session:
        assert names(session) == ["a", "b", "of 1"]


def test_asyncio(server: TemporaryServer) -> None:
    """The same, over the same driver, without blocking."""

    async def walk() -> None:
        url = server.url("postgres", user="owner", password="x")
        options: Any = {"execution_options": {ANY_LOGIN: True}}
        engine = make_async_engine(url, pool_size=1, max_overflow=0, **options)
        async with async_tenant_transaction(engine, ONE) as connection:
            assert (await connection.scalars(select(Thing.name))).all() == ["of 1"]
            assert (await connection.scalars(select(reading.c.name))).all() == ["of 1"]
        async with async_tenant_session(engine, TWO) as session:
            session.add(Thing(tenant_id=TWO, name="new"))
            await session.commit()
            assert len((await session.scalars(select(Thing.name))).all()) == 2
        async with async_operator_transaction(engine, **WHY, tenant_id=TWO) as connection:
            assert len((await connection.scalars(select(Thing.name))).all()) == 3
            assert await connection.scalar(text("select current_user")) == "fleet_operator_read"
        with pytest.raises(DBAPIError, match="read-only"):
            async with async_operator_transaction(engine, **WHY) as connection:
                await connection.execute(text("delete from thing"))
        with pytest.raises(TenancyError, match="must be a UUID"):
            async with async_tenant_transaction(engine, "acme"):
                pass
        async with engine.connect() as connection:
            assert await connection.scalar(text("select current_user")) == "owner"
            assert await connection.scalar(text("select current_tenant()")) is None
        await engine.dispose()

    asyncio.run(walk())
    assert [row.tenant_filter for row in audit(server)] == [TWO, None]
