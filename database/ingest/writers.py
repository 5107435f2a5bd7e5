"""How values of records are written for COPY; each returns None for what it refuses."""

from __future__ import annotations

from collections.abc import Callable

from database.ingest.metrics import WRITERS, escaped
from database.ingest.values import is_text, is_written_out, json_text
from models.shared.constraints import MAX_NAME
from models.shared.judgement import MAX_DOCUMENT
from models.telemetry.device_connections import EVENTS

NULL = r"\N"
"""What COPY reads as NULL."""

Write = Callable[[object], str | None]
"""The value as COPY takes it, with a tab between columns; None if it is refused."""


def any_number(value: object) -> str | None:
    """Any number that a double holds exactly, also NaN and infinity, which rollups leave out."""
    return float.__repr__(value) if isinstance(value, float) else WRITERS["double precision"](value)


def tag_value(value: object) -> str | None:
    """The columns of a tag's value: number, text, truth value, JSON; of which one is filled.

    An integer that a double does not hold is kept exactly, as JSON.
    """
    columns: list[str | None] = [NULL] * 4
    if isinstance(value, bool):
        columns[2] = WRITERS["boolean"](value)
    elif isinstance(value, int | float):
        columns[0] = any_number(value)
        if columns[0] is None:
            columns[0], columns[3] = NULL, json_value(value)
    elif isinstance(value, str):
        columns[1] = WRITERS["text"](value)
    elif isinstance(value, dict | list | tuple):
        columns[3] = json_value(value)
    else:
        return None
    return None if None in columns else "\t".join(columns)  # type: ignore[arg-type]


def status_code(value: object) -> str | None:
    """A code of 32 bits, signed or not (as in OPC UA), as a signed integer."""
    if isinstance(value, int) and 2**31 <= value < 2**32:
        value -= 2**32
    return WRITERS["integer"](value)


def not_negative(value: object) -> str | None:
    """A number that is not negative."""
    return None if isinstance(value, int | float) and value < 0 else any_number(value)


def text_of(longest: int) -> Write:
    """Text of so many characters, which may be none."""

    def written(value: object) -> str | None:
        return escaped(str(value)) if value == "" or is_text(value, longest) else None

    return written


def full_name(value: object) -> str | None:
    """A name in a key, which may not."""
    return escaped(str(value)) if is_text(value, MAX_NAME) else None


def connection_event(value: object) -> str | None:
    """One of the events that the table has."""
    return str(value) if isinstance(value, str) and value in EVENTS else None


def json_object(value: object) -> str | None:
    """A dict; nothing is an empty one."""
    if value is None:
        return "{}"
    return json_value(value) if isinstance(value, dict) else None


def json_value(value: object) -> str | None:
    """JSON, unless jsonb cannot hold it or it is too long."""
    try:
        if isinstance(value, dict):
            "".join(value)  # JSON would make text of any name.
        text = json_text(value)
    except (ValueError, TypeError, RecursionError):
        return None
    fits = len(text) <= MAX_DOCUMENT and is_written_out(text.encode())
    return escaped(text) if fits else None
