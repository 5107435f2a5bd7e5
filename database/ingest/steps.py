"""What one batch asks of the database, step by step, without the asking.

A plan yields steps, is sent what each returned, and has its errors thrown in; so the synchronous
and the asynchronous way of asking share all that matters.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from psycopg import errors

from database.ingest import binary, presence, quarantine
from database.ingest.batch import RecordBatch
from database.ingest.messages import Batch, Message, Rejected
from database.ingest.records import Record
from database.ingest.series import SERIES
from models.shared.ingest_views import JUDGED

_SETTINGS = f"""
    SELECT set_config('client_encoding', 'UTF8', true),
           -- Late rows make the server look into every batch of rows of their device in a
           -- compressed chunk; the usual limit would reject such a batch for ever.
           set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true),
           set_config('{JUDGED}', 'on', true)
"""
BATCH_LOCK = "hashtextextended('ingest of ' || CAST({} AS text), 0)"
"""The advisory lock that a batch shares for each of its tenants until it is committed. Deleting a
tenant takes it alone once, so that no batch which saw the tenant alive is stored after it."""
_SHARE = f"""
    SELECT pg_advisory_xact_lock_shared({BATCH_LOCK.format("tenant")})
      FROM (SELECT unnest(%(tenants)s::text[]) AS tenant ORDER BY 1) AS named
