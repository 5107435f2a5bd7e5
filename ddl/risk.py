"""The class of an operation: what it does to rows and to running sessions."""

from __future__ import annotations

from enum import IntEnum


class Risk(IntEnum):
    """The class of an operation; the larger, the worse."""

    SAFE = 0
    BLOCKING = 1
    """Sessions that use the table wait while the server reads or rewrites all of it."""
    DESTRUCTIVE = 2
    """Rows or values are gone afterwards, and the downgrade does not bring them back."""
    HISTORY_LOSING = 3
    """Destructive of what cannot be computed again, since its raw data is gone, too."""

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    @property
    def loses(self) -> bool:
        """True for what a revision has to accept."""
        return self >= Risk.DESTRUCTIVE


BUILDS = "writers wait until it is built"
READS = "locked while all rows are checked"
REWRITES = "locked while it is rewritten"
