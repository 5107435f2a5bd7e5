"""What brings the empty database of a test into a state, step after step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Prepare = Callable[[str], None]
"""Brings the database of an URL into a state."""


@dataclass(frozen=True)
class Prepared:
    """Two steps, of which the first may have been made already in a database that can be copied."""

    first: Prepare
    then: Prepare

    def __call__(self, url: str) -> None:
        self.first(url)
        self.then(url)


def after(first: Prepare) -> Callable[[Prepare], Prepared]:
    """A decorator of a step that comes after another: a whole upgrade takes seconds, a copy not."""
    return lambda then: Prepared(first, then)
