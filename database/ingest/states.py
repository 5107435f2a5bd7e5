"""Taking what a batch says of devices into their states, whatever a tenant does meanwhile.

What tenants do with their devices must not undo the batch, which holds the records of others: so
all that can fail here does so in a savepoint and within a time. What was not written into
``device_state`` is noted in ``device_state_backlog``, for which nobody has to wait.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any, TypeAlias

from psycopg import errors

from database.ingest.step import Step
from database.ingest.values import array_text

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
_NOTE = f"SELECT public.note_device_states({_ARGUMENTS})"

TOGETHER = 5.0
"""Seconds after which the devices of a batch are not taken in together any more."""
BY_TENANT = 5.0
"""Seconds in which they are then taken in tenant by tenant; those that are left are noted."""
OF_ONE = 1.0
"""Seconds of it for one tenant."""

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


def recorded(said: Sequence[Said], before: str) -> Generator[Step, Any, None]:
    """Take in what is said of devices, together or by tenant, and note the rest.

    Args:
        said: an element a device.
        before: the ``statement_timeout`` of the transaction.
    """
    if not said or (yield from _attempt(said, before, TOGETHER)):
        return
    tenants: dict[str | None, list[Said]] = {}
    for one in said:
        tenants.setdefault(one[0], []).append(one)
    left: list[Said] = []
    ends = time.monotonic() + BY_TENANT
    # Those of whom most is said come last, so that they take no time of the others.
    for of_one in sorted(tenants.values(), key=_size):
        seconds = min(OF_ONE, ends - time.monotonic())
        alone = len(tenants) == 1 or seconds <= 0
        if alone or not (yield from _attempt(of_one, before, seconds)):
            left += of_one
    if left:
        yield Step(_NOTE, _parameters(left))


def _attempt(said: Sequence[Said], before: str, seconds: float) -> Generator[Step, Any, bool]:
    """Whether that was taken in, in so many seconds."""
    yield Step(_BEGIN.format(seconds=round(seconds, 3)))
    try:
        yield Step(_RECORD, _parameters(said))
    except _PROVOKED:
        yield Step(_UNDO)
        return False
    yield Step(_END.format(before=before))
    return True


def _size(said: Sequence[Said]) -> int:
    return sum(1000 + len(state or "") for *_, state, _ in said)


def _parameters(said: Sequence[Said]) -> dict[str, str]:
    return dict(zip(ARRAYS, map(array_text, zip(*said, strict=True)), strict=True))
