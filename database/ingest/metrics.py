"""The metrics of a message as COPY reads them: the JSON, then a column for each declared one.

Also which values a column of a type holds, for every series.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from database.ingest import binary
from database.ingest.refusal import MalformedError
from database.ingest.values import expected, is_text, is_written_out, json_bytes
from models.shared.constraints import MAX_ROW
from models.shared.judgement import MAX_DOCUMENT, bad
from models.shared.metrics import Metric
from models.telemetry.device_messages import TOO_LARGE

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
EXACT = 2**53
"""Up to this number a double has every integer."""


class MetricColumns:
    """Divides metrics among the columns of those declared and the JSON, which keeps the rest."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._empty = [binary.NULL] * len(metrics)
        listed = [
            (one, (number, one.name, FITTING[one.type], binary.PACKED[one.type]))
            for number, one in enumerate(metrics)
        ]
        self._of_all = [place for one, place in listed if one.message_type is None]
        self._of_type = {
            metric.message_type: [
                place for one, place in listed if one.message_type in (None, metric.message_type)
            ]
            for metric in metrics
        }

    def divided(self, message_type: Any, metrics: object) -> bytes:
        """The fields of the JSON and of the columns, as COPY takes them in its binary format.

        Raises:
            MalformedError: the metrics are no object, or jsonb cannot hold them.
        """
        if not self._empty:
            return _json(metrics)
        columns, size = self._empty.copy(), 0
        of_type = self._of_type.get(message_type, self._of_all)
        if of_type and isinstance(metrics, dict):
            left = metrics.copy()
            for place, name, fitting, packed in of_type:
                if name in left and (value := fitting(left[name])) is not None:
                    columns[place] = packed(value)
                    size += len(value) if value.__class__ is str else 8
                    del left[name]
            metrics = left
        return b"".join([_json(metrics, size), *columns])


def escaped(text: str) -> str:
    """Text as it stands in a column of COPY."""
    return text.translate(_ESCAPES)


def _json(value: object, size: int = 0) -> bytes:
    """The field of the JSON; ``size`` is what the columns hold."""
    if not isinstance(value, dict):
        raise MalformedError(bad("metrics"), expected("an object", value))
    if "" in value:
        raise MalformedError(bad("metrics"), expected("metrics with names", value))
    try:
        "".join(value)  # JSON would make text of any name.
        data = json_bytes(value)
    except (ValueError, TypeError, RecursionError) as error:
        what = "names and values that JSON and jsonb have"
        raise MalformedError(bad("metrics"), f"{expected(what, value)} ({error})") from None
    if len(data) + size > MAX_DOCUMENT and (size := len(data.decode()) + size) > MAX_DOCUMENT:
        found = f"expected at most {MAX_DOCUMENT:,} characters of JSON, found {size:,}"
        raise MalformedError(TOO_LARGE, found)
    if not is_written_out(data):
        found = f"expected at most {MAX_ROW:,} bytes of JSON as the server writes it, found more"
        raise MalformedError(TOO_LARGE, found)
    return binary.jsonb(data)


# The value that a column of the type holds, or None for what it does not hold exactly: that stays
# in the JSON. A number is read from the column as it was sent. The SQL function fitting_value() is
# the same for rows that came another way.


def _double(value: object) -> float | None:
    if value.__class__ is float:
        return value if math.isfinite(value) else None
    if value.__class__ is int and -EXACT <= value <= EXACT:
        return value
    return None


def _integer(bits: int) -> Callable[[object], int | None]:
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def fitting(value: object) -> int | None:
        if isinstance(value, float) and value.is_integer():
            # As it is written in JSON: beyond 2^53 a double has more digits than are sent.
            value = int(Decimal(float.__repr__(value)))
        if value.__class__ is int and lowest <= value <= highest:
            return value
        return None

    return fitting


def _boolean(value: object) -> bool | None:
    return value if value.__class__ is bool else None


def _text(value: object) -> str | None:
    return str(value) if value == "" or is_text(value, MAX_DOCUMENT) else None


FITTING: dict[str, Callable[[object], Any]] = {
    "double precision": _double,
    "bigint": _integer(64),
    "integer": _integer(32),
    "boolean": _boolean,
    "text": _text,
}
"""By type of the column."""


def _written(kind: str, as_text: Callable[[Any], str]) -> Callable[[object], str | None]:
    def written(value: object) -> str | None:
        fitting = FITTING[kind](value)
        return None if fitting is None else as_text(fitting)

    return written


WRITERS: dict[str, Callable[[object], str | None]] = {
    "double precision": _written("double precision", repr),
    "bigint": _written("bigint", str),
    "integer": _written("integer", str),
    "boolean": _written("boolean", lambda value: "t" if value else "f"),
    "text": _written("text", escaped),
}
"""The same as COPY takes it as text."""
