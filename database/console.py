"""What commands print for the person who runs them: progress, warnings, and what they wait for."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unicodedata import category

WAITING_AFTER = 1.0
"""Seconds after which a wait is worth a line."""

_SEPARATORS_AND_CONTROLS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of Unicode: control characters, formats (as those that turn the direction of text),
surrogates, ends of lines and paragraphs."""


def visible(text: str) -> str:
    """The text with every character that a terminal obeys or does not show as its escape.

    What tenants and logins choose (names, addresses, settings) ends up on an operator's terminal:
    as it is it could overwrite lines and forge others. Ends of lines are such characters, too.
    """
    return "".join(
        one.encode("unicode_escape").decode() if category(one) in _SEPARATORS_AND_CONTROLS else one
        for one in text
    )


def visible_lines(text: str, indent: str = "") -> str:
    """The same of text of several lines, of which all but the first begin with ``indent``."""
    return f"\n{indent}".join(map(visible, text.split("\n")))


def json_text(document: Any) -> str:
    """JSON whose strings have their controls as escapes of JSON: any parser reads the same."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return "\n".join(_JSON.sub(_escaped, line) for line in text.split("\n"))


def _escaped(found: re.Match[str]) -> str:
    one = found[0]
    return json.dumps(one)[1:-1] if category(one) in _SEPARATORS_AND_CONTROLS else one


_JSON = re.compile(r"[^ -~]")

_STEPS = {"upgrade": "+", "downgrade": "-", "stamp": "="}


class Progress:
    """Lines of a command that takes its time, through ``write``, which adds the end of line."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def write(self, text: str) -> None:
        """Any text, as `visible_lines` has it."""
        self._write(visible_lines(text))

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
        sys.stderr.write(f"Waiting for {what}, at most {at_most:g} s{visible(reason)}\n")
        sys.stderr.flush()

    # A thread: a connection attempt, or a program, blocks this one.
    timer = threading.Timer(WAITING_AFTER, say)
    timer.daemon = True
    timer.start()
    try:
        yield wait
    finally:
        timer.cancel()
