"""The binary format of COPY, which the server reads faster than text; floats it need not parse.

A row is the number of its fields, and each field its length in bytes (-1: NULL) and its value.
Integers are big-endian. Source: "Binary Format" of COPY in the manual of PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any
from uuid import UUID

BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""What comes before the rows: signature, flags, and no extension."""

END = b"\xff\xff"

NULL = b"\xff\xff\xff\xff"

_LENGTH = Struct(">i").pack
_COUNT = Struct(">h").pack
_INTEGER = Struct(">ii").pack
_DOUBLE = Struct(">id").pack

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
"""A timestamptz is a bigint, of microseconds since then."""

bigint = Struct(">iq").pack
"""The field of an integer of 64 bits; the first argument is 8, its length."""


def count(fields: int) -> bytes:
    """The number of fields, with which a row begins."""
    return _COUNT(fields)


def text(value: str) -> bytes:
    """A field of text."""
    data = value.encode()
    return _LENGTH(len(data)) + data


def uuid(value: str) -> bytes:
    """A field of a UUID, from its text."""
    return _LENGTH(16) + UUID(value).bytes


def jsonb(data: bytes) -> bytes:
    """A field of jsonb, from JSON: after the version of its format."""
    return _LENGTH(len(data) + 1) + b"\x01" + data


PACKED: dict[str, Callable[[Any], bytes]] = {
    "double precision": lambda value: _DOUBLE(8, value),
    "bigint": lambda value: bigint(8, value),
    "integer": lambda value: _INTEGER(4, value),
    "boolean": lambda value: b"\0\0\0\1\1" if value else b"\0\0\0\1\0",
    "text": text,
}
"""By type of the column, the field of a value that the type holds."""
