"""Store a batch in one transaction, on a connection of either kind."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import errors
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from database.errors import FleetSchemaError, is_forbidden, is_undefined, server_message
from database.ingest.messages import Message
from database.ingest.records import Record
from database.ingest.step import Step
from database.ingest.steps import Ingested, Plan, plan
from database.tenancy import take_role

INGEST = "fleet_ingest"
ATTEMPTS = 3
"""Two deliveries of one batch at the same moment may deadlock; the victim begins again, and takes
the keys for held in the end: a tenant can make a deadlock of each attempt."""

_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure)


class IngestError(FleetSchemaError):
    """A batch was not stored, not even in part; says why. Deliver it again."""


def ingest(
    engine: Engine, records: Iterable[Message | Record], *, now: datetime | None = None
) -> Ingested:
    """Store a batch of messages and records of other series in one transaction.

    Args:
        records: of any tenants and series, in any order.
        now: what times are judged by; the clock of this machine unless given.

    Raises:
        IngestError: nothing was stored. (If the connection broke during COMMIT that is not known;
            delivering again settles that too.)
        TenancyError: the login may not act as ``fleet_ingest``.
        TypeError: something is no record; nothing was stored.
    """
    batch, moment = list(records), now or datetime.now(UTC)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _once(engine, plan(batch, moment, last=attempt == ATTEMPTS))
        except _AGAIN as error:
            if attempt == ATTEMPTS:
                raise _failed(batch, error) from error
        except (psycopg.Error, DBAPIError) as error:
            raise _failed(batch, error) from error
    raise AssertionError("the last attempt returns or raises")


async def async_ingest(
    engine: AsyncEngine, records: Iterable[Message | Record], *, now: datetime | None = None
) -> Ingested:
    """The same as `ingest`, for asyncio."""
    batch, moment = list(records), now or datetime.now(UTC)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await _async_once(engine, plan(batch, moment, last=attempt == ATTEMPTS))
        except _AGAIN as error:
            if attempt == ATTEMPTS:
                raise _failed(batch, error) from error
        except (psycopg.Error, DBAPIError) as error:
            raise _failed(batch, error) from error
    raise AssertionError("the last attempt returns or raises")


def _once(engine: Engine, steps: Plan) -> Ingested:
    with engine.connect() as connection, connection.begin():
        take_role(connection, INGEST, None)
        # The driver's own cursor: SQLAlchemy has no COPY.
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor:
            step: Step | Ingested = next(steps)
            while isinstance(step, Step):
                try:
                    answer = _take(cursor, step)
                except psycopg.Error as error:
                    step = steps.throw(error)
                else:
                    step = _following(steps, answer)
            return step


async def _async_once(engine: AsyncEngine, steps: Plan) -> Ingested:
    async with engine.connect() as connection, connection.begin():
        await connection.run_sync(take_role, INGEST, None)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        async with driver.cursor() as cursor:
            step: Step | Ingested = next(steps)
            while isinstance(step, Step):
                try:
                    answer = await _async_take(cursor, step)
                except psycopg.Error as error:
                    step = steps.throw(error)
                else:
                    step = _following(steps, answer)
            return step


def _following(steps: Plan, answer: object) -> Step | Ingested:
    try:
        return steps.send(answer)
    except StopIteration as end:
        ingested: Ingested = end.value
        return ingested


def _take(cursor: psycopg.Cursor[Any], step: Step) -> Any:
    if step.rows is None:
        # Not prepared: a plan for any arrays took ten times as long as one for those at hand.
        cursor.execute(step.statement, step.parameters, prepare=False)
        return cursor.fetchall() if cursor.description else cursor.rowcount
    with cursor.copy(step.statement) as copy:
        for piece in step.rows:
            copy.write(piece)
    return cursor.rowcount


async def _async_take(cursor: psycopg.AsyncCursor[Any], step: Step) -> Any:
    if step.rows is None:
        await cursor.execute(step.statement, step.parameters, prepare=False)
        return await cursor.fetchall() if cursor.description else cursor.rowcount
    async with cursor.copy(step.statement) as copy:
        for piece in step.rows:
            await copy.write(piece)
    return cursor.rowcount


def _failed(batch: Sized, error: Exception) -> IngestError:
    # A missing table, column or right means that the database is behind this code.
    behind = is_undefined(error) or is_forbidden(error)
    fix = "; run `alembic upgrade head`, then" if behind else ";"
    return IngestError(
        f"nothing of a batch of {len(batch):,} records was stored: "
        f"{server_message(error, brief=True)}{fix} deliver it again"
    )
