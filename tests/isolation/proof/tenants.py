"""Two tenants that have a row in every table, with rows of their own in series and rollups."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from ddl.edition import Edition, detect
from ddl.sql import ident, literal
from models.shared.base import TIMESERIES
from tests.isolation.proof.page import read
from tests.support.described_tables import Described, described
from tests.support.generated_rows import Generator, Owner, Row
from tests.support.two_tenants import store_and_compress

ONE = Owner(uuid.UUID(int=0xA1), "zebra")
TWO = Owner(uuid.UUID(int=0xA2), "quagga")
"""Each one's mark is in no other text of a database."""

TOOLS = ("schema_history", "alembic_version", "pending_operations")


@dataclass(frozen=True)
class Rows:
    """One table's rows of a tenant, as SQL expressions by column."""

    there: Row
    """One that is stored, with its key."""
    fresh: Row
    """One that the server would store; where a tenant has but one, with the key of that."""


@dataclass(frozen=True)
class Filled:
    """By table, then tenant."""

    rows: dict[str, dict[uuid.UUID, Rows]]
    keys: dict[str, tuple[str, ...]]
    draws: int


def fill(engine: Engine) -> Filled:
    """Store rows of both tenants in every table there is, and compute what is made of them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        tables = described(connection, _schemas(connection))
        tables = [one for one in tables if one.name.rpartition(".")[2] not in TOOLS]
        driver: Any = connection.connection.driver_connection
        generator = Generator(driver, tables, _marked)
        # Of the other tenant first, so that its rows stand in the way of an attack early.
        several = _several(connection)
        for table in tables:
            for number in range(5 if table.name in several else 1):
                for owner in (TWO, ONE):
                    generator.store(table, owner, number and number + 10)
        _complete(connection)
        for table in tables:
            if table.name.startswith(f"{TIMESERIES}."):
                for owner in (TWO, ONE):
                    generator.store(table, owner, 20)
        rows = {
            table.name: {
                owner.tenant: Rows(
                    _there(generator, table, owner),
                    generator.spare(table, owner, 3),
                )
                for owner in (ONE, TWO)
            }
            for table in tables
        }
        connection.exec_driver_sql("ANALYZE")
    return Filled(rows, {table.name: table.key for table in tables}, generator.attempts)


def _schemas(connection: Connection) -> Sequence[str]:
    """Every schema but those of the server and of TimescaleDB."""
    query = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|_?timescaledb|information_)'"
    found = connection.execute(sa.text(query.replace(":", r"\:"))).scalars().all()
    return list(found)


def _marked(table: Described, owner: Owner) -> Owner:
    """What every tenant reads has another mark, so that it is not taken for a tenant's row."""
    shared = read().scopes.get(table.name.removeprefix("public."), "") == "global"
    return Owner(owner.tenant, f"shared {owner.mark[::-1]}") if shared else owner


def _several(connection: Connection) -> set[str]:
    """Tables with rows in several states: series, and those with a restrictive policy."""
    query = f"""
        SELECT n.nspname || '.' || c.relname FROM pg_class c
          JOIN pg_namespace n ON n.oid = relnamespace
         WHERE relkind = 'r' AND (nspname = '{TIMESERIES}' OR EXISTS (
               SELECT FROM pg_policy WHERE polrelid = c.oid AND NOT polpermissive))"""
    return set(connection.exec_driver_sql(query).scalars())


def _complete(connection: Connection) -> None:
    """Rollups with rows, and the rows so far in the columnstore."""
    if detect(connection) is Edition.COMMUNITY:
        store_and_compress(connection)


def _there(generator: Generator, table: Described, owner: Owner) -> Row:
    stored = generator.rows[table.name, owner.tenant][0]
    types = {column.name: column.type for column in table.columns}
    return {
        name: f"{literal(value)}::{types[name]}"
        for name, value in stored.items()
        if value is not None and name in types
    }


def condition(key: Sequence[str], row: Row) -> str:
    """What is true of a row with this key alone."""
    return " AND ".join(f"{ident(name)} = {row[name]}" for name in key)
