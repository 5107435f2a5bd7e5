"""What commands print for the person who runs them: progress, warnings, and what they wait for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

WAITING_AFTER = 1.0
"""Seconds after which a wait is worth a line."""

_STEPS = {"upgrade": "+", "downgrade": "-", "stamp": "="}


class Progress:
    """Lines of a command that takes its time, through ``write``, which adds the end of line."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write

    def line(self, text: str) -> None:
        """A line of its own."""
        self.write(text)

    def revision(self, direction: str, name: str, seconds: float, lost: Sequence[str] = ()) -> None:
        """A revision that was applied (``upgrade``), reverted (``downgrade``) or stamped.

        Args:
            lost: what is gone since, said in the same line.
        """
        losses = f"  {'; '.join(lost)}" if lost else ""
        self.write(f"  {_STEPS[direction]} {name:<48} {seconds:6.2f} s{losses}")

    def note(self, text: str) -> None:
        """What is worth knowing and asks for nothing."""
        self.write(f"  . {text}")

    def warning(self, text: str) -> None:
        """What a person should look at."""
        self.write(f"  ! {text}")


class Wait:
    """A wait that goes on; ``reason``, where it is known, says why."""

    def __init__(self) -> None:
        self.reason = ""


@contextmanager
def waiting(what: str, at_most: float) -> Iterator[Wait]:
    """Say on stderr what is being waited for, and for how long at most, if it takes a second.

    Args:
        what: the end of "Waiting for …".
        at_most: seconds after which the wait is given up.
    """
    wait = Wait()

    def say() -> None:
        reason = f": {wait.reason}" if wait.reason else ""
        sys.stderr.write(f"Waiting for {what}, at most {at_most:g} s{reason}\n")
        sys.stderr.flush()

    # A thread: a connection attempt, or a program, blocks this one.
    timer = threading.Timer(WAITING_AFTER, say)
    timer.daemon = True
    timer.start()
    try:
        yield wait
    finally:
        timer.cancel()
