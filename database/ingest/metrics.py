"""The metrics of a message as COPY reads them: the JSON, then a column for each declared one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from database.ingest.refusal import MalformedError
from database.ingest.values import expected, is_text, json_text
from models.shared.metrics import Metric

MAX_METRICS = 65_536
"""Characters of the metrics of one message, as JSON."""

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
_EXACT = 2**53
"""Up to this number a double has every integer."""


class MetricColumns:
    """Divides metrics among the columns of those declared and the JSON, which keeps the rest."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._empty = [r"\N"] * len(metrics)
        listed = [(one, number, one.name, WRITERS[one.type]) for number, one in enumerate(metrics)]
        self._of_all = [row[1:] for row in listed if row[0].message_type is None]
        self._of_type = {
            metric.message_type: [
                row[1:] for row in listed if row[0].message_type in (None, metric.message_type)
            ]
            for metric in metrics
        }

    def divided(self, message_type: Any, metrics: object) -> str:
        """The JSON and the columns, as COPY takes them, separated by tabs.

        Raises:
            MalformedError: the metrics are no object, or jsonb cannot hold them.
        """
        if not self._empty:
            return _json(metrics)
        columns, size = self._empty.copy(), 0
        of_type = self._of_type.get(message_type, self._of_all)
        if of_type and isinstance(metrics, dict):
            left = metrics.copy()
            for place, name, written in of_type:
                if name in left and (text := written(left[name])) is not None:
                    columns[place] = text
                    size += len(text)
                    del left[name]
            metrics = left
        return "\t".join([_json(metrics, size), *columns])


def escaped(text: str) -> str:
    """Text as it stands in a column of COPY."""
    return text.translate(_ESCAPES)


def _json(value: object, size: int = 0) -> str:
    """The JSON; ``size`` is what the columns hold."""
    if not isinstance(value, dict):
        raise MalformedError("bad_metrics", expected("an object", value))
    try:
        "".join(value)  # JSON would make text of any name.
        text = json_text(value)
    except (ValueError, TypeError, RecursionError) as error:
        what = "names and values that JSON and jsonb have"
        raise MalformedError("bad_metrics", f"{expected(what, value)} ({error})") from None
    if len(text) + size > MAX_METRICS:
        found = f"expected at most {MAX_METRICS:,} characters of JSON, found {len(text) + size:,}"
        raise MalformedError("metrics_too_large", found)
    return text.replace("\\", r"\\") if "\\" in text else text


# Each returns None for what its type does not hold exactly: that stays in the JSON. A number is
# read from the column as it was sent. The SQL function fitting_value() is the same for rows that
# came another way.


def _double(value: object) -> str | None:
    if value.__class__ is float:
        return repr(value) if math.isfinite(value) else None
    if value.__class__ is int and -_EXACT <= value <= _EXACT:
        return str(value)
    return None


def _integer(bits: int) -> Callable[[object], str | None]:
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def written(value: object) -> str | None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value.__class__ is int and lowest <= value <= highest:
            return str(value)
        return None

    return written


def _boolean(value: object) -> str | None:
    return None if value.__class__ is not bool else "t" if value else "f"


def _text(value: object) -> str | None:
    if value == "":
        return ""
    return escaped(str(value)) if is_text(value, MAX_METRICS) else None


WRITERS: dict[str, Callable[[object], str | None]] = {
    "double precision": _double,
    "bigint": _integer(64),
    "integer": _integer(32),
    "boolean": _boolean,
    "text": _text,
}
"""By type of the column."""
