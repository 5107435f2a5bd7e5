"""One thing to ask of the database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """One statement; with ``rows`` it is a COPY of them."""

    statement: str
    parameters: dict[str, Any] | None = None
    rows: Iterable[bytes] | None = None
