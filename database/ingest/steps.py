"""What one batch asks of the database, step by step, without the asking.

A plan yields steps, is sent what each returned, and has its errors thrown in; so the synchronous
and the asynchronous way of asking share all that matters.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import errors

from database.ingest import quarantine
from database.ingest.messages import Batch, Message, Rejected
from ddl import sql
from models.telemetry.metrics import METRICS

COLUMNS = {
    "tenant_id": "uuid",
    "device_id": "text",
    "ts": "timestamptz",
    "msg_type": "text",
    "seq": "bigint",
    "site_id": "uuid",
    "metrics": "jsonb",
    **{metric.name: metric.type for metric in METRICS},
}
"""What is copied, in this order; ingested_at is the server's clock."""

_NAMES = ", ".join(map(sql.ident, COLUMNS))
_SETTINGS = """
    SELECT set_config('client_encoding', 'UTF8', true),
           -- Late rows make the server look into every batch of rows of their device in a
           -- compressed chunk; the usual limit would reject such a batch for ever.
           set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)
"""
BATCH_LOCK = "hashtextextended('ingest of ' || CAST({} AS text), 0)"
"""The advisory lock that a batch shares for each of its tenants until it is committed. Deleting a
tenant takes it alone once, so that no batch which saw the tenant alive is stored after it."""
_SHARE = f"""
    SELECT pg_advisory_xact_lock_shared({BATCH_LOCK.format("tenant")})
      FROM (SELECT unnest(%(tenants)s::text[]) AS tenant ORDER BY 1) AS named
"""
_KNOWN = """
    SELECT t.tenant_id::text, d.device_id, d.site_id::text
      FROM public.tenants t
      LEFT JOIN (SELECT r.tenant_id, r.device_id, r.site_id
                   FROM unnest(%(owners)s::text[]::uuid[], %(devices)s::text[])
                        AS asked (tenant_id, device_id)
                   JOIN public.device_registry r USING (tenant_id, device_id)) d
           ON d.tenant_id = t.tenant_id
     WHERE t.tenant_id = ANY (%(tenants)s::text[]::uuid[]) AND t.status <> 'deleted'
"""
_COPY = f"COPY timeseries.telemetry ({_NAMES}) FROM STDIN"
_STAGE = "CREATE TEMPORARY TABLE telemetry_staging ({}) ON COMMIT DROP".format(
    ", ".join(f"{sql.ident(name)} {kind}" for name, kind in COLUMNS.items())
)
_COPY_TO_STAGE = f"COPY pg_temp.telemetry_staging ({_NAMES}) FROM STDIN"
# Without a target, which would need SELECT. In the order of the key, so that two deliveries of
# the same rows wait for each other instead of deadlocking.
_MERGE = f"""
    INSERT INTO timeseries.telemetry ({_NAMES})
    SELECT {_NAMES} FROM pg_temp.telemetry_staging
     ORDER BY tenant_id, device_id, ts, msg_type, seq
    ON CONFLICT DO NOTHING
"""
_UNSTAGE = "DROP TABLE pg_temp.telemetry_staging"
_NOTIFY = "SELECT public.notify_telemetry(%(tenants)s::text[]::uuid[])"
_REJECTIONS = (errors.DataError, errors.CheckViolation, errors.StatementTooComplex)
"""Errors that one row can cause alone: they must not cost the rows beside it."""


@dataclass(frozen=True)
class Ingested:
    """What became of a batch; the three add up to its messages."""

    stored: int
    duplicates: int
    """Messages that were stored before, or twice in the batch."""
    quarantined: int


@dataclass(frozen=True)
class Step:
    """One statement; with ``rows`` it is a COPY of them."""

    statement: str
    parameters: dict[str, Any] | None = None
    rows: Iterable[bytes] | None = None


Plan = Generator[Step, Any, Ingested]
"""A generator: receives the rows of a query, or how many rows a statement changed."""


def plan(messages: list[Message], now: datetime) -> Plan:
    """Store one batch, inside a transaction as fleet_ingest."""
    yield Step(_SETTINGS)
    batch = Batch(messages, now)
    questions = batch.questions()
    yield Step(_SHARE, {"tenants": questions["tenants"]})
    batch.answers((yield Step(_KNOWN, questions)))
    stored = yield from _store_all(batch)
    if stored:
        # Which rows of a merge were new only the table knows, and this role may not read it: a
        # tenant all of whose rows were duplicates is named, too.
        yield Step(_NOTIFY, {"tenants": batch.tenants_accepted()})
        yield Step(*batch.devices.statement({id(one.message) for one in batch.rejected}))
    duplicates = len(messages) - stored - len(batch.rejected)
    if batch.rejected:
        yield Step(quarantine.statement(), quarantine.parameters(batch))
    return Ingested(stored, duplicates, len(batch.rejected))


def _store_all(batch: Batch) -> Generator[Step, Any, int]:
    """Rows stored of the batch, which is encoded while the server works."""
    encoded = batch.encoded()
    stored = yield from _attempt(Step(_COPY, rows=encoded))
    for _ in encoded:
        pass  # The server gave up before the end.
    if isinstance(stored, int):
        return stored
    rejected = len(batch.rejected)
    total = yield from _store_anyway(batch, range(len(batch.lines)), stored)
    if len(batch.rejected) > rejected and (repeated := batch.take_repeated()):
        # The first with a key may have been the one rejected, so the second gets its chance.
        merged = yield from _merge(_lines(batch, repeated))
        if isinstance(merged, int):
            return total + merged
        return total + (yield from _store_anyway(batch, repeated, merged))
    return total


def _store_anyway(batch: Batch, rows: range, error: errors.Error) -> Generator[Step, Any, int]:
    """Rows stored of those, by number, that COPY rejected as a whole with ``error``."""
    if isinstance(error, errors.UniqueViolation):
        merged = yield from _merge(_lines(batch, rows))
        if isinstance(merged, int):
            return merged
        error = merged
    if len(rows) == 1:
        detail = f"{error.sqlstate}: {error.diag.message_primary}"
        batch.rejected.append(Rejected(batch.accepted[rows[0]], "rejected_by_database", detail))
        return 0
    total = 0
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        stored = yield from _attempt(Step(_COPY, rows=_lines(batch, half)))
        if not isinstance(stored, int):
            stored = yield from _store_anyway(batch, half, stored)
        total += stored
    return total


def _merge(lines: list[bytes]) -> Generator[Step, Any, int | errors.Error]:
    """Rows stored of those that may be there already, or the error."""
    staging = Step(_STAGE), Step(_COPY_TO_STAGE, rows=lines)
    return (yield from _attempt(*staging, Step(_MERGE), last=Step(_UNSTAGE)))


def _attempt(*steps: Step, last: Step | None = None) -> Generator[Step, Any, int | errors.Error]:
    """Take the steps in a savepoint: the answer to the one before ``last``, or the error."""
    yield Step("SAVEPOINT batch")
    try:
        for step in steps:
            count = yield step
        if last is not None:
            yield last
    except (errors.UniqueViolation, *_REJECTIONS) as error:
        yield Step("ROLLBACK TO SAVEPOINT batch")
        yield Step("RELEASE SAVEPOINT batch")
        return error
    yield Step("RELEASE SAVEPOINT batch")
    return int(count)


def _lines(batch: Batch, rows: range) -> list[bytes]:
    return [b"".join(batch.lines[rows.start : rows.stop])]
