"""What one batch asks of the database, step by step, without the asking.

A plan yields steps, is sent what each returned, and has its errors thrown in; so the synchronous
and the asynchronous way of asking share all that matters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, groupby
from typing import Any

from psycopg import errors

from database.ingest import binary, presence, quarantine, rates, states
from database.ingest.batch import RecordBatch
from database.ingest.devices import Question
from database.ingest.messages import Batch, Message, Rejected
from database.ingest.records import Record
from database.ingest.series import SERIES
from database.ingest.step import Step
from models.shared.ingest_views import JUDGED
from models.shared.judgement import KEY_HELD, REFUSED

_SETTINGS = f"""
    SELECT current_setting('statement_timeout'),
           set_config('client_encoding', 'UTF8', true),
           -- Late rows make the server look into every batch of rows of their device in a
           -- compressed chunk; the usual limit would reject such a batch for ever.
           set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true),
           set_config('{JUDGED}', 'on', true),
           set_config('lock_timeout', CASE current_setting('lock_timeout') WHEN '0' THEN '5s'
                                      ELSE current_setting('lock_timeout') END, true),
           -- Compiling a statement takes up to a second, all of what a device may take.
           set_config('jit', 'off', true),
           -- Without it every look-up would fail, instead of finding what policies show.
           set_config('row_security', 'on', true)
"""
BATCH_LOCK = "hashtextextended('ingest of ' || CAST({} AS text), 0)"
"""The advisory lock that a batch shares for each of its tenants until it is committed. Deleting a
tenant takes it alone once, so that no batch which saw the tenant alive is stored after it."""
# The rates are read when all locks are taken, which the condition says to the planner.
_SHARE = f"""
    SELECT r.tenant::text, r.allowed, r.retry_after
      FROM (SELECT count(pg_advisory_xact_lock_shared({BATCH_LOCK.format("tenant")})) AS taken
              FROM (SELECT unnest(%(tenants)s::text[]) AS tenant ORDER BY 1) AS named) AS locks,
           LATERAL public.ingest_room(
             CASE WHEN locks.taken >= 0 THEN %(tenants)s::text[]::uuid[] END) AS r
