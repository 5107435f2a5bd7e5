"""What the server says when it refuses a statement, in the few words that a person needs."""

from __future__ import annotations

import re
from typing import Any

from ddl import sql

_AROUND = 40
"""Characters of a statement on either side of where the server sees the mistake."""


def said(error: Any, *, brief: bool = False) -> str:
    """The server's own words in one line: what, which rows, and its hint; if ``brief``, what.

    Args:
        error: the driver's. One of the connection has no diagnosis.
    """
    diagnosis = getattr(error, "diag", None)
    found: list[str | None] = []
    if diagnosis is not None:
        found = [diagnosis.message_primary]
        if not brief:
            found += [diagnosis.message_detail, diagnosis.message_hint]
    texts = [text.rstrip(".") for text in found if text] or [str(error).strip()]
    if brief:
        return texts[0].partition("\n")[0]
    return ". ".join(texts).replace("\n", " ")


def excerpt(error: Any, statement: str) -> str:
    """The statement where the server sees the mistake, ``… (size > 1) …``, else its beginning.

    Args:
        error: the driver's, for exactly this statement.
    """
    position = getattr(getattr(error, "diag", None), "statement_position", None)
    at = int(position) - 1 if position else 0
    begin, end = max(at - _AROUND, 0), at + 2 * _AROUND
    before, after = statement[begin:at], statement[at:end]
    # Words are left whole.
    if begin:
        before = before.partition(" ")[2]
    if end < len(statement):
        after = after.rpartition(" ")[0] or after
    text = " ".join(f"{before}{after}".split())
    return f"{'… ' if begin else ''}{text}{' …' if end < len(statement) else ''}"


def title(statement: str) -> str:
    """What a statement is about: ``CREATE TABLE items``."""
    one = sql.squeezed(statement)
    match = re.match(
        r"((?:CREATE|ALTER|COMMENT|GRANT)\b[^('$]*?)(?: ?[('$]| AS | USING | WITH | IS |$)", one
    )
    return (match[1] if match else one)[:100]


def refusal(error: Any, statement: str) -> str:
    """What the server says about ``statement``, and where in it, in one line."""
    diagnosis = getattr(error, "diag", None)
    at = ""
    if diagnosis is not None and diagnosis.statement_position:
        at = f" (at: {excerpt(error, statement)})"
    return f"{title(statement)}: {said(error)}{at}"
