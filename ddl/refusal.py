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
    return f"{title(statement)}: {said(error)}{at}{_advice(said(error))}"


_OF_EXTENSIONS = {
    "hstore": r'type "hstore" ',
    "citext": r'type "citext" ',
    "ltree": r'type "(ltree|lquery|ltxtquery)" ',
    "cube": r'type "cube" ',
    "postgis": r'type "(geometry|geography|box[23]d)" ',
    "vector": r'type "(vector|halfvec|sparsevec)" ',
    "pg_trgm": r'class "(gin|gist)_trgm_ops" |function (word_)?similarity\(',
    "btree_gist": r'no default operator class for access method "gist"|class "gist_\w+_ops" ',
    "btree_gin": r'no default operator class for access method "gin"',
    "uuid-ossp": r"function uuid_generate_v\d\w*\(",
    "pgcrypto": r"function (crypt|digest|gen_salt|hmac|gen_random_bytes|pgp_\w+)\(",
    "unaccent": r"function unaccent\(",
}
"""Extensions, by what the server says of their objects where they are missing."""


def _advice(text: str) -> str:
    """What brings the object that the server misses."""
    for extension, pattern in _OF_EXTENSIONS.items():
        if re.search(pattern, text):
            written = f'Extension("{extension}")'
            return f"; the extension {extension} has that: write {written} in __table_args__"
    return ""
