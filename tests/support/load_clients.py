"""The clients of a `Load`: pooled, prepared, of asyncio, foreign ones, and nobody's."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.errors import QueryCanceled
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from database.errors import StaleSessionError, cause
from database.tenancy import async_tenant_transaction, tenant_transaction
from tests.support.load import COUNTERS, Load, LostError, Tenant

LONG_SLEEP = sa.text("SELECT pg_sleep(20)")
CONTENDED = 2
"""The first so many tenants, whose counters two transactions often change at once."""


class _CancelledError(Exception):
    """What was to be cancelled was; its transaction is rolled back."""


@contextmanager
def _cancelled() -> Iterator[None]:
    """What the block does must be cancelled."""
    try:
        yield
    except (DBAPIError, QueryCanceled) as error:
        if isinstance(cause(error), QueryCanceled):
            raise _CancelledError from error
        raise
    raise AssertionError("it was not cancelled")


@contextmanager
def _cancelling(driver: Any) -> Iterator[None]:
    """Ask for the end of what the block does, again and again: a request may come too early."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.02):
            driver.cancel_safe()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


# --- pooled, by threads ---


def reads(load: Load, engine: Engine, tenant: Tenant, rng: random.Random) -> None:
    with tenant_transaction(engine, tenant.id) as connection:
        load.look(connection, tenant, rng)


def writes(load: Load, engine: Engine, tenant: Tenant, rng: random.Random) -> None:
    with tenant_transaction(engine, tenant.id) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO telemetry (tenant_id, ts, device_id, seq, metrics) VALUES"
                " (:tenant, now(), :device, :seq, '{\"x\": 2}')"
            ),
            {"tenant": tenant.id, "device": f"{tenant.slug}-1", "seq": rng.randrange(1 << 30)},
        )
        load.look(connection, tenant, rng)


def chooses(load: Load, engine: Engine, tenant: Tenant, rng: random.Random) -> None:
    """An injected statement chooses another tenant, and gets the same rows."""
    with tenant_transaction(engine, tenant.id) as connection:
        connection.execute(
            sa.text("SELECT set_config('app.tenant_id', :other, :local)"),
            {"other": str(load.tenant(rng).id), "local": rng.random() < 0.5},
        )
        load.look(connection, tenant, rng)


def waits(load: Load, engine: Engine, tenant: Tenant, rng: random.Random) -> None:
    """Long enough that its session is killed now and then."""
    with tenant_transaction(engine, tenant.id) as connection:
        load.look(connection, tenant, rng)
        connection.execute(sa.text("SELECT pg_sleep(0.02)"))
        load.look(connection, tenant, rng)


def takes_too_long(load: Load, engine: Engine, tenant: Tenant, rng: random.Random) -> None:
    try:
        with tenant_transaction(engine, tenant.id) as connection:
            load.look(connection, tenant, rng)
            connection.execute(sa.text("SET LOCAL statement_timeout = '5ms'"))
            with _cancelled():
                connection.execute(LONG_SLEEP)
    except _CancelledError:
        reads(load, engine, tenant, rng)


def is_cancelled(load: Load, engine: Engine, tenant: Tenant, rng: random.Random) -> None:
    """By a request through the pooler."""
    try:
        with (
            tenant_transaction(engine, tenant.id) as connection,
            _cancelling(connection.connection.driver_connection),
            _cancelled(),
        ):
            connection.execute(LONG_SLEEP)
    except _CancelledError:
        reads(load, engine, tenant, rng)


def counts(load: Load, engine: Engine, tenant: Tenant, rng: random.Random) -> Callable[[], None]:
    """Adds 1 to two counters; what does so at the same time deadlocks or is not serializable."""
    tenant = Tenant(rng.randrange(CONTENDED))
    names = [f"{tenant.slug}-{one}" for one in rng.sample(COUNTERS, 2)]
    entry = f"{tenant.slug}-{uuid.uuid4()}"
    level = rng.choice(("SERIALIZABLE", "READ COMMITTED"))

    def attempt() -> None:
        with tenant_transaction(
            engine.execution_options(isolation_level=level), tenant.id
        ) as connection:
            _count(connection, tenant, names, entry, by_reading=level == "SERIALIZABLE")

    return attempt


def _count(
    connection: Connection, tenant: Tenant, names: list[str], entry: str, *, by_reading: bool
) -> None:
    made = connection.execute(
        sa.text(
            "INSERT INTO sites (tenant_id, name) VALUES (:tenant, :entry)"
            " ON CONFLICT (tenant_id, name) DO NOTHING RETURNING name"
        ),
        {"tenant": tenant.id, "entry": entry},
    ).all()
    if not made:
        return  # the attempt before this one was committed when its connection broke
    for name in names:
        number = "CAST(location AS int) + 1"
        if by_reading:
            read = sa.text("SELECT location FROM sites WHERE name = :name")
            number = str(int(connection.scalar(read, {"name": name})) + 1)
        connection.execute(
            sa.text(f"UPDATE sites SET location = CAST({number} AS text) WHERE name = :name"),
            {"name": name},
        )
        connection.execute(sa.text("SELECT pg_sleep(0.01)"))


KINDS = {reads: 8, writes: 3, chooses: 2, waits: 1, takes_too_long: 1, is_cancelled: 1, counts: 3}