"""
_NOTIFY = "SELECT public.notify_telemetry(%(tenants)s::text[]::uuid[])"
_REJECTIONS = (errors.DataError, errors.CheckViolation, errors.StatementTooComplex)
"""Errors that one row can cause alone: they must not cost the rows beside it."""
_KEPT = (errors.UniqueViolation, errors.LockNotAvailable, *_REJECTIONS)
"""Errors after which the batch goes on, otherwise."""

_HELD = "another transaction has written a row with its key, or with one nearby, and has not ended"
_BRIEFLY = "SELECT set_config('lock_timeout', '100ms', true)"
MOST_WAITS = 20
"""How often a batch waits for keys of one tenant, until it knows which are held."""


@dataclass(frozen=True)
class Ingested:
    """What became of a batch; the numbers add up to its records."""

    stored: int
    duplicates: int
    """Records that changed nothing: stored before, or twice in the batch."""
    quarantined: int
    corrected: int = 0
    """Samples of tags that took the place of another value of the same moment."""
    throttled: tuple[Message | Record, ...] = ()
    """What is over the rate of its tenant, and not stored: deliver it again."""
    retry_after: float | None = None
    """Seconds until the first of their tenants may store any again."""


Plan = Generator[Step, Any, Ingested]
"""A generator: receives the rows of a query, or how many rows a statement changed."""


def plan(records: Sequence[Message | Record], now: datetime, *, last: bool = False) -> Plan:
    """Store one batch, inside a transaction as fleet_ingest.

    Args:
        last: there is no other attempt, so that keys over which it would deadlock count as held.
    """
    ((time_limit, *_),) = yield Step(_SETTINGS)
    batches = _batches(records, now)
    tenants = sorted(set[str]().union(*(b.tenants() for b in batches)))
    kept = rates.within(records, (yield Step(_SHARE, {"tenants": tenants})))
    if kept.throttled:
        batches = _batches(kept.records, now)
    stored = corrected = 0
    for batch in batches:
        for question in batch.questions():
            batch.answers((yield Step(*question)))
        storing = _Storing(batch, last=last)
        yield from storing.all()
        stored += storing.stored
        corrected += storing.corrected
        if storing.stored and isinstance(batch, Batch):
            # Which rows of a merge were new only the table knows, and this role may not read it: a
            # tenant all of whose rows were duplicates is named, too.
            yield Step(_NOTIFY, {"tenants": batch.tenants_accepted()})
            rejected = {id(one.message) for one in batch.rejected}
            yield from _asking(batch.devices.questions(rejected), time_limit)
            yield from states.recorded(batch.devices.said(rejected), time_limit)
    if stored and (seen := presence.said(batches, now)):
        yield from states.recorded(seen, time_limit)
    quarantined = sum(len(batch.rejected) for batch in batches)
    if quarantined:
        yield Step(quarantine.statement(), quarantine.parameters(batches))
    duplicates = len(kept.records) - stored - corrected - quarantined
    throttled = tuple(kept.throttled)
    return Ingested(stored, duplicates, quarantined, corrected, throttled, kept.retry_after)


def _asking(questions: Question, time_limit: str) -> Generator[Step, Any, None]:
    asked = next(questions, None)
    while asked is not None:
        answer = yield from states.untrue(asked, time_limit)
        try:
            asked = questions.send(answer)
        except StopIteration:
            return


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

    def __init__(self, batch: Batch | RecordBatch, *, last: bool) -> None:
        self.batch = batch
        self._kept = (*_KEPT, errors.DeadlockDetected) if last else _KEPT
        self.stored = 0
        self.corrected = 0
        self._waits: Counter[str | None] = Counter()

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
        parts = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
        if isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected):
            if not _waited_for_key(error):
                raise error  # A new chunk, for example, which others have to wait for.
            # Only the tenant's own transactions hold its keys: nobody else's rows wait for them.
            yield Step(_BRIEFLY)
            tenants = self._by_tenant(rows)
            if len(tenants) > 1:
                parts = tenants
            elif self._held(rows) or len(rows) == 1:
                self._reject(rows, KEY_HELD, _HELD)
                return
        elif len(rows) == 1:
            detail = f"{error.sqlstate}: {error.diag.message_primary}"
            reason = self.batch.series.refusals.get(error.diag.constraint_name or "", REFUSED)
            self._reject(rows, reason, detail)
            return
        for part in parts:
            refused = yield from self._copy(_lines(batch, part))
            if refused is not None:
                yield from self._anyway(part, refused)

    def _reject(self, rows: range, reason: str, detail: str) -> None:
        accepted = self.batch.accepted[rows.start : rows.stop]
        self.batch.rejected += [Rejected(one, reason, detail) for one in accepted]

    def _tenant(self, row: int) -> str | None:
        record: Any = self.batch.accepted[row]
        return self.batch.tenant_of(record)

    def _by_tenant(self, rows: range) -> list[range]:
        """The rows in parts of one tenant each; they are in the order of the key."""
        found = (list(part) for _, part in groupby(rows, self._tenant))
        return [range(part[0], part[-1] + 1) for part in found]

    def _held(self, rows: range) -> bool:
        """Whether the batch has waited often enough for the tenant of the rows."""
        tenant = self._tenant(rows[0])
        self._waits[tenant] += 1
        return self._waits[tenant] > MOST_WAITS

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
        except self._kept as error:
            yield Step("ROLLBACK TO SAVEPOINT batch")
            yield Step("RELEASE SAVEPOINT batch")
            return error
        yield Step("RELEASE SAVEPOINT batch")
        return answers


def _waited_for_key(error: errors.Error) -> bool:
    """Whether it was for a row with the same key: then the server says where its own one is."""
    return re.search(r"^[^\"]*\(\d+,\d+\)[^\"]*\"", error.diag.context or "") is not None


def _copying(statement: str, batch: Batch | RecordBatch, lines: Iterable[bytes]) -> Step:
    # Not a generator around them, with which they would be closed where the server gives up.
    rows = chain([binary.BEGIN], lines, [binary.END]) if batch.series.binary else lines
    return Step(statement, rows=rows)


def _lines(batch: Batch | RecordBatch, rows: range) -> list[bytes]:
    return [b"".join(batch.lines[rows.start : rows.stop])]
