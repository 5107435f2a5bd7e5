"""Tenant transactions isolate, operators' ones are audited; both last one transaction only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import (
    Column,
    Engine,
    MetaData,
    NullPool,
    Table,
    Text,
    Uuid,
    create_engine,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from database.embedded import TemporaryServer
from database.embedded.programs import wheel_programs
from database.engine import make_async_engine, make_engine
from database.tenancy import (
    TenancyError,
    async_operator_transaction,
    async_tenant_session,
    async_tenant_transaction,
    operator_transaction,
    tenant_session,
    tenant_transaction,
)
from tests.support.pooler import PORT, transaction_pooler

ONE, TWO = UUID(int=1), UUID(int=2)
WHY: Any = {"actor": "ann", "action": "device.list", "reason": "ticket 7"}

SCHEMA = """
create role fleet_app nologin;
create role fleet_operator nologin;
create role fleet_operator_read nologin;
create role app login password 'x' in role fleet_app;
create role support login password 'x' in role fleet_operator_read;
create role operator login password 'x' in role fleet_operator;
create role stranger login password 'x';
create role owner login password 'x' in role fleet_app, fleet_operator, fleet_operator_read;
create schema timeseries;
create function current_tenant() returns uuid language sql stable
    return nullif(current_setting('app.tenant_id', true), '')::uuid;
create table thing (tenant_id uuid not null, name text not null, primary key (tenant_id, name));
alter table thing enable row level security;
alter table thing force row level security;
create policy tenant_isolation on thing to fleet_app using (tenant_id = (select current_tenant()));
create policy operator_all on thing to fleet_operator using (true);
create policy operator_read on thing for select to fleet_operator_read using (true);
create table timeseries.reading (tenant_id uuid not null, name text not null);
create view reading as select tenant_id, name from timeseries.reading
    where tenant_id = (select current_tenant()) with cascaded check option;
create table operator_audit_log (
    id uuid primary key default gen_random_uuid(), user_id text not null, action text not null,
    tenant_filter uuid, resource_type text, resource_id text, ip_address inet, user_agent text,
    rls_bypassed boolean not null default true, reason text,
    created_at timestamptz not null default now());
grant usage on schema timeseries to fleet_operator, fleet_operator_read;
grant select, insert, update, delete on thing to fleet_app, fleet_operator;
grant select on thing, timeseries.reading to fleet_operator_read, fleet_operator;
grant select, insert on reading to fleet_app;
grant insert on operator_audit_log to fleet_operator, fleet_operator_read;
insert into thing select t::uuid, 'of ' || right(t, 1) from unnest(array[
    '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002']) t;
insert into timeseries.reading select * from thing;
"""


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "thing"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)


reading = Table(
    "reading", MetaData(), Column("tenant_id", Uuid), Column("name", Text), schema="timeseries"
)


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryServer]:
    """A cluster of its own: these roles are not those of the models."""
    with TemporaryServer(wheel_programs(18)) as server:
        engine = create_engine(server.url("postgres"), poolclass=NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(SCHEMA)
        yield server


@pytest.fixture(autouse=True)
def two_rows(server: TemporaryServer) -> None:
    """Each test begins with one row a tenant and an empty log."""
    execute(
        server,
        "delete from thing where name not like 'of _'; truncate operator_audit_log;"
        "delete from timeseries.reading where name not like 'of _'",
    )


def execute(server: TemporaryServer, statement: str) -> None:
    engine = create_engine(server.url("postgres"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def audit(server: TemporaryServer) -> list[Any]:
    engine = create_engine(server.url("postgres"), poolclass=NullPool)
    with engine.begin() as connection:
        rows = connection.execute(text("select * from operator_audit_log order by created_at"))
        return list(rows)


@pytest.fixture
def login(server: TemporaryServer) -> Iterator[Any]:
    """Engines with a single connection, so that leftovers of one transaction meet the next."""
    made: list[Engine] = []

    def make(name: str, **options: Any) -> Engine:
        url = server.url("postgres", user=name, password="x")
        made.append(make_engine(url, **{"pool_size": 1, "max_overflow": 0, **options}))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def names(connection: Any) -> list[str]:
    return list(connection.scalars(select(Thing.name).order_by(Thing.name)))


def write_and_fail(connection: Any, tenant: UUID) -> None:
    """Something is written, and then something goes wrong."""
    connection.execute(insert(Thing).values(tenant_id=tenant, name="new"))
    raise ZeroDivisionError


@pytest.mark.parametrize("tenant", [ONE, str(ONE), str(ONE).upper(), ONE.hex])
def test_sees_one_tenant(login: Any, tenant: UUID | str) -> None:
    with tenant_transaction(login("app"), tenant) as connection:
        assert names(connection) == ["of 1"]
        assert connection.scalar(text("select current_user")) == "fleet_app"
        assert connection.scalar(text("select current_tenant()")) == ONE


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
    with tenant_transaction(engine, ONE):
        pass
    with engine.connect() as connection:
        assert connection.scalar(text("select current_user")) == "owner"
        assert connection.scalar(text("select current_tenant()")) is None
        assert "schema_translate_map" not in connection.get_execution_options()
        assert "FROM timeseries.reading" in str(select(reading).compile(connection))
    assert engine.get_execution_options() == {}


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


def test_login_without_the_role(login: Any) -> None:
    """The message names the command that makes a login with it."""
    with (
        pytest.raises(
            TenancyError,
            match=r"login stranger may not act as fleet_app: .*"
            r"`operations login create NAME --role fleet_app`",
        ),
        tenant_transaction(login("stranger"), ONE),
    ):
        pass


def test_role_that_does_not_exist() -> None:
    with TemporaryServer(wheel_programs(18)) as empty:
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


def test_operator_reads_only(login: Any) -> None:
    """Whoever may write has to say that he means to."""
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
    execute(server, "revoke insert on operator_audit_log from fleet_operator_read")
    try:
        with (
            pytest.raises(TenancyError, match=r"operator_audit_log cannot be written as fleet_op"),
            operator_transaction(login("support"), **WHY),
        ):
            pytest.fail("the access began without a row in the log")
    finally:
        execute(server, "grant insert on operator_audit_log to fleet_operator_read")


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


def test_async_twins(server: TemporaryServer) -> None:
    """The same, over the same driver, without blocking."""

    async def walk() -> None:
        url = server.url("postgres", user="owner", password="x")
        engine = make_async_engine(url, pool_size=1, max_overflow=0)
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


@pytest.fixture
def pooled(server: TemporaryServer) -> Iterator[str]:
    """The server behind a PgBouncer in transaction mode with one server connection."""
    with transaction_pooler(server, "owner") as folder:
        yield f"postgresql://any@/postgres?host={folder}&port={PORT}"


def test_behind_a_transaction_pooler(pooled: str) -> None:
    """Many clients take turns on one server connection, and none sees what is another's."""
    first, second = make_engine(pooled), make_engine(pooled)
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


def test_unknown_tenant_sees_nothing(login: Any) -> None:
    with tenant_transaction(login("app"), uuid4()) as connection:
        assert names(connection) == []