"""
_NOTIFY = "SELECT public.notify_telemetry(%(tenants)s::text[]::uuid[])"
_REJECTIONS = (errors.DataError, errors.CheckViolation, errors.StatementTooComplex)
"""Errors that one row can cause alone: they must not cost the rows beside it."""


@dataclass(frozen=True)
class Ingested:
    """What became of a batch; the numbers add up to its records."""

    stored: int
    duplicates: int
    """Records that changed nothing: stored before, or twice in the batch."""
    quarantined: int
    corrected: int = 0
    """Samples of tags that took the place of another value of the same moment."""


@dataclass(frozen=True)
class Step:
    """One statement; with ``rows`` it is a COPY of them."""

    statement: str
    parameters: dict[str, Any] | None = None
    rows: Iterable[bytes] | None = None


Plan = Generator[Step, Any, Ingested]
"""A generator: receives the rows of a query, or how many rows a statement changed."""


def plan(records: Sequence[Message | Record], now: datetime) -> Plan:
    """Store one batch, inside a transaction as fleet_ingest."""
    yield Step(_SETTINGS)
    batches = _batches(records, now)
    yield Step(_SHARE, {"tenants": sorted(set[str]().union(*(b.tenants() for b in batches)))})
    stored = corrected = 0
    for batch in batches:
        for question in batch.questions():
            batch.answers((yield Step(*question)))
        storing = _Storing(batch)
        yield from storing.all()
        stored += storing.stored
        corrected += storing.corrected
        if storing.stored and isinstance(batch, Batch):
            # Which rows of a merge were new only the table knows, and this role may not read it: a
            # tenant all of whose rows were duplicates is named, too.
            yield Step(_NOTIFY, {"tenants": batch.tenants_accepted()})
            yield Step(*batch.devices.statement({id(one.message) for one in batch.rejected}))
    if stored and (seen := presence.parameters(batches, now)):
        yield Step(presence.STATEMENT, seen)
    rejected = sum(len(batch.rejected) for batch in batches)
    if rejected:
        yield Step(quarantine.statement(), quarantine.parameters(batches))
    duplicates = len(records) - stored - corrected - rejected
    return Ingested(stored, duplicates, rejected, corrected)


def _batches(records: Sequence[Message | Record], now: datetime) -> list[Batch | RecordBatch]:
    """The records by series, always in the same order, so that deliveries do not deadlock.

    Raises:
        TypeError: something is no record.
    """
    kinds: tuple[type, ...] = (Message, *SERIES)
    found: dict[type, list[Any]] = {kind: [] for kind in kinds}
    named = set(map(type, records))
    for kind in named:
        if kind not in found:
            known = next((one for one in kind.__mro__ if one in found), None)
            if known is None:
                names = ", ".join(one.__name__ for one in kinds)
                raise TypeError(f"expected one of {names}; found {kind.__qualname__}")
            found[kind] = found[known]
    if len(named) == 1:
        found[named.pop()] += records
    else:
        for record in records:
            found[record.__class__].append(record)
    return [
        Batch(found[kind], now) if kind is Message else RecordBatch(SERIES[kind], found[kind], now)
        for kind in kinds
        if found[kind]
    ]


class _Storing:
    """Storing one batch, and what has become of it so far."""

    def __init__(self, batch: Batch | RecordBatch) -> None:
        self.batch = batch
        self.stored = 0
        self.corrected = 0

    def all(self) -> Generator[Step, Any, None]:
        """Store the batch, which is encoded while the server works."""
        batch = self.batch
        encoded = batch.encoded()
        error = yield from self._copy(encoded)
        for _ in encoded:
            pass  # The server gave up before the end.
        if error is None:
            return
        rejected = len(batch.rejected)
        yield from self._anyway(range(len(batch.lines)), error)
        # Where the one that counts was rejected, the next with its key gets its chance.
        while len(batch.rejected) > rejected and (repeated := batch.take_repeated()):
            rejected = len(batch.rejected)
            error = yield from self._merge(repeated)
            if error is not None:
                yield from self._anyway(repeated, error)

    def _anyway(self, rows: range, error: errors.Error) -> Generator[Step, Any, None]:
        """Store those rows, by number, that COPY rejected as a whole with ``error``."""
        batch = self.batch
        if isinstance(error, errors.UniqueViolation):
            merged = yield from self._merge(rows)
            if merged is None:
                return
            error = merged
        if len(rows) == 1:
            detail = f"{error.sqlstate}: {error.diag.message_primary}"
            batch.rejected.append(Rejected(batch.accepted[rows[0]], "rejected_by_database", detail))
            return
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            refused = yield from self._copy(_lines(batch, half))
            if refused is not None:
                yield from self._anyway(half, refused)

    def _copy(self, lines: Iterable[bytes]) -> Generator[Step, Any, errors.Error | None]:
        """Store rows that are all new; returns the error if there is one."""
        answers = yield from self._attempt(_copying(self.batch.series.copy, self.batch, lines))
        if isinstance(answers, errors.Error):
            return answers
        self.stored += answers[0]
        return None

    def _merge(self, rows: range) -> Generator[Step, Any, errors.Error | None]:
        """Store those that may be there already; returns the error if there is one."""
        series = self.batch.series
        steps = [
            Step(series.stage),
            _copying(series.copy_to_stage, self.batch, _lines(self.batch, rows)),
            Step(series.merge),
            Step(series.unstage),
        ]
        if series.correct is not None:
            steps.insert(3, Step(series.correct))
        answers = yield from self._attempt(*steps)
        if isinstance(answers, errors.Error):
            return answers
        self.stored += answers[2]
        if isinstance(self.batch, Batch) and answers[2] < len(rows):
            # Which of them were there already only the table knows.
            self.batch.devices.doubt(self.batch.accepted[rows.start : rows.stop])
        if series.correct is not None:
            ((corrected,),) = answers[3]
            self.corrected += corrected
        return None

    def _attempt(self, *steps: Step) -> Generator[Step, Any, errors.Error | list[Any]]:
        """Take the steps in a savepoint: their answers, or the error."""
        yield Step("SAVEPOINT batch")
        answers = []
        try:
            for step in steps:
                answers.append((yield step))
        except (errors.UniqueViolation, *_REJECTIONS) as error:
            yield Step("ROLLBACK TO SAVEPOINT batch")
            yield Step("RELEASE SAVEPOINT batch")
            return error
        yield Step("RELEASE SAVEPOINT batch")
        return answers


def _copying(statement: str, batch: Batch | RecordBatch, lines: Iterable[bytes]) -> Step:
    # Not a generator around them, with which they would be closed where the server gives up.
    rows = chain([binary.BEGIN], lines, [binary.END]) if batch.series.binary else lines
    return Step(statement, rows=rows)


def _lines(batch: Batch | RecordBatch, rows: range) -> list[bytes]:
    return [b"".join(batch.lines[rows.start : rows.stop])]
