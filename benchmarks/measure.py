"""Two ways of doing the same, timed in turn: their ratio can be compared between machines."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """A measured ratio and its target."""

    group: str
    name: str
    rounds: Sequence[float]
    """The ratio of each round."""
    target: float | None = None
    """None if the ratio is shown for comparison only."""
    at_least: bool = True
    """Whether the ratio must be at least ``target``; else at most."""
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
"""Does the work of one round, whose number counts from 0."""


def seconds(action: Action, number: int) -> float:
    """How long one round takes."""
    begin = time.perf_counter()
    action(number)
    return time.perf_counter() - begin


def paired(one: Action, other: Action, rounds: int) -> list[tuple[float, float]]:
    """Seconds of both, round by round; which one goes first alternates.

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


def repeats(action: Action, target: float = 0.1) -> int:
    """How often a round must repeat something short to take ``target`` seconds."""
    seconds(action, 0)
    return max(1, round(target / seconds(action, 0)))


def milliseconds(pairs: Sequence[tuple[float, float]]) -> str:
    """The medians of both, as text."""
    one, other = (1000 * statistics.median(values) for values in zip(*pairs, strict=True))
    return f"{one:,.1f} ms : {other:,.1f} ms"


def equal(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    """The same rows; a sum of floats depends on the order of its terms."""

    def same(one: Any, other: Any) -> bool:
        if isinstance(one, float) and isinstance(other, float):
            return math.isclose(one, other, rel_tol=1e-9)
        return bool(one == other)

    return len(ours) == len(theirs) and all(
        same(one, other)
        for row, peer in zip(ours, theirs, strict=True)
        for one, other in zip(row, peer, strict=True)
    )