def pooled(load: Load, engine: Engine, seed: int) -> None:
    rng = random.Random(seed)
    while load.another():
        (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
        tenant = load.tenant(rng)
        again = counts(load, engine, tenant, rng) if kind is counts else None
        for attempt in load.attempts(kind.__name__):
            with attempt:
                if again:
                    again()
                else:
                    kind(load, engine, tenant, rng)


# --- of asyncio ---


async def task(load: Load, engine: AsyncEngine, seed: int) -> None:
    rng = random.Random(seed)
    while load.another():
        tenant = load.tenant(rng)
        given_up = rng.random() < 0.2
        for attempt in load.attempts("task given up" if given_up else "task"):
            with attempt:
                if given_up:
                    await _given_up(load, engine, tenant, rng)
                async with async_tenant_transaction(engine, tenant.id) as connection:
                    await connection.run_sync(load.look, tenant, rng)


async def _given_up(load: Load, engine: AsyncEngine, tenant: Tenant, rng: random.Random) -> None:
    """Anywhere in the transaction: while it begins, in a statement, or on its way back."""
    try:
        async with (
            asyncio.timeout(rng.random() * 0.02),
            async_tenant_transaction(engine, tenant.id) as connection,
        ):
            await connection.run_sync(load.look, tenant, rng)
            await connection.execute(LONG_SLEEP)
    except TimeoutError:
        pass


# --- foreign ones, which clear nothing away ---


def left_by(tenant: Tenant, token: str, number: int) -> tuple[str, ...]:
    """What code that is injected could leave in its session."""
    return (
        "DECLARE kept CURSOR WITH HOLD FOR SELECT name FROM sites",
        "PREPARE kept AS SELECT name FROM sites",
        f"SELECT pg_advisory_lock({number})",
        "LISTEN kept",
        f"SET SESSION app.tenant_token = '{token}'",
        f"SET SESSION app.tenant_id = '{tenant.id}'",
        "SET SESSION ROLE fleet_app",
        "SET SESSION fleetschema.judged = 'on'",
        "SET SESSION search_path = timeseries",
        "SET SESSION default_transaction_read_only = on",
        "SET SESSION row_security = off",
        "SET SESSION statement_timeout = '2ms'",
    )


def foreign(load: Load, seed: int, *, leave: int | None = None) -> None:
    """A client without our pool; ``leave`` counts which of `left_by` it leaves, None for all."""
    rng = random.Random(seed)
    client = _Client(load, leave)
    kinds = (client.leaves, client.prepares, client.vanishes, client.is_nobody)
    while load.another():
        kind, tenant = rng.choice(kinds), load.tenant(rng)
        for attempt in load.attempts(kind.__name__):
            with attempt, client.connected() as connection:
                kind(connection, tenant, rng)
    client.close()


def _require_reset(connection: psycopg.Connection[Any]) -> None:
    """As docs/isolation.md demands of clients that are not ours."""
    try:
        (found,) = connection.execute("SELECT current_setting('statement_timeout')").fetchone()
    except QueryCanceled as error:
        connection.rollback()
        raise StaleSessionError("stopped") from error
    if found.endswith("ms"):
        connection.rollback()
        raise StaleSessionError(found)


class _Client:
    def __init__(self, load: Load, leave: int | None) -> None:
        self.load, self.leave = load, leave
        self.connection: psycopg.Connection[Any] | None = None

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self.connection
        if connection is None or connection.closed:
            # A driver that prepares by name does not know that its statements are gone.
            connection = psycopg.connect(self.load.url, prepare_threshold=None)
            self.connection = connection
        try:
            yield connection
            if not connection.closed:
                connection.commit()
        except psycopg.Error as error:
            if connection.closed:
                raise LostError from error
            connection.rollback()
            raise

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()

    def _enter(self, connection: psycopg.Connection[Any], tenant: Tenant) -> str:
        _require_reset(connection)
        token = self.load.token(tenant)
        connection.execute(
            "SELECT set_config('role', 'fleet_app', true), set_config('app.tenant_id', %s, true),"
            " set_config('app.tenant_token', %s, true)",
            (str(tenant.id), token),
        )
        return token

    def leaves(
        self, connection: psycopg.Connection[Any], tenant: Tenant, rng: random.Random
    ) -> None:
        token = self._enter(connection, tenant)
        self.load.look_by(connection, tenant, rng)
        # All in one, since the last of them stops what takes longer.
        left = left_by(tenant, token, rng.randrange(1 << 60))[: self.leave]
        connection.pgconn.exec_(";".join(left).encode())
        with suppress(QueryCanceled):  # by the timeout that is left
            connection.commit()

    def prepares(
        self, connection: psycopg.Connection[Any], tenant: Tenant, rng: random.Random
    ) -> None:
        """By the driver, under the names that every client's driver gives."""
        with psycopg.connect(self.load.url, prepare_threshold=0) as own:
            try:
                self._enter(own, tenant)
                for _ in range(3):
                    self.load.look_by(own, tenant, rng)
                own.commit()
            except psycopg.Error as error:
                if own.closed:
                    raise LostError from error
                raise

    def vanishes(
        self, connection: psycopg.Connection[Any], tenant: Tenant, rng: random.Random
    ) -> None:
        """In the middle of a transaction, without a word."""
        token = self._enter(connection, tenant)
        self.load.look_by(connection, tenant, rng)
        for statement in left_by(tenant, token, rng.randrange(1 << 60))[: rng.randrange(10)]:
            connection.execute(statement)
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
        connection.close()

    def is_nobody(
        self, connection: psycopg.Connection[Any], tenant: Tenant, rng: random.Random
    ) -> None:
        _require_reset(connection)
        self.load.inspect(connection)
