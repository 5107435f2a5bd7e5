"""Why one message is rejected."""

from __future__ import annotations


class MalformedError(ValueError):
    """The message is rejected.

    Attributes:
        reason: one word of few, so that they can be counted.
        detail: what was expected, what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
