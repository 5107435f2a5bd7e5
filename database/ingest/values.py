"""Values of messages: which of them PostgreSQL can take, and how they are written."""

from __future__ import annotations

import json.encoder
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def _no_json(value: object) -> Any:
    raise TypeError(f"JSON has no {type(value).__qualname__}")


def _json_encoder() -> Callable[[object], str]:
    """Compact JSON without NaN.

    The encoder in C, kept: the documented way makes one for each call, at twice the time. Where
    it is missing or other than expected, the documented way serves.
    """
    documented = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    sample = {"a": [1.5, None, True, "é\n"], "b": {}}
    try:
        make, text = vars(json.encoder)["c_make_encoder"], vars(json.encoder)["encode_basestring"]
        parts = make(None, _no_json, text, None, ":", ",", False, False, False)
        same = "".join(parts(sample, 0)) == documented(sample)
    except (KeyError, TypeError):
        return documented
    return (lambda value: "".join(parts(value, 0))) if same else documented


_to_json = _json_encoder()


def moment(value: object) -> datetime | None:
    """The time that a value means, or None; a time without a zone means none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime) or value.utcoffset() is None:
        return None
    return value


def in_utc(value: object) -> datetime | None:
    """The same in UTC; None also for what lies beyond the years 1 to 9999 there."""
    found = moment(value)
    try:
        return None if found is None else found.astimezone(UTC)
    except OverflowError:
        return None


def uuid_text(value: object) -> str | None:
    """The UUID in its usual form, or None."""
    return _uuid_text(value) if isinstance(value, UUID | str) else None


@lru_cache(maxsize=10_000)
def _uuid_text(value: UUID | str) -> str | None:
    """Remembered, since the same tenants come again and again."""
    if isinstance(value, UUID):
        return str(value)
    try:
        return str(UUID(value))
    except ValueError:
        return None


def is_text(value: object, longest: int) -> bool:
    """Whether PostgreSQL can store it as text that is not empty: no NUL, no lone surrogates."""
    if not isinstance(value, str) or not 0 < len(value) <= longest or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def expected(what: str, found: object) -> str:
    """What was expected and what was found, in characters that any text can hold."""
    try:
        shown = found if isinstance(found, str) else str(found)
        shown = ascii(shown[:200])[1:-1]
    except (ValueError, RecursionError):
        shown = f"something that cannot be written of type {type(found).__name__}"
    return f"expected {what}, found {shown or 'nothing'}"


def json_text(value: object) -> str:
    """The value as JSON that jsonb accepts.

    Raises:
        ValueError, TypeError, RecursionError: there is no such JSON.
    """
    text = _to_json(value)
    if "\\u0000" in text and _NUL.search(text):
        raise ValueError("jsonb has no NUL character")
    if not text.isascii():
        text.encode()
    return text
