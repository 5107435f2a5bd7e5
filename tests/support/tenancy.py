"""A small schema with tenants, operators and their roles, apart from the models."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    MetaData,
    Table,
    Text,
    Uuid,
    insert,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from database.embedded import TemporaryServer
from tests.support.engines import engine_of

ONE, TWO = UUID(int=1), UUID(int=2)


WHY: Any = {"actor": "ann", "action": "device.list", "reason": "ticket 7"}


SCHEMA = """
create role fleet_app nologin;
create role fleet_operator nologin;
create role fleet_operator_read nologin;
create role app login password 'x' in role fleet_app;
create role support login password 'x' in role fleet_operator_read;
create role operator login password 'x' in role fleet_operator;
create role outsider login password 'x';
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


def audit(server: TemporaryServer) -> list[Any]:
    """The rows of the audit log, oldest first."""
    with engine_of(server.url("postgres")) as engine, engine.begin() as connection:
        rows = connection.execute(text("select * from operator_audit_log order by created_at"))
        return list(rows)


def names(connection: Any) -> list[str]:
    return list(connection.scalars(select(Thing.name).order_by(Thing.name)))


def write_and_fail(connection: Any, tenant: UUID) -> None:
    """Something is written, and then something goes wrong."""
    connection.execute(insert(Thing).values(tenant_id=tenant, name="new"))
    raise ZeroDivisionError
