"""Values of messages: which of them PostgreSQL can take, and how they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

from models.shared.constraints import MAX_ROW

try:
    import orjson
except ImportError:  # There are Pythons that it has no wheel for.
    orjson = None  # type: ignore[assignment]

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_DIGITS = re.compile(r"\d{309}")
_EXPONENT = re.compile(rb'"(?:[^"\\]|\\.)*"|(\d[eE][+-]?\d+)')
_MOST_DIGITS = 330
"""Of a double that is written without an exponent."""


def _plain(value: object) -> Any:
    """What the fast encoder takes besides JSON's own values."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"JSON has no {type(value).__qualname__}")


MOST_NESTED = 254
"""Levels of a document, as many as the fast encoder takes: what is written in one place has to be
written in another, where the interpreter is some calls deeper."""

_documented = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
).encode


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


def _checked(value: object) -> str:
    """The JSON as the standard library writes it, integers of any size, or why there is none."""
    text = _documented(value)
    if text.count("[") + text.count("{") > MOST_NESTED and _nested(value) > MOST_NESTED:
        raise ValueError(f"there are at most {MOST_NESTED} levels")
    if _DIGITS.search(text) and _is_beyond(value):
        raise ValueError("numbers are those of double precision")
    if "\\u0000" in text and _NUL.search(text):
        raise ValueError("jsonb has no NUL character")
    if not text.isascii():
        text.encode()
    return text


def _levels(value: object) -> Iterator[list[object]]:
    """The value, what is in it, what is in that, and so on."""
    inner = [value]
    while inner:
        yield inner
        nested = [one for one in inner if isinstance(one, dict | list | tuple)]
        inner = [one for of in nested for one in (of.values() if isinstance(of, dict) else of)]


def _nested(value: object) -> int:
    """How many levels of lists and objects there are."""
    return sum(
        any(isinstance(one, dict | list | tuple) for one in level) for level in _levels(value)
    )


def _is_beyond(value: object) -> bool:
    """Whether there is an integer beyond double precision, as in `DOUBLES` of the models."""
    try:
        for level in _levels(value):
            for one in level:
                if isinstance(one, int):
                    float(one)
    except OverflowError:
        return True
    return False


def is_written_out(data: bytes) -> bool:
    """Whether the server writes this JSON within `MAX_ROW` bytes: spaced, and without exponents."""
    size = 2 * len(data)
    # Numbers are looked for only if there is room for enough of them.
    if size + len(data) // 4 * _MOST_DIGITS > MAX_ROW and b"e" in data.lower():
        size += _MOST_DIGITS * sum(map(bool, _EXPONENT.findall(data)))
    return size <= MAX_ROW


def _fast() -> Callable[[object], bytes]:
    options = (
        orjson.OPT_PASSTHROUGH_SUBCLASS
        | orjson.OPT_PASSTHROUGH_DATACLASS
        | orjson.OPT_PASSTHROUGH_DATETIME
    )
    dumps = orjson.dumps

    def data(value: object) -> bytes:
        try:
            found: bytes = dumps(value, None, options)
        except TypeError:
            return _checked(value).encode()
        # It writes null for NaN, and jsonb has no NUL.
        if b"null" in found or b"\\" in found:
            return _checked(value).encode()
        return found

    return data


json_bytes: Callable[[object], bytes] = (
    (lambda value: _checked(value).encode()) if orjson is None else _fast()
)
"""The value as compact JSON that jsonb accepts, in UTF-8.

Raises:
    ValueError, TypeError, RecursionError: there is no such JSON.
"""


def json_text(value: object) -> str:
    """The same as text."""
    return json_bytes(value).decode()


def array_text(values: Iterable[str | None]) -> str:
    """The values as text of an array of PostgreSQL; the driver would take several times as long."""
    return "{" + ",".join(["NULL" if one is None else _quoted(one) for one in values]) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'
