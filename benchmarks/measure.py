"""Two ways of doing the same, side by side in one run: the ratio is what can be compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """One measured ratio and what it should be."""

    group: str
    name: str
    rounds: Sequence[float]
    """The ratio of each round; the median counts."""
    target: float | None = None
    """None: shown for comparison."""
    at_least: bool = True
    """Whether more is better; else the ratio must be at most ``target``."""
    detail: str = ""

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


Action = Callable[[int], None]
"""Does the work of one round, given its number, from 0."""


def seconds(action: Action, number: int) -> float:
    """How long one round takes."""
    begin = time.perf_counter()
    action(number)
    return time.perf_counter() - begin


def paired(one: Action, other: Action, rounds: int) -> list[tuple[float, float]]:
    """Seconds of both, round by round; who goes first alternates.

    A round before them is not counted: it fills caches.
    """
    seconds(one, 0)
    seconds(other, 0)
    found = []
    for number in range(1, rounds + 1):
        if number % 2:
            first = seconds(one, number)
            found.append((first, seconds(other, number)))
        else:
            second = seconds(other, number)
            found.append((seconds(one, number), second))
    return found


def repeats(action: Action, wanted: float = 0.1) -> int:
    """How often a round must do something short, so that it takes ``wanted`` seconds."""
    seconds(action, 0)
    return max(1, round(wanted / seconds(action, 0)))


def milliseconds(pairs: Sequence[tuple[float, float]]) -> str:
    """The medians of both, for people."""
    one, other = (1000 * statistics.median(values) for values in zip(*pairs, strict=True))
    return f"{one:,.1f} ms : {other:,.1f} ms"
