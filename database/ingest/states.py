"""Taking what a batch says of devices into their states, whatever a tenant does meanwhile.

What tenants do with their devices must not undo the batch, which holds the records of others: so
all that can fail here does so in a savepoint and within a time. What was not written into
``device_state`` is noted in ``device_state_backlog``, for which nobody has to wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from psycopg import errors

from database.ingest.step import Step
from database.ingest.values import array_text, json_text

Asked: TypeAlias = tuple[str, str, dict[str, tuple[Any, datetime]]]
"""Tenant and device, and of metrics the value and time that one of its messages says."""
Said: TypeAlias = tuple[str | None, ...]
"""What is said of a device, as in the arguments of ``record_devices()``."""

ARRAYS = {
    "tenants": "uuid",
    "devices": "text",
    "statuses": "text",
    "seen": "timestamptz",
    "sent": "timestamptz",
    "newest": "timestamptz",
    "oldest": "timestamptz",
    "states": "jsonb",
    "times": "jsonb",
}
"""The arguments of ``record_devices()``, arrays of these types."""
_ARGUMENTS = ", ".join(f"%({name})s::text::{kind}[]" for name, kind in ARRAYS.items())
_RECORD = f"SELECT public.record_devices({_ARGUMENTS})"
_TAKE_IN = "SELECT public.take_in_device_states(%(tenants)s::text::uuid[])"
_NOTE = f"SELECT public.note_device_states({_ARGUMENTS})"
_ASKED = ("tenants", "devices", "states", "times")
_QUESTION = "SELECT number, metrics FROM public.metrics_stored_otherwise({})".format(
    ", ".join(f"%({name})s::text::{ARRAYS[name]}[]" for name in _ASKED)
)


@dataclass(frozen=True)
class Seconds:
    """How long a batch goes about something for its devices."""

    together: float
    """For all of them; after that they come tenant by tenant."""
    by_tenant: float
    of_one: float
    """Of these, for one tenant."""
    of_device: float = 0
    """Of these, for one device of such a tenant; 0: they are not told apart."""


RECORDING = Seconds(5, 5, 1)
TAKING_IN = Seconds(1, 2, 1)
ASKING = Seconds(2, 3, 0.5, 0.1)

MOST_APART = 200
"""Tenants or devices taken one by one: each may cost a lock until the batch is committed."""

_BEGIN = """
    SAVEPOINT states;
    SELECT set_config('statement_timeout', CAST(CAST(ceil(least({seconds} * 1000,
               nullif(extract(epoch FROM CAST(current_setting('statement_timeout') AS interval))
                      * 1000, 0))) AS bigint) AS text), true)
"""
_END = "RELEASE SAVEPOINT states; SET LOCAL statement_timeout = '{before}'"
_UNDO = "ROLLBACK TO SAVEPOINT states; RELEASE SAVEPOINT states"

_PROVOKED = (
    errors.IntegrityError,  # A device was deleted in this moment.
    errors.DataError,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.ProgramLimitExceeded,
    errors.OutOfMemory,
)
"""What a tenant can bring about. Anything else is a fault of the database, and is raised."""

T = TypeVar("T", bound=tuple[Any, ...])


def recorded(said: Sequence[Said], before: str) -> Generator[Step, Any, None]:
    """Take in what is said of devices, note the rest, and take in some of what was noted before.

    Args:
        said: an element a device.
        before: the ``statement_timeout`` of the transaction.
    """
    if said:
        answers, left = yield from _in_time(said, _record, _length, before, RECORDING)
        if left:
            yield Step(_NOTE, _parameters(left))
        behind = [(str(one),) for _, ((tenants,),) in answers for one in tenants or ()]
        if behind:
            # Apart, since it may fail each time because of what a tenant has left there.
            yield from _in_time(behind, _take_in, len, before, TAKING_IN)


def untrue(
    asked: Sequence[Asked], before: str
) -> Generator[Step, Any, list[tuple[Asked, list[str]]]]:
    """Which metrics of which elements are stored otherwise than they were said.

    Where that takes too long, since a device has thousands of messages of one moment, it is not
    known, and none of them is believed.
    """
    answers, left = yield from _in_time(asked, _ask, _number, before, ASKING)
    found = [(of[number - 1], metrics) for of, rows in answers for number, metrics in rows]
    return found + [(one, list(one[2])) for one in left]


def _in_time(
    items: Sequence[T],
    step: Callable[[Sequence[T]], Step],
    size: Callable[[T], int],
    before: str,
    seconds: Seconds,
) -> Generator[Step, Any, tuple[list[tuple[Sequence[T], Any]], list[T]]]:
    """Take a step for all items together, else for each tenant and device, their first two fields.

    Returns:
        Those for which it was taken, with its answers; and the others.
    """
    answer = yield from _attempt(step(items), before, seconds.together)
    if answer is not None:
        return [(items, answer)], []
    answers: list[tuple[Sequence[T], Any]] = []
    left = [*items]
    attempts = 0
    ends = time.monotonic() + seconds.by_tenant
    for columns, longest in ((1, seconds.of_one), (2, seconds.of_device)):
        groups: dict[tuple[Any, ...], list[T]] = {}
        for one in left:
            groups.setdefault(one[:columns], []).append(one)
        if len(groups) == 1 or not longest:
            continue  # It has been tried.
        left = []
        # Those with most come last, so that they take no time of the others.
        for group in sorted(groups.values(), key=lambda several: sum(map(size, several))):
            answer = None
            limit = min(longest, ends - time.monotonic())
            if limit > 0 and (attempts := attempts + 1) <= MOST_APART:
                answer = yield from _attempt(step(group), before, limit)
            if answer is None:
                left += group
            else:
                answers.append((group, answer))
    return answers, left


def _attempt(step: Step, before: str, seconds: float) -> Generator[Step, Any, Any]:
    """The answer of a step, or None where it fails or takes longer, and has changed nothing."""
    # 0 milliseconds would be no limit.
    yield Step(_BEGIN.format(seconds=max(round(seconds, 3), 0.001)))
    try:
        answer = yield step
    except _PROVOKED:
        yield Step(_UNDO)
        return None
    yield Step(_END.format(before=before))
    return answer


def _record(said: Sequence[Said]) -> Step:
    return Step(_RECORD, _parameters(said))


def _take_in(tenants: Sequence[tuple[str]]) -> Step:
    return Step(_TAKE_IN, {"tenants": array_text(tenant for (tenant,) in tenants)})


def _ask(asked: Sequence[Asked]) -> Step:
    columns = (
        [tenant for tenant, _, _ in asked],
        [device for _, device, _ in asked],
        [json_text({name: value for name, (value, _) in claims.items()}) for *_, claims in asked],
        [
            json_text({name: ts.timestamp() for name, (_, ts) in claims.items()})
            for *_, claims in asked
        ],
    )
    return Step(_QUESTION, dict(zip(_ASKED, map(array_text, columns), strict=True)))


def _length(one: Said) -> int:
    return 1000 + len(one[7] or "")


def _number(one: Asked) -> int:
    return len(one[2])


def _parameters(said: Sequence[Said]) -> dict[str, str]:
    return dict(zip(ARRAYS, map(array_text, zip(*said, strict=True)), strict=True))
