"""The operations of a revision, told one by one before they are carried out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import MigrateOperation


@dataclass(frozen=True)
class Place:
    """Where a revision calls an operation."""

    path: Path
    line: int
    upwards: bool

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


Tell = Callable[[MigrateOperation, Place], None]


@contextmanager
def watching(context: MigrationContext, tell: Tell, files: set[str]) -> Iterator[None]:
    """Let the revisions that run within tell each operation that they call, first.

    Args:
        tell: may refuse an operation by raising an exception.
        files: the paths of the revision files, as Python knows them.
    """
    depth = 0
    with Operations.context(context) as op:
        invoke = op.invoke

        def told(operation: MigrateOperation) -> Any:
            """Tell what the revision calls, not what that calls in its turn."""
            nonlocal depth
            if depth == 0 and (place := _place(files)) is not None:
                tell(operation, place)
            depth += 1
            try:
                return invoke(operation)
            finally:
                depth -= 1

        op.invoke = told  # type: ignore[method-assign]
        yield


def _place(files: set[str]) -> Place | None:
    """The innermost line of a revision file that is running; None for what no revision calls."""
    frame: FrameType | None = sys._getframe()
    found: tuple[str, int] | None = None
    upwards = True
    while frame is not None:
        code = frame.f_code
        if code.co_filename in files:
            found = found or (code.co_filename, frame.f_lineno)
            upwards = code.co_name != "downgrade"
        frame = frame.f_back
    return Place(Path(found[0]), found[1], upwards) if found else None
